"""How this program talks to SQLite: WAL, full fsync, foreign keys, and no write after a plain BEGIN."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError as SqlError
from sqlalchemy.pool import QueuePool

from station.contract.errors import DatabaseError

BUSY_SECONDS = 30.0  # longer than any transaction of ours or a backup's last step

VALUES_AT_ONCE = 10_000  # in one statement; SQLite takes 32,766

READING = {"reading": True}  # execution option: BEGIN without the write lock


def open_engine(path: Path, *, read_only: bool = False) -> Engine:
    """An engine on a database file. With `read_only` the file is never created or written."""
    place = address(path, "ro" if read_only else "rwc")

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(place, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)

    # The pool that SQLAlchemy picks for an address without a file closes connections that other threads still use.
    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool)
    event.listen(engine, "connect", _prepare_reader if read_only else _prepare_writer)
    event.listen(engine, "begin", _begin_reader if read_only else _begin)
    return engine


def address(path: Path, mode: str) -> str:
    """The URI of a database file; `#`, `?` and `%` in its folder's name are no part of the URI's own grammar."""
    return f"file:{quote(str(path.absolute()))}?mode={mode}"


@contextmanager
def in_words(path: Path) -> Iterator[None]:
    """Turns what SQLite reports into a DatabaseError that names the file."""
    try:
        yield
    except SqlError as cause:
        raise DatabaseError(f"the database {path} cannot be used ({_hint(str(cause.orig))})") from cause
    except sqlite3.Error as cause:
        raise DatabaseError(f"the database {path} cannot be used ({_hint(str(cause))})") from cause


def _hint(words: str) -> str:
    for sign, advice in _ADVICE.items():
        if sign in words:
            return f"{words}: {advice}"
    return words


_ADVICE = {
    "locked": "another program holds it; close that program",
    "disk is full": "make space on its disk",
    "readonly": "give this user the right to write there",
    "unable to open": "is its folder there, and may this user write in it?",
    "not a database": "restore a backup, or name a station's database or a backup of one",
    "malformed": "restore a backup",
    "disk I/O": "was it removed or replaced, or is its disk failing? keep the files beside it and restore a backup",
}


def _prepare_writer(connection: sqlite3.Connection, _record: object) -> None:
    # FULL costs one fsync per picture: a count that was shown must survive a power cut.
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _prepare_reader(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA query_only = ON")


def _begin(connection: Connection) -> None:
    # A deferred BEGIN that reads and then writes fails at once after another writer's commit, whatever the time-out.
    connection.exec_driver_sql("BEGIN" if connection.get_execution_options().get("reading") else "BEGIN IMMEDIATE")


def _begin_reader(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")
