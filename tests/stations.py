"""A whole station in tests: real pictures, real network, real database; time passes only when it waits."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

from networks import DIAMETER_PX, discs

from station.assembly import Station, assemble
from station.bell import Bell as LiveBell
from station.commission import commission
from station.contract.bundle import Bundle, write_bundle
from station.daemon import run_once
from station.database.records import ImageResult
from station.database.store import Store
from station.demo.camera import encode_bmp
from station.intake import TickResult
from station.pipeline import Failure, Result
from station.registry import install
from station.settings import Camera, Database, Engine, Settings

START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


class Bell(threading.Event):
    """Nobody waits: time passes at once."""

    seconds = 0.0

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds += timeout or 0.0
        return True


class Bench:
    """A camera folder, a database and a station between them, in time that only passes when it waits."""

    def __init__(
        self, root: Path, bundle: Bundle | None = None, engine: Engine | None = None, **camera: object
    ) -> None:
        """With the starter model, or with a `bundle`."""
        self.folder = root / "camera"
        self.folder.mkdir()
        self.settings = Settings(
            camera=Camera(folder=self.folder, settle_seconds=1, rescan_seconds=1, **camera),  # type: ignore[arg-type]
            database=Database(path=root / "station.db"),
            engine=engine or Engine(name="onnxruntime"),
        )
        self.bell = Bell()
        self.wall_clock_set_by = timedelta(0)
        self.free_bytes = 10**12
        self.store = Store.open(self.settings.database.path, clock=self.utc, create=True)
        if bundle is not None:
            self.install(bundle)
        commission(self.store, self.settings, root / "models")
        self.said: list[str] = []
        self.results: dict[str, Result] = {}
        self.station = self.made()

    def utc(self) -> datetime:
        return START + timedelta(seconds=self.bell.seconds) + self.wall_clock_set_by

    def restart(self) -> None:
        """As after a stop of the station and a start some time later."""
        self.station.model.close()
        commission(self.store, self.settings, self.folder.with_name("models"))
        self.station = self.made()

    def made(self, bell: LiveBell | None = None) -> Station:
        return assemble(
            self.settings,
            self.store,
            self,
            worker="test",
            clock=self.utc,
            monotonic=lambda: self.bell.seconds,
            notify=self.said.append,
            bell=bell,
            free_bytes=lambda _folder: self.free_bytes,
        )

    def install(self, bundle: Bundle) -> None:
        path = self.settings.database.path.with_name("bundle.zip")
        write_bundle(path, bundle)
        model, _ = install(path, self.store, path.with_name("models"), self.settings.engine)
        self.store.activate_model(model.model_id)

    def run(self) -> TickResult | None:
        self.bell.seconds += 5  # the next look at the folder is due
        return run_once(self.station, threading.Event(), self.bell)

    def counts(self) -> dict[str, int | None]:
        return {name: result.wbc_count for name, result in self.stored().items()}

    def stored(self) -> dict[str, ImageResult]:
        results = self.store.results_between(START - timedelta(days=9999), START + timedelta(days=9999))
        return {Path(result.path).name: result for result in results}

    # The watcher

    def tick(self, result: TickResult) -> None: ...

    def done(self, result: Result) -> None:
        self.results[result.path.name] = result

    def failed(self, failure: Failure) -> None:
        self.said.append(str(failure))

    def scale(self, diameter_px: float) -> None:
        self.said.append(f"scale {diameter_px}")

    def trouble(self, sentence: str) -> None:
        self.said.append(f"trouble: {sentence}")

    def disk(self, problem: str | None) -> None:
        if problem:
            self.said.append(f"disk: {problem}")


def save(bench: Bench, name: str, wbc: int, diameter_px: float = DIAMETER_PX) -> Path:
    """A field with so many round cells."""
    cells = [
        ((0.8 + number) * 1.2 * diameter_px, diameter_px, diameter_px / 2, diameter_px / 4) for number in range(wbc)
    ]
    field = discs(2 * int(diameter_px), 6 * int(diameter_px), cells)
    (bench.folder / name).write_bytes(encode_bmp(field))
    return bench.folder / name
