"""Which mask belongs to which picture, and what is wrong with a folder in that respect."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias, TypeVar

from trainer.datasets.encodings import Encoding
from trainer.datasets.samples import DataError, Sample, table_column

PICTURES = frozenset({".bmp", ".dib", ".tif", ".tiff", ".jpg", ".jpeg", ".jpe", ".jfif", ".png"})
LOSSY = (".jpg", ".jpeg", ".jpe", ".jfif")
LOSSLESS = PICTURES.difference(LOSSY)  # a mask that was stored with loss has values that nobody drew
_MOST_CELLS = 100_000  # in one picture: more is a slip of the pen

Pair: TypeAlias = tuple[Path, Path]  # picture, mask
Cell = TypeVar("Cell")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with a data set. `text` names the file, the cause and the way out."""

    file: Path
    text: str
    must_mend: bool = True  # else it is only worth a look


@dataclass(frozen=True, slots=True)
class Listing:
    """What a layout finds in a folder; nothing of it is decoded yet."""

    samples: tuple[Sample, ...]
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Tables:
    """What is known of pictures beside their pixels, by id."""

    groups: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)


def tables_in(folder: Path) -> Tables:
    """A folder's groups.csv (id, group) and counts.csv (id, wbc_count), as far as they exist."""
    return Tables(
        table_column(folder / "groups.csv", "id", "group"),
        whole_numbers(folder / "counts.csv", table_column(folder / "counts.csv", "id", "wbc_count")),
    )


def whole_numbers(table: Path, column: Mapping[str, str]) -> dict[str, int]:
    """A column of counts. Raises DataError naming the row."""
    for key, text in column.items():
        if not text.isdecimal() or len(text) > 9 or int(text) > _MOST_CELLS:
            raise DataError(f"{table}: the wbc_count of {key} is {text!r}, not a whole number up to {_MOST_CELLS}")
    return {key: int(text) for key, text in column.items()}


def files_in(folder: Path, suffixes: Collection[str] = PICTURES) -> list[Path]:
    """The picture files of a folder in order of their names. Raises DataError where there is no such folder."""
    if not folder.is_dir():
        raise DataError(f"{folder.parent} has no folder {folder.name}/")
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes and path.name[0] != ".")


def counting_order(path: Path) -> list[str | int]:
    """Sorts names as people count: 2 before 10, and 2_mask before 10_mask."""
    # Text and numbers take turns, so that like is always compared with like.
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.name)]


def by_stem(images: Iterable[Path], masks: Iterable[Path]) -> list[Pair]:
    """The pairs of one stem, in order of the pictures."""
    mask_of = {mask.stem: mask for mask in masks}
    return [(image, mask_of[image.stem]) for image in images if image.stem in mask_of]


def twins(files: Sequence[Path]) -> list[Finding]:
    """Files of one stem, such as a.png and a.bmp: nobody can say which of them is meant."""
    stems = Counter(file.stem for file in files)
    text = "{} is not the only file called '{}' in its folder; rename it, or take it out"
    return [Finding(file, text.format(file, file.stem)) for file in files if stems[file.stem] > 1]


def paired_folders(folder: Path, dataset: str, encoding: Encoding, tables: Tables) -> Listing:
    """images/ and masks/ by stem. Raises DataError where there are no images/."""
    images, home = files_in(folder / "images"), folder / "masks"
    return paired(folder, dataset, encoding, (images, files_in(home, LOSSLESS) if home.is_dir() else []), tables, home)


def paired(
    folder: Path,
    dataset: str,
    encoding: Encoding,
    files: tuple[Sequence[Path], Sequence[Path]],
    tables: Tables,
    home: Path,
) -> Listing:
    """(pictures, masks) by stem, and those that have no partner. `home` is where masks are expected."""
    images, masks = files
    pairs = by_stem(images, masks)
    partnered = {path for pair in pairs for path in pair}
    stems = {image.stem for image in images}
    findings = [
        *(_without_mask(image, home) for image in images if image not in partnered),
        *(_without_picture(mask) for mask in masks if mask.stem not in stems),
        *twins(images),
        *twins(masks),
    ]
    return listed(folder, dataset, encoding, pairs, findings, tables)


def listed(
    folder: Path, dataset: str, encoding: Encoding, pairs: Iterable[Pair], findings: Iterable[Finding], tables: Tables
) -> Listing:
    """Pairs as samples, with what the tables know of them; a row that names no picture is a finding.

    An empty cell for the group says that the picture is a group of its own.
    """
    samples = tuple(
        Sample(
            dataset=dataset,
            id=image.stem,
            image=image,
            mask=mask,
            group=f"{dataset}/{_told(tables.groups, image) or image.stem}",
            encoding=encoding,
            wbc_count=_told(tables.counts, image),
        )
        for image, mask in pairs
    )
    findings = [*findings, *map(_unreadable_name, filter(_has_no_text, samples))]
    return Listing(samples, (*findings, *_idle_rows(folder, samples, tables)))


def _has_no_text(sample: Sample) -> bool:
    try:
        f"{sample.dataset}/{sample.id}".encode()
    except UnicodeEncodeError:  # as a ZIP made on Windows leaves it
        return True
    return False


def _unreadable_name(sample: Sample) -> Finding:
    name = sample.image.name.encode(errors="surrogateescape").decode("utf-8", "backslashreplace")
    return Finding(sample.image, f"{name}: the name is no UTF-8; rename picture and mask")


def _told(rows: Mapping[str, Cell], image: Path) -> Cell | None:
    """What a table says of a picture. People write its id with the ending of the file (a.bmp) and without."""
    return rows.get(image.stem, rows.get(image.name))


def _idle_rows(folder: Path, samples: Sequence[Sample], tables: Tables) -> list[Finding]:
    """A table of which no row fits would leave neighbours in groups of their own, and nobody would notice."""
    ids = {name for sample in samples for name in (sample.id, sample.image.name)}
    findings = []
    for name, rows in (("groups.csv", tables.groups), ("counts.csv", tables.counts)):
        idle = sorted(rows.keys() - ids)
        if idle and (folder / name).exists():
            text = (
                f"{folder / name}: rows of which no picture with a mask is here: {len(idle)}, such as '{idle[0]}'; "
                "an id is the name of a picture, with its ending or without"
            )
            findings.append(Finding(folder / name, text, must_mend=len(idle) == len(rows)))
    return findings


def _without_mask(image: Path, home: Path) -> Finding:
    lossy = [path for ending in LOSSY if (path := (home / image.stem).with_name(image.stem + ending)).is_file()]
    if lossy:
        text = f"{image} has no mask but {lossy[0]}: JPEG changes the values; save it as PNG from where it was drawn"
    else:
        text = f"{image} has no mask {home / image.stem}.png; draw it, or take the picture out"
    return Finding(image, text)


def _without_picture(mask: Path) -> Finding:
    return Finding(mask, f"{mask} has no picture; bring it, or take the mask out", must_mend=False)
