"""A bell for whoever shows the database while others write it; to ask costs nothing where nothing changed."""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path

from station.database.connection import BUSY_SECONDS, address, in_words

_NEWEST = "SELECT (SELECT max(id) FROM images), (SELECT max(id) FROM analyses), (SELECT max(id) FROM corrections)"
_TOUCHED = """
    SELECT id FROM images WHERE id > :images
    UNION SELECT image_id FROM analyses WHERE id > :analyses
    UNION SELECT image_id FROM corrections WHERE id > :corrections
"""


@dataclass(frozen=True, slots=True)
class Change:
    """Something was written. `image_ids`: those that are new, analysed or corrected since the last look."""

    image_ids: tuple[int, ...]


class Changes:
    """A connection of its own, for SQLite tells a change only to a connection that did not make it."""

    def __init__(self, path: Path) -> None:
        """Raises DatabaseError where the database cannot be opened."""
        self._path = path
        self._one_at_a_time = threading.Lock()  # SQLite crashes where a connection is closed while it answers
        self._is_open = True
        with in_words(path):
            self._connection = sqlite3.connect(
                address(path, "ro"), uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._version, self._newest = self._look_up()

    def look(self) -> Change | None:
        """What changed since the last look; None where nothing did, or after the end. Raises DatabaseError."""
        with self._one_at_a_time, in_words(self._path):
            if not self._is_open:
                return None
            if self._connection.execute("PRAGMA data_version").fetchone()[0] == self._version:
                return None
            before, (self._version, self._newest) = self._newest, self._look_up()
            return Change(tuple(row[0] for row in self._connection.execute(_TOUCHED, before)))

    def close(self) -> None:
        """Waits for a look of another thread."""
        with self._one_at_a_time:
            self._is_open = False
            self._connection.close()

    def _look_up(self) -> tuple[int, dict[str, int]]:
        version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        found = self._connection.execute(_NEWEST).fetchone()
        return version, dict(zip(("images", "analyses", "corrections"), (one or 0 for one in found), strict=True))
