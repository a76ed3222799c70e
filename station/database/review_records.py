"""What passes through the door of the database when people look at results: plain frozen values, as in `records`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal, TypeAlias

from station.database.records import StoredCell

Source: TypeAlias = Literal["automatic", "added", "changed"]
Subject: TypeAlias = Literal["slide", "day"]


@dataclass(frozen=True, slots=True)
class ReviewedCell(StoredCell):
    """One white cell as it counts now, and who drew it."""

    source: Source = "automatic"


def by(source: Source, cell: StoredCell) -> ReviewedCell:
    """The cell with its source."""
    return ReviewedCell(**{field.name: getattr(cell, field.name) for field in fields(StoredCell)}, source=source)


@dataclass(frozen=True, slots=True)
class Seen:
    """What of an image a person had before the eyes when correcting it."""

    number: int  # of the newest correction; 0: there was none
    analysis_id: int  # whose masks the cells came from, which alone gives their numbers a meaning
    newest_analysis_id: int  # whose flags were shown


@dataclass(frozen=True, slots=True)
class Reviewed:
    """An image as it counts now: as the correction left it that is in force, else as the newest analysis found it."""

    image_id: int
    number: int  # of its newest correction; 0: there is none
    stands: int  # of the correction that is in force; 0: none, or all were withdrawn
    analysis_id: int  # whose masks the state began from
    seen_analysis_id: int  # the newest one
    flags: tuple[str, ...]  # of the newest analysis
    marked: bool  # for review, and nobody has looked since
    by_a_person: bool  # whether somebody said what counts; not so where it was only marked for a second look
    changed: bool  # whether a cell differs from the automatic result
    rejected: bool
    cells: tuple[ReviewedCell, ...]  # also of a rejected image, which counts none of them
    labels_png: bytes | None  # None: pruned
    cells_png: bytes | None
    cell_diameter_px: float
    width: int
    height: int
    next_id: int  # the first number of a cell that this image never used

    @property
    def seen(self) -> Seen:
        """What somebody sees who looks at it now."""
        return Seen(self.number, self.analysis_id, self.seen_analysis_id)

    @property
    def wbc_count(self) -> int:
        return 0 if self.rejected else len(self.cells)

    @property
    def wbc_count_inside(self) -> int:
        """White cells that the border does not cut."""
        return 0 if self.rejected else sum(not cell.touches_edge for cell in self.cells)


@dataclass(frozen=True, slots=True)
class NewCorrection:
    """A correction of an image, and the state after it. `after`: the number of the newest one that it builds on."""

    image_id: int
    analysis_id: int
    seen_analysis_id: int  # the newest one that the person saw
    newest_analysis_id: int  # the newest one that it builds on
    after: int
    stands: int
    who: str
    why: str
    kind: str
    detail: dict[str, Any]
    changed: bool
    rejected: bool
    cells: tuple[ReviewedCell, ...]
    labels_png: bytes | None
    cells_png: bytes | None


@dataclass(frozen=True, slots=True)
class Slide:
    """The images of a slide."""

    name: str


@dataclass(frozen=True, slots=True)
class Between:
    """The images captured in start <= t < end."""

    start: datetime
    end: datetime


Scope: TypeAlias = Slide | Between


@dataclass(frozen=True, slots=True)
class ReviewLine:
    """An image in a list: what it counts, and whether somebody has looked at it."""

    image_id: int
    path: str
    slide: str
    captured_at: datetime
    status: str
    reason: str | None
    # What the analysis on which its count rests came to: of an image that a person looked at the one that was looked
    # at, else the newest. None: there is no analysis.
    flags: tuple[str, ...]
    model: str | None
    model_sha256: str | None
    engine: str | None
    cell_diameter_px: float | None
    wbc_count: int | None  # automatic
    analysis_id: int | None  # the newest
    wbc_count_reviewed: int | None  # None: nobody has looked
    wbc_count_inside_reviewed: int | None  # of these, those that the border does not cut
    number: int  # of the newest correction; 0: there is none
    changed: bool
    rejected: bool
    marked: bool  # for review, and nobody has looked since
    flagged: bool  # a person asked for another look, and nothing was said since


@dataclass(frozen=True, slots=True)
class SignedImage:
    """What an image counted when its slide or day was signed."""

    image_id: int
    wbc_count: int
    wbc_count_reviewed: int | None
    number: int  # of its newest correction; 0: there was none
    analysis_id: int | None = None  # the newest then; None in signatures from before it was kept


@dataclass(frozen=True, slots=True)
class NewSignature:
    """A name under numbers, before it is written down."""

    subject: Subject
    name: str  # of the slide, or the local day as YYYY-MM-DD
    who: str
    numbers: dict[str, int]
    models: tuple[str, ...]
    images: tuple[SignedImage, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class Signature(NewSignature):
    """A name under numbers."""

    signature_id: int
    signed_at: datetime
