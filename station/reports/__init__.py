"""Shelf of report formats: the file name is the word after --format. Each has `render(summary) -> str`.

All formats print one Summary, so their numbers cannot differ. Names of files and slides may be patient data:
outside the local database they are pseudonyms, unless asked for.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast
from zoneinfo import ZoneInfo

from station.commission import PSEUDONYM_SALT
from station.contract.errors import StationError
from station.contract.flags import REVIEW
from station.database.records import SUPERSEDED, ImageResult
from station.database.review_records import Between, ReviewLine
from station.database.store import Store
from station.days import bounds
from station.ledger import images_pruned_before
from station.printing import plural
from station.reports.figures import Detail

FORMATS = ("table", "json", "csv", "html")
DETAILED = ("json", "html")  # also show what `station.reports.day` adds to a summary


class _Format(Protocol):
    def render(self, summary: Summary) -> str: ...


@dataclass(frozen=True, slots=True)
class ImageLine:
    """One picture of the day; `slide` and `name` are pseudonyms unless names were asked for."""

    image_id: int
    name: str
    slide: str
    captured_at: datetime  # in the station's zone
    status: str
    reason: str | None
    wbc_count: int | None
    wbc_count_inside: int | None
    flags: tuple[str, ...]
    cell_diameter_px: float | None
    model: str | None
    model_sha256: str | None
    engine: str | None
    wbc_count_reviewed: int | None = None  # what persons made of it; None where nobody looked
    wbc_count_inside_reviewed: int | None = None  # of these, those that the border does not cut
    changed: bool = False  # by persons: a cell differs from the automatic result
    rejected: bool = False  # by persons: counts no cells
    review_open: bool = False  # marked for review, and nobody has looked since
    wbc_count_shared: int = 0  # of `count`, cells that an earlier picture of these days counts too

    @property
    def count(self) -> int | None:
        """The corrected count where there is one, else the automatic one."""
        return self.wbc_count if self.wbc_count_reviewed is None else self.wbc_count_reviewed

    @property
    def inside(self) -> int | None:
        """Of `count`, the cells that the border does not cut."""
        return self.wbc_count_inside if self.wbc_count_reviewed is None else self.wbc_count_inside_reviewed

    @property
    def for_review(self) -> bool:
        """Whether the station marked it: a person should look."""
        return REVIEW in self.flags


@dataclass(frozen=True, slots=True)
class Summary:
    """The local calendar days `first` to `last`, both included."""

    first: date
    last: date
    time_zone: str
    images: tuple[ImageLine, ...]
    ingested_on_other_days: int  # captured in these days, taken in on others
    captured_on_other_days: int  # taken in on these days, captured on others
    pruned_before: datetime | None = None  # of these days some pictures are gone with their counts, up to this moment
    detail: Detail | None = None  # what `station.reports.day` adds

    @property
    def counted(self) -> tuple[ImageLine, ...]:
        return tuple(line for line in self.images if line.status == "done")

    @property
    def wbc_count(self) -> int:
        """All white cells, those cut by the border included; corrected counts count."""
        return sum(line.count or 0 for line in self.counted)

    @property
    def wbc_count_distinct(self) -> int:
        """Without the cells that an earlier picture of the same slide and of these days counts too."""
        return self.wbc_count - sum(line.wbc_count_shared for line in self.counted)

    @property
    def wbc_count_automatic(self) -> int:
        """What the analyses found on which the counts rest: of pictures that persons looked at, what they looked at."""
        return sum(line.wbc_count or 0 for line in self.counted)

    @property
    def corrected(self) -> tuple[ImageLine, ...]:
        """The pictures that persons looked at, and changed, rejected or accepted."""
        return tuple(line for line in self.counted if line.wbc_count_reviewed is not None)

    @property
    def wbc_count_inside(self) -> int:
        """White cells that the border does not cut; corrected counts count."""
        return sum(line.inside or 0 for line in self.counted)

    @property
    def open(self) -> tuple[ImageLine, ...]:
        """What is not counted: waiting, queued or quarantined."""
        return tuple(line for line in self.images if line.status != "done")

    @property
    def slides(self) -> tuple[tuple[str, int, int], ...]:
        """(slide, pictures counted, white cells), by name."""
        own: dict[str, list[int]] = {}
        for line in self.counted:
            own.setdefault(line.slide, []).append(line.count or 0)
        return tuple((name, len(counts), sum(counts)) for name, counts in sorted(own.items()))

    @property
    def distinct(self) -> dict[str, int]:
        """White cells of each slide without those that an earlier picture of it counts too."""
        shared = Counter({name: 0 for name, _, _ in self.slides})
        for line in self.counted:
            shared[line.slide] += line.wbc_count_shared
        return {name: cells - shared[name] for name, _, cells in self.slides}

    @property
    def models(self) -> tuple[str, ...]:
        """Each with its engine; two of one name with the first digits of their hashes."""
        files = {(line.model, line.model_sha256) for line in self.counted}
        names = Counter(name for name, _ in files)
        words = {one: f"{one[0]} ({(one[1] or '')[:8]})" if names[one[0]] > 1 else f"{one[0]}" for one in files}
        return tuple(sorted({f"{words[line.model, line.model_sha256]} on {line.engine}" for line in self.counted}))


def summarise(store: Store, first: date, last: date, zone: ZoneInfo, *, names: bool = False) -> Summary:
    """What the database knows of the pictures captured on the local days first..last."""
    start, end = bounds(first, last, zone)
    with store.at_one_moment() as still:
        elsewhere = still.ingested_elsewhere(start, end)
        salt, pruned = str(still.fact(PSEUDONYM_SALT) or ""), images_pruned_before(still)
        looks = {line.image_id: line for line in still.review_lines(Between(start, end))}
        shared, results = still.shared_counts(start, end), still.results_between(start, end)
    shown = (lambda text: text) if names else (lambda text: pseudonym(text, salt))
    images = tuple(
        _line(result, looks.get(result.image_id), shared.get(result.image_id, 0), zone, shown)
        for result in results
        if result.reason != SUPERSEDED  # half a copy that was replaced is no picture of the day
    )
    gone = pruned.astimezone(zone) if pruned is not None and start < pruned else None
    return Summary(first, last, zone.key, images, *elsewhere, pruned_before=gone)


def pseudonym(text: str, salt: str, digits: int = 8) -> str:
    """A short stable stand-in for a name; without the salt of this station it cannot be guessed back.

    Hexadecimal digits, the first of them as a letter from g to v: a spreadsheet takes 12345678 or 123e4567 for numbers.
    """
    digest = hmac.new(salt.encode(), text.encode(errors="surrogateescape"), hashlib.sha256).hexdigest()
    return chr(ord("g") + int(digest[0], 16)) + digest[1:digits]


def render(summary: Summary, style: str) -> str:
    """The summary in one of the formats. Raises StationError naming the known ones."""
    if style not in FORMATS:
        raise StationError(f"there is no report format '{style}'; known: {', '.join(FORMATS)}")
    return cast(_Format, import_module(f"station.reports.{style}")).render(summary)


def _line(
    result: ImageResult, look: ReviewLine | None, shared: int, zone: ZoneInfo, shown: Callable[[str], str]
) -> ImageLine:
    path = Path(result.path)
    return ImageLine(
        image_id=result.image_id,
        name=shown(path.name),
        slide=shown(result.slide),
        captured_at=result.captured_at.astimezone(zone),
        status=result.status,
        reason=result.reason,
        wbc_count=result.wbc_count,
        wbc_count_inside=result.wbc_count_inside,
        flags=result.flags,
        cell_diameter_px=result.cell_diameter_px,
        model=result.model,
        model_sha256=look.model_sha256 if look is not None else None,
        engine=result.engine,
        wbc_count_reviewed=result.wbc_count_reviewed,
        wbc_count_inside_reviewed=look.wbc_count_inside_reviewed if look is not None else None,
        changed=look is not None and look.changed,
        rejected=look is not None and look.rejected,
        review_open=look is not None and look.marked,
        wbc_count_shared=shared,
    )


def day_notes(summary: Summary) -> Sequence[str]:
    """The lines about pictures that were pruned or came on another day, and about cells that two pictures show."""
    notes = []
    if summary.pruned_before is not None:
        moment = f"{summary.pruned_before:%Y-%m-%d %H:%M}"
        notes.append(f"pictures captured before {moment} that had left the folder were pruned, with their counts")
    if summary.ingested_on_other_days:
        notes.append(f"{plural(summary.ingested_on_other_days, 'picture')} of these days came in on another day")
    if summary.captured_on_other_days:
        were = "was" if summary.captured_on_other_days == 1 else "were"
        words = plural(summary.captured_on_other_days, "picture")
        notes.append(f"{words} that came in {were} captured on another day")
    if shared := summary.wbc_count - summary.wbc_count_distinct:
        are, them = ("is", "it") if shared == 1 else ("are", "them")
        words = f"{plural(shared, 'white cell')} {are} counted in an earlier picture of the slide too"
        notes.append(f"{words}: {summary.wbc_count_distinct} without {them}")
    return notes
