"""How soon a picture is a row: files come one by one to an idle station, renamed into place or written in pieces."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Final

from station.assembly import Station
from station.bell import Bell
from station.bench.alone import alone
from station.bench.fields import Fields
from station.bench.rows import Latency, Way, spread
from station.bench.stand import Stand, Strict, assembled, load_average, machine, now_utc
from station.contract.errors import EngineError
from station.daemon import run
from station.database.store import Store
from station.demo.camera import write_in_pieces
from station.engines import Option
from station.pipeline import Result
from station.settings import Settings

_PIECES, _PAUSE_SECONDS = 4, 0.05  # of a file that is written in place
_IDLE_SECONDS = (0.1, 0.6)  # between a row and the next file, drawn anew each time
_PATIENCE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class LatencyJob:
    """A station, and how many files come to it in each way."""

    settings: Settings
    fields: Fields
    files: int


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds from the complete file to the committed row, by way."""

    engine: str
    seconds: Mapping[str, tuple[float, ...]]


def latency(
    stand: Stand, option: Option, fields: Fields, files: int, settle_seconds: float, tick: Callable[[], None]
) -> Latency:
    """So many files in each way; `tick` is called for each. Raises EngineError where one is not counted."""
    settings = stand.settings(option, stand.folder / "latency.db", settle_seconds=settle_seconds)
    stand.lay_database(settings)
    before = load_average()
    waits = alone(latency_life, LatencyJob(settings, fields, files), tick)
    return Latency(
        machine=machine(stand, (before, load_average())),
        engine=waits.engine,
        settle_seconds=settle_seconds,
        ways=beyond_settling(waits, settle_seconds),
    )


def beyond_settling(waits: Waits, settle_seconds: float) -> tuple[Way, ...]:
    """What is left of the waits when a file has stood still for as long as it must."""
    return tuple(
        Way(name=name, beyond_settling_ms=spread([one - settle_seconds for one in seconds]))
        for name, seconds in waits.seconds.items()
    )


def latency_life(job: LatencyJob, tick: Callable[[], None]) -> Waits:
    """The daemon in a thread, the camera beside it."""
    rows: queue.Queue[float] = queue.Queue()

    def committed(_result: Result) -> None:
        rows.put(perf_counter())  # the daemon tells it right after the commit

    bell, watcher = Bell(), Strict(committed)
    with closing(Store.open(job.settings.database.path, clock=now_utc)) as store:
        station = assembled(job.settings, store, watcher, bell=bell)
        engine = station.model.current().engine.name
        daemon = threading.Thread(target=run, args=(station, watcher.stop, bell.event), daemon=True)
        daemon.start()
        try:
            seconds = _shoot(job, rows, watcher, tick)
        finally:
            _end(station, daemon, watcher, bell)
    return Waits(engine, seconds)


def _shoot(
    job: LatencyJob, rows: queue.Queue[float], watcher: Strict, tick: Callable[[], None]
) -> dict[str, tuple[float, ...]]:
    """Both ways in turn, so that whatever else the machine does hits both."""
    waits: dict[str, list[float]] = {name: [] for name in WAYS}
    draw = random.Random(0)
    for number in range(job.files):
        for offset, (name, put) in enumerate(WAYS.items()):
            time.sleep(draw.uniform(*_IDLE_SECONDS))
            index = len(WAYS) * number + offset
            put(job.settings.camera.folder / f"Image_{index:05d}.bmp", job.fields.numbered(index))
            complete = perf_counter()
            waits[name].append(_row(rows, watcher) - complete)
            tick()
    return {name: tuple(seconds) for name, seconds in waits.items()}


def _row(rows: queue.Queue[float], watcher: Strict) -> float:
    try:
        return rows.get(timeout=_PATIENCE_SECONDS)
    except queue.Empty:
        watcher.check()
        raise EngineError(f"a picture was not counted within {_PATIENCE_SECONDS:g} s") from None


def _end(station: Station, daemon: threading.Thread, watcher: Strict, bell: Bell) -> None:
    watcher.stop.set()
    bell.event.set()
    daemon.join(timeout=_PATIENCE_SECONDS)
    station.intake.close()
    station.model.close()


def _renamed(path: Path, data: bytes) -> None:
    partial = path.with_name(f".{path.name}.part")
    partial.write_bytes(data)
    partial.replace(path)


def _in_place(path: Path, data: bytes) -> None:
    write_in_pieces(path, data, pieces=_PIECES, pause=lambda: time.sleep(_PAUSE_SECONDS))


WAYS: Final[Mapping[str, Callable[[Path, bytes], None]]] = {
    "renamed into place": _renamed,
    "written in place": _in_place,
}
