"""What a full report holds beside the counts of a Summary: plain values, computed once for page and JSON twin."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from station.reports.intervals import Share


@dataclass(frozen=True, slots=True)
class Slide:
    """Pictures and white cells of a slide; `share` of the target that distinct cells reach, None without one."""

    slide: str
    images: int
    for_review: int
    wbc_count: int
    wbc_count_distinct: int  # without those that an earlier picture counts too
    target: int | None
    share: float | None


@dataclass(frozen=True, slots=True)
class Tally:
    """How many pictures a word stands for: a reason, a flag, a status."""

    word: str
    images: int


@dataclass(frozen=True, slots=True)
class Dot:
    """One counted picture; corrected counts count."""

    at: datetime
    wbc_count: int


@dataclass(frozen=True, slots=True)
class Point:
    """The mean over the pictures of an hour or a day, with the limits between which it should lie, if known."""

    start: datetime
    images: int
    mean: float
    low: float | None
    high: float | None

    @property
    def compared(self) -> bool:
        """Whether there are limits: the baseline knows how the quantity varies, and its model counted all pictures."""
        return self.low is not None

    @property
    def outside(self) -> bool:
        """Whether it lies beyond its limits."""
        if self.low is None or self.high is None:
            return False
        rounding = 1e-9 * max(1.0, abs(self.mean))  # sums of equal values come out unequal
        return not self.low - rounding <= self.mean <= self.high + rounding


@dataclass(frozen=True, slots=True)
class Control:
    """A control chart; `mean` is the baseline's, None where there is nothing to compare with."""

    quantity: str
    title: str
    unit: str
    mean: float | None
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Distribution:
    """A histogram of the days with their 5, 25, 50, 75 and 95 % quantiles, and the baseline's on the same edges."""

    quantity: str
    title: str
    unit: str
    count: int
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    quantiles: tuple[float, ...]
    baseline_counts: tuple[int, ...] | None = None
    baseline_quantiles: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Completeness:
    """The camera folder held against the days' images; `problem` where it could not be read, and no figures then.

    Whatever file of the folder the database does not know as it is now is among `statuses`, of whatever day it is.
    """

    problem: str | None
    files: int = 0  # all in the folder
    others: int = 0  # of them, known ones of other days: they are in no figure below
    statuses: tuple[Tally, ...] = ()
    duplicates: int = 0
    gone: int = 0
    gaps: tuple[Tally, ...] = ()


@dataclass(frozen=True, slots=True)
class Tile:
    """A small picture: of one cell, or of a whole field. Without `jpeg`, or without contours, `problem` says why."""

    image_id: int
    cell_id: int | None
    confidence: float | None
    jpeg: bytes | None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Sheet:
    """The contact sheet, lowest confidence first, and of how many cells and waiting fields it shows a part."""

    cells: tuple[Tile, ...]
    cells_in_all: int
    fields: tuple[Tile, ...]
    fields_for_review: int


@dataclass(frozen=True, slots=True)
class Detail:
    """All of it."""

    made_at: datetime  # in the station's zone
    version: str
    slides: tuple[Slide, ...]
    waiting: int
    quarantined: tuple[Tally, ...]  # by reason
    for_review: Share  # of the counted pictures
    cut_by_border: Share  # of the cells that count
    flags: tuple[Tally, ...]
    dots: tuple[Dot, ...]
    period: str  # "hour" or "day"
    baseline: str  # a sentence
    control: tuple[Control, ...]
    distributions: tuple[Distribution, ...]
    latency: Distribution | None
    completeness: Completeness
    sheet: Sheet
