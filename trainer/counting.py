"""How well single cells are counted and found, on fields with exact truth: composed of real cells, and painted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from station.contract.analysis import Network, Scale, analyse, find, prepare
from station.contract.manifest import Manifest
from station.contract.masks import InstanceImage
from station.contract.scale import estimate
from station.demo.smear import SmearRecipe, paint, random_recipe
from trainer.composites import Composite, compose
from trainer.cutouts import stock
from trainer.datasets.samples import Sample
from trainer.separations import SEPARATIONS

ADDITIONAL_FIELDS = 100  # of each kind beside the composed ones
LEAST_IOU = 0.5
_PAINTED_PX = (60.0, 160.0)  # cell diameter at camera scale
_PAINTED_WIDTHS = (4.5, 8.5)  # of a field, cell diameters; its height is three quarters of that
_LEAST_PART = 0.2  # of a cell that an instance must hold to be a part of it
_MOST_OF_IT = 0.5  # of a cell that an instance must hold to have swallowed it


# Which fields are counted: the kind of field, and how each is made from its seed.
Make = Callable[[int], Composite]


@dataclass(frozen=True, slots=True)
class FieldScore:
    """One field with exact truth: numbers of cells."""

    true: int
    counted: int
    matched: int  # with an IoU above 0.5
    iou: float  # summed over the matched, each 0.5..1
    touching: int  # pairs that touch
    merged: int  # of these, found as one
    lobed: int  # cells with a lobed nucleus that touch no other
    split: int  # of these, found as two or more

    @property
    def error(self) -> int:
        return self.counted - self.true


@dataclass(frozen=True, slots=True)
class Tally:
    """Scores over fields. A ratio is 1 where there is nothing to find; the last three are None there."""

    fields: int
    exact: float  # share of fields counted exactly, 0..1
    mean_absolute_error: float  # cells a field
    bias: float  # mean of counted - true, cells a field
    precision: float  # of instances at IoU 0.5
    recall: float
    f1: float
    mean_iou: float  # of matched instances
    merged: float | None  # share of touching pairs
    split: float | None  # share of lone cells with a lobed nucleus
    false_in_empty: float | None  # cells counted in 100 fields without any


def kinds_of_fields(samples: Sequence[Sample], diameters: Mapping[str, float]) -> dict[str, Make]:
    """What counting is tried on: composed fields; ground without cells, real and painted; painted lobed nuclei.

    `diameters`: data set -> cell diameter, px. Raises DataError where nothing can be composed of the samples.
    """
    cells, grounds = stock(samples, diameters)
    return {
        "composed": lambda seed: compose(seed, cells, grounds),
        "real ground without cells": lambda seed: compose(seed, cells, grounds, most_cells=0),
        "painted, without cells": lambda seed: _lobed(seed, wbc=0),
        "painted, one lobed nucleus": lambda seed: _lobed(seed, wbc=1),
    }


def counted(
    fields: Iterator[Composite], manifest: Manifest, network: Network
) -> Iterator[dict[tuple[str, str], FieldScore]]:
    """Of each field (separation, scale) -> score: all separations with the scale told, the station's with none told."""
    for field in fields:
        told = Scale(field.cell_diameter_px, "told")
        prepared = prepare(field.image, told, manifest)
        answer = network(prepared.tile[None])[0]
        scores = {
            (name, "told"): _score(field, find(prepared, answer, manifest, separate).drawing.cells)
            for name, separate in SEPARATIONS.items()
        }
        untold = analyse(field.image, estimate(field.image, manifest, network), manifest, network)
        scores[next(iter(SEPARATIONS)), "nothing told"] = _score(field, untold.drawing.cells)
        yield scores


def tallies(scores: Sequence[Mapping[tuple[str, str], FieldScore]]) -> dict[tuple[str, str], Tally]:
    """What `counted` gave, over all fields."""
    return {key: tally([of_field[key] for of_field in scores]) for key in scores[0]}


def _score(field: Composite, found: InstanceImage) -> FieldScore:
    return field_score(field.instances, found, field.pairs, field.lobed)


