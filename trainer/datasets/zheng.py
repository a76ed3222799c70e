"""Zheng et al., Dataset 1: crops NNN.bmp with NNN.png (0, 128, 255) in one folder, one white cell each."""

from __future__ import annotations

from pathlib import Path

from trainer.datasets.samples import DataError, Sample

LEVELS = (64, 192)


def recognises(folder: Path) -> bool:
    return any(_home(folder).glob("[0-9][0-9][0-9].bmp"))


def samples(folder: Path) -> list[Sample]:
    """Each crop is a group of its own unless a splits table knows better."""
    found = []
    for image in sorted(_home(folder).glob("[0-9][0-9][0-9].bmp")):
        mask = image.with_suffix(".png")
        if not mask.is_file():
            raise DataError(f"{image} has no mask {mask}")
        found.append(Sample("zheng", image.stem, image, mask, f"zheng-{image.stem}", LEVELS, wbc_count=1))
    return found


def _home(folder: Path) -> Path:
    inner = folder / "Dataset 1"
    return inner if inner.is_dir() else folder
