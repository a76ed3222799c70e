"""Installed models: install, prove, activate, roll back; how one is read and opened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from station.contract.analysis import Scale
from station.contract.bundle import Bundle, GoldenResult, read_bundle, write_bundle
from station.contract.errors import BundleError, EngineError, PlanMissing, SettingsError
from station.contract.manifest import Manifest, NetworkScale
from station.crashes import LIMIT_SECONDS, Crashes
from station.database.records import StoredModel
from station.database.store import Store
from station.engines import Engine, Guard, Option, Setup, open_engine, unguarded
from station.printing import plural
from station.proof import prove_engine
from station.selection import (
    REFERENCE_OPTION,
    choose_current,
    named,
    stale,
    standbys,
    try_all,
    try_stale,
)
from station.settings import Camera
from station.settings import Engine as EngineSettings
from station.standby import WithStandby

STARTER = "starter.zip"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model ready to work: its manifest, its engine, and the names that stand beside every count."""

    manifest: Manifest
    sha256: str
    engine: Engine

    @property
    def name(self) -> str:
        return self.manifest.name


def starter_path() -> Path:
    """The bundle that ships inside the package."""
    return Path(str(resources.files("station") / "models" / STARTER))


def load_model(path: Path, settings: EngineSettings, trouble: Callable[[str], None]) -> Loaded:
    """A bundle from disk: on the reference, or on the engine that the settings name, as `opened` opens it.

    Raises BundleError or EngineError naming file and cause.
    """
    bundle = read_bundle(path, weights=False)
    option = choose_current((), bundle, settings)
    setup = setup_beside(path, settings)  # where it is an installed one, its plan lies there
    return opened(bundle, (option, *standbys((), option, settings)), setup, trouble)


def load_active(model: StoredModel, store: Store, settings: EngineSettings, trouble: Callable[[str], None]) -> Loaded:
    """An installed model with the engine that was chosen for it, as `opened` opens it, for work beside the station.

    Raises BundleError with the ways out where the model's file is damaged or gone.
    """
    bundle = active_bundle(model) if model == store.active_model() else installed_bundle(model)
    trials = store.trials(model.sha256)
    option = choose_current(trials, bundle, settings)
    setup = setup_beside(Path(model.path), settings)
    return opened(bundle, (option, *standbys(trials, option, settings)), setup, trouble)


def opened(
    bundle: Bundle,
    options: Sequence[Option],
    setup: Setup,
    trouble: Callable[[str], None],
    *,
    plan_missing: Callable[[Option], None] = lambda _option: None,
) -> Loaded:
    """A model on the first of these engines, whose place the next one takes where it cannot be opened or fails later.

    `trouble` is called with a sentence then, in the thread that asked; `plan_missing` before it, where a plan is all
    that lacks. Raises EngineError or BundleError where the last one, the reference, cannot be opened either.
    """
    first, *others = options
    if not others:
        return _proved(bundle, first, setup)
    try:
        model = _proved(bundle, first, setup)
    except PlanMissing as cause:
        plan_missing(first)
        refusal = f"{first} waits for its plan: {cause}"
    except (EngineError, BundleError) as cause:
        refusal = f"{first} cannot serve: {cause}"
    else:
        engine = WithStandby(model.engine, lambda: opened(bundle, others, setup, trouble).engine, trouble)
        return replace(model, engine=engine)
    model = opened(bundle, others, setup, trouble)
    trouble(f"{refusal}; {model.engine.name} serves")
    return model


def told_scale(camera: Camera, network: NetworkScale) -> Scale | None:
    """The scale that the settings tell: the cells' diameter, or the size of a pixel.

    Raises SettingsError where the size of a pixel makes no sense.
    """
    if camera.cell_diameter_px != "auto":
        return Scale(camera.cell_diameter_px, "camera")
    if camera.um_per_px is None:
        return None
    diameter_px = round(network.cell_diameter_um / camera.um_per_px, 1)
    if not 4 < diameter_px <= 2000:
        raise SettingsError(
            f"camera.um_per_px = {camera.um_per_px:g} would make white cells {diameter_px:g} px large; "
            "it is the size of one pixel in the specimen, um, for example 0.11"
        )
    return Scale(diameter_px, "camera")


def install(
    path: Path,
    store: Store,
    folder: Path,
    settings: EngineSettings,
    *,
    step: Callable[[Option], None] = lambda _option: None,
    build: bool = True,
    report: Callable[[int], None] = lambda _percent: None,
) -> tuple[StoredModel, tuple[GoldenResult, ...]]:
    """Prove a bundle on this machine's engines, copy it below `folder`, and write its row and how the engines came out.

    Nothing is written before the proof, but for the plan of a GPU, which `build` allows to be made. `step` is called
    before each engine is tried, `report` with the per cent of a build. Installing the same model again gives the row
    that exists.
    """
    bundle = read_bundle(path)
    home = folder / f"{bundle.manifest.name}-{bundle.sha256[:12]}.zip"
    guard = Crashes(store, None if build else LIMIT_SECONDS).guard
    setup = Setup(threads=settings.threads, plans=plans_folder(home), build=build, report=report, guard=guard)
    trials, golden = try_all(bundle, settings, setup, step=step)
    _keep(bundle, home)
    model = store.add_model(
        name=bundle.manifest.name,
        sha256=bundle.sha256,
        path=str(home),
        description=", ".join(bundle.manifest.provenance.trained_on),
    )
    store.keep_trials(bundle.sha256, trials)
    return model, golden


