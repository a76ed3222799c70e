"""A verified copy of the database: VACUUM INTO, integrity check, fsync, rename. And what is found in such a copy."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from station.contract.durable import flush
from station.contract.errors import DatabaseError
from station.database.connection import BUSY_SECONDS, address, in_words
from station.database.records import SUPERSEDED

_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR})
_NOT_WRITTEN = frozenset(
    {
        *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY),
        *(sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_TRUNCATE),
    }
)


@dataclass(frozen=True, slots=True)
class Contents:
    """The pictures of a database by status, and when the first and the last were captured; none without pictures.

    Half copies that were replaced are none.
    """

    by_status: dict[str, int]
    first: datetime | None
    last: datetime | None

    @property
    def images(self) -> int:
        return sum(self.by_status.values())


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of a database with its log, and how many of them lie in pages that hold nothing and are used again."""

    in_all: int
    free: int

    @property
    def used(self) -> int:
        return self.in_all - self.free


def verified_copy(database: Path, target: Path) -> Path:
    """Copy a live database to `target` in one consistent state, and read the copy back before it gets its name.

    A copy of the file alone would miss what lies in the write-ahead log. Raises DatabaseError; then nothing is left.
    """
    part = target.with_name(f"{target.name}.{os.getpid()}.part")  # another program may copy to the same name
    part.unlink(missing_ok=True)
    try:
        with in_words(database), closing(_reader(database)) as source:
            source.execute("SELECT count(*) FROM sqlite_master")  # what cannot be read is told before the writing
            with _onto(target):
                source.execute("VACUUM INTO ?", (str(part),))
        verify(part)
        flush(part)
        part.replace(target)
        flush(target.parent)
    finally:
        part.unlink(missing_ok=True)
    return target


def verify(database: Path) -> None:
    """Read every page. Raises DatabaseError where one is damaged."""
    with in_words(database):
        found = _integrity(database)
    if found != ["ok"]:
        raise DatabaseError(f"the database {database} is damaged ({'; '.join(found[:3])}); restore a backup")


def damage(database: Path) -> str | None:
    """What is wrong with a database, none if it is whole. Raises DatabaseError where that cannot be found out."""
    if not database.stat().st_size:  # SQLite would take it for a new one, and throw its log away
        return "the file is empty"
    with in_words(database):
        try:
            found = _integrity(database)
        except sqlite3.DatabaseError as cause:
            if cause.sqlite_errorcode & 0xFF not in _DAMAGE:
                raise
            return str(cause)
    return None if found == ["ok"] else "; ".join(found[:3])


def fold(database: Path) -> None:
    """Bring the log of a whole database into its file, so that the file alone holds everything.

    Raises DatabaseError at once where another program has the database open.
    """
    with in_words(database), closing(_writer(database)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")


def compact(database: Path) -> None:
    """Give free pages back to the disk. Takes twice the used bytes meanwhile, and nobody else can write."""
    with in_words(database), closing(_writer(database)) as connection:
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def contents(database: Path) -> Contents:
    """What a database of any schema holds. Raises DatabaseError."""
    query = (
        "SELECT status, count(*), min(captured_at), max(captured_at) FROM images WHERE reason IS NOT ? GROUP BY status"
    )
    with in_words(database), closing(_reader(database)) as connection:
        found = sorted(connection.execute(query, [SUPERSEDED]))
    first, last = min((row[2] for row in found), default=None), max((row[3] for row in found), default=None)
    return Contents({row[0]: row[1] for row in found}, _moment(first), _moment(last))


def sizes(database: Path) -> Sizes:
    """How large a database is, as a writer would find it. Raises DatabaseError."""
    with in_words(database), closing(_reader(database)) as connection:
        names = ("page_size", "page_count", "freelist_count")
        page, pages, free = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names)
    return Sizes(page * pages, page * free)


def _integrity(database: Path) -> list[str]:
    with closing(_reader(database)) as connection:
        return [str(row[0]) for row in connection.execute("PRAGMA integrity_check")]


def _reader(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(address(database, "ro"), uri=True)


def _writer(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(address(database, "rw"), uri=True, timeout=BUSY_SECONDS, isolation_level=None)


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


@contextmanager
def _onto(target: Path) -> Iterator[None]:
    """Of what goes wrong while one file is read and another written, that which befell the written one."""
    try:
        yield
    except sqlite3.OperationalError as cause:
        if cause.sqlite_errorcode not in _NOT_WRITTEN and cause.sqlite_errorcode & 0xFF not in _NOT_WRITTEN:
            raise
        raise DatabaseError(
            f"no copy of the database can be written to {target} ({cause}); is its folder there, may this user write "
            "there, and is there room?"
        ) from cause
