"""Shelf of dataset layouts: the file name is the word that the user gives to --layout.

Each module has `recognises(folder) -> bool` and `listing(folder) -> Listing`. A layout may be followed by a table that
says what the values of its masks mean, as in "palette:0=background,128=cytoplasm,255=nucleus", so that one word tells
other processes how a folder is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from trainer.datasets.encodings import MaskError, palette_of
from trainer.datasets.pairing import Listing
from trainer.datasets.samples import DataError, Sample

LAYOUTS = ("bccd", "zheng", "allidb2", "isnb", "regions", "pairs", "palette")


class Layout(Protocol):
    """What a module of this shelf offers."""

    def recognises(self, folder: Path) -> bool: ...
    def listing(self, folder: Path) -> Listing: ...


def open_dataset(folder: Path, layout: str | None = None, warn: Callable[[str], None] = lambda _: None) -> list[Sample]:
    """The samples of a folder, in the named layout or the first that recognises it.

    `warn` is told what is only worth a look, such as masks that were paired by order.
    Raises DataError where the folder is missing or empty, no layout fits, or a picture has no mask.
    """
    found = list_dataset(folder, layout)
    for finding in found.findings:
        if finding.must_mend:
            raise DataError(f"{finding.text} (`trainer data check` finds all of this kind)")
    for finding in found.findings:
        warn(finding.text)
    return list(found.samples)


def open_datasets(
    folders: Sequence[Path], layout: str | None = None, warn: Callable[[str], None] = lambda _: None
) -> list[Sample]:
    """The samples of several folders, by the names of the sets: in which order they are told changes no training.

    Raises DataError where two sets have one name.
    """
    sets = sorted((open_dataset(folder, layout, warn) for folder in folders), key=lambda samples: samples[0].dataset)
    names = [samples[0].dataset for samples in sets]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise DataError(f"two data sets are called '{twice}'; rename one of the folders")
    return [sample for samples in sets for sample in samples]


def list_dataset(folder: Path, layout: str | None = None) -> Listing:
    """As `open_dataset`, with all that is wrong with the pairs instead of an error at the first."""
    try:
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder")
        name, _, table = (layout or layout_of(folder)).partition(":")
        found = _module(name).listing(folder)
    except OSError as cause:
        raise DataError(
            f"{cause.filename or folder} cannot be read ({(cause.strerror or str(cause)).lower()})"
        ) from cause
    if not found.samples and not any(finding.must_mend for finding in found.findings):
        raise DataError(f"{folder} holds no pictures in the layout '{name}'")
    if not table:
        return found
    try:
        encoding = palette_of(table)
    except MaskError as cause:
        raise DataError(str(cause)) from cause
    return replace(found, samples=tuple(replace(sample, encoding=encoding) for sample in found.samples))


def layout_of(folder: Path) -> str:
    """The first layout that recognises the folder. Raises DataError where there is none."""
    chosen = next((name for name in LAYOUTS if _module(name).recognises(folder)), None)
    if chosen is None:
        raise DataError(
            f"{folder} has none of the known layouts ({', '.join(LAYOUTS)}); "
            "the default one is images/<id>.<ext> beside masks/<id>.png with values 0, 1, 2"
        )
    return chosen


def _module(name: str) -> Layout:
    if name not in LAYOUTS:
        raise DataError(f"there is no layout '{name}'; known: {', '.join(LAYOUTS)}")
    return cast(Layout, import_module(f"trainer.datasets.{name}"))
