"""What is normal for a model: stains, focus and light of its training rows, and from where on a count is doubtful."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from station.contract.analysis import Network, Scale, find, prepare
from station.contract.imaging import without_padding
from station.contract.manifest import Manifest, Reference, StainReference
from station.contract.quality import STAIN_FEATURES, Quality, measure_quality, stain_distance
from trainer.composites import Composite
from trainer.datasets.samples import DataError, Sample

# A flag rises for what is further out than all but this share of the training rows, and by this much.
_OUTERMOST, _SLACK = 0.005, 1.25
# Share of fields that are counted right and yet marked, at most, on fields of rows that the model was trained on. Of
# others the starter marks 1.6 to 1.8 times as many, and 15 % are what may be asked of a technician.
_MOST_RIGHT_MARKED = 0.07
ENOUGH_WRONG = 10  # counts, to choose limits by which of them they mark
_UNCLEAR = (0.01, 0.015, 0.02, 0.03, 0.05, 0.08, 0.15)  # limits that are tried, discs
_CONFIDENCE = (0.0, 0.8, 0.84, 0.86, 0.88, 0.9, 0.92, 0.94, 0.96)
_LEAST_PICTURES = 2 * STAIN_FEATURES  # or a covariance says nothing


@dataclass(frozen=True, slots=True)
class Doubt:
    """One composed field: what might have told that its count is wrong."""

    wrong: bool
    unclear: float  # discs
    confidence: float  # of the least sure cell; 1 without cells


def qualities(
    samples: Iterable[Sample], diameters: Mapping[str, float], manifest: Manifest, network: Network
) -> Iterable[tuple[str, Quality]]:
    """(data set, figures) of each picture, its scale told. Lazy, for a progress bar around it."""
    for sample in samples:
        prepared = prepare(sample.read()[0], Scale(diameters[sample.dataset], "told"), manifest)
        found = find(prepared, network(prepared.tile[None])[0], manifest)
        tile = without_padding(prepared.tile, prepared.frame)
        yield sample.dataset, measure_quality(tile, found.probabilities, found.beside)


def doubts(fields: Iterable[Composite], manifest: Manifest, network: Network) -> Iterable[Doubt]:
    """Of each field, counted with its scale told. Lazy, for a progress bar around it."""
    for field in fields:
        prepared = prepare(field.image, Scale(field.cell_diameter_px, "told"), manifest)
        found = find(prepared, network(prepared.tile[None])[0], manifest)
        cells = found.drawing.measured
        least = min((cell.confidence for cell in cells), default=1.0)
        yield Doubt(len(cells) != field.wbc_count, found.unclear, least)


def stains_of(measured: Sequence[tuple[str, Quality]]) -> tuple[StainReference, ...]:
    """Of each data set. Raises DataError where one is too small to tell its stain."""
    return tuple(_stain(name, [own for other, own in measured if other == name]) for name in _sets(measured))


def reference(measured: Sequence[tuple[str, Quality]], doubted: Sequence[Doubt]) -> Reference:
    """Raises DataError as `stains_of` does."""
    stains = stains_of(measured)
    distances = [d for _, own in measured if (d := stain_distance(own.densities, stains)) is not None]
    own = [quality for _, quality in measured]
    unclear, confidence = limits(doubted)
    light = [one.brightness for one in own]
    return Reference(
        stains=stains,
        stain=_rounded(_SLACK * _quantile(distances, 1 - _OUTERMOST)),
        focus=_rounded(_quantile([one.focus for one in own if one.focus is not None], _OUTERMOST) / _SLACK),
        brightness=(
            _rounded(_quantile(light, _OUTERMOST) / _SLACK),
            _rounded((_quantile(light, 1 - _OUTERMOST) + 1.0) / 2),  # half way to white, which is the end
        ),
        contrast=_rounded(_quantile([one.contrast for one in own], _OUTERMOST) / _SLACK),
        clipped=_rounded(max(0.01, _SLACK * _quantile([one.clipped for one in own], 1 - _OUTERMOST))),
        confidence=confidence,
        unclear=unclear,
    )


def limits(doubted: Sequence[Doubt]) -> tuple[float, float]:
    """(unclear, confidence) that mark most of the wrong counts, and of those the fewest right ones.

    No more than a given share of the right ones. Where too few were counted wrong to tell by which limits they would be
    marked, each of the two marks half of that share.
    """
    right = [one for one in doubted if not one.wrong]
    if len(doubted) - len(right) < ENOUGH_WRONG and right:
        share = _MOST_RIGHT_MARKED / 2
        unclear = np.quantile([one.unclear for one in right], 1 - share, method="higher")  # which marks no more
        confidence = np.quantile([one.confidence for one in right], share, method="lower")
        return _rounded(float(unclear)), _rounded(float(confidence))
    fitting = []
    for unclear, confidence in product(_UNCLEAR, _CONFIDENCE):
        falsely, rightly = marked(doubted, unclear, confidence)
        if falsely <= _MOST_RIGHT_MARKED:
            fitting.append((rightly, -falsely, unclear, confidence))
    if not fitting:
        return _UNCLEAR[-1], _CONFIDENCE[0]
    *_, unclear, confidence = max(fitting)
    return unclear, confidence


def marked(doubted: Sequence[Doubt], unclear: float, confidence: float) -> tuple[float, float]:
    """(share of right counts, share of wrong counts) that these limits mark; 0 where there is none."""
    hits = [(one.wrong, one.unclear > unclear or one.confidence < confidence) for one in doubted]
    right, wrong = ([hit for kind, hit in hits if kind is wanted] for wanted in (False, True))
    return (float(np.mean(right)) if right else 0.0), (float(np.mean(wrong)) if wrong else 0.0)


def _sets(measured: Sequence[tuple[str, Quality]]) -> list[str]:
    return sorted({name for name, _ in measured})


def _stain(name: str, own: Sequence[Quality]) -> StainReference:
    seen = np.array([quality.densities for quality in own if quality.densities is not None])
    if len(seen) < _LEAST_PICTURES:
        raise DataError(f"{name} has {len(seen)} pictures with cells, too few to tell its stain: {_LEAST_PICTURES} are")
    mean = np.median(seen, axis=0)
    spread = np.cov(seen, rowvar=False) + 1e-4 * np.eye(STAIN_FEATURES)  # never singular, however alike they are
    precision = np.linalg.inv(spread)
    return StainReference(dataset=name, mean=_tuple(mean), precision=tuple(_tuple(row) for row in precision))


def _quantile(values: Sequence[float], share: float) -> float:
    return float(np.quantile(values, share))


def _tuple(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(round(float(value), 5) for value in values)


def _rounded(value: float) -> float:
    return round(value, 4)
