"""Small folders in every layout of the shelf, all with the same label image."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.datasets import open_dataset
from trainer.datasets.samples import Sample

OWN = ("isnb", "regions", "pairs", "palette")  # a laboratory's own folders: named after the folder, with groups.csv
NAMES = {"bccd": "BloodImage_00012", "zheng": "012", "allidb2": "Im012_1"} | dict.fromkeys(OWN, "any name")
OTHERS = {"bccd": "BloodImage_00013", "zheng": "013", "allidb2": "Im013_0"} | dict.fromkeys(OWN, "other")
FAR = {"bccd": "BloodImage_00112", "zheng": "112", "allidb2": "Im112_1"} | dict.fromkeys(OWN, "far")
SUFFIXES = {"bccd": ".jpg", "zheng": ".bmp", "allidb2": ".tif", "isnb": ".bmp"} | dict.fromkeys(OWN[1:], ".png")
GREYS = {
    "bccd": (0, 158, 255),
    "zheng": (0, 128, 255),
    "allidb2": (0, 155, 255),
    "regions": (0, 20, 30),
    "pairs": (0, 1, 2),
    "palette": (0, 77, 200),
}
BLUE_GREEN_RED = np.array([[90, 60, 160], [99, 151, 151], [99, 151, 99]], np.uint8)  # at the edge of the thresholds
WORDS = {"palette": "palette:0=background,77=cytoplasm,200=nucleus"}  # what no folder says of itself
RED_CELLS = 10  # in the masks of `regions`

LABELS = np.zeros((40, 50), np.uint8)
cv2.circle(LABELS, (20, 20), 12, 1, -1)
cv2.circle(LABELS, (20, 20), 6, 2, -1)


def file_of(folder: Path, layout: str, stem: str, kind: Literal["images", "masks"]) -> Path:
    name = "mask" if (layout, kind) == ("isnb", "masks") else kind
    home = folder / "Dataset 1" if layout == "zheng" else folder / name
    return home / (stem + (SUFFIXES[layout] if kind == "images" or layout == "isnb" else ".png"))


def put(path: Path, picture: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture)


def mask_of(layout: str) -> NDArray[np.uint8]:
    """LABELS as the layout codes them; `regions` has red cells beside."""
    if layout == "isnb":
        return BLUE_GREEN_RED[LABELS]
    mask = np.array(GREYS[layout], np.uint8)[LABELS]
    if layout == "regions":
        mask[:, 40:] = RED_CELLS
    return mask


def put_pair(folder: Path, layout: str, stem: str, shade: int = 200) -> None:
    """A picture of one shade, left half darker, and its mask as the layout codes it."""
    image = np.full((*LABELS.shape, 3), shade, np.uint8)
    image[:, :25] //= 2
    put(file_of(folder, layout, stem, "images"), image)
    put(file_of(folder, layout, stem, "masks"), mask_of(layout))
    if layout == "regions":
        (folder / "classes.csv").write_text("value,name\n0,plasma\n10,red cells\n20,cytoplasm\n30,nucleus\n")


def opened(folder: Path, layout: str) -> list[Sample]:
    """As a user opens it who says no more than needed."""
    return open_dataset(folder, WORDS.get(layout))
