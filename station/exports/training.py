"""What `trainer fit` reads: its default layout, with the slide of each picture as its group.

images/<key>.bmp or .png, masks/<key>.png (0 background, 1 cytoplasm, 2 nucleus), groups.csv and counts.csv. A BMP is
copied byte for byte; other formats may carry names in their metadata, so their pixels are written anew, as PNG. The
names are keys even where names are asked for: they stay with a model for ever.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from station.contract.decoding import encode_png
from station.contract.masks import encode
from station.exports import Item, Needs
from station.exports.folders import copy_into
from station.printing import defused

NEEDS = Needs(masks=True, picture=True, holds_tests_back=True)


def write(items: Iterable[Item], folder: Path) -> None:
    """Pictures with their masks, and two tables."""
    rows = []
    for item in items:
        pixels = item.seen
        assert pixels.image is not None
        if pixels.data is not None:
            copy_into(folder, f"images/{item.key}.bmp", pixels.data)
        else:
            copy_into(folder, f"images/{item.key}.png", encode_png(pixels.image))
        copy_into(folder, f"masks/{item.key}.png", encode(pixels.labels))
        rows.append((item.key, defused(item.slide), item.state.wbc_count))
    _table(folder / "groups.csv", ("id", "group"), [row[:2] for row in rows])
    _table(folder / "counts.csv", ("id", "wbc_count"), [row[::2] for row in rows])


def _table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
