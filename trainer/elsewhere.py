"""Held-out pictures as other cameras would show them, so that a training may choose what does not depend on one."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields

import numpy as np

from station.contract.cells import LabelImage
from station.contract.imaging import RGB
from trainer.datasets.samples import Sample
from trainer.recipe import Augmentation, Recipe
from trainer.recolour import recoloured

ELSEWHERE = "elsewhere"  # behind the name of a data set


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


def named_elsewhere(dataset: str) -> str:
    """The name of a data set as other cameras show it."""
    return f"{dataset} {ELSEWHERE}"
