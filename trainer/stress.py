"""What becomes of the scores where light, focus, file, magnification or position of a picture change.

TABLE of disturbances, one at a time. The outlines are scored with the scale told, the counts on composed fields with
nothing told. Whatever is lost is lost against the same pictures undisturbed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from station.contract.analysis import Analysis, Network, Scale, analyse
from station.contract.decoding import decode
from station.contract.errors import ImageError
from station.contract.imaging import RGB
from station.contract.manifest import CLASSES, Manifest
from station.contract.masks import LabelImage
from station.contract.scale import estimate
from trainer.composites import Composite
from trainer.datasets.samples import DataError, Sample
from trainer.evaluate import ImageScore, confusion, pooled, region_score, true_count

UNDISTURBED: Final = "undisturbed"
ALL: Final = "all sets"
SCORED: Final = ("cell", "nucleus")  # regions
MOST_DICE, MOST_EXACT = 0.02, 0.03  # that may be lost

_WARM = (1.12, 1.0, 0.88)  # gains of red, green and blue
_BLUR = 0.015  # sigma, cell diameters
_NOISE, _SEED = 8.0, 0  # sigma, grey values
_LEAST_PX = 60.0  # smaller cells are not asked for
_LEAST_INSIDE = 1 / 3  # of a found cell: one that meets its own mirror image lies half inside

_ONE_HOT = np.eye(len(CLASSES), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class View:
    """A picture with its truth, as a camera may show it."""

    image: RGB  # [H, W, 3]
    labels: LabelImage  # [H, W] 0 background, 1 cytoplasm, 2 nucleus
    cell_diameter_px: float
    inside: NDArray[np.bool_]  # [H, W] what is of the picture; the rest continues it by its mirror image, unscored


@dataclass(frozen=True, slots=True)
class Change:
    """A figure under a disturbance, and what the same pictures gave without; both 0..1."""

    value: float
    before: float
    bearable: float  # the most that may be lost

    @property
    def lost(self) -> float:
        return self.before - self.value

    @property
    def is_too_much(self) -> bool:
        return round(self.lost, 9) > self.bearable


@dataclass(frozen=True, slots=True)
class Effect:
    """What a disturbance does. A data set whose cells it would make too small is left out, as is such a field."""

    dice: Mapping[tuple[str, str], Change]  # (data set or ALL, region), pooled over pixels; the scale told
    exact: Change | None  # share of composed fields counted exactly, nothing told; None where there is no field
    fields: int

    @property
    def is_too_much(self) -> bool:
        return any(change.is_too_much for change in (*self.dice.values(), *filter(None, [self.exact])))


Disturb: TypeAlias = Callable[[View], View | None]

DISTURBANCES: Final[Mapping[str, Disturb]] = {
    UNDISTURBED: lambda view: view,
    "brightness +30 %": lambda view: _lit(view, 1.3),
    "brightness -30 %": lambda view: _lit(view, 0.7),
    "contrast +30 %": lambda view: _spread(view, 1.3),
    "contrast -30 %": lambda view: _spread(view, 0.7),
    "white balance warm": lambda view: _lit(view, _WARM),
    "white balance cold": lambda view: _lit(view, _WARM[::-1]),
    "blur": lambda view: _blurred(view, _BLUR * view.cell_diameter_px),
    "noise": lambda view: _noisy(view, _NOISE),
    "JPEG quality 50": lambda view: _compressed(view, 50),
    "half magnification": lambda view: _magnified(view, 0.5),
    "double magnification": lambda view: _magnified(view, 2.0),
    "rotation by 90 degrees": lambda view: _turned_square(view),
    "rotation by 30 degrees": lambda view: _turned(view, 30.0),
}


def as_taken(image: RGB, labels: LabelImage, cell_diameter_px: float) -> View:
    """A picture as it is, all of it scored."""
    return View(image, labels, cell_diameter_px, np.ones(labels.shape, bool))


def chosen(words: Sequence[str]) -> dict[str, Disturb]:
    """The rows of the table whose names hold one of these words, or all without any; `UNDISTURBED` always.

    Raises DataError for a word that is in no name.
    """
    for word in words:
        if not any(word.lower() in name.lower() for name in DISTURBANCES):
            raise DataError(f"there is no disturbance '{word}'; there are {', '.join(DISTURBANCES)}")
    meant = [name for name in DISTURBANCES if not words or any(word.lower() in name.lower() for word in words)]
    return {name: DISTURBANCES[name] for name in dict.fromkeys([UNDISTURBED, *meant])}


def outlined(
    samples: Iterable[Sample],
    diameters: Mapping[str, float],
    manifest: Manifest,
    network: Network,
    disturbances: Mapping[str, Disturb] = DISTURBANCES,
) -> Iterator[dict[str, ImageScore]]:
    """Of each picture disturbance -> score, the scale told; `diameters`: data set -> cell diameter, px.

    Raises DataError naming a picture that cannot be read or brought to network scale.
    """
    for sample in samples:
        image, truth = sample.read()
        view, true = as_taken(image, truth, diameters[sample.dataset]), true_count(sample, truth)
        try:
            views = _views(view, disturbances)
            yield {name: _score(sample, other, true, manifest, network) for name, other in views}
        except ImageError as cause:
            raise DataError(f"{sample.image} {cause}") from cause


def counted_exactly(
    fields: Iterable[Composite],
    manifest: Manifest,
    network: Network,
    disturbances: Mapping[str, Disturb] = DISTURBANCES,
) -> Iterator[dict[str, bool]]:
    """Of each field disturbance -> whether its cells were counted exactly, nothing told."""
    for field in fields:
        views = _views(as_taken(field.image, field.labels, field.cell_diameter_px), disturbances)
        yield {name: _count_untold(other, manifest, network) == field.wbc_count for name, other in views}


def effects(
    pictures: Sequence[Mapping[str, ImageScore]],
    fields: Sequence[Mapping[str, bool]],
    disturbances: Iterable[str] = DISTURBANCES,
) -> dict[str, Effect]:
    """Disturbance -> effect, from what `outlined` and `counted_exactly` gave of these; the undisturbed first."""
    return {name: _effect(name, pictures, fields) for name in disturbances}


def words(found: Mapping[str, Effect]) -> str:
    """One sentence: which disturbances cost more than is borne."""
    bad = [name for name, effect in found.items() if effect.is_too_much]
    limits = f"than {MOST_DICE:g} Dice or {100 * MOST_EXACT:g} points of exact counts"
    return f"More {limits} are lost under {', '.join(bad)}." if bad else f"No disturbance costs more {limits}."


def _views(view: View, disturbances: Mapping[str, Disturb]) -> Iterator[tuple[str, View]]:
    for name, disturb in disturbances.items():
        other = disturb(view)
        if other is not None:
            yield name, other


def _score(sample: Sample, view: View, true: int, manifest: Manifest, network: Network) -> ImageScore:
    analysis = analyse(view.image, Scale(view.cell_diameter_px, "told"), manifest, network)
    matrix = confusion(view.labels[view.inside], analysis.drawing.labels[view.inside])
    count = _count_inside(view, analysis)
    return ImageScore(sample.dataset, sample.id, matrix, count, true, view.cell_diameter_px)


def _count_untold(view: View, manifest: Manifest, network: Network) -> int:
    scale = estimate(view.image, manifest, network)
    return _count_inside(view, analyse(view.image, scale, manifest, network))


def _count_inside(view: View, analysis: Analysis) -> int:
    """Cells, without those that are mostly mirror images."""
    cells, numbers = analysis.drawing.cells, analysis.wbc_count + 1
    whole, inside = (np.bincount(part, minlength=numbers)[1:] for part in (cells.ravel(), cells[view.inside]))
    return int(np.count_nonzero(inside > _LEAST_INSIDE * whole))


def _effect(name: str, pictures: Sequence[Mapping[str, ImageScore]], fields: Sequence[Mapping[str, bool]]) -> Effect:
    both = [(one[UNDISTURBED], one[name]) for one in pictures if name in one]
    sets = {before.dataset: [pair for pair in both if pair[0].dataset == before.dataset] for before, _ in both}
    together = {ALL: both} if len({one[UNDISTURBED].dataset for one in pictures}) > 1 and both else {}
    counts = [(one[UNDISTURBED], one[name]) for one in fields if name in one]
    exact = [float(np.mean(side)) for side in zip(*counts, strict=True)]
    return Effect(
        dice={(own, region): _dice(pairs, region) for own, pairs in (sets | together).items() for region in SCORED},
        exact=Change(exact[1], exact[0], MOST_EXACT) if exact else None,
        fields=len(counts),
    )


def _dice(pairs: Sequence[tuple[ImageScore, ImageScore]], region: str) -> Change:
    before, value = (region_score(pooled(side), region).dice for side in zip(*pairs, strict=True))
    return Change(value, before, MOST_DICE)


def _lit(view: View, gains: ArrayLike) -> View:
    """All channels, or each, times a gain."""
    return replace(view, image=_levels(view.image.astype(np.float32) * np.asarray(gains, np.float32)))


def _spread(view: View, factor: float) -> View:
    """Grey values further from their mean, or nearer to it."""
    values = view.image.astype(np.float32)
    mean = values.mean()
    return replace(view, image=_levels(mean + factor * (values - mean)))


def _blurred(view: View, sigma_px: float) -> View:
    return replace(view, image=np.asarray(cv2.GaussianBlur(view.image, (0, 0), sigma_px), np.uint8))


def _noisy(view: View, sigma: float) -> View:
    noise = np.random.default_rng(_SEED).standard_normal(view.image.shape, np.float32)
    return replace(view, image=_levels(view.image + sigma * noise))


def _compressed(view: View, quality: int) -> View:
    blue_first = np.ascontiguousarray(view.image[..., ::-1])
    _, file = cv2.imencode(".jpg", blue_first, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return replace(view, image=decode(file.tobytes()))


def _magnified(view: View, factor: float) -> View | None:
    """As another objective shows it; None where its cells would become too small."""
    diameter = factor * view.cell_diameter_px
    if diameter < _LEAST_PX and factor < 1:
        return None
    size = [round(factor * side) for side in view.labels.shape[::-1]]
    image = cv2.resize(view.image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
    # By area share per class, so that thin rims of cytoplasm survive.
    shares = cv2.resize(_ONE_HOT[view.labels], size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    return as_taken(np.asarray(image, np.uint8), shares.argmax(axis=-1).astype(np.uint8), diameter)


def _turned_square(view: View) -> View:
    image, labels = (np.ascontiguousarray(np.rot90(part)) for part in (view.image, view.labels))
    return as_taken(image, labels, view.cell_diameter_px)


def _turned(view: View, degrees: float) -> View:
    """All of the picture, turned, in one that is large enough for it; the corners hold its mirror image."""
    height, width = view.labels.shape
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    cos, sin = (abs(float(part)) for part in matrix[0, :2])
    size = (math.ceil(width * cos + height * sin), math.ceil(height * cos + width * sin))
    matrix[:, 2] += (size[0] - width) / 2, (size[1] - height) / 2
    image = cv2.warpAffine(view.image, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    labels = cv2.warpAffine(view.labels, matrix, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT)
    inside = cv2.warpAffine(view.inside.astype(np.uint8), matrix, size, flags=cv2.INTER_NEAREST)
    return View(np.asarray(image, np.uint8), np.asarray(labels, np.uint8), view.cell_diameter_px, inside > 0)


def _levels(values: NDArray[np.float32]) -> RGB:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)
