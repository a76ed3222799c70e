"""The gallery: images as they come, the newest first."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from station.database.review_records import ReviewLine
from station.printing import printable
from station.review.asked import Asked
from station.review.desk import Desk, count_of, name_of
from station.signing import SignatureState, signature_state

PAGE = 48  # images
_SLIDES, _HOURS = 300, 24 * 60  # that the filter offers


@dataclass(frozen=True, slots=True)
class Tile:
    """An image in the gallery. `version` differs whenever the tile would look different."""

    line: ReviewLine
    name: str
    count: int | None
    least: float | None  # confidence of the least certain cell
    version: str


def gallery_page(desk: Desk, asked: Asked, before: int | None, *, whole: bool = True) -> str:
    """The page of the images that arrived before image `before`. Raises CorrectionError where the filter is none.

    Without `whole` the filter is left out: a page that is open already has it, and it costs most where there are many
    images.
    """
    asked = _exact(desk, asked)
    found = desk.store.gallery(asked.sieve(desk.zone), PAGE + 1, before)
    lines = found[:PAGE]
    told = {
        "asked": asked,
        "before": before,
        "tiles": _tiles(desk, lines),
        "slides": _states(desk, lines),
        "newer": _page_before(desk, asked, lines, before),
        "older": asked.query(before=lines[-1].image_id) if len(found) > PAGE else None,
        "choices": _choices(desk) if whole else None,
        "statuses": {word: count for word, count in desk.store.counts_by_status().items() if count},
    }
    return desk.page("gallery", told)


def _choices(desk: Desk) -> Mapping[str, Sequence[str]]:
    """What the filter offers."""
    return {
        "days": [f"{day}" for day in days(desk)],
        "slides": [slide.name for slide in desk.store.slides(_SLIDES)],
        "flags": desk.store.known_flags(),
    }


def days(desk: Desk) -> tuple[date, ...]:
    """The local days on which images were captured, the latest first."""
    hour = timedelta(hours=1, microseconds=-1)
    found = desk.store.hours(_HOURS)
    ends = (moment.astimezone(desk.zone).date() for start in found for moment in (start, start + hour))
    return tuple(sorted(set(ends), reverse=True))


def _exact(desk: Desk, asked: Asked) -> Asked:
    """With the slide's true name: the form says it as it is shown, and no form could say all that a name may hold."""
    if "\\" not in asked.slide:
        return asked
    known = (slide.name for slide in desk.store.slides(_SLIDES))
    return replace(asked, slide=next((name for name in known if printable(name) == asked.slide), asked.slide))


def _tiles(desk: Desk, lines: Iterable[ReviewLine]) -> list[Tile]:
    least = desk.store.least_confidences(line.image_id for line in lines)
    return [
        Tile(
            line,
            name_of(line.path),
            count_of(line),
            least.get(line.image_id),
            _version(line),
        )
        for line in lines
    ]


def _version(line: ReviewLine) -> str:
    """Names may be patients', and long: of these only a digest goes into the page."""
    named = repr((line.path, line.slide, line.captured_at, line.reason)).encode(errors="surrogateescape")
    counted = f"{line.status}-{line.number}-{line.analysis_id or 0}-{line.marked:d}-{'+'.join(line.flags)}"
    return f"{counted}-{hashlib.sha256(named).hexdigest()[:8]}"


def _states(desk: Desk, lines: Iterable[ReviewLine]) -> list[tuple[str, SignatureState]]:
    """The slides of these images, and whether each is signed."""
    names = dict.fromkeys(line.slide for line in lines)
    return [(name, signature_state(desk.store, "slide", name, desk.zone)) for name in names]


def _page_before(desk: Desk, asked: Asked, lines: tuple[ReviewLine, ...], before: int | None) -> str | None:
    """Where the page with newer images is; the empty word for the first one, None where this is it."""
    if before is None:
        return None
    newest = lines[0].image_id if lines else before - 1
    newer = desk.store.gallery_after(asked.sieve(desk.zone), PAGE + 1, newest)
    return asked.query(before=newer[PAGE].image_id) if len(newer) > PAGE else asked.query()
