"""What fields are composed of in the tests: flat discs, and data sets of them that the tiny network knows by colour."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from networks import COLOURS, colour_network, disc_labels
from numpy.typing import NDArray

from trainer.cutouts import Cutout, Ground
from trainer.datasets.encodings import INDEXED
from trainer.datasets.samples import Sample

DIAMETER_PX = 120.0
SET = "discs"
PLASMA = (236, 226, 220)

Tone: TypeAlias = tuple[int, int, int]


def in_light(labels: NDArray[np.uint8], tone: Tone = PLASMA) -> NDArray[np.uint8]:
    """[H, W, 3] RGB of flat cells, in a light that shows empty ground in that tone."""
    return np.asarray(np.clip(COLOURS[labels] * (np.array(tone) / COLOURS[0]), 0, 255), np.uint8)


def disc_cutout(tone: Tone = PLASMA, diameter_px: float = DIAMETER_PX) -> Cutout:
    """A round cell with a nucleus of 0.6 of its diameter."""
    side, radius = round(1.3 * diameter_px), diameter_px / 2
    labels = disc_labels(side, side, [(side / 2, side / 2, radius, 0.6 * radius)])
    return Cutout(SET, "a", in_light(labels, tone), labels, np.array(tone, np.float32), diameter_px)


def flat_ground(tone: Tone = PLASMA, diameter_px: float = DIAMETER_PX) -> Ground:
    """Plasma and nothing in it."""
    return Ground(SET, "g", np.full((360, 480, 3), tone, np.uint8), np.array(tone, np.float32), diameter_px)


def put_sample(
    folder: Path, stem: str, image: NDArray[np.uint8], labels: NDArray[np.uint8], wbc_count: int | None = None
) -> Sample:
    """RGB picture and mask, in the default layout."""
    for kind, picture in (("images", image[..., ::-1]), ("masks", labels)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(folder / kind / f"{stem}.png"), np.ascontiguousarray(picture))
    image_path, mask_path = (folder / kind / f"{stem}.png" for kind in ("images", "masks"))
    return Sample(SET, stem, image_path, mask_path, stem, INDEXED, wbc_count)


def put_discs(folder: Path, count: int = 2) -> list[Sample]:
    """A round cell in each picture of a data set, with room beside it."""
    made = []
    for number in range(count):
        labels = disc_labels(320, 400, [(100 + 200 * (number % 2), 110 + 20 * number, DIAMETER_PX / 2, 36)])
        made.append(put_sample(folder, str(number), in_light(labels), labels))
    return made


def colours_in_any_light(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
    """`colour_network` that takes what is lightest in a tile for empty ground."""
    gains = COLOURS[0] / np.maximum(tiles.max(axis=(1, 2), keepdims=True), 1)
    return colour_network(np.clip(tiles * gains, 0, 255).astype(np.uint8))
