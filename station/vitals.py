"""What a station watches of its machine while it runs: room on the disk of its database, a clock that jumps, memory."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

CLOCKS_AGREE = timedelta(minutes=5)  # the camera's clock and the station's, besides the time that a file settles
LARGEST_DRIFT = timedelta(minutes=1)  # between two looks; a clock that is disciplined slews, it does not jump

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # of mallopt(3)
_HEAPS = 2  # with one for each thread a station holds 100 MB more
_KEPT_BYTES, _LARGEST_BYTES = 64 << 20, 32 << 20


def share_heaps() -> None:
    """Let all threads share two heaps, where the C library is glibc, that keep what one picture leaves for the next.

    By itself it hands back each large array to the system, and gets it anew page by page.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, _HEAPS)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_BYTES)


def clocks_differ(captured_at: datetime, now: datetime, written_ago: float | None) -> bool:
    """Whether a picture was taken later than now, or long before an event announced its writing, so many s ago."""
    early = written_ago is not None and now - timedelta(seconds=written_ago) - captured_at > CLOCKS_AGREE
    return early or captured_at - now > CLOCKS_AGREE


class Disk:
    """The disk of the database. SQLite must not meet its end: what it cannot write then is lost work."""

    def __init__(self, database: Path, least_bytes: float, free_bytes: Callable[[Path], int]) -> None:
        """`least_bytes` must stay free, else nothing is taken in."""
        self._folder = database.resolve().parent  # a link is followed: its own disk does not fill
        self._least_bytes, self._free_bytes = least_bytes, free_bytes

    def problem(self) -> str | None:
        """Why nothing can be written, with the way out; none if there is room."""
        try:
            free = self._free_bytes(self._folder)
        except OSError as cause:
            return f"{self._folder}: its disk does not answer ({(cause.strerror or str(cause)).lower()})"
        if free >= self._least_bytes:
            return None
        return (
            f"{self._folder}: only {free / 1e6:.0f} MB are free, limits.min_free_mb = {self._least_bytes / 1e6:g}; "
            "nothing is taken in until there is room; delete there what is not needed"
        )


def awake_or_not() -> float:
    """Seconds that only run forward, also while the machine sleeps, where the system tells these."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Clocks:
    """The wall clock held against one that only runs forward."""

    def __init__(self, clock: Callable[[], datetime], monotonic: Callable[[], float]) -> None:
        """`clock` gives aware moments, `monotonic` seconds."""
        self._clock, self._monotonic = clock, monotonic
        self._wall, self._seconds = clock(), monotonic()

    def now(self) -> datetime:
        """The wall clock."""
        return self._clock()

    def jump(self) -> timedelta | None:
        """By how much the wall clock was set since the last call; none if it just ran on."""
        wall, seconds = self._clock(), self._monotonic()
        drift = (wall - self._wall) - timedelta(seconds=seconds - self._seconds)
        self._wall, self._seconds = wall, seconds
        return drift if abs(drift) > LARGEST_DRIFT else None


def jump_in_words(jump: timedelta, now: datetime) -> str:
    """One sentence about a clock that was set."""
    minutes = abs(jump) / timedelta(minutes=1)
    way = "forward" if jump > timedelta(0) else "back"
    return (
        f"at {now:%Y-%m-%d %H:%M} UTC this machine's clock jumped {way} by {minutes:.0f} min; pictures taken in before "
        "may stand under a wrong day"
    )
