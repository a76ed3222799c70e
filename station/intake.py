"""From the camera folder to rows: a complete picture becomes a row once, anything else a row with its reason.

The folder belongs to the camera: it is only read, and a file is opened only after it stood still. The
database is the memory; what is kept here is a cache and may be lost at any time.
"""

from __future__ import annotations

import errno
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Literal

from station.bell import Bell
from station.birth import born_ns
from station.captures import captured, slide_of
from station.contract.decoding import decode
from station.contract.errors import ImageError, Incomplete
from station.contract.imaging import RGB
from station.database.records import MOST_DEATHS, WATCHED_SINCE, FileStamp, KnownFile, NewImage
from station.database.store import Store
from station.deaths import Deaths
from station.known import Known
from station.lookout import Lookout
from station.pauses import is_over, pause_after
from station.recent import Recent
from station.vitals import clocks_differ
from station.watching import FolderGone, Listing, Refusals, Settling, as_stored, cause, holds, refuse_unread, stamp_of

FOLDER_IDENTITY = "camera_folder_identity"  # a fact: device and inode of the folder that held pictures
STALLED_SECONDS = 600.0  # an incomplete file that is unchanged for so long is quarantined

_ZERO_TAIL = 512  # bytes; a picture that ends in so many zeros may still be being filled ...
_ZERO_TAIL_PATIENCE = 6  # ... and must stand still for so many settle times
_BUSY_SECONDS = 5.0  # a tick takes no further file after so long


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file. `reason` continues the file name; it is empty for a new picture."""

    path: str
    became: Literal["taken", "waiting", "quarantined", "vanished"]
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
    vanished: tuple[Outcome, ...] = ()  # they were waiting to become whole


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
        moved: Callable[[int], None] = lambda _image_id: None,
        files_per_tick: int = 32,
    ) -> None:
        """`zone`: of the camera's clock; `clock`: aware UTC; `identity` and `silent`: see `Lookout`.

        `slide_pattern`: searched in a path below the folder, its first group names the slide; without it, or where it
        is not found, the sub-folder does. `moved` is told the number of an image that changed its slide with its file.
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
        self._files_per_tick, self._moved = files_per_tick, moved
        self._settling = Settling(settle_seconds)
        self._watched_since: float | None = float("-inf")  # that no watch stands, too, is to be recorded
        self._known = Known(store, monotonic)
        self._refusals, self._deaths = Refusals(), deaths or Deaths(None)
        self.recent = Recent()

    @property
    def identity(self) -> tuple[int, int] | None:
        """Device and inode of the camera folder, once it was seen."""
        return self._lookout.identity

    def tick(self) -> TickResult:
        """One pass, bounded in files and time: look if that is due, then take files that stand still."""
        self._lookout.listen()
        now = self._monotonic()
        vanished = tuple(self._look(now)) if self._lookout.is_due(now) else ()
        return replace(self.take(self._files_per_tick), vanished=vanished)

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

    def _look(self, now: float) -> list[Outcome]:
        reload = self._lookout.rescan_is_due(now) or self._lookout.gone is not None
        try:
            listing = self._lookout.look(now)
        except FolderGone:
            self._settling.clear()
            return []
        self._record(listing)
        if reload:
            self._known.read_again()
        self._settling.see(dict(self._undecided(listing)), now)
        return [] if listing.unlisted else list(self._forget_vanished(listing))

    def _record(self, listing: Listing) -> None:
        if listing.files and listing.identity != self._recorded:
            self._store.record_fact(FOLDER_IDENTITY, list(listing.identity))
            self._recorded = listing.identity
        if self._lookout.armed_at != self._watched_since:
            self._watched_since = self._lookout.armed_at
            since = None if self._watched_since is None else self._clock().isoformat()
            self._store.record_fact(WATCHED_SINCE, since)

    def _forget_vanished(self, listing: Listing) -> Iterator[Outcome]:
        """Half files that were renamed or removed: nothing may wait for them. Whole pictures keep their rows."""
        if waiting := self._known.waiting():
            present = {as_stored(path) for path in listing.files}
            for path in waiting:
                if path not in present and self._store.forget_waiting(path):
                    self._known.forget(path)
                    yield Outcome(path, "vanished", "was never whole, and is gone or has another name")

    def _undecided(self, listing: Listing) -> Iterator[tuple[str, FileStamp]]:
        now = self._clock()
        for path, stamp in listing.files.items():
            known = self._known.of(path)
            if known is None or known.stamp != stamp or known.status == "waiting" or self._due(known, now):
                yield path, stamp

    def _due(self, known: KnownFile, now: datetime) -> bool:
        return known.status == "quarantined" and is_over(known.next_look_at, now)

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
        stamp = replace(self._settling.stamp(path), born_ns=born_ns(path))
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
        """The whole file, or none if it changed since it came to rest or while it was read.

        Raises OSError where it gives another number of bytes than it is said to have, as on shares that remember wrong.
        """
        refuse_unread(path, stamp, self._max_megapixels)
        if (found := stamp_of(Path(path).stat())) == stamp:
            data = Path(path).read_bytes()
            if (found := stamp_of(Path(path).stat())) == stamp:
                if len(data) != stamp.size:
                    raise OSError(errno.EIO, f"it gives {len(data)} bytes and is said to have {stamp.size}")
                return data
        self._settling.note(path, found, now)
        return None

    def _judge(self, path: str, stamp: FileStamp, data: bytes, now: float) -> Outcome | None:
        still_for = self._settling.still_for(path, now)
        stalled = still_for >= STALLED_SECONDS or self._is(path, "quarantined")
        if (aside := self._put_aside_if_deadly(path, stamp)) is not None:
            return aside
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
        captured_at = captured(data, stamp, self._zone)
        differs = clocks_differ(captured_at, self._clock(), still_for if rung else None)
        sha256 = hashlib.sha256(data).hexdigest()
        new = NewImage(as_stored(path), stamp, sha256, self._slide(path), captured_at, rung, differs)
        return self._add(new, path, image)

    def _put_aside_if_deadly(self, path: str, stamp: FileStamp) -> Outcome | None:
        """The outcome for a file at which the station died too often; none where it may be tried now."""
        if (deaths := self._deaths.of(path, stamp)) < MOST_DEATHS:
            return None
        was_aside, reason = self._is(path, "quarantined"), f"the station died {deaths} times while it was read"
        again = self._clock() + pause_after(deaths - MOST_DEATHS + 1 + was_aside)
        # Before the trial, which may be the station's end: else it would be due again right after the start.
        self._store.quarantine_file(as_stored(path), stamp, reason, self._slide(path), next_look_at=again)
        if was_aside:
            return None
        self._remember(path, stamp, "quarantined", again)
        return Outcome(path, "quarantined", reason)

    def _unreadable(self, path: str, stamp: FileStamp, error: OSError) -> Outcome | None:
        if self._lookout.is_gone():  # a share that drops fails for every file: that is no reason against one
            self._lookout.lose(str(FolderGone(self._folder, "is out of reach")))
            self._settling.clear()
            return None
        return self._quarantine(path, stamp, f"cannot be read ({cause(error)})")

    # Writing down

    def _add(self, new: NewImage, path: str, image: RGB) -> Outcome:
        added = self._store.add_image(new, holds=holds)
        if added.kind == "new":  # any other is not analysed
            self.recent.keep(new.sha256, image)
        if added.slide_changed:
            self._moved(added.image_id)
        self._refusals.forget(path)
        self._remember(path, new.stamp, "queued")
        return Outcome(path, "taken", "" if added.kind == "new" else added.kind)

    def _wait(self, path: str, stamp: FileStamp, reason: str) -> Outcome:
        self._store.note_waiting(as_stored(path), stamp, reason, self._slide(path))
        self._remember(path, stamp, "waiting")
        return Outcome(path, "waiting", reason)

    def _quarantine(self, path: str, stamp: FileStamp, reason: str) -> Outcome:
        again, slide = self._clock() + pause_after(self._refusals.count(path, stamp)), self._slide(path)
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
        return slide_of(Path(path).relative_to(self._folder), self._slide_pattern) or as_stored(self._folder.name)

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
