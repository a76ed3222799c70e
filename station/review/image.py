"""One image: what counts now, who said what of it, and the way to the next one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from station.contract.contours import Contour, contours
from station.contract.corrections import AddCell, correction_of, words_of
from station.contract.errors import CorrectionError
from station.database.records import History, StoredAnalysis, StoredCorrection
from station.database.review_records import Reviewed, Seen
from station.review.asked import Asked
from station.review.desk import Desk, name_of
from station.review.pages import render
from station.reviewing import Outcome, correct, masks_of


@dataclass(frozen=True, slots=True)
class Said:
    """A correction in words."""

    correction: StoredCorrection
    words: str
    in_force: bool


def image_page(desk: Desk, image_id: int, asked: Asked) -> str | None:
    """The page; None where there is no such image."""
    state = desk.store.reviewed(image_id)
    history = desk.store.history(image_id)
    if history is None:
        return None
    told = {
        "asked": asked,
        "history": history,
        "name": name_of(history.path),
        "state": state,
        "counting": _counting(history, state) if state else None,
        "there": any(Path(path).is_file() for path in _paths(history)),
        "newer": _link(desk, asked, image_id, newer=True),
        "older": _link(desk, asked, image_id, newer=False),
        "parts": parts(desk, history, state) if state else None,
    }
    return desk.page("image", told)


def parts(desk: Desk, history: History, state: Reviewed) -> dict[str, Any]:
    """What a correction changes on the page, for JSON: markup by the id of the element that holds it."""
    told: dict[str, object] = {"state": state, "counting": _counting(history, state), "zone": desk.zone}
    told |= {"said": _said(history.corrections, state), "drawn": _drawn(state)}
    names = ("standing", "contours", "cells", "said")
    return {
        "number": state.number,
        "version": _version(state),
        "count": state.wbc_count,
        "rejected": state.rejected,
        "html": {name: render(f"parts/{name}", **told) for name in names},
    }


def news(desk: Desk, image_id: int, seen: int) -> dict[str, Any] | None:
    """The parts as they are now, with what was said after correction `seen`; None where there is no counted image."""
    state = desk.store.reviewed(image_id)  # first: what comes between the two readings is told with the next news
    history = desk.store.history(image_id)
    if history is None or state is None:
        return None
    later = [one for one in history.corrections if seen < one.number <= state.number]
    words = ", ".join(f"{one.who} {words_of(one.kind, one.detail)}" for one in later)
    return parts(desk, history, state) | {"words": f"meanwhile {words}" if words else ""}


def corrected(desk: Desk, image_id: int, told: dict[str, Any]) -> dict[str, Any]:
    """What became of a correction, and the parts after it. Raises CorrectionError where it is none."""
    correction = correction_of(str(told.get("kind")), _detail(told))
    picture = desk.pictures.pixels(image_id) if isinstance(correction, AddCell) else None
    who, why = str(told.get("who", "")), str(told.get("why", ""))
    outcome = correct(desk.store, image_id, correction, who, why, _seen(told), picture)
    return _answer(desk, image_id, outcome)


def _answer(desk: Desk, image_id: int, outcome: Outcome) -> dict[str, Any]:
    history = desk.store.history(image_id)
    if history is None:
        raise CorrectionError(f"image {image_id} is not there any more")
    written = outcome.written is not None
    return parts(desk, history, outcome.state) | {"written": written, "words": outcome.words}


def _counting(history: History, state: Reviewed) -> StoredAnalysis:
    """The analysis on which the counts rest."""
    return next(one for one in history.analyses if one.analysis_id == state.analysis_id)


def _detail(told: dict[str, Any]) -> dict[str, Any]:
    detail = told.get("detail", {})
    if not isinstance(detail, dict):
        raise CorrectionError("the detail of a correction is an object")
    return detail


def _version(state: Reviewed) -> str:
    """What a page shows of an image, in a word that it gives back with each correction."""
    return "-".join(map(str, astuple(state.seen)))


def _seen(told: dict[str, Any]) -> Seen:
    found = re.fullmatch(r"(\d{1,9})-(\d{1,18})-(\d{1,18})", str(told.get("seen")), re.ASCII)
    if found is None:
        raise CorrectionError("say what was seen of the image, as the page was given it")
    return Seen(*map(int, found.groups()))


def _drawn(state: Reviewed) -> dict[int, Contour]:
    """By the cell's number; nothing where the masks were pruned."""
    boxes = ((cell.cell_id, (cell.bbox_x, cell.bbox_y, cell.bbox_w, cell.bbox_h)) for cell in state.cells)
    try:
        return {one.cell_id: one for one in contours(*masks_of(state), boxes)}
    except CorrectionError:
        return {}


def _said(corrections: Sequence[StoredCorrection], state: Reviewed) -> list[Said]:
    """The newest first. In force are the one that stands and what it was built on, which is not told here."""
    return [Said(one, words_of(one.kind, one.detail), one.number == state.stands) for one in reversed(corrections)]


def _link(desk: Desk, asked: Asked, image_id: int, *, newer: bool) -> str | None:
    """The address of the neighbour in the gallery."""
    sieve = asked.sieve(desk.zone)
    found = desk.store.gallery_after(sieve, 1, image_id) if newer else desk.store.gallery(sieve, 1, image_id)
    return f"/images/{found[0].image_id}{asked.query()}" if found else None


def _paths(history: History) -> list[str]:
    return list(dict.fromkeys((history.path, *(seen.path for seen in history.paths))))
