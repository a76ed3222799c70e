"""A station put together: what its loop works with, and who is told what happens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

import scipy.ndimage  # noqa: F401  (for the first picture, which shall not wait until it is loaded)

from station.bell import Bell
from station.commission import folder_identity
from station.database.store import Store
from station.deaths import Deaths
from station.engines import Option
from station.intake import Intake, TickResult
from station.live import LiveModel
from station.notify import Notify
from station.overlaps import Overlaps
from station.pipeline import Failure, Result
from station.places import free_bytes
from station.settings import Settings
from station.vitals import Clocks, Disk

LEASED: Final = 8  # rows leased at once


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
    awake_or_not: Callable[[], float] | None = None,
    stays: bool = True,
) -> Station:
    """The parts of a station, put together. `silent`: why no events can be expected of the camera folder.

    `awake_or_not`: seconds that also run while the machine sleeps; by default it never does. `stays`: whether
    a plan for a GPU can be built meanwhile.
    """
    overlaps = Overlaps(store, settings.limits.overlap_fields)
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
        moved=overlaps.compare,
        files_per_tick=LEASED,  # the network waits for the first look of a pass, and works beside all others
    )

    def alive(_option: Option) -> None:  # a trial may take as long as systemd waits for the next picture
        notify("WATCHDOG=1")

    start = {} if stays else {"start": None}
    model = LiveModel(store, settings.engine, step=alive, **start)
    disk = Disk(settings.database.path, settings.limits.min_free_bytes, free_bytes)
    clocks = Clocks(clock, awake_or_not or monotonic)
    return Station(settings, store, intake, model, overlaps, disk, clocks, worker, monotonic, notify, watcher)
