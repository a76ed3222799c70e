"""OME-TIFF, one file per picture with two channels of 16 bits: `labels` (1 cytoplasm, 2 nucleus) and `cells` (ids)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from station.exports import Item, Needs

NEEDS = Needs(masks=True, picture=False, library="tifffile")


def write(items: Iterable[Item], folder: Path) -> None:
    """<stem>.ome.tif, compressed without loss."""
    import tifffile  # only where it is asked for: it is an extra

    for item in items:
        planes = np.stack([item.seen.labels.astype(np.uint16), item.seen.cells])
        tifffile.imwrite(
            folder / f"{item.stem}.ome.tif",
            planes,
            ome=True,
            photometric="minisblack",
            compression="zlib",
            metadata=_metadata(item),
        )


def _metadata(item: Item) -> dict[str, Any]:
    told = {"axes": "CYX", "Name": item.stem, "Channel": {"Name": ["labels", "cells"]}}
    if item.um_per_px is None:
        return told
    sizes = {f"PhysicalSize{axis}": item.um_per_px for axis in "XY"}
    return told | sizes | {f"PhysicalSize{axis}Unit": "µm" for axis in "XY"}
