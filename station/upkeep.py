"""Keeping what a station knows: verified backups, restore, a smaller file. Nothing here happens by itself."""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias

from station.contract.durable import flush
from station.contract.errors import DatabaseError
from station.database.backup import Contents, contents, damage, fold, sizes, verified_copy, verify
from station.database.backup import compact as compact_pages
from station.database.lock import RunLock, lock_file
from station.database.schema import check, newest
from station.database.store import Store
from station.places import free_bytes

Clock: TypeAlias = Callable[[], datetime]
Seconds: TypeAlias = Callable[[], float]

LAST_BACKUP = "last_backup"  # a fact: when the last verified copy was made, ISO 8601

_BESIDE = ("-wal", "-shm", "-journal")  # what SQLite would apply to any file of the database's name
_AHEAD = timedelta(days=1)  # no clock that is right differs so much
_ABANDONED = timedelta(days=1)  # so long after its last byte nobody writes on an unfinished copy


@dataclass(frozen=True, slots=True)
class Backup:
    """A verified copy that was made."""

    path: Path
    size: int  # bytes
    seconds: float
    unnoted: str | None = None  # why the database could not be told of it: the copy is whole all the same


@dataclass(frozen=True, slots=True)
class Restored:
    """Where the database that was there went, if one was, and what was wrong with it, if anything was."""

    kept: Path | None
    damage: str | None


# Backup


def back_up(database: Path, target: Path, *, spare_bytes: float, clock: Clock, monotonic: Seconds) -> Backup:
    """A verified copy at `target` of a database that may be in use, which then knows when it was backed up.

    `spare_bytes` stay free on the disk of the copy. The copy's folder is made, but not its parents: below a disk that
    is not mounted they would be made elsewhere. Raises DatabaseError where there is no copy; then none is left.
    """
    made_at, began = clock(), monotonic()
    if not database.exists():
        raise DatabaseError(f"there is no database {database}; database.path names another")
    if target.exists():
        raise DatabaseError(f"{target} exists already; name another file")
    with _named(target, "no copy of the database can be written there"):
        target.parent.mkdir(exist_ok=True)
        _need_room(target, sizes(database).used + spare_bytes)
        verified_copy(database, target)
        size = target.stat().st_size
    return Backup(target, size, monotonic() - began, _unnoted(database, made_at, clock))


def _unnoted(database: Path, made_at: datetime, clock: Clock) -> str | None:
    """Note in the database when it was copied; why that was not possible: it may be full, or locked for long."""
    try:
        # An older schema would be brought up to date by opening it, perhaps under the station that runs on it.
        if check(database) == newest():
            with closing(Store.open(database, clock=clock)) as store:
                store.record_fact(LAST_BACKUP, made_at.isoformat())
    except DatabaseError as cause:
        return str(cause)
    return None


def backup_name(database: Path, now: datetime, occasion: str = "") -> str:
    """`station-20261123T023000Z.db`; with an occasion a name that `remove_surplus` leaves alone."""
    return f"{database.stem}{'-' * bool(occasion)}{occasion}-{_in_name(now)}.db"


def backups_in(folder: Path, database: Path) -> list[Path]:
    """The backups of this database there, the oldest first. Raises OSError where the folder cannot be listed."""
    return [path for path in _called_as_backups(folder, database) if path.suffix == ".db"]


def remove_surplus(made: Path, database: Path, keep: int, now: datetime) -> tuple[Path, ...]:
    """Remove the oldest backups of this database beside `made`, until with it `keep` are left; 0 keeps all.

    `made` stays, and so does every file of another name, but for copies that were cut off more than a day ago. Those
    whose names lie ahead, from when the clock was wrong, go before the others, or they would outlast them all. One that
    was made since `made` is for whoever made it to tidy up after.
    """
    ahead = backup_name(database, now + _AHEAD)
    with _named(made.parent, "an old backup cannot be removed"):
        written = dict(_written(backups_in(made.parent, database)))
        since = written.pop(made, math.inf)
        others = [path for path, at in written.items() if not since < at <= now.timestamp()]
        others.sort(key=lambda path: path.name <= ahead)
        surplus = others[: max(0, len(others) + 1 - keep)] if keep else []
        parts = [path for path in _called_as_backups(made.parent, database) if path.suffix == ".part"]
        cut_off = [path for path, at in _written(parts) if now.timestamp() - at > _ABANDONED.total_seconds()]
        for path in [*surplus, *cut_off]:
            path.unlink(missing_ok=True)
    return tuple(surplus)


