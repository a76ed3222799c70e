"""Batches with augmentation, in NumPy.

Crop i of epoch e is drawn from (seed, recipe, e, i) alone, so a resumed run needs no state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from station.contract.errors import ImageError
from station.contract.imaging import RGB, frame_for, resized
from station.contract.manifest import BACKGROUND, CLASSES
from station.contract.masks import LabelImage
from station.demo.smear import paint, random_recipe
from trainer.composites import MOST_CELLS, Variety, compose
from trainer.cutouts import Cutout, Ground, stock
from trainer.datasets.samples import DataError, Sample, grouped
from trainer.recipe import BALANCED, ClassWeights, Recipe
from trainer.recolour import recoloured

Batch: TypeAlias = tuple[NDArray[np.float32], NDArray[np.float32]]  # pictures and truth, see `batch`

# Red cells enlarged by up to these factors must not pass for white ones: so an unknown scale can be found by trying.
_WRONG_SCALES, _WRONG_SCALE_SHARE = (0.5, 2.5), 0.2

_ONE_HOT = np.eye(len(CLASSES), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture with its truth at network scale, and where its labelled pixels lie."""

    image: RGB
    labels: LabelImage
    labelled: NDArray[np.intp]  # [K, 2] (row, column) of a sample of the labelled pixels


@dataclass(frozen=True, slots=True)
class Pool:
    """Pictures of one source, drawn with probability `share`."""

    name: str
    pictures: tuple[Picture, ...]
    share: float


def pools(
    samples: Sequence[Sample],
    diameters: Mapping[str, float],
    recipe: Recipe,
    seed: int,
    tick: Callable[[], None] = lambda: None,
) -> list[Pool]:
    """One pool per data set, brought to network scale by its own cell diameter (px), one of painted fields, and one of
    fields that are composed of the samples' cells.

    Data sets share what these two leave over equally, so that a small set is not drowned. `tick` is called per
    picture for a progress bar. Raises DataError naming a picture that cannot be read or brought to that scale, or
    where fields are to be composed and no picture has room for it.
    """
    sources = grouped(samples)
    share = (1.0 - recipe.painted_share - recipe.composed_share) / max(1, len(sources))
    made = []
    for name, own in sources.items():
        made.append(Pool(name, tuple(_ticking(_read(s, diameters[name], recipe), tick) for s in own), share))
    if recipe.painted_share and recipe.painted_fields:
        rng = np.random.default_rng([seed, 1])
        fields = tuple(_ticking(_painted(rng, recipe), tick) for _ in range(recipe.painted_fields))
        made.append(Pool("painted", fields, recipe.painted_share))
    if recipe.composed_share and recipe.composed_fields:
        rng, parts = np.random.default_rng([seed, 2]), stock(samples, diameters)
        fields = tuple(_ticking(_composed(rng, *parts, recipe), tick) for _ in range(recipe.composed_fields))
        made.append(Pool("composed", fields, recipe.composed_share))
    return made


def batch(sources: Sequence[Pool], recipe: Recipe, seed: int, epoch: int, step: int) -> Batch:
    """([N, side, side, 3] RGB 0..255, [N, side, side, 3] one-hot truth) of one step; side = `recipe.input_px`.

    Depends on the arguments alone and leaves the interpreter to others most of the time, so several threads may make
    several batches ahead.
    """
    first, draw = step * recipe.batch, int(recipe.digest[:8], 16)
    images = np.empty((recipe.batch, recipe.input_px, recipe.input_px, 3), np.float32)
    truth = np.empty_like(images)
    for i in range(recipe.batch):
        images[i], labels = _crop(sources, recipe, np.random.default_rng([seed, draw, epoch, first + i]))
        np.take(_ONE_HOT, labels, axis=0, out=truth[i], mode="clip")  # five times as fast as by index
    return images, truth


def batch_bytes(recipe: Recipe) -> int:
    """How much memory a batch takes."""
    return recipe.batch * recipe.input_px**2 * (3 + 3) * np.dtype(np.float32).itemsize


def class_weights(sources: Sequence[Pool], recipe: Recipe) -> ClassWeights | None:
    """The recipe's weights of background, cytoplasm and nucleus for the loss.

    Balanced ones are inverse to the share of each class in the labels, pools counted by their share in the batches;
    their mean is 1. Raises DataError where a class is in no label.
    """
    if recipe.class_weights != BALANCED:
        return recipe.class_weights
    present = np.sum([pool.share * _class_shares(pool) for pool in sources], axis=0)
    if missing := [name for name, share in zip(CLASSES, present, strict=True) if not share]:
        raise DataError(
            f"no training mask has a pixel of {missing[0]}, so class_weights cannot be balanced; give three numbers"
        )
    inverse = 1.0 / present
    background, cytoplasm, nucleus = (float(weight) for weight in inverse / inverse.mean())
    return background, cytoplasm, nucleus


