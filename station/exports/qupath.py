"""GeoJSON of QuPath (0.4 or newer): one FeatureCollection per picture, each white cell a cell object with its nucleus.

Drag cells/<stem>.geojson onto images/<stem>.png. Polygons follow the edges of pixels, so they hold the masks exactly.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from station.contract.decoding import encode_png
from station.contract.overlay import CELL_COLOUR
from station.contract.polygons import polygons
from station.database.review_records import ReviewedCell
from station.exports import Item, Needs
from station.exports.folders import copy_into

NEEDS = Needs(masks=True, picture=True)


def write(items: Iterable[Item], folder: Path) -> None:
    """Pictures as PNG, and their cells."""
    for item in items:
        assert item.seen.image is not None
        copy_into(folder, f"images/{item.stem}.png", encode_png(item.seen.image))
        found = {"type": "FeatureCollection", "features": list(_features(item))}
        copy_into(folder, f"cells/{item.stem}.geojson", json.dumps(found).encode())


def _features(item: Item) -> Iterator[dict[str, Any]]:
    for cell in item.cells:
        feature = {
            "type": "Feature",
            "id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{item.key}/{cell.cell_id}")),
            "geometry": geometry(item.seen.cell(cell.cell_id)),
            "properties": {
                "objectType": "cell",
                "name": f"cell {cell.cell_id}",
                "classification": {"name": "White cell", "color": list(CELL_COLOUR)},
                "measurements": _measurements(cell),
                "metadata": {"source": cell.source, "slide": item.slide, "image": item.name},
            },
        }
        nucleus = item.seen.nucleus(cell.cell_id)
        yield feature | ({"nucleusGeometry": geometry(nucleus)} if nucleus.any() else {})


def geometry(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """A mask [H, W] as GeoJSON: a Polygon, or a MultiPolygon where it is in pieces."""
    parts = [[[list(point) for point in (*ring, ring[0])] for ring in polygon] for polygon in polygons(mask)]
    return {"type": "Polygon", "coordinates": parts[0]} if len(parts) == 1 else _several(parts)


def _several(parts: list[Any]) -> dict[str, Any]:
    return {"type": "MultiPolygon", "coordinates": parts}


def _measurements(cell: ReviewedCell) -> dict[str, float]:
    measured = {
        "Cell: Area px^2": cell.area_px,
        "Nucleus: Area px^2": cell.nucleus_area_px,
        "Cytoplasm: Area px^2": cell.cytoplasm_area_px,
        "Nucleus/Cytoplasm area ratio": cell.nc_ratio,
        "Confidence": cell.confidence,
        "Cut by border": float(cell.touches_edge),
    }
    return {name: float(value) for name, value in measured.items() if value is not None}
