"""The product in a few lines: one picture in, its white blood cells out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from station.contract.cells import Drawing, draw, separate
from station.contract.doubts import doubted, of_picture, unclear_area
from station.contract.errors import EngineError
from station.contract.imaging import (
    RGB,
    Frame,
    Probabilities,
    frame_for,
    network_diameter,
    to_network_scale,
    without_padding,
)
from station.contract.manifest import Manifest
from station.contract.quality import measure_quality, stain_distance

# [N, H, W, 3] uint8 RGB -> [N, H, W, 3] float32 class probabilities. Keras, ONNX Runtime, a lambda in a test.
Network: TypeAlias = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

ScaleSource: TypeAlias = Literal["told", "camera", "estimated", "default"]


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


def analyse(image: RGB, scale: Scale, manifest: Manifest, network: Network) -> Analysis:
    """Segment, separate and measure the white cells of one RGB picture [H, W, 3]."""
    prepared = prepare(image, scale, manifest)
    return finish(prepared, network(prepared.tile[None])[0], manifest)


def prepare(image: RGB, scale: Scale, manifest: Manifest) -> Prepared:
    """To network scale. Raises ImageError where the scale would enlarge the picture beyond reason."""
    height, width = image.shape[:2]
    frame = frame_for(height, width, scale.cell_diameter_px, manifest.scale)
    return Prepared(to_network_scale(image, frame), frame, scale)


def finish(prepared: Prepared, probabilities: Probabilities, manifest: Manifest) -> Analysis:
    """Cells from the network's answer [padded_height, padded_width, 3].

    Raises EngineError on NaN or infinity: a broken engine must not pass for an empty field.
    """
    if not math.isfinite(float(probabilities.sum())):
        raise EngineError("the network answered with numbers that are not finite")
    inside = without_padding(probabilities, prepared.frame)
    diameter_px = network_diameter(prepared.scale.cell_diameter_px, prepared.frame, manifest.scale)
    instances = separate(inside, diameter_px, manifest.separation)
    drawn = draw(inside, instances, prepared.frame)
    reference, scale = manifest.reference, prepared.scale
    drawing = replace(drawn, measured=doubted(drawn.measured, scale.cell_diameter_px, reference))
    quality = measure_quality(without_padding(prepared.tile, prepared.frame), inside)
    stain = stain_distance(quality.densities, reference.stains) if reference else None
    flags = of_picture(
        drawing,
        scale_unknown=scale.source == "default",
        unclear=unclear_area(inside, instances, diameter_px),
        quality=quality,
        stain=stain,
        reference=reference,
    )
    return Analysis(drawing, scale, flags, quality.figures(stain))
