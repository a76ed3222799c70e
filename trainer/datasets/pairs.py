"""The default layout: images/<id>.<ext>, masks/<id>.png (0 background, 1 cytoplasm, 2 nucleus).

Optional: groups.csv (id, group) and counts.csv (id, wbc_count).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from trainer.datasets.samples import DataError, Sample, table_column

IMAGE_SUFFIXES = {".bmp", ".dib", ".tif", ".tiff", ".jpg", ".jpeg", ".png"}


def recognises(folder: Path) -> bool:
    return (folder / "images").is_dir() and (folder / "masks").is_dir()


def samples(folder: Path) -> list[Sample]:
    """Pairs by stem; without groups.csv (id, group) each picture is a group of its own."""
    groups = table_column(folder / "groups.csv", "id", "group")
    counts = table_column(folder / "counts.csv", "id", "wbc_count")
    return paired(folder, folder.name, (1, 2), groups, counts)


def paired(
    folder: Path,
    dataset: str,
    levels: tuple[int, int],
    groups: Mapping[str, str],
    counts: Mapping[str, str],
) -> list[Sample]:
    """One sample per picture in images/ that has a mask of the same stem in masks/; a missing mask is a DataError."""
    images = sorted(path for path in (folder / "images").iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    found = []
    for image in images:
        mask = folder / "masks" / f"{image.stem}.png"
        if not mask.is_file():
            raise DataError(f"{image} has no mask {mask}")
        count = counts.get(image.stem)
        found.append(
            Sample(
                dataset=dataset,
                id=image.stem,
                image=image,
                mask=mask,
                group=groups.get(image.stem, image.stem),
                levels=levels,
                wbc_count=int(count) if count is not None else None,
            )
        )
    return found
