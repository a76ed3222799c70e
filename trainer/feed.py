"""Batches with augmentation, in NumPy.

Crop i of epoch e is drawn from (seed, recipe, e, i) alone, so a resumed run needs no state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from station.contract.cells import LabelImage
from station.contract.imaging import RGB
from station.contract.manifest import BACKGROUND, CLASSES
from station.demo.smear import paint, random_recipe
from trainer.datasets.samples import Sample, grouped
from trainer.recipe import Augmentation, Recipe


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
    """One pool per data set, brought to the recipe's cell diameter by its own (px), and one of painted fields.

    Data sets share what painted fields leave over equally, so that a small set is not drowned. `tick` is called per
    picture for a progress bar.
    """
    sources = grouped(samples)
    share = (1.0 - recipe.painted_share) / len(sources)
    made = []
    for name, own in sources.items():
        factor = recipe.cell_diameter_px / diameters[name]
        made.append(Pool(name, tuple(_ticking(_shrunk(*s.read(), factor), tick) for s in own), share))
    if recipe.painted_share and recipe.painted_fields:
        rng = np.random.default_rng([seed, 1])
        fields = tuple(_ticking(_painted(rng, recipe), tick) for _ in range(recipe.painted_fields))
        made.append(Pool("painted", fields, recipe.painted_share))
    return made


def batch(
    sources: Sequence[Pool], recipe: Recipe, seed: int, epoch: int, step: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """([N, crop, crop, 3] RGB 0..255, [N, crop, crop, 3] one-hot truth) of one step."""
    first, draw = step * recipe.batch, int(recipe.digest[:8], 16)
    crops = [_crop(sources, recipe, np.random.default_rng([seed, draw, epoch, first + i])) for i in range(recipe.batch)]
    images = np.stack([image for image, _ in crops])
    truth = np.eye(len(CLASSES), dtype=np.float32)[np.stack([labels for _, labels in crops])]
    return images, truth


def _crop(sources: Sequence[Pool], recipe: Recipe, rng: np.random.Generator) -> tuple[NDArray[np.float32], LabelImage]:
    shares = np.array([pool.share for pool in sources])
    pool = sources[rng.choice(len(sources), p=shares / shares.sum())]
    picture = pool.pictures[rng.integers(len(pool.pictures))]
    centre = _centre(picture, recipe, rng)
    image, labels = _warped(picture, centre, recipe, rng)
    return _recoloured(image, recipe.augment, rng), labels


def _centre(picture: Picture, recipe: Recipe, rng: np.random.Generator) -> NDArray[np.float64]:
    height, width = picture.labels.shape
    if len(picture.labelled) and rng.random() < recipe.near_label_share:
        row, column = picture.labelled[rng.integers(len(picture.labelled))]
        return np.array([column, row]) + rng.uniform(-0.8, 0.8, 2) * recipe.cell_diameter_px
    return rng.uniform(0, 1, 2) * (width, height)


def _warped(
    picture: Picture, centre: NDArray[np.float64], recipe: Recipe, rng: np.random.Generator
) -> tuple[RGB, LabelImage]:
    low, high = recipe.augment.scale
    scale = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    angle = rng.uniform(-1, 1) * recipe.augment.rotation_degrees
    matrix = np.asarray(cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), angle, scale), np.float64)
    matrix[:, 2] += recipe.crop_px / 2 - centre
    if rng.random() < 0.5:
        matrix[0] = -matrix[0]
        matrix[0, 2] += recipe.crop_px
    size = (recipe.crop_px, recipe.crop_px)
    image = cv2.warpAffine(picture.image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    labels = cv2.warpAffine(picture.labels, matrix, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(image, np.uint8), np.asarray(labels, np.uint8)


def _recoloured(image: RGB, augment: Augmentation, rng: np.random.Generator) -> NDArray[np.float32]:
    """Stain, white balance, light and focus as another microscope would have them; RGB 0..255."""
    x = image.astype(np.float32) / 255.0
    grey = x.mean(axis=-1, keepdims=True)
    x = grey + (x - grey) * rng.uniform(*augment.saturation)
    x = x @ _hue_rotation(np.deg2rad(rng.uniform(-1, 1) * augment.hue_degrees))
    x = np.clip(x, 0, 1) ** rng.uniform(*augment.gamma)
    x = x * rng.uniform(*augment.gain, size=3) + rng.uniform(-1, 1) * augment.offset
    if rng.random() < augment.blur_share:
        x = cv2.GaussianBlur(x, (0, 0), rng.uniform(0.3, augment.blur_sigma_px))
    if rng.random() < augment.noise_share:
        x = x + rng.normal(0, rng.uniform(0, augment.noise_sigma), x.shape)
    return np.asarray(np.clip(x, 0, 1) * 255.0, np.float32)


def _hue_rotation(angle: float) -> NDArray[np.float32]:
    """[3, 3] rotation of RGB around the grey axis (Rodrigues' formula), to be multiplied from the right."""
    axis = np.full(3, 1 / np.sqrt(3))
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    rotation = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return np.asarray(rotation.T, np.float32)


def _shrunk(image: RGB, labels: LabelImage, factor: float) -> Picture:
    """To network scale; the labels by area share per class, so that thin rims of cytoplasm survive."""
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    shares = cv2.resize(np.eye(len(CLASSES), dtype=np.float32)[labels], size, interpolation=how)
    small = shares.argmax(axis=-1).astype(np.uint8)
    return Picture(np.asarray(cv2.resize(image, size, interpolation=how), np.uint8), small, _labelled(small))


def _labelled(labels: LabelImage) -> NDArray[np.intp]:
    places = np.argwhere(labels != BACKGROUND)
    return places[:: max(1, len(places) // 500)]


def _painted(rng: np.random.Generator, recipe: Recipe) -> Picture:
    diameter = float(rng.uniform(80, 130))
    field = paint(random_recipe(rng, width=640, height=480, cell_diameter_px=diameter))
    return _shrunk(field.image, field.labels, recipe.cell_diameter_px / diameter)


def _ticking(picture: Picture, tick: Callable[[], None]) -> Picture:
    tick()
    return picture