def painted(rng: np.random.Generator, adapted: Callable[[SmearRecipe], SmearRecipe]) -> Composite:
    """A painted field of any magnification, of a random recipe as it is adapted."""
    diameter = float(np.exp(rng.uniform(*np.log(_PAINTED_PX))))
    width = round(diameter * rng.uniform(*_PAINTED_WIDTHS))
    recipe = random_recipe(rng, width=width, height=round(0.75 * width), cell_diameter_px=diameter)
    field = paint(adapted(recipe))
    lobed = tuple(number for number, kind in enumerate(field.kinds, 1) if kind == "lobed")
    return Composite(field.image, field.labels, field.instances, diameter, (), lobed, "painted")


def _lobed(seed: int, wbc: int) -> Composite:
    rng = np.random.default_rng([seed, 3])
    return painted(rng, lambda recipe: replace(recipe, wbc=wbc, touching_pairs=0, lobed=1.0))


def field_score(
    truth: InstanceImage, found: InstanceImage, pairs: Sequence[tuple[int, int]] = (), lobed: Sequence[int] = ()
) -> FieldScore:
    """[H, W] ids 1..n in both; `pairs` touch in truth, cells in `lobed` have a lobed nucleus."""
    shared = _overlaps(truth, found)
    own, theirs = shared.sum(axis=1), shared.sum(axis=0)
    inner = shared[1:, 1:]
    union = own[1:, None] + theirs[None, 1:] - inner
    iou = inner / np.maximum(union, 1)
    # Above one half, no cell can match two: the pairs are found without an assignment.
    matched = iou > LEAST_IOU
    lone = [cell for cell in lobed if all(cell not in pair for pair in pairs)]
    return FieldScore(
        true=int(truth.max(initial=0)),
        counted=int(found.max(initial=0)),
        matched=int(matched.sum()),
        iou=float(iou[matched].sum()),
        touching=len(pairs),
        merged=sum(_is_merged(inner, own, one - 1, other - 1) for one, other in pairs),
        lobed=len(lone),
        split=sum(int((inner[cell - 1] >= _LEAST_PART * own[cell]).sum()) > 1 for cell in lone),
    )


def tally(scores: Sequence[FieldScore]) -> Tally:
    """Over at least one field."""
    errors = np.array([score.error for score in scores])
    true, counted, matched = (sum(getattr(s, name) for s in scores) for name in ("true", "counted", "matched"))
    empty = [score.counted for score in scores if score.true == 0]
    return Tally(
        fields=len(scores),
        exact=float(np.mean(errors == 0)),
        mean_absolute_error=float(np.mean(np.abs(errors))),
        bias=float(np.mean(errors)),
        precision=matched / counted if counted else 1.0,
        recall=matched / true if true else 1.0,
        f1=2 * matched / (true + counted) if true + counted else 1.0,
        mean_iou=sum(score.iou for score in scores) / matched if matched else 1.0,
        merged=_share(sum(s.merged for s in scores), sum(s.touching for s in scores)),
        split=_share(sum(s.split for s in scores), sum(s.lobed for s in scores)),
        false_in_empty=100 * sum(empty) / len(empty) if empty else None,
    )


def _overlaps(truth: InstanceImage, found: InstanceImage) -> NDArray[np.int64]:
    """[n + 1, m + 1] pixels that true cell i and found cell j share; index 0 is no cell."""
    rows, columns = int(truth.max(initial=0)) + 1, int(found.max(initial=0)) + 1
    both = np.bincount(truth.ravel().astype(np.int64) * columns + found.ravel(), minlength=rows * columns)
    return both.reshape(rows, columns)


def _is_merged(inner: NDArray[np.int64], own: NDArray[np.int64], one: int, other: int) -> bool:
    """Whether one instance holds more than half of both cells."""
    swallowed = (inner[[one, other]] > _MOST_OF_IT * own[[one + 1, other + 1]][:, None]).all(axis=0)
    return bool(swallowed.any())


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
