"""Installed models: install, prove, activate, roll back; and the one that is loaded now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from station.contract.analysis import Scale
from station.contract.bundle import Bundle, GoldenResult, prove, read_bundle, write_bundle
from station.contract.errors import BundleError, SettingsError
from station.contract.manifest import Manifest, NetworkScale
from station.database.records import StoredModel
from station.database.store import Store
from station.engines import Engine, open_engine
from station.settings import Camera
from station.settings import Engine as EngineSettings

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


def load_model(path: Path, engine: EngineSettings) -> Loaded:
    """A bundle from disk with its engine. Raises BundleError or EngineError naming file and cause."""
    return _loaded(read_bundle(path), engine)


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
    path: Path, store: Store, folder: Path, engine: EngineSettings
) -> tuple[StoredModel, tuple[GoldenResult, ...]]:
    """Prove a bundle on this machine's engine, copy it below `folder`, and write its row.

    Nothing is written before the proof. Installing the same model again gives the row that exists.
    """
    bundle = read_bundle(path)
    results = prove(bundle, _loaded(bundle, engine).engine)
    home = folder / f"{bundle.manifest.name}-{bundle.sha256[:12]}.zip"
    _keep(bundle, home)
    model = store.add_model(
        name=bundle.manifest.name,
        sha256=bundle.sha256,
        path=str(home),
        description=", ".join(bundle.manifest.provenance.trained_on),
    )
    return model, results


class LiveModel:
    """The active model of the database, loaded; a newly activated one is taken over with the next picture."""

    def __init__(self, active: Callable[[], StoredModel | None], engine: EngineSettings) -> None:
        self._active, self._engine = active, engine
        self._loaded: Loaded | None = None

    def current(self) -> Loaded:
        """The model to work with now. Raises BundleError where none is active or its file is damaged."""
        model = self._active()
        if model is None:
            raise BundleError("no model is active; `station model install BUNDLE` or `station init` gives one")
        if self._loaded is None or self._loaded.sha256 != model.sha256:
            self._loaded = load_active(model, self._engine)
        return self._loaded


def load_active(model: StoredModel, engine: EngineSettings) -> Loaded:
    """The active model with its engine. Raises BundleError with the ways out where its file is damaged or gone."""
    try:
        loaded = load_model(Path(model.path), engine)
        if loaded.sha256 != model.sha256:
            raise BundleError(f"{model.path} is not the bundle that proved itself here")
        return loaded
    except BundleError as cause:
        raise BundleError(
            f"the active model cannot be used: {cause}; `station model install BUNDLE` puts the same or another one in "
            "its place, `station model rollback` goes back to the one before"
        ) from cause


def _loaded(bundle: Bundle, engine: EngineSettings) -> Loaded:
    return Loaded(bundle.manifest, bundle.sha256, open_engine(bundle, engine.name, threads=engine.threads))


def _keep(bundle: Bundle, home: Path) -> None:
    home.parent.mkdir(parents=True, exist_ok=True)
    if not _holds(home, bundle):
        write_bundle(home, bundle)


def _holds(home: Path, bundle: Bundle) -> bool:
    try:
        return read_bundle(home).sha256 == bundle.sha256
    except BundleError:  # missing, or damaged since
        return False