def _crop(sources: Sequence[Pool], recipe: Recipe, rng: np.random.Generator) -> tuple[NDArray[np.float32], LabelImage]:
    shares = np.array([pool.share for pool in sources])
    pool = sources[rng.choice(len(sources), p=shares / shares.sum())]
    picture = pool.pictures[rng.integers(len(pool.pictures))]
    centre = _centre(picture, recipe, rng)
    image, labels = _warped(picture, centre, recipe, rng)
    return recoloured(image, recipe.augment, rng), labels


def _centre(picture: Picture, recipe: Recipe, rng: np.random.Generator) -> NDArray[np.float64]:
    height, width = picture.labels.shape
    if recipe.scale_policy == "stretch":
        return np.array([width, height]) / 2
    if len(picture.labelled) and rng.random() < recipe.near_label_share:
        row, column = picture.labelled[rng.integers(len(picture.labelled))]
        return np.array([column, row]) + rng.uniform(-0.8, 0.8, 2) * recipe.cell_diameter_px
    return rng.uniform(0, 1, 2) * (width, height)


def _warped(
    picture: Picture, centre: NDArray[np.float64], recipe: Recipe, rng: np.random.Generator
) -> tuple[RGB, LabelImage]:
    side = recipe.input_px
    matrix = _placement(centre, recipe, rng)
    image = cv2.warpAffine(picture.image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    labels = cv2.warpAffine(
        picture.labels, matrix, (side, side), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT
    )
    return np.asarray(image, np.uint8), np.asarray(labels, np.uint8)


def _placement(centre: NDArray[np.float64], recipe: Recipe, rng: np.random.Generator) -> NDArray[np.float64]:
    """[2, 3] from a picture to a crop around `centre` (x, y): scaled, turned, mirrored."""
    low, high = recipe.augment.scale
    scale = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    angle = rng.uniform(-1, 1) * recipe.augment.rotation_degrees
    matrix = np.asarray(cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), angle, scale), np.float64)
    matrix[:, 2] += recipe.input_px / 2 - centre
    if rng.random() < 0.5:
        matrix[0] = _mirrored(matrix[0], recipe.input_px)
    if recipe.augment.upside_down_share and rng.random() < recipe.augment.upside_down_share:
        matrix[1] = _mirrored(matrix[1], recipe.input_px)
    return matrix


def _mirrored(row: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    return np.array([0.0, 0.0, side - 1.0]) - row


def _class_shares(pool: Pool) -> NDArray[np.float64]:
    """[3] share of each class in the labels of a pool, 0..1."""
    pixels = sum(np.bincount(picture.labels.ravel(), minlength=len(CLASSES)) for picture in pool.pictures)
    return np.asarray(pixels / np.sum(pixels), np.float64)


def _read(sample: Sample, diameter_px: float, recipe: Recipe) -> Picture:
    try:
        return _to_network_scale(*sample.read(), diameter_px, recipe)
    except ImageError as cause:
        raise DataError(f"{sample.image}: {cause}") from cause


def _to_network_scale(image: RGB, labels: LabelImage, diameter_px: float, recipe: Recipe) -> Picture:
    """As the station brings it there; the labels by area share per class, so that thin rims of cytoplasm survive."""
    height, width = labels.shape
    frame = frame_for(height, width, diameter_px, recipe.network_scale(stride=1))
    small = resized(_ONE_HOT[labels], frame).argmax(axis=-1).astype(np.uint8)
    return Picture(np.asarray(resized(image, frame), np.uint8), small, _labelled(small))


def _labelled(labels: LabelImage) -> NDArray[np.intp]:
    places = np.argwhere(labels != BACKGROUND)
    return places[:: max(1, len(places) // 500)]


def _painted(rng: np.random.Generator, recipe: Recipe) -> Picture:
    diameter = float(rng.uniform(80, 130))
    field = paint(random_recipe(rng, width=640, height=480, cell_diameter_px=diameter))
    return _to_network_scale(field.image, field.labels, diameter, recipe)


def _composed(rng: np.random.Generator, cells: list[Cutout], free: list[Ground], recipe: Recipe) -> Picture:
    """A field at network scale; one of few without a white cell at any other scale, for there red cells are large."""
    seed, wrong = int(rng.integers(2**31)), rng.random() < _WRONG_SCALE_SHARE
    variety = Variety(recipe.composed_size, recipe.composed_density)
    field = compose(seed, cells, free, 0 if wrong else MOST_CELLS, variety)
    factor = float(np.exp(rng.uniform(*np.log(_WRONG_SCALES)))) if wrong else 1.0
    return _to_network_scale(field.image, field.labels, field.cell_diameter_px / factor, recipe)


def _ticking(picture: Picture, tick: Callable[[], None]) -> Picture:
    tick()
    return picture
