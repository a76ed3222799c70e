"""From the camera folder to rows: a complete picture becomes a row once, anything else a row with its reason.

The folder belongs to the camera: it is only read, and a file is opened only after it stood still. The
database is the memory; what is kept here is a cache and may be lost at any time.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Literal

from station.bell import Bell
from station.contract.decoding import decode
from station.contract.errors import ImageError, Incomplete, TooLarge
from station.contract.headers import read_header
from station.contract.imaging import RGB
from station.database.records import FileStamp, KnownFile, NewImage
from station.database.store import Store
from station.deaths import Deaths
from station.known import Known
from station.lookout import Lookout
from station.recent import Recent
from station.vitals import clocks_differ
from station.watching import FolderGone, Listing, Pauses, Settling, as_stored, cause, is_container, look, stamp_of

FOLDER_IDENTITY = "camera_folder_identity"  # a fact: device and inode of the folder that held pictures
STALLED_SECONDS = 600.0  # an incomplete file that is unchanged for so long is quarantined

_ZERO_TAIL = 512  # bytes; a picture that ends in so many zeros may still be being filled ...
_ZERO_TAIL_PATIENCE = 6  # ... and must stand still for so many settle times
_MOST_BYTES_PER_PIXEL, _MOST_BYTES_BESIDE = 8, 64e6  # four channels of 16 bits; thumbnails and metadata
_BUSY_SECONDS = 5.0  # a tick takes no further file after so long


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file. `reason` continues the file name; it is empty for a new picture."""

    path: str
    became: Literal["taken", "waiting", "quarantined"]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class TickResult:
    """One pass over the folder."""

    taken: tuple[Outcome, ...]
    waiting: tuple[Outcome, ...]  # only those found in this pass, as below
    quarantined: tuple[Outcome, ...]
    degraded: str | None  # why the folder is not seen fully or not at once
    gone: bool  # whether it is not seen at all
    moving: int  # files that are neither rows nor waiting yet: a single pass is over when there are none
    next_due_seconds: float  # when the next tick is worth while, unless the bell rings before


