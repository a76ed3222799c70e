"""What a person may say of a picture's cells: the kinds of corrections, and how they are written down.

What each makes of the masks stands in `redraw`.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from station.contract.errors import CorrectionError

MOST_ID = 65_535  # what a pixel of the instance image holds

_STRICT = ConfigDict(extra="forbid")
Coordinate = Annotated[float, Field(ge=-100_000, le=100_000, allow_inf_nan=False)]
Point: TypeAlias = tuple[Coordinate, Coordinate]  # x, y in camera px
CellId = Annotated[int, Field(ge=1, le=MOST_ID)]


@dataclass(frozen=True, slots=True, config=_STRICT)
class AddCell:
    """A cell that was missed, drawn around x, y; without a diameter as large as the picture's cells are."""

    x: Coordinate
    y: Coordinate
    diameter_px: Annotated[float, Field(ge=4, le=2000, allow_inf_nan=False)] | None = None


@dataclass(frozen=True, slots=True, config=_STRICT)
class RemoveCell:
    """Something that is no white cell."""

    cell_id: CellId


@dataclass(frozen=True, slots=True, config=_STRICT)
class SplitCell:
    """Several cells that were taken for one: a point in each of them. The first keeps the number."""

    cell_id: CellId
    points: Annotated[tuple[Point, ...], Field(min_length=2, max_length=100)]


@dataclass(frozen=True, slots=True, config=_STRICT)
class MergeCells:
    """One cell that was taken for several; it keeps the lowest number."""

    cell_ids: Annotated[tuple[CellId, ...], Field(min_length=2, max_length=100)]


@dataclass(frozen=True, slots=True, config=_STRICT)
class Stroke:
    """A way of a round brush. 0 takes pixels away, 1 makes them cytoplasm, 2 nucleus, of one cell.

    Without a cell: paint makes a new one, which all such strokes of a `Repaint` share; 0 takes from every cell.
    """

    points: Annotated[tuple[Point, ...], Field(min_length=1, max_length=20_000)]
    radius_px: Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)]
    value: Literal[0, 1, 2]
    cell_id: CellId | None = None


@dataclass(frozen=True, slots=True, config=_STRICT)
class Repaint:
    """Strokes of a brush, in this order. Paint stops where another cell begins."""

    strokes: Annotated[tuple[Stroke, ...], Field(min_length=1, max_length=1000)]


@dataclass(frozen=True, slots=True, config=_STRICT)
class RejectImage:
    """A picture that is not fit to be counted: it counts no cells. Its masks stay."""


@dataclass(frozen=True, slots=True, config=_STRICT)
class Accept:
    """Looked at, and right as it is."""


@dataclass(frozen=True, slots=True, config=_STRICT)
class Flag:
    """Somebody should look once more: until the next correction, or its acceptance, it is marked for review."""


@dataclass(frozen=True, slots=True, config=_STRICT)
class Withdraw:
    """The last correction that still stands is taken back."""


Edit: TypeAlias = AddCell | RemoveCell | SplitCell | MergeCells | Repaint | RejectImage | Accept | Flag
Correction: TypeAlias = Edit | Withdraw

KINDS: Final[dict[str, type[Correction]]] = {
    "add": AddCell,
    "remove": RemoveCell,
    "split": SplitCell,
    "merge": MergeCells,
    "repaint": Repaint,
    "reject": RejectImage,
    "accept": Accept,
    "flag": Flag,
    "withdraw": Withdraw,
}


_WORDS: Final = {
    "add": "added a cell at ({x}, {y})",
    "remove": "removed cell {cell_id}",
    "split": "split cell {cell_id} into {points}",
    "merge": "merged cells {cell_ids}",
    "repaint": "repainted with {strokes} of the brush",
    "reject": "rejected the image",
    "accept": "looked at it and found it right",
    "flag": "marked it for a second look",
    "withdraw": "took correction {number} back",
}


def correction_of(kind: str, detail: dict[str, Any]) -> Correction:
    """The correction of this kind, a word of `KINDS`. Raises CorrectionError naming what is wrong with it."""
    if kind not in KINDS:
        raise CorrectionError(f"there is no correction {kind!r}; known: {', '.join(KINDS)}")
    try:
        adapter: TypeAdapter[Correction] = TypeAdapter(KINDS[kind])
        return adapter.validate_python(detail)
    except ValidationError as cause:
        first = cause.errors()[0]
        place = ".".join(map(str, first["loc"])) or "its detail"
        raise CorrectionError(f"the correction '{kind}' cannot be made: {place}: {first['msg'].lower()}") from cause


def kind_of(correction: Correction) -> str:
    """Its word in `KINDS`."""
    return next(kind for kind, made in KINDS.items() if made is type(correction))


def detail_of(correction: Correction) -> dict[str, Any]:
    """What `correction_of` needs beside the kind, as JSON can hold it."""
    detail: dict[str, Any] = _as_lists(asdict(correction))
    return detail


def words_of(kind: str, detail: dict[str, Any]) -> str:
    """A stored correction as a person would say it: `added a cell at (120, 80)`."""
    return _WORDS.get(kind, kind).format(**{name: _in_words(name, value) for name, value in detail.items()})


def _in_words(name: str, value: Any) -> str:
    if name == "strokes":
        return f"{len(value)} stroke{'s' * (len(value) != 1)}"
    if isinstance(value, list):  # numbers are named, points counted
        return ", ".join(map(str, value)) if all(isinstance(one, int) for one in value) else str(len(value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _as_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _as_lists(part) for name, part in value.items()}
    return [_as_lists(part) for part in value] if isinstance(value, list | tuple) else value
