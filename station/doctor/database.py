"""The database: who may write it, what it lies on, whether it is whole, how long its disk lasts, and its copies."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from station.database.arrivals import Arrivals
from station.database.records import Fact
from station.doctor.finding import Finding
from station.doctor.machine import Access, Machine
from station.places import FileSystem
from station.printing import plural, size
from station.settings import Settings, misplaced

WEEK = timedelta(days=7)

_SCARCE_BYTES, _TIGHT_BYTES, _TIGHT_DAYS = 200e6, 1e9, 14
_MOST_DAYS = 9999  # nobody looks further ahead
_OLDEST_BACKUP = timedelta(days=8)  # a weekly one may be a day late
_DAY = timedelta(days=1)


def examine_access(access: Access) -> Iterator[Finding]:
    """Whether the files can be written by the user who runs the station."""
    told = ", ".join(map(str, access.unwritable))
    if access.unwritable and access.user != access.owner:
        yield Finding(
            "permissions",
            "warning",
            f"{access.user} may not write {told}, which belongs to {access.owner}",
            f"ask again as the station's user: sudo -u {access.owner} station doctor",
        )
    elif access.unwritable:
        advice = f"give {access.user} the right to write there, also in the folder: SQLite keeps its log in it"
        yield Finding("permissions", "fault", f"{access.user} may not write {told}", advice)
    for path in access.foreign:
        sentence = f"{path} does not belong to {access.owner}, as the database does"
        yield Finding("permissions", "warning", sentence, f"stop the station; chown {access.owner} {path}")
    if not access.unwritable and not access.foreign:
        yield Finding("permissions", "good", f"{access.user} may write the database and its folder")


def examine_database_disk(found: FileSystem) -> Finding:
    """Whether SQLite can lock and flush there."""
    advice = "name a file on a disk of this machine in database.path"
    if found.network:
        return Finding(
            "database-disk",
            "fault",
            f"the database lies on {found.kind} ({found.source}), a share, where SQLite cannot lock and loses data",
            advice,
        )
    if found.read_only:
        sentence = f"the database lies on {found.source}, which is mounted read-only"
        return Finding("database-disk", "fault", sentence, "see what the kernel says of that disk: dmesg")
    if found.fuse:
        sentence = f"the database lies on {found.kind} ({found.source}), which may not flush to disk when told to"
        return Finding("database-disk", "warning", sentence, advice)
    return Finding("database-disk", "good", f"the database lies on {found.kind}")


def examine_pages(complaints: Sequence[str], *, thorough: bool) -> Finding:
    """What SQLite said of its pages."""
    if complaints:
        sentence = f"the database is damaged: {'; '.join(complaints)}"
        return Finding("integrity", "fault", sentence, "stop the station and restore a backup")
    checked = "pages and indexes are" if thorough else "pages are"
    return Finding("integrity", "good", f"the database's {checked} whole")


def examine_size(path: Path, database_bytes: int, arrivals: Arrivals) -> Finding:
    """How large it is, and how fast it grows."""
    each = _bytes_per_image(database_bytes, arrivals)
    growth = f", {size(1000 * each)} per 1,000 pictures" if each else ""
    sentence = f"the database {path} holds {plural(arrivals.images, 'picture')} in {size(database_bytes)}{growth}"
    return Finding("size", "good", sentence)


def examine_place(settings: Settings) -> Iterator[Finding]:
    """Only where it lies in the folder that is the camera's."""
    if (reason := misplaced(settings)) is not None:
        advice = "stop the station, move the database with all that is called like it, tell the place in database.path"
        yield Finding("place", "warning", reason, advice)


def examine_room(machine: Machine, stops_at: float, keep: int, arrivals: Arrivals) -> Finding:
    """How long the disk lasts at the rate of the last week, with a backup each night where backups lie there too.

    With less than `stops_at` bytes free nothing is taken in; `keep` backups stay, 0: all.
    """
    free_bytes, copies = machine.free_bytes, machine.backup_bytes
    if free_bytes is None:
        return Finding("room", "warning", "the disk of the database does not say how much is free", "look with df")
    a_day = _images_per_day(arrivals, machine.now)
    growth = a_day * _bytes_per_image(machine.database_bytes, arrivals)
    days = _days_until_full(free_bytes, machine.database_bytes, growth, copies, keep)
    sentence = f"{size(free_bytes)} are free on the disk of the database"
    if growth or days < _MOST_DAYS:
        sentence += f", enough for {days} days of {plural(round(a_day), 'picture')}{_nightly(copies, keep)}"
    advice = "make room on that disk (`station prune`), or move the database to a larger one"
    if copies is not None:
        advice += "; backups best go to another disk (backup.folder)"
    if free_bytes < max(_SCARCE_BYTES, stops_at):
        return Finding("room", "fault", sentence, advice)
    if free_bytes < _TIGHT_BYTES or days < _TIGHT_DAYS:
        return Finding("room", "warning", sentence, advice)
    return Finding("room", "good", sentence)


def examine_backup(last: Fact, now: datetime) -> Finding:
    """When the last verified copy was made."""
    if not isinstance(last, str):
        return Finding("backup", "warning", "the database was never backed up", "run `station backup`, best by a timer")
    made = datetime.fromisoformat(last)
    age = now - (made if made.tzinfo else made.replace(tzinfo=UTC))
    if age < -_DAY:
        sentence = f"the last backup is dated {made:%Y-%m-%d}, which is yet to come: the clock was wrong, or is"
        return Finding("backup", "warning", sentence, "set the clock, then run `station backup`")
    sentence = f"the last backup is {plural(max(0, age // _DAY), 'day')} old"
    if age > _OLDEST_BACKUP:
        return Finding("backup", "warning", sentence, "run `station backup`; does its timer run?")
    return Finding("backup", "good", sentence)


def _days_until_full(
    free_bytes: float, database_bytes: float, growth: float, copies: Sequence[int] | None, keep: int
) -> int:
    """Whole days, each with its growth and, where `copies` lie on that disk, with the copy of its night."""
    held: deque[float] = deque(copies or ())
    for day in range(_MOST_DAYS):
        database_bytes += growth
        free_bytes -= growth
        if copies is not None:
            held.append(database_bytes)
            free_bytes -= database_bytes
        if free_bytes < 0:
            return day
        while keep and len(held) > keep:  # the oldest goes when the newest is there
            free_bytes += held.popleft()
    return _MOST_DAYS


def _nightly(copies: Sequence[int] | None, keep: int) -> str:
    if copies is None:
        return ""
    return f" with a backup each night (now {len(copies)}, backup.keep = {keep}{'' if keep else ', so all stay'})"


def _bytes_per_image(database_bytes: int, arrivals: Arrivals) -> float:
    return database_bytes / arrivals.images if arrivals.images else 0.0


def _images_per_day(arrivals: Arrivals, now: datetime) -> float:
    """Of the last week, or of the station's life where that is shorter."""
    life = now - arrivals.first_at if arrivals.first_at else WEEK
    return arrivals.lately / (min(WEEK, max(_DAY, life)) / _DAY)
