"""People look at results: a correction is applied to the newest state and appended with what it leads to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from station.contract.cells import Cell
from station.contract.corrections import (
    Accept,
    Correction,
    Edit,
    Flag,
    RejectImage,
    Withdraw,
    detail_of,
    kind_of,
    words_of,
)
from station.contract.decoding import decode
from station.contract.doubts import doubted
from station.contract.errors import CorrectionError, ImageError
from station.contract.imaging import RGB
from station.contract.masks import decode_mask, encode, encode_narrow
from station.contract.redraw import Masks, apply, changed_cells
from station.database.records import History, StoredCell, StoredCorrection
from station.database.review_records import NewCorrection, Reviewed, ReviewedCell, Seen, by
from station.database.store import Store
from station.originals import content_of
from station.printing import as_text, plural


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a correction: it was `written`, or refused. `state` is the image as it is now, either way."""

    state: Reviewed
    written: StoredCorrection | None
    refusal: str | None  # why nothing was written
    meanwhile: tuple[StoredCorrection, ...]  # what was said of the image since the caller saw it

    @property
    def words(self) -> str:
        """All of it in a sentence or two, for a person."""
        said = [self.refusal] if self.refusal is not None else []
        if self.written is not None:
            cells = plural(self.written.wbc_count, "white cell")
            said.append(f"{words_of(self.written.kind, self.written.detail)}: {cells}")
        others = [f"{one.who} {words_of(one.kind, one.detail)}" for one in self.meanwhile]
        return "; ".join([*said, *(["meanwhile " + ", ".join(others)] if others else [])])


def correct(
    store: Store,
    image_id: int,
    correction: Correction,
    who: str,
    why: str = "",
    seen: Seen | None = None,
    image: RGB | None = None,
) -> Outcome:
    """Apply a correction to an image as it is now, and append it.

    `seen` is what the caller saw, None for whatever there is. Where there is a newer correction this one is still made
    if it makes sense; to accept and to withdraw makes none, for that is said of what was seen, nor has the number of a
    cell a meaning once the image was analysed again. `image` [H, W, 3] is what a new cell is outlined by. Raises
    CorrectionError where nobody says it, or there is no such analysed image.
    """
    who, why = _named(who), as_text(why)
    while True:
        before = state_of(store, image_id)
        seen = seen or before.seen
        meanwhile = tuple(one for one in store.corrections(image_id) if seen.number < one.number <= before.number)
        try:
            _need_sense(correction, before, seen)
            detail, after = _made(store, before, correction, image)
        except CorrectionError as cause:
            return Outcome(before, None, str(cause), meanwhile)
        written = store.append_correction(_new(before, after, seen, who, why, correction, detail))
        if written is not None:  # else somebody was faster: once more, on what is there now
            return Outcome(state_of(store, image_id), written, None, meanwhile)


def state_of(store: Store, image_id: int) -> Reviewed:
    """The image as it counts now. Raises CorrectionError where there is none, or no analysis of it."""
    found = store.reviewed(image_id)
    if found is None:
        raise CorrectionError(f"there is no image {image_id} that was counted; `station report` lists them")
    return found


def masks_of(state: Reviewed) -> Masks:
    """(labels, cells) [H, W]. Raises CorrectionError where they were pruned."""
    if state.labels_png is None or state.cells_png is None:
        first = "take back what was said of it (--withdraw), then " if state.stands else ""
        raise CorrectionError(
            f"the masks of image {state.image_id} were pruned: it can be accepted or rejected, but not redrawn; "
            f"{first}`station reanalyse` makes new ones"
        )
    return (
        np.asarray(decode_mask(state.labels_png), np.uint8),
        np.asarray(decode_mask(state.cells_png), np.uint16),
    )


def picture_of(history: History, *, max_megapixels: float) -> RGB | None:
    """The picture [H, W, 3] from a file that still holds it; None where none does."""
    data = content_of(history)
    try:
        return None if data is None else decode(data, max_megapixels=max_megapixels)
    except ImageError:  # limits that were lowered
        return None


def stored(cell: Cell) -> StoredCell:
    """A measured cell as the database holds it."""
    areas = ("area_px", "nucleus_area_px", "cytoplasm_area_px", "nc_ratio")
    names = ("x", "y", *areas, "touches_edge", "confidence", "flags")
    x, y, w, h = cell.bbox
    same = {name: getattr(cell, name) for name in names}
    return StoredCell(cell_id=cell.id, bbox_x=x, bbox_y=y, bbox_w=w, bbox_h=h, **same)


