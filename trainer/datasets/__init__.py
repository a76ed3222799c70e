"""Shelf of dataset layouts: the file name is the word that the user gives to --layout.

Each module has `recognises(folder) -> bool` and `samples(folder) -> list[Sample]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from trainer.datasets.samples import DataError, Sample

LAYOUTS = ("bccd", "zheng", "allidb2", "pairs")


class Layout(Protocol):
    """What a module of this shelf offers."""

    def recognises(self, folder: Path) -> bool: ...
    def samples(self, folder: Path) -> list[Sample]: ...


def open_dataset(folder: Path, layout: str | None = None) -> list[Sample]:
    """The samples of a folder, in the named layout or the first that recognises it.

    Raises DataError where the folder is missing or empty, or no layout fits.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder")
    chosen = layout or next((name for name in LAYOUTS if _module(name).recognises(folder)), None)
    if chosen is None:
        raise DataError(
            f"{folder} has none of the known layouts ({', '.join(LAYOUTS)}); "
            "the default one is images/<id>.<ext> beside masks/<id>.png with values 0, 1, 2"
        )
    found = _module(chosen).samples(folder)
    if not found:
        raise DataError(f"{folder} holds no pictures in the layout '{chosen}'")
    return found


def open_datasets(folders: Sequence[Path], layout: str | None = None) -> list[Sample]:
    """The samples of several folders, one after the other. Raises DataError where two sets have one name."""
    sets = [open_dataset(folder, layout) for folder in folders]
    names = [samples[0].dataset for samples in sets]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise DataError(f"two data sets are called '{twice}'; rename one of the folders")
    return [sample for samples in sets for sample in samples]


def _module(name: str) -> Layout:
    if name not in LAYOUTS:
        raise DataError(f"there is no layout '{name}'; known: {', '.join(LAYOUTS)}")
    return cast(Layout, import_module(f"trainer.datasets.{name}"))
