"""The camera folder: whether it is there and can be read, and how new pictures in it are noticed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path

from station.database.arrivals import Arrival
from station.database.records import Fact, FileStamp
from station.doctor.finding import Finding, Verdict
from station.lookout import MOST_UNHEARD, poll_seconds
from station.places import FileSystem
from station.printing import plural
from station.settings import Camera
from station.watching import FolderGone, Listing, cause, look

_TRIED = 5  # of the newest files are opened ...
_STILL = timedelta(minutes=1)  # ... if they stood still so long: a camera must not be disturbed while it writes
_FULL = 0.8  # of the watches that one user may have


def examine_folder(folder: Path, problem: str | None, *, writable: bool, now: datetime) -> Iterator[Finding]:
    """Whether the folder is the one that was set up (`problem` says why not), and all in it can be read."""
    listing = _listed(folder, problem)
    if isinstance(listing, str):
        yield Finding("camera", "fault", listing, "mount the share, or name the right folder in camera.folder")
        return
    yield Finding("camera", "good", f"the camera folder {folder} holds {plural(len(listing.files), 'file')}")
    for name in listing.unlisted:
        yield Finding("camera", "warning", f"cannot be seen: {name}", "let the station's user read it, or remove it")
    yield from _readable(listing.files, now)
    if writable:
        yield Finding("camera", "good", "this user may write in the camera folder; the station needs to read only")


def examine_camera_disk(found: FileSystem, camera: Camera) -> Finding:
    """What kind of file system the camera saves to: on some no event rings."""
    if not found.is_shared:
        return Finding("camera-disk", "good", f"the camera folder lies on {found.kind}, where events ring")
    place = f"the camera folder lies on {found.kind} ({found.source})"
    every = f"{poll_seconds(camera.rescan_seconds):g} s"
    sentence = f"{place}, where no event can be relied on: it is listed every {every} instead"
    return Finding("camera-disk", "good", sentence)


def examine_events(newest: Sequence[Arrival], found: FileSystem, camera: Camera, watched_since: Fact) -> Finding:
    """Whether events announced the newest files.

    A file that was written before the watch stood says nothing, nor one whose time is not that of its coming.
    """
    rung = sum(arrival.rung for arrival in newest)
    if rung:
        return Finding("events", "good", f"events rang for {rung} of the last {plural(len(newest), 'file')}")
    if found.is_shared:
        return Finding("events", "good", "no event rang, as is to be expected on such a file system")
    soon = timedelta(seconds=camera.patience_seconds) + _STILL
    since = datetime.fromisoformat(watched_since) if isinstance(watched_since, str) else None
    fresh = sum(
        since is not None and arrival.ingested_at - arrival.age > since and timedelta() <= arrival.age <= soon
        for arrival in newest
    )
    if fresh < MOST_UNHEARD:
        return Finding("events", "good", "too few new files to tell whether events ring here")
    return Finding(
        "events",
        "warning",
        f"events do not ring here: none did for the last {fresh} new files; the folder is listed every "
        f"{poll_seconds(camera.rescan_seconds):g} s instead",
        "does another machine write there past this one's kernel? let it write to a share that this machine serves",
    )


def examine_watches(folder: Path, limit: int | None) -> Iterator[Finding]:
    """Whether the kernel lets one user watch so many folders."""
    if limit is None or not folder.is_dir():
        return
    needed = 1 + sum(len(names) for _, names, _ in os.walk(folder))
    if needed <= limit * _FULL:
        yield Finding("watches", "good", f"{plural(needed, 'folder')} to watch, of {limit} that one user may")
        return
    yield Finding(
        "watches",
        "warning",
        f"{plural(needed, 'folder')} to watch, and one user may watch {limit}: no event will ring in the others",
        f"sysctl fs.inotify.max_user_watches={4 * needed}, and a line for it in /etc/sysctl.d",
    )


def _listed(folder: Path, problem: str | None) -> Listing | str:
    """What the folder holds, or why that is not to be had."""
    try:
        return problem or look(folder)
    except FolderGone as gone:
        return str(gone)


def _readable(files: Mapping[str, FileStamp], now: datetime) -> Iterator[Finding]:
    latest_ns = (now - _STILL).timestamp() * 1e9
    newest = sorted(files, key=lambda path: files[path].mtime_ns, reverse=True)
    tried = list(islice((path for path in newest if files[path].mtime_ns <= latest_ns), _TRIED))
    refused = [f"{path} ({reason})" for path in tried if (reason := _unreadable(path))]
    newest_ones = f"the newest {plural(len(tried), 'file')}"
    if refused:
        verdict: Verdict = "fault" if len(refused) == len(tried) else "warning"
        sentence = f"{len(refused)} of {newest_ones} cannot be read: {'; '.join(refused)}"
        yield Finding("camera", verdict, sentence, "give the station's user the right to read what the camera saves")
    elif tried:
        yield Finding("camera", "good", f"{newest_ones} can be read")


def _unreadable(path: str) -> str | None:
    try:
        with Path(path).open("rb") as file:
            file.read(1)
    except FileNotFoundError:  # removed since
        return None
    except OSError as error:
        return cause(error)
    return None
