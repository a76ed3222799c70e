"""The product in a few lines: one picture in, its white blood cells out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from station.contract.cells import Drawing, cut_by, draw
from station.contract.doubts import doubted, of_picture, unclear_area
from station.contract.errors import NotFinite
from station.contract.imaging import (
    RGB,
    Frame,
    Probabilities,
    frame_for,
    network_diameter,
    to_network_scale,
    without_padding,
)
from station.contract.manifest import BACKGROUND, CLASSES, Manifest, Separation
from station.contract.quality import measure_quality, stain_distance
from station.contract.separation import Instances, separate
from station.contract.surround import surround

# [N, H, W, 3] uint8 RGB -> [N, H, W, 3] float32 class probabilities. Keras, ONNX Runtime, a lambda in a test.
Network: TypeAlias = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

# Probabilities [h, w, 3], the cell diameter there in px, the manifest's parameters -> the single cells.
Separate: TypeAlias = Callable[[Probabilities, float, Separation], Instances]

ScaleSource: TypeAlias = Literal["told", "camera", "estimated", "default"]

# What a single picture tells of its scale is the size of its typical cell, and the small ones among large ones would
# merge: so it is shown larger. Of 166 fields composed of train rows 160 are counted right at 1, 163 or 164 at 0.8 to
# 0.93, 160 at 0.75.
_SHOWN: Final = 0.93


@dataclass(frozen=True, slots=True)
class Scale:
    """The apparent cell diameter of a picture at camera scale, px, and where the figure came from."""

    cell_diameter_px: float
    source: ScaleSource


@dataclass(frozen=True, slots=True)
class Analysis:
    """What is known of one picture after it was analysed."""

    drawing: Drawing
    scale: Scale
    flags: tuple[str, ...]
    quality: dict[str, float]  # focus, brightness, contrast, clipped, stain: those that there are

    @property
    def wbc_count(self) -> int:
        return len(self.drawing.measured)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A picture at network scale, ready for a batch."""

    tile: RGB  # [padded_height, padded_width, 3]
    frame: Frame
    scale: Scale


@dataclass(frozen=True, slots=True)
class Found:
    """The cells of a picture, at network scale and as they are drawn."""

    probabilities: Probabilities  # [h, w, 3] without padding
    cell_diameter_px: float  # at network scale
    instances: Instances
    drawing: Drawing
    beside: NDArray[np.bool_] | None  # [h, w] where the picture shows no specimen, as `surround` tells

    @property
    def unclear(self) -> float:
        """The largest region that looks like cell to some degree and is none, in discs of the cell diameter."""
        return unclear_area(self.probabilities, self.instances, self.cell_diameter_px)


def analyse(image: RGB, scale: Scale, manifest: Manifest, network: Network) -> Analysis:
    """Segment, separate and measure the white cells of one RGB picture [H, W, 3]."""
    prepared = prepare(image, scale, manifest)
    return finish(prepared, network(prepared.tile[None])[0], manifest)


def prepare(image: RGB, scale: Scale, manifest: Manifest) -> Prepared:
    """To network scale. Raises ImageError where the scale would enlarge the picture beyond reason."""
    height, width = image.shape[:2]
    shown_px = scale.cell_diameter_px * (_SHOWN if scale.source == "estimated" else 1.0)
    frame = frame_for(height, width, shown_px, manifest.scale)
    return Prepared(to_network_scale(image, frame), frame, scale)


def find(prepared: Prepared, probabilities: Probabilities, manifest: Manifest, separate: Separate = separate) -> Found:
    """The cells alone; `separate` may be another way to tell them apart.

    Raises NotFinite on NaN or infinity: a broken engine must not pass for an empty field.
    """
    if not math.isfinite(float(probabilities.sum())):
        raise NotFinite("the network answered with numbers that are not finite")
    inside = without_padding(probabilities, prepared.frame)
    beside = surround(without_padding(prepared.tile, prepared.frame))
    if beside is not None:
        inside = _cleared(inside, beside)
    diameter_px = network_diameter(prepared.scale.cell_diameter_px, prepared.frame, manifest.scale)
    instances = separate(inside, diameter_px, manifest.separation)
    drawing = draw(inside, instances, prepared.frame)
    return Found(inside, diameter_px, instances, drawing if beside is None else cut_by(beside, drawing), beside)


def _cleared(probabilities: Probabilities, beside: NDArray[np.bool_]) -> Probabilities:
    """[h, w, 3] with background where the picture shows no specimen: networks take black for nuclei."""
    cleared = probabilities.copy()
    cleared[beside] = np.eye(len(CLASSES), dtype=cleared.dtype)[BACKGROUND]
    return cleared


def finish(prepared: Prepared, probabilities: Probabilities, manifest: Manifest) -> Analysis:
    """Cells from the network's answer [padded_height, padded_width, 3], with flags. Raises as `find` does."""
    found = find(prepared, probabilities, manifest)
    reference, scale = manifest.reference, prepared.scale
    cells = doubted(found.drawing.measured, scale.cell_diameter_px, reference)
    drawing = replace(found.drawing, measured=cells)
    quality = measure_quality(without_padding(prepared.tile, prepared.frame), found.probabilities, found.beside)
    stain = stain_distance(quality.densities, reference.stains) if reference else None
    flags = of_picture(
        drawing,
        scale_unknown=scale.source == "default",
        unclear=found.unclear,
        quality=quality,
        stain=stain,
        reference=reference,
    )
    return Analysis(drawing, scale, flags, quality.figures(stain))
