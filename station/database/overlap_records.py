"""What passes through the door of the database of fields that show the same place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SmallCopy:
    """By what a field is recognised: a grey JPEG, each px of it a square of `step` px of the picture."""

    step: int
    jpeg: bytes


@dataclass(frozen=True, slots=True)
class StoredOverlap:
    """Two fields that show the same place: (x, y) of the later one is (x + shift_x, y + shift_y) of the earlier."""

    image_id: int
    earlier_id: int  # captured earlier, or in the same moment and taken in earlier
    shift_x: float  # px
    shift_y: float
    shared: float  # share of a field, 0..1
    certainty: float  # 0..1


@dataclass(frozen=True, slots=True)
class EarlierField(StoredOverlap):
    """A field that shows a part of a later one too, with those cells of the later one that it counts as well."""

    cells: tuple[tuple[float, float], ...]  # their centroids in the later field, px


@dataclass(frozen=True, slots=True)
class Registered:
    """What comparing a field with its neighbours came to."""

    copy: SmallCopy
    pairs: tuple[StoredOverlap, ...]


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The counted pictures of a slide around one of it, the nearest first."""

    before: tuple[int, ...]
    after: tuple[int, ...]
