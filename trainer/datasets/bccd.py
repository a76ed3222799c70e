"""BCCD fields with the masks of Banik et al.: images/BloodImage_*.jpg, masks/BloodImage_*.png, counts.csv."""

from __future__ import annotations

from pathlib import Path

from trainer.datasets.pairs import paired
from trainer.datasets.samples import Sample, table_column

# Some masks are anti-aliased over more than 200 grey levels; cytoplasm lies at about 155..161, nucleus at 255.
LEVELS = (64, 208)


def recognises(folder: Path) -> bool:
    return any((folder / "images").glob("BloodImage_*.jpg"))


def samples(folder: Path) -> list[Sample]:
    """Neighbouring numbers are neighbouring fields of one slide, so ten numbers are one group."""
    counts = {
        Path(name).stem: count for name, count in table_column(folder / "counts.csv", "image", "wbc_count").items()
    }
    groups = {path.stem: f"bccd-{path.stem[-5:-1]}x" for path in (folder / "images").glob("BloodImage_*.jpg")}
    return paired(folder, "bccd", LEVELS, groups, counts)
