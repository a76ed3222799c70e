"""The station at work: one loop, take in -> lease -> analyse -> store.

Whatever is unexpected leaves the loop, and systemd starts the station again.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from station.bell import Bell
from station.calibration import SETTLING_PICTURES, known_scale, scale_of
from station.commission import folder_identity
from station.database.records import CLOCK_TROUBLE, ENGINE_TROUBLE, AnalysisRecord, Lease
from station.database.store import Store
from station.deaths import Deaths
from station.intake import Intake, TickResult
from station.live import LiveModel
from station.notify import Notify
from station.overlaps import Overlaps
from station.pipeline import Failure, Picture, Result, analyse_files
from station.places import free_bytes, is_there
from station.registry import Loaded
from station.reviewing import stored
from station.settings import Settings
from station.version import package_version
from station.vitals import Clocks, Disk, jump_in_words, share_heaps

_LEASED = 8  # rows leased at once
_LONGEST_PAUSE = 1.0  # seconds; queued pictures that are due again, and a stop signal, do not ring
_READINGS = 3  # of a file that cannot be read, before that is held against it
_PASS = 512  # pictures, after which those that were tried before have their turn
_ONCE_PATIENCE = 10  # `--once` waits so many settle times for files that still move; some need six


class Watcher(Protocol):
    """Who is told what happens: the log, a progress bar, a test."""

    def tick(self, result: TickResult) -> None: ...
    def done(self, result: Result) -> None: ...
    def failed(self, failure: Failure) -> None: ...
    def scale(self, diameter_px: float) -> None: ...
    def trouble(self, sentence: str) -> None: ...
    def disk(self, problem: str | None) -> None: ...


@dataclass(frozen=True, slots=True)
class Station:
    """What the loop works with. The settings are those of the start; the model may change while it runs."""

    settings: Settings
    store: Store
    intake: Intake
    model: LiveModel
    overlaps: Overlaps
    disk: Disk
    clocks: Clocks
    worker: str
    monotonic: Callable[[], float]
    notify: Notify
    watcher: Watcher


def assemble(
    settings: Settings,
    store: Store,
    watcher: Watcher,
    *,
    worker: str,
    clock: Callable[[], datetime],
    monotonic: Callable[[], float],
    notify: Notify,
    bell: Bell | None = None,
    kind: type[Intake] = Intake,
    silent: str | None = None,
    free_bytes: Callable[[Path], int] = free_bytes,
) -> Station:
    """The parts of a station, put together. `silent`: why no events can be expected of the camera folder."""
    intake = kind(
        settings.camera.folder,
        store,
        settle_seconds=settings.camera.settle_seconds,
        rescan_seconds=settings.camera.rescan_seconds,
        max_megapixels=settings.limits.max_megapixels,
        zone=settings.report.zone,
        clock=clock,
        monotonic=monotonic,
        bell=bell,
        identity=folder_identity(store),
        silent=silent,
        slide_pattern=settings.camera.slide_regex,
        deaths=Deaths(settings.database.path.with_name(f"{settings.database.path.name}-reading")),
        files_per_tick=_LEASED,  # the network waits for the first look of a pass, and works beside all others
    )
    model = LiveModel(store, settings.engine)
    overlaps = Overlaps(store, settings.limits.overlap_fields)
    disk = Disk(settings.database.path, settings.limits.min_free_bytes, free_bytes)
    clocks = Clocks(clock, monotonic)
    return Station(settings, store, intake, model, overlaps, disk, clocks, worker, monotonic, notify, watcher)


def run(station: Station, stop: threading.Event, bell: threading.Event) -> None:
    """Work until `stop` is set. `bell` (or the next due look) ends the wait between two passes."""
    while not _has_room(station) and not stop.is_set():  # also to start, something is written
        bell.wait(_LONGEST_PAUSE)
    if not stop.is_set():
        _start(station)
    while not stop.is_set():
        if _has_room(station):
            tick, worked = _pass(station, stop)
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
        tick, worked = _pass(station, stop)
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
    station.store.release_leases()
    for trouble in (ENGINE_TROUBLE, CLOCK_TROUBLE):  # told again where they are still true
        station.store.record_fact(trouble, None)
    station.model.current()  # a station without a usable model says so before it takes a picture
    _tell_troubles(station)
    station.notify("READY=1")


def _pass(station: Station, stop: threading.Event) -> tuple[TickResult, bool]:
    """One look at the folder and the work that is queued, up to a bound; (what was seen, whether any was analysed)."""
    tick = _look(station)
    worked = not _gone(station, tick) and _work(station, stop)
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


def _work(station: Station, stop: threading.Event) -> bool:
    """Analyse what is queued. Rows are leased as the work goes on, so that no stage waits for the end of a lease."""
    model = station.model.current()
    _tell_troubles(station)
    settled = known_scale(station.store, station.settings, model) is not None
    # A scale that is not known yet is asked of as many pictures as can settle it, and no others are counted by it.
    if not settled:
        station.watcher.tick(station.intake.take(SETTLING_PICTURES))
    leases = station.store.lease(station.worker, _LEASED if settled else SETTLING_PICTURES)
    if not leases:
        return False
    under_way: deque[Lease] = deque()
    # What was begun before, be it by a station that was stopped then, told its scale then.
    asked = [] if settled else [_present(lease) for lease in leases if lease.begun == 1]
    outcomes = analyse_files(
        _files(station, leases, under_way, stop, most=_PASS if settled else len(leases)),
        scale_of(station.store, station.settings, asked, model, station.watcher.scale),
        model.manifest,
        model.engine,
        station.settings.limits.max_megapixels,
    )
    for outcome in outcomes:
        _store(station, under_way.popleft(), outcome, model)
        _tell_troubles(station)
        station.notify("WATCHDOG=1")
    return True


def _files(
    station: Station, leases: list[Lease], under_way: deque[Lease], stop: threading.Event, most: int
) -> Iterator[Path | Picture]:
    """The pictures of a pass, about `most`, leased a few at a time; those not begun when it must end go back."""
    begun = 0
    while leases:
        for number, lease in enumerate(leases):
            if stop.is_set():
                for left in leases[number:]:
                    station.store.give_back(left.image_id)
                return
            under_way.append(lease)
            begun += 1
            yield _file(station, lease)
        leases = _more(station, leases) if begun < most else []


def _more(station: Station, leases: list[Lease]) -> list[Lease]:
    """The next rows of a pass. A picture that was tried before is left for a pass of its own, and so is a new model."""
    if leases[0].attempt > 1 or station.model.has_changed() or not _has_room(station):
        return []
    if _gone(station, _look(station)):
        return []
    return station.store.lease(station.worker, _LEASED, fresh_only=True)


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
