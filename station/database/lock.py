"""Only one `station run` works on a database: an operating-system lock that a dead process cannot keep."""

from __future__ import annotations

import fcntl
import os
import pwd
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Literal

from station.contract.errors import DatabaseError

_COMMAND = "`station "  # so begin the words of one that is no station
_TRIES, _PAUSE_SECONDS = 10, 0.02


class RunLock:
    """Held from `with` to its end. The file beside the database says who holds it and is never removed:
    removing it would let two processes lock two files of one name.
    """

    def __init__(
        self,
        database: Path,
        *,
        clock: Callable[[], datetime],
        work: Literal["run", "reanalyse"] = "run",
        command: str | None = None,
    ) -> None:
        """`command`: the one that works as long as no station may, where it is none itself."""
        self._path = lock_file(database, work)
        self._by = f"{_COMMAND}{command}`, " if command else ""
        self._other = "station runs" if work == "run" else f"`station {work}` works"
        self._clock = clock
        self._handle = -1

    def __enter__(self) -> RunLock:
        """Raises DatabaseError naming the station that is running."""
        try:
            self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        except PermissionError as cause:
            raise DatabaseError(_refusal(self._path)) from cause
        except OSError as cause:
            raise DatabaseError(f"{self._path} cannot be made ({cause.strerror}); is the folder there?") from cause
        try:
            _lock(self._handle)
        except BlockingIOError as cause:
            other = _words(self._handle)
            os.close(self._handle)
            raise DatabaseError(f"another {self._other} on this database already ({other}); stop it first") from cause
        since = self._clock().isoformat(timespec="seconds")
        who = f"{self._by}process {os.getpid()} on {socket.gethostname()} since {since}\n"
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, who.encode(), 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._handle)


def _lock(handle: int) -> None:
    """Raises BlockingIOError where another one holds it for longer than `holder` does, who only asks."""
    for _ in range(_TRIES - 1):
        with suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(_PAUSE_SECONDS)
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def holder(database: Path) -> str | None:
    """The station that runs on a database, in the words of its lock file; none if nobody holds the lock.

    It may also be a command that works as long as no station may: `is_station` tells one from the other.

    Asked for by a shared lock, which is given back at once.
    """
    try:
        handle = os.open(lock_file(database), os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _words(handle)
    finally:
        os.close(handle)
    return None


def is_station(holder: str) -> bool:
    """Whether who holds the lock is a station, and no other command."""
    return not holder.startswith(_COMMAND)


def lock_file(database: Path, work: str = "run") -> Path:
    """What is locked while a station works on a database: a file beside it, whatever links lead there."""
    database = database.resolve()
    return database.with_name(database.name + (".lock" if work == "run" else f".{work}.lock"))


def user_name(user: int) -> str:
    """What a user is called on this machine; the number where it knows none of that number."""
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def _refusal(path: Path) -> str:
    """Whose the file is that may not be written: the lock, or the folder in which it may not be made."""
    there = next(one for one in (path, *path.parents) if os.access(one, os.F_OK))
    user = user_name(os.geteuid())
    return (
        f"{user} may not write {path}: {there} belongs to {user_name(there.stat().st_uid)}; call the station as the "
        f"user to whom its database belongs, and if {user} is that one, let root `chown {user} {there}`"
    )


def _words(handle: int) -> str:
    return os.pread(handle, 200, 0).decode(errors="replace").strip() or "unknown"
