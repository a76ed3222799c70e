"""What is seen of the camera folder: a listing of its pictures, and which of them stand still."""

from __future__ import annotations

import heapq
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from station.contract.errors import StationError
from station.database.records import FileStamp

PICTURES = frozenset({"bmp", "dib", "tif", "tiff", "jpg", "jpeg", "png"})
CONTAINERS = frozenset({"lif"})  # they grow in place and hold many pictures
_SEEN = PICTURES | CONTAINERS

# Folders that file servers, Windows and macOS keep for themselves.
_LITTER = frozenset({"@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found", "__macosx"})


_LARGEST = 2**63 - 1


class FolderGone(StationError):
    """The camera folder cannot be listed. That is not an empty folder: nothing follows from it."""


@dataclass(frozen=True, slots=True)
class Listing:
    """One look at the camera folder."""

    files: dict[str, FileStamp]  # path below the folder as given -> stamp; pictures and containers
    unlisted: tuple[str, ...]  # sub-folders that could not be listed, with the cause
    identity: tuple[int, int]  # device and inode of the folder


def scan(folder: Path) -> dict[str, FileStamp]:
    """All pictures below `folder`. Raises `FolderGone`."""
    return look(folder).files


def look(folder: Path) -> Listing:
    """List `folder` and its sub-folders, without following links to directories. Raises `FolderGone`."""
    files: dict[str, FileStamp] = {}
    unlisted: list[str] = []
    try:
        status = folder.stat()
        below = _list_into(files, str(folder))
    except OSError as error:
        raise FolderGone(
            f"{folder}: cannot be listed ({cause(error)}); is the share mounted, is the camera's PC on?"
        ) from error
    while below:
        path = below.pop()
        try:
            below += _list_into(files, path)
        except FileNotFoundError:  # removed since its parent was listed
            continue
        except OSError as error:
            unlisted.append(f"{path} ({cause(error)})")
    return Listing(files, tuple(unlisted), (status.st_dev, status.st_ino))


def is_picture(path: str) -> bool:
    """Whether a name is a picture's or a container's, and not that of a hidden or a half-copied file."""
    name = path.rpartition(os.sep)[2]
    return _suffix(name) in _SEEN and not name.startswith((".", "~"))


def is_container(path: str) -> bool:
    """Whether a name is that of a file with many pictures, which is reported and never read."""
    return _suffix(path) in CONTAINERS


def stamp_of(status: os.stat_result) -> FileStamp:
    """Size, time and inode, as a signed 64-bit column holds them: shares invent inodes, and clocks lie beyond 2262."""
    mtime_ns = max(-_LARGEST, min(status.st_mtime_ns, _LARGEST))
    return FileStamp(status.st_size, mtime_ns, status.st_ino & _LARGEST)


def as_stored(path: str) -> str:
    """A path as the database holds it: bytes that are no UTF-8 are written as escapes."""
    return path if path.isascii() else os.fsencode(path).decode("utf-8", "backslashreplace")


def cause(error: OSError) -> str:
    """The system's words for an error, without the path."""
    return (error.strerror or type(error).__name__).lower()


def _suffix(path: str) -> str:
    return path.rpartition(".")[2].lower()


def _list_into(files: dict[str, FileStamp], path: str) -> list[str]:
    """Add the pictures of one directory to `files`; the directories below it."""
    below = []
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if not entry.name.startswith(".") and entry.name.lower() not in _LITTER:
                    below.append(entry.path)
            elif is_picture(entry.name):
                files.update(_stamped(entry))
    return below


def _stamped(entry: os.DirEntry[str]) -> Iterator[tuple[str, FileStamp]]:
    try:
        status = entry.stat()
    except FileNotFoundError:  # removed since, or a link to nothing
        return
    if stat.S_ISREG(status.st_mode):
        yield entry.path, stamp_of(status)


@dataclass(slots=True)
class _Still:
    stamp: FileStamp
    since: float
    patience: float


class Settling:
    """Which files stand still. Times are monotonic seconds, passed in.

    No file is ready at first sight, not even at start: the one that was there already may be half a copy.
    """

    def __init__(self, settle_seconds: float) -> None:
        self._settle_seconds = settle_seconds
        self._files: dict[str, _Still] = {}

    def __len__(self) -> int:
        return len(self._files)

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def see(self, stamps: Mapping[str, FileStamp], now: float) -> None:
        """Take over a listing: new and changed files begin to settle, missing ones are forgotten."""
        for path in self._files.keys() - stamps.keys():
            del self._files[path]
        for path, stamp in stamps.items():
            self.note(path, stamp, now)

    def note(self, path: str, stamp: FileStamp, now: float) -> None:
        """One file as it is now."""
        known = self._files.get(path)
        if known is None or known.stamp != stamp:
            self._files[path] = _Still(stamp, now, self._settle_seconds)

    def forget(self, path: str) -> None:
        self._files.pop(path, None)

    def clear(self) -> None:
        self._files.clear()

    def stamp(self, path: str) -> FileStamp:
        return self._files[path].stamp

    def still_for(self, path: str, now: float) -> float:
        """Seconds without a change."""
        return now - self._files[path].since

    def hold(self, path: str, seconds: float) -> None:
        """Ask that `path` stands still for so long in all before it is ready again; a change ends that."""
        self._files[path].patience = seconds

    def ready(self, now: float, most: int) -> list[str]:
        """Up to so many files that stand still, in the order in which they came to rest."""
        still = ((file.since, path) for path, file in self._files.items() if now - file.since >= file.patience)
        return [path for _, path in heapq.nsmallest(most, still)]

    def next_ready(self, now: float) -> float:
        """Seconds until a file may be ready; infinite without files."""
        waits = (file.since + file.patience - now for file in self._files.values())
        return max(0.0, min(waits, default=float("inf")))


SHORTEST_PAUSE, LONGEST_PAUSE = timedelta(minutes=10), timedelta(hours=24)


class Pauses:
    """How long to leave a refused file alone: doubled while it stays the same, without ever giving up."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[FileStamp, timedelta]] = {}

    def after(self, path: str, stamp: FileStamp) -> timedelta:
        """The pause after one more refusal."""
        before, last = self._last.get(path, (None, SHORTEST_PAUSE))
        pause = min(2 * last, LONGEST_PAUSE) if before == stamp else SHORTEST_PAUSE
        self._last[path] = (stamp, pause)
        return pause

    def forget(self, path: str) -> None:
        self._last.pop(path, None)

    @staticmethod
    def over(until: datetime | None, now: datetime) -> bool:
        """Whether a pause has ended; also if it lies farther ahead than any: the clock was set back."""
        return until is not None and not now < until <= now + LONGEST_PAUSE