def try_again(
    model: StoredModel, store: Store, settings: EngineSettings, *, step: Callable[[Option], None] = lambda _option: None
) -> None:
    """Try those engines for an installed model of which what is known does not hold any more.

    So it is after another engine, precision or number of threads was told, after a runtime came, went or changed, and
    on another processor. Raises BundleError or EngineError where the reference itself does not prove the model.
    """
    renew_trials(active_bundle(model), Path(model.path), store, settings, Crashes(store).guard, step=step)


def renew_trials(
    bundle: Bundle,
    home: Path,
    store: Store,
    settings: EngineSettings,
    guard: Guard,
    *,
    step: Callable[[Option], None] = lambda _option: None,
) -> None:
    """As `try_again`, of a bundle that was read; `home` is its file."""
    trials = store.trials(bundle.sha256)
    if stale(trials, bundle, settings):
        setup = setup_beside(home, settings, guard)
        store.keep_trials(bundle.sha256, try_stale(trials, bundle, settings, setup, step=step))


def roll_back(store: Store) -> tuple[StoredModel, tuple[StoredModel, ...]]:
    """Go back to the last model that was active before and is whole: (that one, those that were passed over).

    Nothing is changed before it is found. Raises DatabaseError where there is none before, BundleError where none of
    them is whole.
    """
    passed: list[StoredModel] = []
    for model in store.earlier_models():
        try:
            installed_bundle(model)
        except BundleError as cause:
            passed.append(model)
            problem = cause
        else:
            return store.rollback_model(model.model_id), tuple(passed)
    if passed:
        raise BundleError(f"there is no whole model to go back to ({plural(len(passed), 'damaged one')}): {problem}")
    return store.rollback_model(), ()


def active_bundle(model: StoredModel, *, weights: bool = False) -> Bundle:
    """The file of the active model, verified as far as it is read; see `read_bundle` for `weights`.

    Raises BundleError with the ways out where it is damaged or gone.
    """
    try:
        return _verified(model, weights=weights)
    except BundleError as cause:
        raise BundleError(
            f"the active model cannot be used: {cause}; `station model install BUNDLE` puts the same or another one in "
            "its place, `station model rollback` goes back to the one before"
        ) from cause


def installed_bundle(model: StoredModel) -> Bundle:
    """Likewise of a model that need not be the active one, without its weights."""
    try:
        return _verified(model)
    except BundleError as cause:
        raise BundleError(
            f"the model {model.name} cannot be used: {cause}; `station model install --no-activate` of the same bundle "
            "mends it"
        ) from cause


def _verified(model: StoredModel, *, weights: bool = False) -> Bundle:
    bundle = read_bundle(Path(model.path), weights=weights)
    if bundle.sha256 != model.sha256:
        raise BundleError(f"{model.path} is not the bundle that proved itself here")
    return bundle


def plans_folder(home: Path) -> Path:
    """Where the plans of GPUs lie that belong to installed bundles: a cache beside them."""
    return home.parent / "plans"


def setup_beside(home: Path, settings: EngineSettings, guard: Guard = unguarded) -> Setup:
    """How engines of an installed bundle are opened: with the plans that lie beside it, and without building any."""
    return Setup(threads=settings.threads, plans=plans_folder(home), build=False, guard=guard)


def _proved(bundle: Bundle, option: Option, setup: Setup) -> Loaded:
    """A model on an engine. Any but the reference proves itself first.

    Raises EngineError where it cannot be opened, BundleError where it does not reproduce the golden pictures.
    """
    if option == REFERENCE_OPTION:
        return Loaded(bundle.manifest, bundle.sha256, open_engine(bundle, option.engine, option.precision, setup))
    with setup.guard(named(option)):
        engine = open_engine(bundle, option.engine, option.precision, setup)
        prove_engine(bundle, engine, option.precision)
    return Loaded(bundle.manifest, bundle.sha256, engine)


def _keep(bundle: Bundle, home: Path) -> None:
    home.parent.mkdir(parents=True, exist_ok=True)
    if not _holds(home, bundle):
        write_bundle(home, bundle)


def _holds(home: Path, bundle: Bundle) -> bool:
    try:
        return read_bundle(home).sha256 == bundle.sha256
    except BundleError:  # missing, or damaged since
        return False
