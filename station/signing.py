"""People sign: a name under the numbers of a slide or a day, once nothing of it is in doubt. Later changes show."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from datetime import date
from typing import Literal
from zoneinfo import ZoneInfo

from station.contract.errors import CorrectionError
from station.database.review_records import (
    Between,
    NewSignature,
    ReviewLine,
    Scope,
    Signature,
    SignedImage,
    Slide,
    Subject,
)
from station.database.store import Store
from station.days import REACH, bounds, in_reach
from station.printing import PSEUDONYMS, as_text

_UNDER_WAY = ("waiting", "queued", "leased")
_NAMED_AT_MOST = 10


@dataclass(frozen=True, slots=True)
class SignatureState:
    """Whether a slide or day is signed as it is now. `differs`: a line for each thing that was changed since."""

    word: Literal["unsigned", "signed", "changed since"]
    signature: Signature | None  # the newest
    differs: tuple[str, ...] = ()


def sign(store: Store, subject: Subject, name: str, who: str, zone: ZoneInfo, *, seen: str | None = None) -> Signature:
    """Put a name under the numbers of a slide, or of a local day (YYYY-MM-DD) in `zone`, as they are at this moment.

    `seen` is the `seen_of` what the person was shown, None for whatever there is. What was signed before stays. Raises
    CorrectionError naming what is in the way: images marked for review, waiting, queued or being analysed; no counted
    image at all; no name; numbers that are others than those that were shown.
    """
    if not who.strip():
        raise CorrectionError("nobody is named; say who signs")

    def seal(lines: Sequence[ReviewLine]) -> NewSignature:
        if seen is not None and seen != seen_of(lines):
            raise CorrectionError("something was changed since this page was opened; look at the numbers below again")
        _need_settled(subject, name, lines)
        counted = _counted(lines)
        images = tuple(map(_signed, counted))
        models = sorted({f"{line.model}, {line.model_sha256}" for line in counted})
        return NewSignature(subject, name, as_text(who), numbers(lines), tuple(models), images, _digest(images))

    return store.sign(scope_of(subject, name, zone), seal)


def signature_state(store: Store, subject: Subject, name: str, zone: ZoneInfo) -> SignatureState:
    """Whether a slide or day is signed, and what was changed since. Raises CorrectionError for no day."""
    signatures = store.signatures(subject, name)
    if not signatures:
        return SignatureState("unsigned", None)
    newest, lines = signatures[-1], store.review_lines(scope_of(subject, name, zone))
    differs = (*_changes(newest, lines), *_under_way(lines))
    return SignatureState("changed since" if differs else "signed", newest, differs)


def numbers(lines: Sequence[ReviewLine]) -> dict[str, int]:
    """Counted images, white cells as found and as they are now, images with changed cells, images rejected."""
    counted = _counted(lines)
    return {
        "images": len(counted),
        "cells_automatic": sum(line.wbc_count or 0 for line in counted),
        "cells_reviewed": sum(_now(line) for line in counted),
        "images_changed": sum(line.changed for line in counted),
        "images_rejected": sum(line.rejected for line in counted),
    }


def seen_of(lines: Sequence[ReviewLine]) -> str:
    """A digest of what was shown of images: another one once any of them counts differently."""
    shown = [
        (line.image_id, line.status, line.analysis_id, line.wbc_count, line.wbc_count_reviewed, line.number)
        for line in lines
    ]
    return hashlib.sha256(repr(sorted(shown, key=str)).encode()).hexdigest()


def scope_of(subject: Subject, name: str, zone: ZoneInfo) -> Scope:
    """The images that a signature stands under."""
    if subject == "slide":
        return Slide(name)
    try:
        day = date.fromisoformat(name)
    except ValueError as cause:
        raise CorrectionError(f"'{name}' is no day; say it as 2026-11-24") from cause
    if not in_reach(day) or name != f"{day}":  # a signature is found by this one spelling
        raise CorrectionError(f"'{name}' is no day; say it as 2026-11-24, between {REACH[0]} and {REACH[1]}")
    return Between(*bounds(day, day, zone))


def _need_settled(subject: Subject, name: str, lines: Sequence[ReviewLine]) -> None:
    if not _counted(lines):
        hint = f"; {PSEUDONYMS}" if subject == "slide" else ""
        raise CorrectionError(f"there is no counted image of the {subject} {name}, so there is nothing to sign{hint}")
    marked = [f"{line.image_id}" for line in lines if line.marked]
    if marked:
        raise CorrectionError(
            f"the {subject} {name} cannot be signed yet: marked for review: image {_listed(marked)}; look at each, "
            "correct or accept it"
        )
    if open_ones := [f"{line.image_id} ({line.status})" for line in lines if line.status in _UNDER_WAY]:
        raise CorrectionError(
            f"the {subject} {name} cannot be signed yet: not counted: image {_listed(open_ones)}; `station run` counts "
            "what is queued, and what waits is not whole: copy that file again, or remove it"
        )


def _changes(signature: Signature, lines: Sequence[ReviewLine]) -> Iterator[str]:
    then = {image.image_id: image for image in signature.images}
    now = {line.image_id: _alike(_signed(line), then.get(line.image_id)) for line in _counted(lines)}
    if _digest(tuple(now.values())) == signature.digest:
        return
    for image_id in sorted(then | now):
        if then.get(image_id) != now.get(image_id):
            yield f"image {image_id}: {_change(image_id, then, now)}"


def _change(image_id: int, then: Mapping[int, SignedImage], now: Mapping[int, SignedImage]) -> str:
    if image_id not in then:
        return f"new, {_cells(now[image_id])} white cells"
    if image_id not in now:
        return f"not there any more, had {_cells(then[image_id])} white cells"
    before, after = then[image_id], now[image_id]
    cells = f"{_cells(before)} -> {_cells(after)} white cells"
    if after.number == before.number:
        return f"analysed again, {cells}"
    return f"corrected, {cells}" if _cells(before) != _cells(after) else f"corrected, accepted or marked, {cells}"


def _under_way(lines: Sequence[ReviewLine]) -> Iterator[str]:
    for line in lines:
        if line.status in _UNDER_WAY:
            yield f"image {line.image_id}: {line.status}, not counted yet"


def _counted(lines: Sequence[ReviewLine]) -> list[ReviewLine]:
    return [line for line in lines if line.status == "done" and line.wbc_count is not None]


def _signed(line: ReviewLine) -> SignedImage:
    return SignedImage(line.image_id, line.wbc_count or 0, line.wbc_count_reviewed, line.number, line.analysis_id)


def _alike(now: SignedImage, then: SignedImage | None) -> SignedImage:
    """Without its analysis where a signature of before these were kept knows none.

    Of a picture that a person looked at older signatures hold what the newest analysis found, which counted nothing.
    """
    if then is None:
        return now
    both = None not in (now.wbc_count_reviewed, then.wbc_count_reviewed)
    return replace(
        now,
        analysis_id=None if then.analysis_id is None else now.analysis_id,
        wbc_count=then.wbc_count if both else now.wbc_count,
    )


def _now(line: ReviewLine) -> int:
    return _cells(_signed(line))


def _cells(image: SignedImage) -> int:
    return image.wbc_count if image.wbc_count_reviewed is None else image.wbc_count_reviewed


def _digest(images: Sequence[SignedImage]) -> str:
    """SHA-256 of what each image counts and by which analysis, whatever the order in which they come."""
    kept = (astuple(image)[: None if image.analysis_id is not None else -1] for image in images)
    return hashlib.sha256(json.dumps(sorted(kept, key=lambda row: int(row[0]))).encode()).hexdigest()


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMED_AT_MOST
    return ", ".join(names[:_NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