def _called_as_backups(folder: Path, database: Path) -> list[Path]:
    """With those that are still written, or were cut off."""
    ours = re.compile(rf"{re.escape(database.stem)}-\d{{8}}T\d{{6}}Z\.db((\.\d+)?\.part)?")
    return sorted(path for path in folder.iterdir() if ours.fullmatch(path.name) and path.is_file())


def _written(paths: Iterable[Path]) -> Iterator[tuple[Path, float]]:
    """When each was written, s since 1970; without those that are gone since, as another one tidied up."""
    for path in paths:
        with suppress(FileNotFoundError):
            yield path, path.stat().st_mtime


def _need_room(target: Path, needed: float) -> None:
    if (free := free_bytes(target.parent)) < needed:
        raise DatabaseError(
            f"no room for a backup in {target.parent}: {free / 1e6:.0f} MB are free, {needed / 1e6:.0f} MB are needed; "
            "make room there, or name another folder in backup.folder"
        )


# Restore


def examine(backup: Path) -> Contents:
    """Read a whole backup and say what it holds. Raises DatabaseError where it is damaged, or no station's."""
    verify(backup)
    if check(backup) is None:
        raise DatabaseError(f"{backup} is an empty database; name a backup")
    return contents(backup)


def restore(backup: Path, database: Path, *, clock: Clock) -> Restored:
    """Put a copy of `backup` in the place of `database`, which is kept beside it under another name.

    Raises DatabaseError where a station runs on it, another program has it open, or the backup is no good; whatever
    fails, `database` is then as it was.
    """
    if database.exists() and backup.samefile(database):
        raise DatabaseError(f"{backup} is the database itself; name a backup")
    database = database.resolve()  # what a link leads to is replaced, not the link
    with RunLock(database, clock=clock, command="restore"):
        examine(backup)
        staging = database.with_name(f"{database.name}.restoring")
        aside = database.with_name(f"{database.name}.before-restore-{_in_name(clock())}.db")
        try:
            with _named(database, "is as it was, and not replaced"):
                _remove_all(staging)
                verified_copy(backup, staging)
                Store.open(staging, clock=clock).close()  # WAL, and this package's schema
                _hand_over(staging, database)
                restored = _swap(staging, database, aside)
        finally:
            with suppress(OSError):  # what is left here does no harm, and goes with the next attempt
                _remove_all(staging)
        flush(database.parent)
    return restored


def _swap(staging: Path, database: Path, aside: Path) -> Restored:
    """The only step that a reader sees is one rename; all before it is taken back where it fails."""
    there = database.exists()
    found = damage(database) if there else None
    if there and found is None:
        fold(database)
    with ExitStack() as back:
        if there:
            aside.hardlink_to(database)
            back.callback(aside.unlink)
        for ending in _BESIDE:
            log, kept = (path.with_name(path.name + ending) for path in (database, aside))
            if log.exists():
                _refuse_to_overwrite(kept)
                log.rename(kept)
                back.callback(kept.rename, log)
        staging.replace(database)
        back.pop_all()
    return Restored(aside if there else None, found)


def _hand_over(staging: Path, database: Path) -> None:
    """Whoever restores, root perhaps, the file and its lock must belong to the station's user as before."""
    there = database.exists()
    before = (database if there else database.parent).stat()
    if there:
        staging.chmod(stat.S_IMODE(before.st_mode))
    if os.geteuid() == 0:
        for path in (staging, lock_file(database)):
            os.chown(path, before.st_uid, before.st_gid)


def _refuse_to_overwrite(path: Path) -> None:
    if path.exists():
        raise DatabaseError(f"{path} exists already; move it away")


def _remove_all(staging: Path) -> None:
    """The copy, its log, and the copy that a change of its schema makes."""
    for path in staging.parent.iterdir():
        if path.name == staging.name or path.name.startswith((f"{staging.name}-", f"{staging.name}.")):
            path.unlink()


def compact(database: Path) -> None:
    """Give what pruning freed back to the disk. Raises DatabaseError without twice the room that its content takes.

    Nobody may write meanwhile: the caller holds the lock.
    """
    needed, free = 2 * sizes(database).used, free_bytes(database.resolve())
    if free < needed:
        raise DatabaseError(
            f"{database} cannot be made smaller: that takes {needed / 1e6:.0f} MB on its disk, {free / 1e6:.0f} MB are "
            "free; what was freed inside it is used again"
        )
    compact_pages(database)


# Words


def _in_name(now: datetime) -> str:
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"


@contextmanager
def _named(path: Path, what: str) -> Iterator[None]:
    """Turns what the system reports of a file into a DatabaseError that names it."""
    try:
        yield
    except OSError as cause:
        culprit = f": {os.fsdecode(cause.filename)}" if cause.filename else ""
        raise DatabaseError(f"{path}: {what} ({cause.strerror or cause}{culprit})") from cause
