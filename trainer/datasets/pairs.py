"""The default layout: images/<id>.<ext>, masks/<id>.png (0 background, 1 cytoplasm, 2 nucleus).

Optional: groups.csv (id, group) and counts.csv (id, wbc_count).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from trainer.datasets.samples import INDEXED, DataError, Sample, table_column

IMAGE_SUFFIXES = {".bmp", ".dib", ".tif", ".tiff", ".jpg", ".jpeg", ".png"}


def recognises(folder: Path) -> bool:
    return (folder / "images").is_dir() and (folder / "masks").is_dir()


def samples(folder: Path) -> list[Sample]:
    """Pairs by stem; without groups.csv (id, group) each picture is a group of its own."""
    groups = table_column(folder / "groups.csv", "id", "group")
    counts = table_column(folder / "counts.csv", "id", "wbc_count")
    return paired(folder, folder.resolve().name, INDEXED, groups, counts)


def paired(
    folder: Path,
    dataset: str,
    levels: tuple[int, int],
    groups: Mapping[str, str],
    counts: Mapping[str, str],
) -> list[Sample]:
    """One sample per picture in images/ that has a mask of the same stem in masks/; a missing mask is a DataError."""
    if not (folder / "images").is_dir():
        raise DataError(f"{folder} has no folder images/")
    images = sorted(path for path in (folder / "images").iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    found = []
    for image in images:
        mask = folder / "masks" / f"{image.stem}.png"
        if not mask.is_file():
            raise DataError(f"{image} has no mask {mask}")
        found.append(
            Sample(
                dataset=dataset,
                id=image.stem,
                image=image,
                mask=mask,
                group=f"{dataset}/{groups.get(image.stem, image.stem)}",
                levels=levels,
                wbc_count=_count(folder, image.stem, counts),
            )
        )
    return found


def _count(folder: Path, stem: str, counts: Mapping[str, str]) -> int | None:
    if stem not in counts:
        return None
    if not counts[stem].isdecimal():
        raise DataError(f"{folder / 'counts.csv'}: the wbc_count of {stem} is {counts[stem]!r}, not a whole number")
    return int(counts[stem])
