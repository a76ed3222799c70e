"""Which pictures an export holds, and why others are left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from zoneinfo import ZoneInfo

from station.contract.errors import StationError
from station.database.review_records import Between, ReviewLine, Slide
from station.database.store import Store
from station.days import REACH, bounds
from station.exports import Needs
from station.printing import PSEUDONYMS
from station.testset import TestSet, held_back

EVER = REACH


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for: a format, the local days first..last, perhaps of one slide."""

    style: str
    first: date = EVER[0]
    last: date = EVER[1]
    slide: str | None = None
    reviewed: bool = False  # only what a person accepted or corrected
    names: bool = False

    @property
    def words(self) -> str:
        """The days and the slide."""
        days = "all days" if (self.first, self.last) == EVER else f"{self.first} to {self.last}"
        return days if self.slide is None else f"{days}, slide {self.slide}"


@dataclass(frozen=True, slots=True)
class Left:
    """A picture that is left out. `lost`: it should have been there, so that the command fails."""

    image_id: int
    path: str
    reason: str
    lost: bool = False


@dataclass(slots=True)
class Choice:
    """Pictures to export, those that belong to the frozen test set, and those that are left out."""

    lines: list[ReviewLine] = field(default_factory=list)
    tests: list[ReviewLine] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)


def choose(store: Store, wanted: Wanted, zone: ZoneInfo, needs: Needs, test_set: TestSet | None) -> Choice:
    """Each picture in its place. `test_set`: what is held back. Raises StationError where there is no picture."""
    choice, tested = Choice(), held_back(store, test_set) if test_set else frozenset()
    for line in _lines(store, wanted, zone):
        reason = _reason(line, wanted, needs)
        if reason is None and test_set and line.slide in tested and line.image_id not in test_set.images:
            reason = "of a slide of the test set, but not drawn with it"
        if reason is not None:
            choice.left.append(Left(line.image_id, line.path, reason))
        elif test_set and line.image_id in test_set.images:
            choice.tests.append(line)
        else:
            choice.lines.append(line)
    if not choice.lines and not choice.tests:
        looked = " that somebody looked at" if wanted.reviewed else ""
        hint = f"; {PSEUDONYMS}" if wanted.slide else ""
        raise StationError(f"there is no counted picture{looked} to export ({wanted.words}){hint}")
    return choice


def _lines(store: Store, wanted: Wanted, zone: ZoneInfo) -> Iterator[ReviewLine]:
    start, end = bounds(wanted.first, wanted.last, zone)
    found = store.review_lines(Between(start, end) if wanted.slide is None else Slide(wanted.slide))
    return (line for line in found if _within(line.captured_at, start, end))


def _within(moment: datetime, start: datetime, end: datetime) -> bool:
    return start <= moment < end


def _reason(line: ReviewLine, wanted: Wanted, needs: Needs) -> str | None:
    """Why a picture is left out; None if it is not."""
    if line.status != "done" or line.wbc_count is None:
        return f"not counted: {line.status}"
    if line.rejected and needs.masks:
        return "rejected"
    if wanted.reviewed and line.wbc_count_reviewed is None:
        return "nobody looked at it"
    if wanted.reviewed and line.flagged:
        return "somebody asked for another look"
    return None
