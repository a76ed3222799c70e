"""Scores through `contract.analyse` on whole images: pixels by confusion matrix, cells by count."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from station.contract.analysis import Network, Scale, analyse
from station.contract.errors import ImageError
from station.contract.imaging import RGB
from station.contract.manifest import BACKGROUND, CYTOPLASM, NUCLEUS, Manifest
from station.contract.masks import LabelImage
from trainer.datasets.samples import DataError, Sample

REGIONS: Mapping[str, tuple[int, ...]] = {
    "nucleus": (NUCLEUS,),
    "cytoplasm": (CYTOPLASM,),
    "cell": (CYTOPLASM, NUCLEUS),
}

# How an image's scale is found: told per data set, or estimated.
ScaleOf = Callable[[Sample, RGB], Scale]


@dataclass(frozen=True, slots=True)
class ImageScore:
    """One image: confusion[truth, predicted] in pixels, and both counts."""

    dataset: str
    id: str
    confusion: NDArray[np.int64]
    wbc_count: int
    wbc_true: int
    cell_diameter_px: float


@dataclass(frozen=True, slots=True)
class RegionScore:
    """Pixel scores of one region, each 0..1; a ratio without a denominator is 1 (nothing to find, nothing found)."""

    precision: float
    sensitivity: float
    specificity: float
    dice: float
    iou: float


@dataclass(frozen=True, slots=True)
class CountScore:
    """How well fields were counted."""

    images: int
    exact: float  # share of images whose count is right, 0..1
    mean_absolute_error: float  # cells per image
    bias: float  # mean of counted - true, cells per image


def score_images(
    samples: Iterable[Sample], scale_of: ScaleOf, manifest: Manifest, network: Network
) -> Iterable[ImageScore]:
    """Analyse each sample as the station would, and compare with its mask. Lazy, for a progress bar around it."""
    for sample in samples:
        image, truth = sample.read()
        try:
            analysis = analyse(image, scale_of(sample, image), manifest, network)
        except ImageError as cause:
            raise DataError(f"{sample.image} {cause}") from cause
        yield ImageScore(
            dataset=sample.dataset,
            id=sample.id,
            confusion=confusion(truth, analysis.drawing.labels),
            wbc_count=analysis.wbc_count,
            wbc_true=true_count(sample, truth),
            cell_diameter_px=analysis.scale.cell_diameter_px,
        )


def told(diameters: dict[str, float]) -> Callable[[Sample, RGB], Scale]:
    """The scale of each sample from its data set's measured diameter."""
    return lambda sample, _image: Scale(diameters[sample.dataset], "told")


def confusion(truth: LabelImage, predicted: LabelImage) -> NDArray[np.int64]:
    """[3, 3] pixel counts, rows true, columns predicted class."""
    return np.bincount(truth.ravel().astype(np.int64) * 3 + predicted.ravel(), minlength=9).reshape(3, 3)


def true_count(sample: Sample, truth: LabelImage) -> int:
    """The count that came with the data, else the connected regions of the mask that hold nucleus pixels."""
    if sample.wbc_count is not None:
        return sample.wbc_count
    _, components = cv2.connectedComponents((truth != BACKGROUND).astype(np.uint8), connectivity=8)
    sizes = np.bincount(components[truth == NUCLEUS])
    return int(np.count_nonzero(sizes[1:] > 20))


def region_score(matrix: NDArray[np.int64], region: str) -> RegionScore:
    """Scores of `nucleus`, `cytoplasm` or `cell` (both) from a confusion matrix, of one image or summed over many."""
    inside = np.isin(np.arange(3), REGIONS[region])
    hit = int(matrix[np.ix_(inside, inside)].sum())
    false = int(matrix[np.ix_(~inside, inside)].sum())
    missed = int(matrix[np.ix_(inside, ~inside)].sum())
    rest = int(matrix[np.ix_(~inside, ~inside)].sum())
    return RegionScore(
        precision=_share(hit, false, missed),
        sensitivity=_share(hit, missed, false),
        specificity=_ratio(rest, rest + false),
        dice=_ratio(2 * hit, 2 * hit + false + missed),
        iou=_ratio(hit, hit + false + missed),
    )


def pooled(scores: Sequence[ImageScore]) -> NDArray[np.int64]:
    """The confusion matrix over all pixels of all images."""
    return np.sum([score.confusion for score in scores], axis=0, dtype=np.int64).reshape(3, 3)


def count_score(scores: Sequence[ImageScore]) -> CountScore:
    """Count errors over images; at least one image."""
    errors = np.array([score.wbc_count - score.wbc_true for score in scores])
    return CountScore(
        images=len(errors),
        exact=float(np.mean(errors == 0)),
        mean_absolute_error=float(np.mean(np.abs(errors))),
        bias=float(np.mean(errors)),
    )


def by_dataset(scores: Iterable[ImageScore]) -> dict[str, list[ImageScore]]:
    """Scores grouped by data set, in order of first appearance."""
    grouped: dict[str, list[ImageScore]] = {}
    for score in scores:
        grouped.setdefault(score.dataset, []).append(score)
    return grouped


def summary(scores: Sequence[ImageScore]) -> dict[str, float]:
    """The figures that a manifest and a model card carry: pooled Dice per region and the count figures."""
    matrix, counts = pooled(scores), count_score(scores)
    figures = {f"dice_{region}": round(region_score(matrix, region).dice, 4) for region in REGIONS}
    return figures | {
        "images": float(counts.images),
        "count_exact": round(counts.exact, 4),
        "count_mae": round(counts.mean_absolute_error, 4),
    }


def selection_score(scores: Sequence[ImageScore]) -> float:
    """What training selects by: mean over data sets of the mean pooled Dice of nucleus and cell, 0..1.

    Sets without a labelled pixel are left out: there a network that finds nothing has Dice 1 whatever it learnt.
    0 where no set has any.
    """
    labelled = [own for own in by_dataset(scores).values() if pooled(own)[1:].any()]
    per_set = [summary(own) for own in labelled]
    scored = [(figures["dice_nucleus"] + figures["dice_cell"]) / 2 for figures in per_set]
    return float(np.mean(scored)) if scored else 0.0


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


def _share(hit: int, beside: int, other: int) -> float:
    """hit / (hit + beside). Of nothing it is 1, unless the `other` error was made."""
    return hit / (hit + beside) if hit + beside else float(not other)
