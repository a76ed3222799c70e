"""A station in a temporary folder: its model proved on the engines in question, its parts put together."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

from station.assembly import Station, Watcher, assemble
from station.bell import Bell
from station.bench.alone import alone
from station.bench.rows import Machine
from station.contract.analysis import Scale
from station.contract.bundle import Bundle, read_bundle, write_bundle
from station.contract.errors import EngineError
from station.database.records import EngineTrial
from station.database.store import Store
from station.engines import Option, Setup
from station.intake import Intake, TickResult
from station.pipeline import Failure, Result
from station.processor import this_processor
from station.registry import plans_folder
from station.selection import choose, try_one
from station.settings import Camera, Database, Engine, Settings
from station.version import package_version


@dataclass(frozen=True, slots=True)
class Stand:
    """What all contenders have in common."""

    folder: Path
    bundle_path: Path
    bundle: Bundle
    trials: tuple[EngineTrial, ...]
    cell_diameter_px: float
    threads: int

    @property
    def camera(self) -> Path:
        return self.folder / "camera"

    @property
    def scale(self) -> Scale:
        """As the station is told it."""
        return Scale(self.cell_diameter_px, "camera")

    def settings(self, option: Option, database: Path, *, settle_seconds: float = 0.0) -> Settings:
        """Those of a station on that engine, with that database."""
        told = {"name": option.engine, "precision": option.precision, "threads": self.threads}
        return Settings(
            camera=Camera(folder=self.camera, cell_diameter_px=self.cell_diameter_px, settle_seconds=settle_seconds),
            database=Database(path=database),
            engine=Engine.model_validate(told),
        )

    def lay_database(self, settings: Settings) -> None:
        """An empty database with the model and its trials in it."""
        shutil.copyfile(_seed(self.folder), settings.database.path)

    def chosen(self, trials: Sequence[EngineTrial]) -> Option:
        """What `auto` takes of these."""
        return choose(trials, Engine(threads=self.threads)).option


@dataclass(frozen=True, slots=True)
class _Trying:
    bundle_path: Path
    option: Option
    threads: int


def stand_in(
    folder: Path,
    model: Path,
    options: Sequence[Option],
    cell_diameter_px: float,
    threads: int,
    step: Callable[[Option], None],
) -> Stand:
    """Prove the bundle on each engine, in a process of its own, and keep how it came out in a seed database.

    `step` is called before each. Raises BundleError where the bundle cannot be read.
    """
    bundle = read_bundle(model)
    home = folder / "models" / f"{bundle.manifest.name}.zip"
    home.parent.mkdir()
    (folder / "camera").mkdir()
    write_bundle(home, bundle)
    trials = []
    for option in options:
        step(option)
        trials.append(_trial(_Trying(home, option, threads)))
    with closing(Store.open(_seed(folder), clock=now_utc, create=True)) as store:
        row = store.add_model(name=bundle.manifest.name, sha256=bundle.sha256, path=str(home), description="")
        store.activate_model(row.model_id)
        store.keep_trials(bundle.sha256, trials)
    return Stand(folder, home, bundle, tuple(trials), cell_diameter_px, threads)


def assembled(
    settings: Settings, store: Store, watcher: Watcher, *, bell: Bell | None = None, kind: type[Intake] = Intake
) -> Station:
    """A station as `station run` has it, without a line to systemd."""
    return assemble(
        settings,
        store,
        watcher,
        worker="bench",
        clock=now_utc,
        monotonic=monotonic,
        notify=lambda _state: None,
        bell=bell,
        kind=kind,
    )


def option_of(trial: EngineTrial) -> Option:
    """The option that was tried."""
    return Option(trial.engine, trial.precision)


def machine(stand: Stand, loads: Sequence[float]) -> Machine:
    """What is measured on, with what."""
    processor = this_processor()
    return Machine(
        processor=processor.name,
        cores=processor.cores,
        abilities=processor.abilities,
        loads=tuple(loads),
        niceness=os.nice(0),
        package_version=package_version(),
        model=stand.bundle.manifest.name,
        model_sha256=stand.bundle.sha256,
        threads=stand.threads,
    )


def load_average() -> float:
    """Mean number of processes that ran or waited over the last minute."""
    return round(os.getloadavg()[0], 2)


def now_utc() -> datetime:
    """The station's clock."""
    return datetime.now(UTC)


class Strict:
    """A watcher that lets nothing pass: a measurement in which a picture or an engine fails is none.

    It may be asked after the loop, or end it: what went wrong is raised by `check`.
    """

    def __init__(self, done: Callable[[Result], None]) -> None:
        self._done, self.wrong = done, list[str]()
        self.stop = threading.Event()

    def tick(self, result: TickResult) -> None:
        for outcome in (*result.waiting, *result.quarantined):
            self._note(f"{outcome.path}: {outcome.reason}")
        if result.gone:
            self._note(result.degraded or "the camera folder is gone")

    def done(self, result: Result) -> None:
        self._done(result)

    def failed(self, failure: Failure) -> None:
        self._note(str(failure))

    def scale(self, diameter_px: float) -> None: ...

    def trouble(self, sentence: str) -> None:
        self._note(sentence)

    def disk(self, problem: str | None) -> None:
        if problem:
            self._note(problem)

    def check(self) -> None:
        """Raise EngineError with what went wrong first."""
        if self.wrong:
            raise EngineError(self.wrong[0])

    def _note(self, sentence: str) -> None:
        self.wrong.append(sentence)
        self.stop.set()


def _seed(folder: Path) -> Path:
    return folder / "seed.db"


def _trial(trying: _Trying) -> EngineTrial:
    try:
        return alone(_try, trying, lambda: None)
    except EngineError as cause:  # the runtime took its process down
        return EngineTrial(trying.option.engine, trying.option.precision, trying.threads, "", refusal=str(cause))


def _try(trying: _Trying, tick: Callable[[], None]) -> EngineTrial:
    setup = Setup(threads=trying.threads, plans=plans_folder(trying.bundle_path))
    return try_one(read_bundle(trying.bundle_path), trying.option, setup)
