"""What is seen of the camera folder: a listing of its pictures, and which of them stand still."""

from __future__ import annotations

import heapq
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from station.contract.errors import ImageError, StationError, TooLarge
from station.database.records import FileStamp

PICTURES = frozenset({"bmp", "dib", "tif", "tiff", "jpg", "jpeg", "jpe", "jfif", "png"})
CONTAINERS = frozenset({"lif"})  # they grow in place and hold many pictures
_SEEN = PICTURES | CONTAINERS

# Folders that file servers, Windows and macOS keep for themselves.
_LITTER = frozenset({"@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found", "__macosx"})

_LARGEST = 2**63 - 1
_MOST_BYTES_PER_PIXEL, _MOST_BYTES_BESIDE = 8, 64e6  # four channels of 16 bits; thumbnails and metadata


class FolderGone(StationError):
    """The camera folder cannot be listed. That is not an empty folder: nothing follows from it.

    `reason` names no file and no folder: it may be shown where names must not.
    """

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(f"{folder}: {reason}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Listing:
    """One look at the camera folder."""

    files: dict[str, FileStamp]  # path below the folder as given -> stamp; pictures and containers
    unlisted: tuple[str, ...]  # sub-folders that could not be listed and entries that could not be seen, with the cause
    identity: tuple[int, int]  # device and inode of the folder


def scan(folder: Path) -> dict[str, FileStamp]:
    """All pictures below `folder`. Raises `FolderGone`."""
    return look(folder).files


def look(folder: Path) -> Listing:
    """List `folder` and its sub-folders, without following links to directories. Raises `FolderGone`.

    What cannot be seen, a link in a circle for one, keeps nobody from seeing the rest.
    """
    files: dict[str, FileStamp] = {}
    unlisted: dict[str, OSError] = {}
    try:
        status = folder.stat()
        below = _list_into(files, unlisted, str(folder))
    except OSError as error:
        raise FolderGone(
            folder, f"cannot be listed ({cause(error)}); is the share mounted, is the camera's PC on?"
        ) from error
    if unlisted and not files and not below:  # so does a share that drops while it is listed
        first = next(iter(unlisted.values()))
        raise FolderGone(folder, f"shows nothing that can be read ({cause(first)}); is the share mounted?")
    while below:
        path = below.pop()
        try:
            below += _list_into(files, unlisted, path)
        except FileNotFoundError:  # removed since its parent was listed
            continue
        except OSError as error:
            unlisted[path] = error
    words = tuple(f"{path} ({cause(error)})" for path, error in unlisted.items())
    return Listing(files, words, (status.st_dev, status.st_ino))


def demand_known(folder: Path, listing: Listing, identity: tuple[int, int] | None) -> None:
    """Raise FolderGone for another folder than that of `identity`, if any was seen before, and without a picture.

    Where a share is not mounted one sees the directory below it, another inode; a note may lie in it. Another folder
    with pictures is believed: files are known by their content.
    """
    if identity not in (None, listing.identity) and not listing.files:
        raise FolderGone(folder, "is another folder, and empty; is the share mounted?")


def is_picture(path: str) -> bool:
    """Whether a name is a picture's or a container's, and not that of a hidden or a half-copied file."""
    name = path.rpartition(os.sep)[2]
    return _suffix(name) in _SEEN and not name.startswith((".", "~"))


def is_container(path: str) -> bool:
    """Whether a name is that of a file with many pictures, which is reported and never read."""
    return _suffix(path) in CONTAINERS


def stamp_of(status: os.stat_result) -> FileStamp:
    """Size, time and inode, as a signed 64-bit column holds them: shares invent inodes, and clocks lie beyond 2262."""
    mtime_ns = status.st_mtime_ns
    if not -_LARGEST <= mtime_ns <= _LARGEST:
        mtime_ns = _LARGEST if mtime_ns > 0 else -_LARGEST
    return FileStamp(status.st_size, mtime_ns, status.st_ino & _LARGEST)


def as_stored(path: str) -> str:
    """A path as the database holds it: bytes that are no UTF-8 are written as escapes."""
    return path if path.isascii() else os.fsencode(path).decode("utf-8", "backslashreplace")


def holds(name: str, inode: int) -> bool:
    """Whether a path, as stored, still leads to the file of that inode; True where that cannot be told."""
    try:
        return stamp_of(Path(name).stat()).inode == inode
    except FileNotFoundError:
        return _has_escapes(name)
    except OSError:
        return True


def changed_at(path: str) -> float:
    """When a file came under its name, or changed otherwise, s since 1970; 0 where that cannot be told.

    A copy may keep its time of writing.
    """
    try:
        return Path(path).stat().st_ctime
    except OSError:
        return 0.0


def is_gone(name: str) -> bool:
    """Whether there is no file of a path, as stored; False where that cannot be told.

    Whether the camera folder is there must be known beside: below a share that is not mounted there is nothing.
    """
    try:
        os.lstat(name)
    except FileNotFoundError:
        return not _has_escapes(name)
    except OSError:
        return False
    return False


def _has_escapes(name: str) -> bool:
    return "\\x" in name


def cause(error: OSError) -> str:
    """The system's words for an error, without the path."""
    return (error.strerror or type(error).__name__).lower()


def _suffix(path: str) -> str:
    return path.rpartition(".")[2].lower()


def _list_into(files: dict[str, FileStamp], unlisted: dict[str, OSError], path: str) -> list[str]:
    """Add the pictures of one directory to `files`, what cannot be seen to `unlisted`; the directories below it."""
    below: list[str] = []
    with os.scandir(path) as entries:
        for entry in entries:
            try:
                _list_entry(entry, files, below)
            except FileNotFoundError:  # removed since, or a link to nothing
                continue
            except OSError as error:
                unlisted[entry.path] = error
    return below


def _list_entry(entry: os.DirEntry[str], files: dict[str, FileStamp], below: list[str]) -> None:
    if entry.is_dir(follow_symlinks=False):
        if not entry.name.startswith(".") and entry.name.lower() not in _LITTER:
            below.append(entry.path)
    elif is_picture(entry.name) and stat.S_ISREG((status := entry.stat()).st_mode):
        files[entry.path] = stamp_of(status)


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


class Refusals:
    """How often a file was refused in a row as it is."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[FileStamp, int]] = {}

    def count(self, path: str, stamp: FileStamp) -> int:
        """One more refusal; how many that makes."""
        before, times = self._last.get(path, (stamp, 0))
        times = times + 1 if before == stamp else 1
        self._last[path] = (stamp, times)
        return times

    def forget(self, path: str) -> None:
        self._last.pop(path, None)


def refuse_unread(path: str, stamp: FileStamp, max_megapixels: float) -> None:
    """Raise `ImageError` for what need not be opened."""
    if is_container(path):
        raise ImageError("is a Leica .lif container; export single pictures as BMP, TIFF, JPEG or PNG")
    if path != as_stored(path):
        raise ImageError("has a name that is not valid UTF-8; rename it")
    if stamp.size > max_megapixels * 1e6 * _MOST_BYTES_PER_PIXEL + _MOST_BYTES_BESIDE:
        raise TooLarge(
            f"is {stamp.size / 1e6:.0f} MB long, more than a picture within "
            f"limits.max_megapixels = {max_megapixels:g} needs"
        )
