"""One training picture with its mask, and the rules by which samples are read and divided."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, cast

import cv2
import numpy as np

from station.contract.decoding import decode, pixels
from station.contract.errors import StationError
from station.contract.headers import read_header
from station.contract.imaging import RGB
from station.contract.manifest import BACKGROUND, CLASSES, CYTOPLASM, NUCLEUS
from station.contract.masks import LabelImage
from trainer.datasets.encodings import Encoding, Mask, MaskError

ROLES: Final = ("train", "val", "test")
OF_A_CELL: Final = frozenset({NUCLEUS, CYTOPLASM})


class DataError(StationError):
    """A training folder that cannot be used as it is."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture and its mask on disk.

    `encoding`: what the pixels of the mask mean.
    `group`: pictures of one group show the same cells or neighbouring fields and must stay on one side of any split.
    """

    dataset: str
    id: str
    image: Path
    mask: Path
    group: str
    encoding: Encoding
    wbc_count: int | None = None

    def read(self) -> tuple[RGB, LabelImage]:
        """RGB picture [H, W, 3] and its label image [H, W]. Raises DataError naming the file."""
        image, labels = read_image(self.image), self.read_truth()
        self.demand_one_size(image, labels)
        return image, labels

    def read_truth(self) -> LabelImage:
        """The label image [H, W]. Raises DataError naming the file."""
        return read_labels(self.mask, self.encoding)

    def demand_one_size(self, image: RGB, labels: LabelImage) -> None:
        """Raises DataError naming both files where picture and mask differ in size."""
        if image.shape[:2] != labels.shape:
            sizes = f"{image.shape[1]} x {image.shape[0]} against {labels.shape[1]} x {labels.shape[0]} px"
            raise DataError(f"{self.image} and its mask {self.mask} differ in size ({sizes})")


def read_image(path: Path) -> RGB:
    """A training picture as RGB. Raises DataError naming the file."""
    try:
        return decode(path.read_bytes())
    except (OSError, StationError) as cause:
        raise DataError(f"{path}: {cause}") from cause


def read_labels(path: Path, encoding: Encoding) -> LabelImage:
    """A mask file as label image. Raises DataError naming the file."""
    try:
        return encoding.labels(read_mask(path))
    except MaskError as cause:
        raise DataError(f"{path}: {cause}") from cause


# Not "unchanged", which leaves a PNG as it is stored and turns its picture as its EXIF says.
_MASK_FLAGS = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH


def read_mask(path: Path) -> Mask:
    """[H, W] grey, also where three channels are equal, or [H, W, 3] RGB; 8 or 16 bit, as the numbers are in the file.

    Raises DataError naming the file.
    """
    try:
        content = path.read_bytes()
        mask = pixels(content, read_header(content), _MASK_FLAGS)
    except (OSError, StationError) as cause:
        raise DataError(f"{path}: {cause}; save the mask anew") from cause
    if mask.dtype not in (np.uint8, np.uint16):
        raise DataError(f"{path}: the mask holds {mask.dtype} values; save it with 8 or 16 bits, unsigned")
    rgb = mask if mask.ndim == 2 else mask[..., ::-1]  # OpenCV gives blue first
    return cast(Mask, rgb[..., 0] if rgb.ndim == 3 and (rgb == rgb[..., :1]).all() else rgb)


def in_role(samples: Iterable[Sample], splits: Path, role: Literal["train", "val"]) -> list[Sample]:
    """Those samples that a `dataset,image,role,group` table gives the role, with the group of the table.

    A row without a group leaves the picture its own. Raises DataError where a data set has no picture of the role.
    """
    places = split_table(splits)
    kept = []
    for name, own in grouped(samples).items():
        placed = [(sample, places.get((name, sample.image.name), ("", ""))) for sample in own]
        mine = [replace(sample, group=group or sample.group) for sample, (its, group) in placed if its == role]
        if not mine:
            raise DataError(f"{splits} gives the role '{role}' to no picture of {name}; leave that folder out")
        kept += mine
    return kept


def split_table(splits: Path) -> dict[tuple[str, str], tuple[str, str]]:
    """(dataset, file name of the picture) -> (role, group). Raises DataError."""
    rows = table_rows(splits, {"dataset", "image", "role", "group"})
    for row in rows:
        if row["role"] not in ROLES:
            raise DataError(f"{splits}: the role of {row['image']} is '{row['role']}', not one of {', '.join(ROLES)}")
    return {(row["dataset"], row["image"]): (row["role"], row["group"]) for row in rows}


def grouped(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    """Samples by data set, in order of the name."""
    by_name: dict[str, list[Sample]] = {}
    for sample in samples:
        by_name.setdefault(sample.dataset, []).append(sample)
    return dict(sorted(by_name.items()))


def content_of(pixels: RGB | LabelImage) -> str:
    """SHA-256 of pixels and their shape: what two files have in common that show the same."""
    return hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def classes_of(sample: Sample) -> frozenset[int]:
    """Which classes its mask holds."""
    return frozenset(np.unique(sample.read_truth()).tolist())


def demand_classes(samples: Sequence[Sample], where: str, way_out: str = "") -> None:
    """Raises DataError where no mask holds a nucleus, or none a cytoplasm: their Dice would say nothing."""
    missing = set(OF_A_CELL)
    for sample in samples:
        missing -= classes_of(sample)
        if not missing:
            return
    raise DataError(
        f"no mask in {where} holds any {' or '.join(CLASSES[one] for one in sorted(missing))}; "
        f"{way_out}look at the masks with `trainer data check`"
    )


def median_diameter(samples: Iterable[Sample]) -> float:
    """Median apparent cell diameter, px: of the circle with the area of each cell that the border does not cut."""
    diameters = [d for sample in samples for d in cell_diameters(sample.read_truth())]
    if not diameters:
        raise DataError("no mask holds a whole white blood cell, so the cell diameter cannot be measured")
    return round(float(np.median(diameters)), 1)


def data_digest(samples: Iterable[Sample]) -> str:
    """SHA-256 over names, pictures and masks: two trainings with one digest saw the same data."""
    digest = hashlib.sha256()
    for sample in sorted(samples, key=lambda s: (s.dataset, s.id)):
        digest.update(f"{sample.dataset}/{sample.id}/{sample.encoding}".encode())
        digest.update(hashlib.sha256(sample.image.read_bytes()).digest())
        digest.update(hashlib.sha256(sample.mask.read_bytes()).digest())
    return digest.hexdigest()


def cell_diameters(labels: LabelImage) -> list[float]:
    """Diameter of the circle with the area of each cell that the border does not cut, px."""
    cells = (labels != BACKGROUND).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(cells, connectivity=8)
    height, width = labels.shape
    areas = [
        area for x, y, w, h, area in stats[1:] if x > 0 and y > 0 and x + w < width and y + h < height and area > 50
    ]
    return [float(2 * np.sqrt(area / np.pi)) for area in areas]


def table_rows(path: Path, columns: set[str]) -> list[dict[str, str]]:
    """The rows of a CSV file; cells that a short row lacks are empty. Raises DataError naming the file."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:  # Excel writes a mark before the first column
            reader = csv.DictReader(lines, restval="")
            if not columns <= set(reader.fieldnames or ()):
                raise DataError(f"{path} must have the columns {', '.join(sorted(columns))}")
            return list(reader)
    except OSError as cause:
        raise DataError(f"{path} cannot be read ({cause.strerror})") from cause
    except (UnicodeDecodeError, csv.Error) as cause:
        raise DataError(f"{path} is not a CSV table in UTF-8 ({cause})") from cause


def table_column(path: Path, key: str, value: str) -> dict[str, str]:
    """Two columns of a CSV file as a mapping, without blanks around; empty where the file does not exist.

    Raises DataError where a key has two values.
    """
    found: dict[str, str] = {}
    for row in table_rows(path, {key, value}) if path.exists() else ():
        name, told = row[key].strip(), row[value].strip()
        if found.setdefault(name, told) != told:
            raise DataError(f"{path}: '{name}' has two values, '{found[name]}' and '{told}'; leave one of the rows")
    return found
