"""When the camera folder is looked at, whether it is the right one, and whether events ring for what comes into it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from station.bell import Bell
from station.watching import FolderGone, Listing, demand_known, look

POLL_SECONDS = 5.0
MOST_UNHEARD = 5  # pictures in a row that came without an event, from which on events are not believed in

_MOST_NAMED = 5  # of what cannot be seen
_LOOK_SHARE = 10  # listing may take one part in so many of the time


def poll_seconds(rescan_seconds: float) -> float:
    """Between two looks where events cannot be trusted."""
    return min(POLL_SECONDS, rescan_seconds)


class Lookout:
    """One folder that is looked at again and again. Times are monotonic seconds."""

    def __init__(
        self,
        folder: Path,
        *,
        rescan_seconds: float,
        monotonic: Callable[[], float],
        bell: Bell | None = None,
        identity: tuple[int, int] | None = None,
        silent: str | None = None,
    ) -> None:
        """`identity`: device and inode that the folder had, without which the first folder seen is believed.

        `silent`: why no event can be expected of it, if that is known.
        """
        self.folder, self.identity = folder, identity
        self._rescan_seconds, self._monotonic = rescan_seconds, monotonic
        self._bell, self._silent = bell, silent
        self._gone: str | None = None
        self._unlisted: tuple[str, ...] = ()
        self._deaf: str | None = None
        self._armed_at: float | None = None
        self._unheard = 0
        self._rang = False
        self._rescan_at = self._look_from = self._looked_at = float("-inf")

    @property
    def armed_at(self) -> float | None:
        """Since when the watch stands, monotonic s; what was written before cannot have rung."""
        return self._armed_at

    @property
    def gone(self) -> str | None:
        """Why the folder was out of reach at the last look."""
        return self._gone

    def is_gone(self) -> bool:
        """Whether the folder is not there right now, or is another one: then no reading error is a file's fault.

        Its files are not listed for that: it is asked after each file that cannot be read.
        """
        try:
            status = self.folder.stat()
            with os.scandir(self.folder) as entries:
                next(entries, None)
        except OSError:
            return True
        return self.identity not in (None, (status.st_dev, status.st_ino))

    def listen(self) -> None:
        """Take notice of the bell."""
        if self._bell is not None and self._bell.event.is_set():
            self._bell.event.clear()
            self._rang = True

    def look_now(self) -> None:
        """The next look is due at once."""
        self._rescan_at = float("-inf")

    def is_due(self, now: float) -> bool:
        return self.rescan_is_due(now) or (now >= self._look_from and (self._rang or now >= self._poll_at()))

    def rescan_is_due(self, now: float) -> bool:
        """Whether this look is to be held against all that the database knows."""
        return now >= self._rescan_at

    def next_due(self, now: float) -> float:
        """The moment of the next look, unless the bell rings before."""
        soon = max(self._look_from, now if self._rang else self._poll_at())
        return min(self._rescan_at, soon)

    def look(self, now: float) -> Listing:
        """List the folder. Raises FolderGone; what went wrong is told by `problem` until it is over."""
        periodic, self._rang = self.rescan_is_due(now), False
        self._arm(now)  # before the look: a file that comes between the two must ring
        folders = self._bell.folders() if self._bell else frozenset()
        try:
            listing = look(self.folder)
            self._recognise(listing)
            if self._bell and folders:
                self._bell.found_in(folders, listing.files)
            self._gone, self._unlisted = None, listing.unlisted
            return listing
        except FolderGone as error:
            self.lose(str(error))
            raise
        finally:
            self._plan(now, periodic)

    def lose(self, reason: str) -> None:
        """The folder is out of reach: it must be watched anew when it comes back."""
        self._gone, self._armed_at = reason, None

    def heard(self, path: str, since: float) -> bool:
        """Whether an event announced a file that stands still since then."""
        if self._bell is None:
            return False
        if self._bell.rang_for(path):
            self._unheard = 0
            return True
        # What lay there before the watch stood cannot have rung.
        self._unheard += self._armed_at is not None and since > self._armed_at
        return False

    def problem(self) -> str | None:
        """Why the folder is not seen fully or not at once."""
        if self._gone is not None:
            return self._gone
        unlisted = [f"cannot be seen: {name}" for name in self._unlisted[:_MOST_NAMED]]
        if more := len(self._unlisted) - len(unlisted):
            unlisted.append(f"and {more} more")
        return "; ".join(filter(None, (self._deaf, self._mistrust(), *unlisted))) or None

    def close(self) -> None:
        if self._bell is not None:
            self._bell.stop()

    def _mistrust(self) -> str | None:
        if self._bell is None or (self._unheard < MOST_UNHEARD and self._silent is None):
            return None
        reason = self._silent or f"at least {MOST_UNHEARD} pictures in a row came without an event"
        return f"{self.folder}: {reason}; it is listed every {poll_seconds(self._rescan_seconds):g} s instead"

    def _poll_at(self) -> float:
        trusted = self._bell is None or (self._mistrust() is None and self._deaf is None)
        return float("inf") if trusted else self._looked_at + poll_seconds(self._rescan_seconds)

    def _arm(self, now: float) -> None:
        if self._bell is None or (self._armed_at is not None and self._bell.is_alive() and not self._bell.is_worn()):
            return
        self._deaf = self._bell.arm(self.folder)
        self._armed_at = None if self._deaf else now

    def _recognise(self, listing: Listing) -> None:
        demand_known(self.folder, listing, self.identity)
        if self.identity not in (None, listing.identity):
            self._armed_at = None  # the watch is still on the old folder
        self.identity = listing.identity

    def _plan(self, now: float, periodic: bool) -> None:
        self._looked_at = self._monotonic()
        self._look_from = self._looked_at + min(_LOOK_SHARE * (self._looked_at - now), self._rescan_seconds)
        if periodic:
            self._rescan_at = self._looked_at + self._rescan_seconds
