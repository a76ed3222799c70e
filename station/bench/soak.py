"""Memory of one station over many pictures: they come in lots, and leave the folder when they are counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import linear_regression

from station.bench.alone import alone, memory_mb
from station.bench.fields import Fields, written
from station.bench.flow import Flow, TimedStore
from station.bench.rows import Memory, Soak
from station.bench.stand import Stand, load_average, machine, now_utc
from station.contract.errors import EngineError
from station.engines import Option
from station.settings import Settings

LOT = 100  # pictures between two readings of the memory
_SETTLED = 5  # one part in so many of the pictures is left out of the slope: pools and caches fill at first


@dataclass(frozen=True, slots=True)
class SoakJob:
    """A station, and how many pictures it counts in its life."""

    settings: Settings
    fields: Fields
    images: int
    lot: int


@dataclass(frozen=True, slots=True)
class Life:
    """What became of it."""

    engine: str
    seconds: float  # of counting
    points: tuple[Memory, ...]
    peak_mb: float


def soak(
    stand: Stand, option: Option, fields: Fields, images: int, tick: Callable[[], None], *, lot: int = LOT
) -> Soak:
    """Count so many pictures in one process and read its memory after every lot.

    Raises EngineError where the engine or a picture fails, or the kernel does not tell the memory of a process.
    """
    settings, before = stand.settings(option, stand.folder / "soak.db"), load_average()
    stand.lay_database(settings)
    life = alone(soak_life, SoakJob(settings, fields, images, lot), tick)
    return Soak(
        machine=machine(stand, (before, load_average())),
        engine=life.engine,
        images_per_second=round(images / life.seconds, 3),
        points=life.points,
        slope_mb_per_1000=slope(life.points),
        peak_mb=life.peak_mb,
    )


def soak_life(job: SoakJob, tick: Callable[[], None]) -> Life:
    """The whole life, in a process of its own."""
    points, seconds = [], 0.0
    with closing(TimedStore.open(job.settings.database.path, clock=now_utc)) as store:
        assert isinstance(store, TimedStore)
        with closing(Flow(job.settings, store, tick)) as flow:
            engine = flow.station.model.current().engine.name
            for first in range(0, job.images, job.lot):
                numbers = range(first, min(first + job.lot, job.images))
                paths = list(written(job.settings.camera.folder, job.fields, numbers))
                flow.run(len(paths))
                seconds += flow.took
                points.append(Memory(images=flow.counted, mb=_told("VmRSS")))
                _remove(paths)
    return Life(engine, seconds, tuple(points), _told("VmHWM"))


def slope(points: Sequence[Memory]) -> float:
    """MB per 1000 pictures, by least squares over the last four fifths; 0 where there are too few points."""
    late = [point for point in points if point.images * _SETTLED >= points[-1].images]
    if len(late) < 2:
        return 0.0
    return round(1000 * linear_regression([one.images for one in late], [one.mb for one in late]).slope, 3)


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink()


def _told(field: str) -> float:
    found = memory_mb(field)
    if found is None:
        raise EngineError("this system does not tell how much memory a process has; it is read from /proc/self/status")
    return found
