"""The station at work: one loop, take in -> lease -> analyse -> store.

Whatever is unexpected leaves the loop, and systemd starts the station again.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Literal, TypeAlias

from station.assembly import LEASED, Station
from station.calibration import SETTLING_PICTURES, Asked, known_scale, scale_of
from station.contract.analysis import Scale
from station.database.records import CLOCK_TROUBLE, ENGINE_TROUBLE, AnalysisRecord, Lease
from station.intake import TickResult
from station.pipeline import Failure, Picture, Result, analyse_files
from station.places import is_there
from station.registry import Loaded
from station.reviewing import stored
from station.settings import Settings
from station.version import package_version
from station.vitals import jump_in_words, share_heaps

_LONGEST_PAUSE = 1.0  # seconds; queued pictures that are due again, and a stop signal, do not ring
_READINGS = 3  # of a file that cannot be read, before that is held against it
_PASS = 512  # pictures, after which one that was tried before has its turn
_ONCE_PATIENCE = 10  # `--once` waits so many settle times for files that still move; some need six

Turn: TypeAlias = Literal["fresh", "tried"]  # of pictures; they take turns, so that neither waits for ever


@dataclass(frozen=True, slots=True)
class _Terms:
    """By what all pictures of a pass are counted."""

    model: Loaded
    scale: Scale | None  # where it is settled


def run(station: Station, stop: threading.Event, bell: threading.Event) -> None:
    """Work until `stop` is set. `bell` (or the next due look) ends the wait between two passes."""
    while not _has_room(station) and not stop.is_set():  # also to start, something is written
        bell.wait(_LONGEST_PAUSE)
    if not stop.is_set():
        _start(station)
    worked: Turn | None = None
    while not stop.is_set():
        if _has_room(station):
            tick, worked = _pass(station, stop, tried_first=worked == "fresh")
            pause = 0.0 if worked else min(tick.next_due_seconds, _LONGEST_PAUSE)
        else:
            station.intake.listen()  # a bell that goes on ringing would not let it pause
            pause = _LONGEST_PAUSE
        if pause and not stop.is_set():
            bell.wait(pause)


def run_once(station: Station, stop: threading.Event, bell: threading.Event) -> TickResult | None:
    """Work until nothing is queued and no file moves any more, seen in a fresh look at the folder.

    The last look: a writer that never rests is left `moving`, and a folder out of reach is `gone`. None if it was
    stopped, or had no room to write, before there was any.
    """
    if not _has_room(station):
        return None
    _start(station)
    patience = _ONCE_PATIENCE * max(station.settings.camera.settle_seconds, 1.0)
    deadline, looked, tick = station.monotonic() + patience, True, None
    while not stop.is_set() and _has_room(station):
        tick, worked = _pass(station, stop, tried_first=False)
        if worked or tick.taken:
            deadline, looked = station.monotonic() + patience, False
        elif not looked:
            station.intake.look_now()
            looked = True
        elif tick.gone or not tick.moving or station.monotonic() > deadline:
            break
        else:
            bell.wait(min(tick.next_due_seconds, _LONGEST_PAUSE))
    return tick


def _has_room(station: Station) -> bool:
    """Whether the database can grow. If not nothing is written, not even that: the log and `station status` tell."""
    problem = station.disk.problem()
    station.watcher.disk(problem)
    if problem is not None:
        station.notify("WATCHDOG=1")
    return problem is None


def _start(station: Station) -> None:
    share_heaps()
    for trouble in (ENGINE_TROUBLE, CLOCK_TROUBLE):  # told again where they are still true
        station.store.record_fact(trouble, None)
    if station.store.release_leases():
        station.model.died()
    station.model.current()  # a station without a usable model says so before it takes a picture
    _tell_troubles(station)
    station.notify("READY=1")


def _pass(station: Station, stop: threading.Event, *, tried_first: bool) -> tuple[TickResult, Turn | None]:
    """One look at the folder and the work that is queued, up to a bound; (what was seen, whose turn it was)."""
    tick = _look(station)
    worked = None if _gone(station, tick) else _work(station, stop, tried_first=tried_first)
    station.notify("WATCHDOG=1")
    return tick, worked


def _look(station: Station) -> TickResult:
    if (jump := station.clocks.jump()) is not None:
        _tell_jump(station, jump)
    tick = station.intake.tick()
    station.watcher.tick(tick)
    return tick


def _tell_jump(station: Station, jump: timedelta) -> None:
    sentence = jump_in_words(jump, station.clocks.now())
    station.store.record_fact(CLOCK_TROUBLE, sentence)
    station.watcher.trouble(sentence)


def _gone(station: Station, tick: TickResult) -> bool:
    """Whether the camera folder is out of reach; then nothing is leased, and the next tick says so."""
    if tick.gone:
        return True
    if gone := station.intake.is_gone():
        station.intake.look_now()
    return gone


def _work(station: Station, stop: threading.Event, *, tried_first: bool) -> Turn | None:
    """Analyse what is queued. Rows are leased as the work goes on, so that no stage waits for the end of a lease."""
    model = station.model.current()
    _tell_troubles(station)
    terms = _Terms(model, known_scale(station.store, station.settings, model))
    # A scale that is not known yet is asked of as many pictures as can settle it, and no others are counted by it.
    if not terms.scale:
        station.watcher.tick(station.intake.take(SETTLING_PICTURES))
    most = LEASED if terms.scale else SETTLING_PICTURES
    leases = station.store.lease(station.worker, most, tried_first=tried_first and terms.scale is not None)
    if not leases:
        return None
    under_way: deque[Lease] = deque()
    outcomes = analyse_files(
        _files(station, terms, leases, under_way, stop),
        scale_of(station.store, station.settings, _to_ask(station, leases, stop), model, station.watcher.scale),
        model.manifest,
        model.engine,
        station.settings.limits.max_megapixels,
    )
    for outcome in outcomes:
        _store(station, under_way.popleft(), outcome, model)
        _tell_troubles(station)
        station.notify("WATCHDOG=1")
    return "fresh" if leases[0].attempt == 1 else "tried"


def _to_ask(station: Station, leases: Sequence[Lease], stop: threading.Event) -> Iterator[Asked]:
    """The pictures that may tell the scale. Each takes a moment, and a stop need not wait for the others."""
    for lease in leases:
        if stop.is_set():
            return
        station.notify("WATCHDOG=1")
        yield lease.image_id, _present(lease), station.intake.recent.of(lease.sha256)


def _files(
    station: Station, terms: _Terms, leases: list[Lease], under_way: deque[Lease], stop: threading.Event
) -> Iterator[Path | Picture]:
    """The pictures of a pass, leased a few at a time; those not begun when it must end go back.

    Without a settled scale these leases are all.
    """
    begun, most = 0, _PASS if terms.scale else len(leases)
    while leases:
        for number, lease in enumerate(leases):
            if stop.is_set():
                for left in leases[number:]:
                    station.store.give_back(left.image_id)
                return
            under_way.append(lease)
            begun += 1
            yield _file(station, lease)
        leases = _more(station, terms, leases) if begun < most else []


def _more(station: Station, terms: _Terms, leases: list[Lease]) -> list[Lease]:
    """The next rows of a pass. What was tried before is left for one of its own, as are a new model and a new scale."""
    if leases[0].attempt > 1 or station.model.has_changed() or not _has_room(station):
        return []
    if known_scale(station.store, station.settings, terms.model) != terms.scale:
        return []
    if _gone(station, _look(station)):
        return []
    return station.store.lease(station.worker, LEASED, fresh_only=True)


def _tell_troubles(station: Station) -> None:
    for sentence in station.model.troubles():
        station.store.record_fact(ENGINE_TROUBLE, sentence)
        if sentence:
            station.watcher.trouble(sentence)


def _file(station: Station, lease: Lease) -> Path | Picture:
    """The picture as it was taken in, if that was a moment ago; else where it lies."""
    image, path = station.intake.recent.take(lease.sha256), _present(lease)
    return path if image is None else Picture(path, lease.sha256, image)


def _present(lease: Lease) -> Path:
    """A path at which the picture lies now: it may have been moved since it was taken."""
    paths = [Path(path) for path in lease.paths]
    return next(filter(is_there, paths), paths[0])


def _store(station: Station, lease: Lease, outcome: Result | Failure, model: Loaded) -> None:
    if isinstance(outcome, Result) and outcome.sha256 != lease.sha256:
        outcome = Failure(outcome.path, "its content was replaced before it could be analysed")
    if isinstance(outcome, Failure) and station.intake.is_gone():
        station.store.give_back(lease.image_id)  # a share that dropped is no fault of the picture
        return
    if isinstance(outcome, Failure) and outcome.unreadable and lease.attempt < _READINGS:
        station.store.try_later(lease.image_id)  # as one that dropped and is back already
        return
    if isinstance(outcome, Failure):
        station.store.fail(lease.image_id, outcome.reason)
        station.watcher.failed(outcome)
        return
    record = record_of(lease, outcome, model, station.settings)
    registered = station.overlaps.register(lease.image_id, outcome.image)
    station.store.save_analysis(replace(record, registered=registered))
    station.model.worked()
    station.watcher.done(outcome)


def record_of(lease: Lease, result: Result, model: Loaded, settings: Settings) -> AnalysisRecord:
    """A result as the database holds it."""
    analysis = result.analysis
    return AnalysisRecord(
        image_id=lease.image_id,
        model_sha256=model.sha256,
        model=model.name,
        engine=result.engine,
        settings_sha256=settings.sha256,
        package_version=package_version(),
        cell_diameter_px=analysis.scale.cell_diameter_px,
        cell_diameter_source=analysis.scale.source,
        flags=(*analysis.flags, *(("clock-differs",) if lease.clock_differs else ())),
        seconds=result.seconds,
        cells=tuple(stored(cell) for cell in analysis.drawing.measured),
        labels_png=result.labels_png,
        cells_png=result.cells_png,
        width=result.image.shape[1],
        height=result.image.shape[0],
        quality=analysis.quality,
    )