def _need_sense(correction: Correction, before: Reviewed, seen: Seen) -> None:
    of_all = isinstance(correction, Accept | Withdraw)  # rather than of a cell
    if seen.number > before.number:
        raise CorrectionError(
            f"image {before.image_id} has {before.number} corrections, none with the number {seen.number}"
        )
    if seen.number < before.number and of_all:
        raise CorrectionError("the image was changed since you looked at it; look again")
    if seen.newest_analysis_id > before.seen_analysis_id:
        raise CorrectionError(f"image {before.image_id} has no analysis {seen.newest_analysis_id}")
    then, now = (seen.newest_analysis_id, before.seen_analysis_id) if of_all else (seen.analysis_id, before.analysis_id)
    if then != now and not isinstance(correction, RejectImage | Flag):
        raise CorrectionError("the image was analysed again since you looked at it; look again")
    if before.rejected and not isinstance(correction, Withdraw):
        raise CorrectionError("the image is rejected; withdraw that first")


def _made(store: Store, before: Reviewed, correction: Correction, image: RGB | None) -> tuple[dict[str, Any], Reviewed]:
    """(what is to be written down of the correction, the state after it)."""
    if isinstance(correction, Withdraw):
        return {"number": before.stands}, _withdrawn(store, before)
    return detail_of(correction), replace(_edited(before, correction, image), stands=before.number + 1)


def _withdrawn(store: Store, before: Reviewed) -> Reviewed:
    """The state before the correction that is in force was made."""
    if not before.stands:
        raise CorrectionError(f"image {before.image_id} has no correction that could be withdrawn")
    said = {one.number: one for one in store.corrections(before.image_id)}
    _, *left = _built_on(said, before.stands)
    below = left[0].number if left else 0
    # What is only marked for a second look counts as the newest analysis found it.
    looked = any(one.kind != kind_of(Flag()) for one in left)
    earlier = store.reviewed(before.image_id, at=below if looked else 0)
    if earlier is None:
        raise CorrectionError(f"image {before.image_id} is not there any more")
    return replace(earlier, stands=below)


def _built_on(said: Mapping[int, StoredCorrection], number: int) -> Iterator[StoredCorrection]:
    """A correction and what it was built on, the newest first; nothing that was taken back by then."""
    while number:
        yield said[number]
        number = said[number - 1].stands if number > 1 else 0


def _edited(before: Reviewed, correction: Edit, image: RGB | None) -> Reviewed:
    if isinstance(correction, Accept | Flag):
        return before
    if isinstance(correction, RejectImage):
        return replace(before, rejected=True)
    old = masks_of(before)
    new = apply(*old, correction, image, before.cell_diameter_px, next_id=before.next_id)
    touched, left = changed_cells(old, new, [cell.cell_id for cell in before.cells if cell.touches_edge])
    cells = _cells(before.cells, touched, doubted(left, before.cell_diameter_px, None))
    return replace(before, changed=True, cells=cells, labels_png=encode(new[0]), cells_png=encode_narrow(new[1]))


def _cells(before: Iterable[ReviewedCell], touched: frozenset[int], left: Iterable[Cell]) -> tuple[ReviewedCell, ...]:
    """The cells that nobody touched as they were, the others as they are now."""
    old = {cell.cell_id: cell for cell in before}
    now = {number: cell for number, cell in old.items() if number not in touched}
    for cell in left:
        drawn_by_hand = cell.id not in old or old[cell.id].source == "added"
        now[cell.id] = by("added" if drawn_by_hand else "changed", stored(cell))
    return tuple(now[number] for number in sorted(now))


def _new(
    before: Reviewed, after: Reviewed, seen: Seen, who: str, why: str, correction: Correction, detail: dict[str, Any]
) -> NewCorrection:
    return NewCorrection(
        image_id=before.image_id,
        analysis_id=after.analysis_id,
        seen_analysis_id=seen.newest_analysis_id,
        newest_analysis_id=before.seen_analysis_id,
        after=before.number,
        stands=after.stands,
        who=who,
        why=why,
        kind=kind_of(correction),
        detail=detail,
        changed=after.changed,
        rejected=after.rejected,
        cells=after.cells,
        labels_png=after.labels_png,
        cells_png=after.cells_png,
    )


def _named(who: str) -> str:
    if not who.strip():
        raise CorrectionError("nobody is named; say who corrects or signs")
    return as_text(who)
