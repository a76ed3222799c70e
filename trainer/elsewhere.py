"""What a training may choose by beside its held-out pictures: as other cameras show them; fields of their cells."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from station.contract.imaging import RGB
from station.contract.masks import LabelImage
from trainer.composites import Variety, compose
from trainer.cutouts import stock
from trainer.datasets.encodings import INDEXED
from trainer.datasets.samples import Sample
from trainer.recipe import Augmentation, Recipe
from trainer.recolour import recoloured

ELSEWHERE: Final = "elsewhere"  # behind the name of a data set
COMPOSED: Final = "composed of held-out cells"  # the name of one


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleElsewhere(Sample):
    """A sample under one other stain, light, focus and file, drawn by its name: the same at every reading."""

    augment: Augmentation

    def read(self) -> tuple[RGB, LabelImage]:
        """As a sample is read; the label image is that of the sample."""
        image, labels = Sample.read(self)
        rng = np.random.default_rng(zlib.crc32(f"{self.dataset}/{self.id}".encode()))
        return np.rint(recoloured(image, self.augment, rng)).astype(np.uint8), labels


def elsewhere(samples: Iterable[Sample], diameters: Mapping[str, float], recipe: Recipe) -> Iterator[Sample]:
    """Each sample as another camera shows it, in a data set `... elsewhere`; `diameters`: data set -> cell, px.

    The recipe blurs at network scale, here the sigma is brought to the scale of the camera.
    """
    for sample in samples:
        larger = diameters[sample.dataset] / recipe.cell_diameter_px
        augment = recipe.augment.model_copy(update={"blur_sigma_px": max(0.3, recipe.augment.blur_sigma_px * larger)})
        told = {field.name: getattr(sample, field.name) for field in fields(Sample)}
        yield SampleElsewhere(**(told | {"dataset": named_elsewhere(sample.dataset)}), augment=augment)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposedSample(Sample):
    """A field that is composed of held-out cells, at network scale."""

    picture: RGB
    truth: LabelImage

    def read(self) -> tuple[RGB, LabelImage]:
        """As a sample is read."""
        return self.picture, self.truth


def composed(samples: Sequence[Sample], diameters: Mapping[str, float], recipe: Recipe) -> Iterator[Sample]:
    """`recipe.held_out_composed` fields, with the recipe's variety of cells, all of the network's cell size.

    Always the same ones. Raises DataError where no field can be composed of the samples.
    """
    if not recipe.held_out_composed:
        return
    variety, parts = Variety(recipe.composed_size, recipe.composed_density), stock(samples, diameters)
    for seed in range(recipe.held_out_composed):
        field = compose(seed, *parts, variety=variety)
        factor = recipe.cell_diameter_px / field.cell_diameter_px
        size = (round(field.labels.shape[1] * factor), round(field.labels.shape[0] * factor))
        yield ComposedSample(
            dataset=COMPOSED,
            id=str(seed),
            image=Path(),
            mask=Path(),
            group=COMPOSED,
            encoding=INDEXED,
            wbc_count=field.wbc_count,
            picture=np.asarray(cv2.resize(field.image, size, interpolation=cv2.INTER_AREA), np.uint8),
            truth=np.asarray(cv2.resize(field.labels, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8),
        )


def named_elsewhere(dataset: str) -> str:
    """The name of a data set as other cameras show it."""
    return f"{dataset} {ELSEWHERE}"
