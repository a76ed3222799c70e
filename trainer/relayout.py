"""Data sets of any layout become one folder of the default layout."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from station.contract.masks import encode
from trainer.datasets import open_dataset
from trainer.datasets.samples import DataError, Sample


def relayout(samples: Sequence[Sample], output: Path, tick: Callable[[], None] = lambda: None) -> list[Sample]:
    """Write images/, masks/, groups.csv and, where counts are known, counts.csv; gives the samples of the new folder.

    Pictures are copied byte for byte. Samples of several sets get ids with the set's name in front. The folder appears
    whole or not at all. `tick` is called twice per picture: when it is written, and when it was read back.
    Raises DataError where the folder is not empty, cannot be written, or does not read back equal.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise DataError(f"{output} exists and is not empty; name another folder")
    named = _named(samples)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as room:
            made = Path(room) / output.name
            for name, sample in named.items():
                _write(sample, name, made)
                tick()
            _write_tables(named, made)
            _demand_equal(named, open_dataset(made), tick)
            made.rename(output)
    except OSError as cause:
        raise DataError(f"{output} cannot be written ({cause}); make room, or name another folder") from cause
    return open_dataset(output)


def _named(samples: Sequence[Sample]) -> dict[str, Sample]:
    several = len({sample.dataset for sample in samples}) > 1
    names = [f"{sample.dataset}-{sample.id}" if several else sample.id for sample in samples]
    if bare := [name for name in names if name != name.strip()]:
        raise DataError(f"a picture is called {bare[0]!r}: tables leave out spaces at the ends of names; rename it")
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise DataError(f"{times} pictures would be called '{name}'; rename one of the folders or pictures")
    return dict(zip(names, samples, strict=True))


def _write(sample: Sample, name: str, folder: Path) -> None:
    _, labels = sample.read()
    for file, content in (
        (folder / "images" / f"{name}{sample.image.suffix.lower()}", sample.image.read_bytes()),
        (folder / "masks" / f"{name}.png", encode(labels)),
    ):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def _write_tables(named: dict[str, Sample], folder: Path) -> None:
    _write_table(folder / "groups.csv", ("id", "group"), ((name, sample.group) for name, sample in named.items()))
    counts = [(name, sample.wbc_count) for name, sample in named.items() if sample.wbc_count is not None]
    if counts:
        _write_table(folder / "counts.csv", ("id", "wbc_count"), counts)


def _write_table(path: Path, columns: tuple[str, str], rows: Iterable[tuple[str, object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow(columns)
        writer.writerows(rows)


def _demand_equal(named: dict[str, Sample], copies: Sequence[Sample], tick: Callable[[], None]) -> None:
    """Raises DataError unless each copy reads as its original does."""
    if sorted(copy.id for copy in copies) != sorted(named):
        raise DataError(f"{len(named)} pictures were written and {len(copies)} read back; please report this")
    for copy in copies:
        original = named[copy.id]
        same_mask = np.array_equal(copy.read_truth(), original.read_truth())
        same_picture = copy.image.read_bytes() == original.image.read_bytes()
        same_rows = (copy.group, copy.wbc_count) == (f"{copy.dataset}/{original.group.strip()}", original.wbc_count)
        if not (same_mask and same_picture and same_rows):
            raise DataError(f"{original.image} and its mask do not read back as they were written; is the disk sound?")
        tick()
