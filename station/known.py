"""What the database holds of each path in the camera folder, kept in memory: a cache that may be lost at any time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from station.database.records import FileStamp, KnownFile
from station.database.store import Store
from station.watching import as_stored

READING_SHARE = 50  # reading all of it may take one part in so many of the time


class Known:
    """The database's knowledge of files, with what this process added since it was read."""

    def __init__(self, store: Store, monotonic: Callable[[], float]) -> None:
        self._store, self._monotonic = store, monotonic
        self._files: dict[str, KnownFile] = {}
        self._read_again_at = float("-inf")

    def read_again(self) -> None:
        """Learn what other programs changed in the database, unless the last time took too long for that.

        Of 200,000 files it takes seconds, in which nothing is counted.
        """
        began = self._monotonic()
        if began >= self._read_again_at:
            self._files = self._store.known_files()
            ended = self._monotonic()
            self._read_again_at = ended + READING_SHARE * (ended - began)

    def of(self, path: str) -> KnownFile | None:
        """What a path, as it was listed, held last."""
        return self._files.get(as_stored(path))

    def waiting(self) -> list[str]:
        """The paths, as stored, of files that are not whole yet."""
        return [path for path, known in self._files.items() if known.status == "waiting"]

    def forget(self, path: str) -> None:
        """A path, as stored, that holds nothing any more."""
        self._files.pop(path, None)

    def note(self, path: str, stamp: FileStamp, status: str, next_look_at: datetime | None = None) -> None:
        """What was just written down of a path."""
        self._files[as_stored(path)] = KnownFile(as_stored(path), stamp, status, next_look_at)
