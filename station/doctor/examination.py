"""All checks, in the order in which a picture meets what they look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from station.commission import folder_problem
from station.database.records import WATCHED_SINCE
from station.database.store import Store
from station.doctor.camera import examine_camera_disk, examine_events, examine_folder, examine_watches
from station.doctor.clock import examine_clock, examine_moments, examine_zone
from station.doctor.database import (
    WEEK,
    examine_access,
    examine_backup,
    examine_database_disk,
    examine_pages,
    examine_place,
    examine_room,
    examine_size,
)
from station.doctor.finding import Finding
from station.doctor.machine import Machine
from station.doctor.model import examine_engines, examine_model
from station.doctor.work import examine_open, examine_running
from station.ledger import unsettled
from station.settings import Settings
from station.upkeep import LAST_BACKUP


@dataclass(frozen=True, slots=True)
class Troubles:
    """What a running station noted, in its words."""

    engine: str | None = None
    clock: str | None = None


NONE = Troubles()


def examine(
    store: Store, settings: Settings, machine: Machine, troubles: Troubles = NONE, *, thorough: bool = False
) -> Iterator[Finding]:
    """Everything; with `thorough` the indexes too.

    Raises DatabaseError where the database cannot be read; `examine_unopened` is for that.
    """
    camera, now, path = settings.camera, machine.now, settings.database.path
    arrivals, model = store.arrivals(now - WEEK), store.active_model()
    problem = folder_problem(store, camera.folder)
    yield from examine_folder(camera.folder, problem, writable=machine.camera_writable, now=now)
    yield examine_camera_disk(machine.camera, camera)
    yield examine_events(arrivals.newest, machine.camera, camera, store.fact(WATCHED_SINCE))
    yield from examine_watches(camera.folder, machine.watch_limit)
    yield from examine_access(machine.access)
    yield examine_database_disk(machine.disk)
    yield from examine_place(settings)
    yield examine_pages(store.complaints(thorough=thorough), thorough=thorough)
    yield examine_size(path, machine.database_bytes, arrivals)
    yield examine_room(machine, settings.limits.min_free_bytes, settings.backup.keep, arrivals)
    yield examine_backup(store.fact(LAST_BACKUP), now)
    yield from examine_clock(machine.synchronised, now, troubles.clock)
    yield from examine_moments(arrivals, now)
    yield examine_zone(settings.report, now, machine.utc_offset)
    yield examine_running(machine.running)
    yield from examine_open(unsettled(store.open_items(), folder_is_there=problem is None), now)
    yield from examine_model(model, camera)
    if model is not None:
        yield from examine_engines(store.trials(model.sha256), settings.engine, troubles.engine)


def examine_unopened(settings: Settings, machine: Machine, reason: str) -> Iterator[Finding]:
    """What can be said while the database cannot be read, for this reason."""
    camera = settings.camera
    yield from examine_folder(camera.folder, None, writable=machine.camera_writable, now=machine.now)
    yield examine_camera_disk(machine.camera, camera)
    yield from examine_watches(camera.folder, machine.watch_limit)
    yield from examine_access(machine.access)
    yield examine_database_disk(machine.disk)
    yield Finding("integrity", "fault", reason)
    yield from examine_clock(machine.synchronised, machine.now)
    yield examine_zone(settings.report, machine.now, machine.utc_offset)