class Intake:
    """The camera folder, reconciled with the database by repeated calls of `tick`, and of `take` in between."""

    def __init__(
        self,
        folder: Path,
        store: Store,
        *,
        settle_seconds: float,
        rescan_seconds: float,
        max_megapixels: float,
        zone: tzinfo,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        bell: Bell | None = None,
        identity: tuple[int, int] | None = None,
        silent: str | None = None,
        slide_pattern: re.Pattern[str] | None = None,
        deaths: Deaths | None = None,
        files_per_tick: int = 32,
    ) -> None:
        """`zone`: of the camera's clock; `clock`: aware UTC; `identity` and `silent`: see `Lookout`.

        `slide_pattern`: searched in a path below the folder, its first group names the slide; without it, or where it
        is not found, the sub-folder does.
        """
        self._folder, self._recorded = folder.absolute(), identity
        self._lookout = Lookout(
            self._folder,
            rescan_seconds=rescan_seconds,
            monotonic=monotonic,
            bell=bell,
            identity=identity,
            silent=silent,
        )
        self._store, self._slide_pattern = store, slide_pattern
        self._settle_seconds = settle_seconds
        self._max_megapixels, self._zone = max_megapixels, zone
        self._clock, self._monotonic = clock, monotonic
        self._files_per_tick = files_per_tick
        self._settling = Settling(settle_seconds)
        self._known = Known(store, monotonic)
        self._pauses, self._deaths = Pauses(), deaths or Deaths(None)
        self.recent = Recent()

    @property
    def identity(self) -> tuple[int, int] | None:
        """Device and inode of the camera folder, once it was seen."""
        return self._lookout.identity

    def tick(self) -> TickResult:
        """One pass, bounded in files and time: look if that is due, then take files that stand still."""
        self._lookout.listen()
        now = self._monotonic()
        if self._lookout.is_due(now):
            self._look(now)
        return self.take(self._files_per_tick)

    def take(self, most: int) -> TickResult:
        """Take up to so many files that stand still, as far as they were seen in the last look."""
        outcomes = tuple(self._take_some(most))
        return self._result(outcomes, self._monotonic())

    def is_gone(self) -> bool:
        """Whether the folder is not there right now, or is another one: then no reading error is a file's fault."""
        return self._lookout.is_gone()

    def look_now(self) -> None:
        """The next tick looks at the folder, whether that is due or not."""
        self._lookout.look_now()

    def listen(self) -> None:
        """Take notice of what has rung; the next look is due for that."""
        self._lookout.listen()

    def close(self) -> None:
        self._lookout.close()

    # Looking

    def _look(self, now: float) -> None:
        reload = self._lookout.rescan_is_due(now) or self._lookout.gone is not None
        try:
            listing = self._lookout.look(now)
        except FolderGone:
            self._settling.clear()
            return
        self._record(listing)
        if reload:
            self._known.read_again()
        self._settling.see(dict(self._undecided(listing)), now)

    def _record(self, listing: Listing) -> None:
        if listing.files and listing.identity != self._recorded:
            self._store.record_fact(FOLDER_IDENTITY, list(listing.identity))
            self._recorded = listing.identity

    def _undecided(self, listing: Listing) -> Iterator[tuple[str, FileStamp]]:
        now = self._clock()
        for path, stamp in listing.files.items():
            known = self._known.of(path)
            if known is None or known.stamp != stamp or known.status == "waiting" or self._due(known, now):
                yield path, stamp

    def _due(self, known: KnownFile, now: datetime) -> bool:
        return known.status == "quarantined" and self._pauses.over(known.next_look_at, now)

    # Taking

    def _take_some(self, most: int) -> Iterator[Outcome]:
        began = now = self._monotonic()
        for path in self._settling.ready(now, most):
            outcome = self._take(path, now)
            if outcome is not None:
                yield outcome
            now = self._monotonic()
            if self._lookout.gone is not None or now - began > _BUSY_SECONDS:
                return

    def _take(self, path: str, now: float) -> Outcome | None:
        """The outcome, or none while the file moves or when it has vanished."""
        stamp = self._settling.stamp(path)
        try:
            data = self._read(path, stamp, now)
        except FileNotFoundError:
            self._settling.forget(path)
            return None
        except OSError as error:
            return self._unreadable(path, stamp, error)
        except ImageError as error:
            return self._quarantine(path, stamp, str(error))
        return None if data is None else self._judge(path, stamp, data, now)

    def _read(self, path: str, stamp: FileStamp, now: float) -> bytes | None:
        """The whole file, or none if it changed since it came to rest or while it was read."""
        _refuse_unread(path, stamp, self._max_megapixels)
        if (found := stamp_of(Path(path).stat())) == stamp:
            data = Path(path).read_bytes()
            if (found := stamp_of(Path(path).stat())) == stamp and len(data) == stamp.size:
                return data
        self._settling.note(path, found, now)
        return None

    def _judge(self, path: str, stamp: FileStamp, data: bytes, now: float) -> Outcome | None:
        still_for = self._settling.still_for(path, now)
        stalled = still_for >= STALLED_SECONDS or self._is(path, "quarantined")
        try:
            with self._deaths.at_risk(path, stamp):
                image = decode(data, max_megapixels=self._max_megapixels)
        except Incomplete as error:
            if stalled:
                return self._quarantine(path, stamp, f"unchanged for ten minutes and still {error}")
            return self._wait(path, stamp, str(error))
        except ImageError as error:
            return self._quarantine(path, stamp, str(error))
        # Copying programs set the final size first: a BMP whose rest is zeros decodes with a black band.
        patience = _ZERO_TAIL_PATIENCE * self._settle_seconds
        if still_for < patience and data.count(0, -_ZERO_TAIL) == _ZERO_TAIL:
            self._settling.hold(path, patience)
            return None
        rung = self._lookout.heard(path, now - still_for)
        captured_at = _capture_time(read_header(data).captured_at, stamp, self._zone)
        differs = clocks_differ(captured_at, self._clock(), still_for if rung else None)
        sha256 = hashlib.sha256(data).hexdigest()
        new = NewImage(as_stored(path), stamp, sha256, self._slide(path), captured_at, rung, differs)
        return self._add(new, path, image)

    def _unreadable(self, path: str, stamp: FileStamp, error: OSError) -> Outcome | None:
        try:
            look(self._folder)
        except FolderGone as gone:  # a share that drops fails for every file: that is no reason against one
            self._lookout.lose(str(gone))
            self._settling.clear()
            return None
        return self._quarantine(path, stamp, f"cannot be read ({cause(error)})")

    # Writing down

    def _add(self, new: NewImage, path: str, image: RGB) -> Outcome:
        added = self._store.add_image(new)
        if added.kind == "new":  # any other is not analysed
            self.recent.keep(new.sha256, image)
        self._pauses.forget(path)
        self._remember(path, new.stamp, "queued")
        return Outcome(path, "taken", "" if added.kind == "new" else added.kind)

    def _wait(self, path: str, stamp: FileStamp, reason: str) -> Outcome:
        self._store.note_waiting(as_stored(path), stamp, reason, self._slide(path))
        self._remember(path, stamp, "waiting")
        return Outcome(path, "waiting", reason)

    def _quarantine(self, path: str, stamp: FileStamp, reason: str) -> Outcome:
        again, slide = self._clock() + self._pauses.after(path, stamp), self._slide(path)
        self._store.quarantine_file(as_stored(path), stamp, reason, slide, next_look_at=again)
        self._remember(path, stamp, "quarantined", again)
        return Outcome(path, "quarantined", reason)

    def _remember(self, path: str, stamp: FileStamp, status: str, again: datetime | None = None) -> None:
        self._known.note(path, stamp, status, again)
        if status == "waiting":
            self._settling.hold(path, STALLED_SECONDS)
        else:
            self._settling.forget(path)

    def _slide(self, path: str) -> str:
        below = Path(path).relative_to(self._folder)
        found = self._slide_pattern.search(below.as_posix()) if self._slide_pattern else None
        if found is not None and found[1]:
            return as_stored(found[1])
        return as_stored(self._folder.name if below.parent == Path() else below.parent.as_posix())

    def _result(self, outcomes: tuple[Outcome, ...], now: float) -> TickResult:
        taken, waiting, quarantined = (
            tuple(outcome for outcome in outcomes if outcome.became == word)
            for word in ("taken", "waiting", "quarantined")
        )
        moving = sum(not self._is(path, "waiting") for path in self._settling)
        due = min(self._lookout.next_due(now) - now, self._settling.next_ready(now))
        gone = self._lookout.gone is not None
        return TickResult(taken, waiting, quarantined, self._lookout.problem(), gone, moving, max(0.0, due))

    def _is(self, path: str, status: str) -> bool:
        known = self._known.of(path)
        return known is not None and known.status == status and known.stamp == self._settling.stamp(path)


def _refuse_unread(path: str, stamp: FileStamp, max_megapixels: float) -> None:
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


def _capture_time(told: datetime | None, stamp: FileStamp, zone: tzinfo) -> datetime:
    """When the picture was taken, in UTC: as the camera says, else when the file was last written."""
    if told is not None:
        return told.replace(tzinfo=zone).astimezone(UTC)
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=stamp.mtime_ns // 1000)
