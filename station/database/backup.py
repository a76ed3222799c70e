"""A verified copy of the database: VACUUM INTO, integrity check, fsync, rename."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from station.contract.errors import DatabaseError
from station.database.connection import address, in_words


def verified_copy(database: Path, target: Path) -> Path:
    """Copy a live database to `target` in one consistent state, and read the copy back before it gets its name.

    A copy of the file alone would miss what lies in the write-ahead log. Raises DatabaseError; then nothing is left.
    """
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    try:
        with in_words(database):
            with closing(_reader(database)) as source:
                source.execute("VACUUM INTO ?", (str(part),))
            verify(part)
        _flush(part)
        part.replace(target)
        _flush(target.parent)
    finally:
        part.unlink(missing_ok=True)
    return target


def verify(database: Path) -> None:
    """Read every page. Raises DatabaseError where one is damaged."""
    with in_words(database), closing(_reader(database)) as connection:
        found = [row[0] for row in connection.execute("PRAGMA integrity_check")]
    if found != ["ok"]:
        raise DatabaseError(f"the database {database} is damaged ({'; '.join(map(str, found[:3]))}); restore a backup")


def _reader(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(address(database, "ro"), uri=True)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
