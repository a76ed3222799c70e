"""ImageJ: images/<stem>.png and rois/<stem>.zip, a RoiSet for the ROI Manager with `cell 1`, `nucleus 1` and so on."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from station.contract.decoding import encode_png
from station.contract.polygons import Ring, polygons
from station.exports import Item, Needs
from station.exports.folders import copy_into

NEEDS = Needs(masks=True, picture=True, library="roifile")

_MOVE, _LINE, _CLOSE = 0.0, 1.0, 4.0  # steps of a path, as java.awt.geom counts them
_CELL, _NUCLEUS = b"\xff\x00\x96\x3c", b"\xff\xff\xc8\x00"  # strokes, ARGB


def write(items: Iterable[Item], folder: Path) -> None:
    """Pictures as PNG, and their outlines."""
    for item in items:
        assert item.seen.image is not None
        copy_into(folder, f"images/{item.stem}.png", encode_png(item.seen.image))
        copy_into(folder, f"rois/{item.stem}.zip", _zipped(_rois(item)))


def _rois(item: Item) -> Iterator[tuple[str, bytes]]:
    for cell in item.cells:
        for word, mask, colour in (
            ("cell", item.seen.cell(cell.cell_id), _CELL),
            ("nucleus", item.seen.nucleus(cell.cell_id), _NUCLEUS),
        ):
            if mask.any():
                name = f"{word} {cell.cell_id}"
                yield name, roi(name, mask, colour)


def roi(name: str, mask: NDArray[np.bool_], colour: bytes) -> bytes:
    """A mask [H, W] as a traced outline; as a composite where it has holes or is in pieces."""
    import roifile

    found = polygons(mask)
    corners = np.array([point for polygon in found for point in polygon[0]], np.int32)
    (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    box = {"left": left, "top": top, "right": right, "bottom": bottom}
    if len(found) == 1 and len(found[0]) == 1:
        made = roifile.ImagejRoi(
            roitype=roifile.ROI_TYPE.TRACED,
            n_coordinates=len(corners),
            integer_coordinates=corners - np.array([left, top], np.int32),
            **box,
        )
    else:
        path = [number for polygon in found for ring in polygon for number in _steps(ring)]
        flat = np.array(path, np.float32)
        made = roifile.ImagejRoi(roitype=roifile.ROI_TYPE.RECT, shape_roi_size=flat.size, multi_coordinates=flat, **box)
    made.name, made.stroke_color = name, colour
    return bytes(made.tobytes())


def _steps(ring: Ring) -> Iterator[float]:
    """A ring as a path: what is done, and where."""
    for number, (x, y) in enumerate(ring):
        yield from (_LINE if number else _MOVE, x, y)
    yield _CLOSE


def _zipped(files: Iterable[tuple[str, bytes]]) -> bytes:
    """Made anew each time: what is appended to an older one would keep cells that are gone."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files:
            archive.writestr(zipfile.ZipInfo(f"{name}.roi", (1980, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
