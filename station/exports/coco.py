"""COCO: images/<stem>.png and annotations.json, with each cell and each nucleus as an instance in run lengths.

Run lengths, because they hold a mask exactly; polygons are filled differently by every reader.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from station.contract.decoding import encode_png
from station.exports import Item, Needs
from station.exports.folders import copy_into

NEEDS = Needs(masks=True, picture=True)

CATEGORIES = {"cell": 1, "nucleus": 2}


def write(items: Iterable[Item], folder: Path) -> None:
    """Pictures as PNG, and one table of all instances."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for item in items:
        assert item.seen.image is not None
        copy_into(folder, f"images/{item.stem}.png", encode_png(item.seen.image))
        images.append(_image(item))
        annotations += [{"id": len(annotations) + n} | one for n, one in enumerate(_instances(item), start=1)]
    categories = [{"id": n, "name": name, "supercategory": "white cell"} for name, n in CATEGORIES.items()]
    info = {"description": "White cells and their nuclei, as a station counted them"}
    told = {"info": info, "images": images, "annotations": annotations, "categories": categories}
    copy_into(folder, "annotations.json", json.dumps(told).encode())


def _image(item: Item) -> dict[str, Any]:
    return {
        "id": item.state.image_id,
        "file_name": f"{item.stem}.png",
        "width": item.state.width,
        "height": item.state.height,
        "date_captured": item.captured_at.isoformat(timespec="seconds"),
        "name": item.name,
        "slide": item.slide,
    }


def _instances(item: Item) -> Iterator[dict[str, Any]]:
    for cell in item.cells:
        for category, mask in (("cell", item.seen.cell(cell.cell_id)), ("nucleus", item.seen.nucleus(cell.cell_id))):
            if mask.any():
                own = {"cell_id": cell.cell_id, "source": cell.source, "confidence": cell.confidence}
                yield _instance(mask) | {"image_id": item.state.image_id, "category_id": CATEGORIES[category]} | own


def _instance(mask: NDArray[np.bool_]) -> dict[str, Any]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    return {
        "segmentation": {"size": list(mask.shape), "counts": run_lengths(mask)},
        "area": int(np.count_nonzero(mask)),
        "bbox": [x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1],
        "iscrowd": 0,
    }


def run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """Lengths of the runs of a mask [H, W], column by column; the first is of background, perhaps 0."""
    flat = mask.ravel(order="F")
    turns = np.flatnonzero(np.diff(flat, prepend=False))
    return [int(length) for length in np.diff(turns, prepend=0, append=flat.size)]
