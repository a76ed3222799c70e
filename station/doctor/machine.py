"""What the checks must know of this machine, gathered in one place; nothing is changed by looking."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from station.database.lock import holder, user_name
from station.places import FileSystem, free_bytes, is_there, kind_of
from station.settings import Settings
from station.upkeep import backups_in

_WATCHES = Path("/proc/sys/fs/inotify/max_user_watches")
_TIMESYNC = Path("/run/systemd/timesync/synchronized")  # made by systemd-timesyncd
_UNSYNCHRONISED = 5  # TIME_ERROR of adjtimex(2)
_SYNCHRONISED_SECONDS = 6 * 3600.0  # it looks at least every 34 min
_TIMEX_BYTES = 512  # struct timex has 208
_FILES = ("", "-wal", "-shm", ".lock")  # of a database


@dataclass(frozen=True, slots=True)
class Access:
    """Whose the database's files are, and what of them this user may write."""

    user: str
    owner: str  # of the database
    unwritable: tuple[Path, ...] = ()
    foreign: tuple[Path, ...] = ()  # files beside the database that belong to somebody else than it


@dataclass(frozen=True, slots=True)
class Machine:
    """None stands for what the machine does not tell."""

    now: datetime  # aware
    utc_offset: timedelta  # of the machine's own time zone, now
    camera: FileSystem  # that the camera folder lies on
    camera_writable: bool
    disk: FileSystem  # that the database lies on
    free_bytes: int | None  # there
    database_bytes: int  # with its write-ahead log
    backup_bytes: tuple[int, ...] | None  # of each backup, the oldest first; none where they lie on another disk
    access: Access
    watch_limit: int | None  # directories that inotify lets one user watch
    synchronised: bool | None  # whether something keeps the clock right
    running: str | None  # the station that holds the database's lock, in its own words; none if nobody does


def this_machine(settings: Settings, now: datetime) -> Machine:
    """As it is now, for the user of this process."""
    camera, database = settings.camera.folder, settings.database.path
    return Machine(
        now=now,
        utc_offset=now.astimezone().utcoffset() or timedelta(),
        camera=kind_of(camera),
        camera_writable=os.access(camera, os.W_OK),
        disk=kind_of(database),
        free_bytes=_free_bytes(database),
        database_bytes=sum(path.stat().st_size for path in _present(database, _FILES[:2])),
        backup_bytes=_backup_bytes(settings.backup.folder, database),
        access=access_of(database),
        watch_limit=_number_in(_WATCHES),
        synchronised=_synchronised(),
        running=holder(database),
    )


def access_of(database: Path) -> Access:
    """Whose the files of a database are, and which of them and of their folder this user may not write."""
    database = database.resolve()  # what lies beside it lies where a link leads to
    present = list(_present(database, _FILES))
    owner = present[0].stat().st_uid if present else os.geteuid()
    unwritable = [path for path in (database.parent, *present) if not os.access(path, os.W_OK)]
    foreign = [path for path in present if path.stat().st_uid != owner]
    return Access(user_name(os.geteuid()), user_name(owner), tuple(unwritable), tuple(foreign))


def _present(database: Path, endings: tuple[str, ...]) -> Iterator[Path]:
    named = (database.with_name(database.name + ending) for ending in endings)
    return (path for path in named if path.exists())


def _free_bytes(path: Path) -> int | None:
    try:
        return free_bytes(path)
    except OSError:
        return None


def _backup_bytes(folder: Path, database: Path) -> tuple[int, ...] | None:
    if _device(folder) != _device(database):
        return None
    try:
        return tuple(path.stat().st_size for path in backups_in(folder, database))
    except FileNotFoundError:  # the first backup makes the folder
        return ()
    except OSError:
        return None


def _device(path: Path) -> int:
    """Of a path that does not exist yet, its folder's."""
    return next(one for one in (path, *path.parents) if is_there(one)).stat().st_dev


def _number_in(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def kept_lately(told: Path, now: float) -> bool:
    """Whether timesyncd, which touches a file whenever it has set the clock, did so lately; `now`: s since 1970."""
    try:
        return now - told.stat().st_mtime < _SYNCHRONISED_SECONDS
    except OSError:
        return False


def _synchronised() -> bool | None:
    """As timesyncd or the kernel says, which chrony and ntpd tell."""
    if kept_lately(_TIMESYNC, time.time()):
        return True
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "adjtimex"):
        return None
    # All zeros: nothing is set, the state alone is asked for.
    state = libc.adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    return None if state < 0 else state != _UNSYNCHRONISED
