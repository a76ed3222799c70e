"""How well a camera's scale is found where nobody tells it: from one picture, and from twenty drawn by chance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from station.contract.analysis import Network
from station.contract.manifest import Manifest
from station.contract.scale import camera_diameter, estimate
from trainer.datasets.samples import DataError, Sample, cell_diameters

PICTURES: Final = 20  # of a draw, as many as the station settles its camera's scale by
NEAR: Final = 0.12  # of the set's median: near enough that the network finds the same cells
QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, slots=True)
class Estimated:
    """One picture; lengths in px."""

    dataset: str
    diameters_px: tuple[float, ...]  # of its whole cells, by the mask
    found_px: float | None  # estimated from its pixels alone; None: unknown


@dataclass(frozen=True, slots=True)
class ScaleScore:
    """Of one data set. Shares 0..1; an error is found / right - 1."""

    images: int
    unknown: float  # share of pictures that tell no scale
    median_px: float  # of all whole cells, by the masks
    errors: tuple[float, ...]  # of single pictures against their own cells, at QUANTILES
    near: float  # share within NEAR of their own cells, of the single pictures that tell a scale and show a whole cell
    drawn: float  # share of draws within NEAR of the set's median
    drawn_by_masks: float  # the same where each picture tells the true median of its own cells


def estimated(samples: Iterable[Sample], manifest: Manifest, network: Network) -> Iterator[Estimated]:
    """Each picture by itself, as `station segment` sees it. Lazy, for a progress bar around it."""
    for sample in samples:
        image, labels = sample.read()
        scale = estimate(image, manifest, network)
        found = scale.cell_diameter_px if scale.source == "estimated" else None
        yield Estimated(sample.dataset, tuple(cell_diameters(labels)), found)


def scale_score(pictures: Sequence[Estimated], seeds: Sequence[int]) -> ScaleScore:
    """Of the pictures of one data set; a draw per seed. Raises DataError where no mask holds a whole cell."""
    cells = [px for picture in pictures for px in picture.diameters_px]
    if not cells:
        raise DataError("no mask holds a whole white blood cell, so there is nothing to hold an estimate against")
    median = float(np.median(cells))
    own = [(one.found_px, float(np.median(one.diameters_px))) for one in pictures if one.diameters_px]
    errors = [found / right - 1 for found, right in own if found is not None]
    draws = [np.random.default_rng(seed).permutation(len(pictures))[:PICTURES] for seed in seeds]
    told = [[pictures[index].found_px for index in draw] for draw in draws]
    true = [
        [float(np.median(px)) if (px := pictures[index].diameters_px) else None for index in draw] for draw in draws
    ]
    return ScaleScore(
        images=len(pictures),
        unknown=float(np.mean([one.found_px is None for one in pictures])),
        median_px=median,
        errors=tuple(np.quantile(errors, QUANTILES).tolist()) if errors else (),
        near=float(np.mean([abs(error) <= NEAR for error in errors])) if errors else 0.0,
        drawn=_near(told, median),
        drawn_by_masks=_near(true, median),
    )


def _near(draws: Iterable[Iterable[float | None]], median_px: float) -> float:
    """The share of draws whose pictures together tell nearly the median."""
    known = [[px for px in draw if px is not None] for draw in draws]
    return float(np.mean([bool(px) and abs(camera_diameter(px) / median_px - 1) <= NEAR for px in known]))
