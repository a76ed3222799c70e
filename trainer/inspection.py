"""What is wrong with data sets: every pair is read once, and all findings are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from station.contract.imaging import RGB
from station.contract.manifest import BACKGROUND, CLASSES, CYTOPLASM, NUCLEUS
from station.contract.masks import LabelImage
from trainer.datasets import list_dataset
from trainer.datasets.pairing import Finding
from trainer.datasets.samples import DataError, Sample, cell_diameters, content_of, read_image, split_table
from trainer.evaluate import true_count

Read = TypeVar("Read")

# In all 727 public pictures the nucleus is darker than the cytoplasm, by 7 to 141 grey levels between the medians. One
# that is brighter by more than this is no biology.
_CLEARLY_BRIGHTER = 15
_JUDGED_PX = 50  # fewer pixels of a class say nothing about its brightness


@dataclass(frozen=True, slots=True)
class Shown:
    """What a usable pair shows."""

    size: tuple[int, int]  # width, height, px
    pixels: NDArray[np.int64]  # [3] of each class
    diameters: tuple[float, ...]  # of cells that the border does not cut, px
    white_cells: int


@dataclass(frozen=True, slots=True)
class Look:
    """One pair after it was read. `shown` is None where picture and mask cannot be used together."""

    sample: Sample
    findings: tuple[Finding, ...]
    shown: Shown | None = None
    picture: str = ""  # hash of the picture's pixels; empty where it is unreadable
    truth: str = ""  # hash of the label image, likewise


@dataclass(frozen=True, slots=True)
class Summary:
    """A data set in figures."""

    pictures: int
    groups: int
    sizes: tuple[tuple[int, int], ...]  # distinct, width and height, px
    shares: tuple[float, ...]  # of all pixels, background, cytoplasm and nucleus, each 0..1
    diameter_px: tuple[float, float, float] | None  # median, 10th and 90th percentile
    white_cells: int
    told: bool  # the white cells were counted by those who made the set, not from the masks


def list_all(folders: Iterable[Path], layout: str | None) -> tuple[list[Sample], list[Finding]]:
    """The samples of all folders that can be listed, and what is wrong with the pairs. One folder stops no other."""
    samples: list[Sample] = []
    findings: list[Finding] = []
    for folder in folders:
        try:
            found = list_dataset(folder, layout)
        except DataError as cause:
            findings.append(Finding(folder, str(cause)))
            continue
        findings += found.findings
        own = found.samples[0].dataset if found.samples else ""
        if own in {sample.dataset for sample in samples}:
            findings.append(Finding(folder, f"{folder} is a second data set called '{own}'; rename one of the folders"))
        else:
            samples += found.samples
    return samples, findings


def divided(samples: Sequence[Sample], splits: Path) -> tuple[list[Sample], list[Finding]]:
    """The samples with the groups of a splits table, and what is wrong with that division. Raises DataError."""
    places = split_table(splits)
    placed, left_out = [], []
    roles: dict[str, dict[str, Path]] = {}
    for sample in samples:
        role, group = places.get((sample.dataset, sample.image.name), ("", sample.group))
        group = group or sample.group  # as in training: a row without a group leaves the picture its own
        placed.append(replace(sample, group=group))
        if role:
            roles.setdefault(group, {})[role] = sample.image
        else:
            left_out.append(sample.image)
    findings = [_torn(splits, group, images) for group, images in roles.items() if len(images) > 1]
    if left_out:
        text = f"{splits}: pictures without a row: {len(left_out)}, such as {left_out[0]}; nothing is trained on them"
        findings.append(Finding(splits, text, must_mend=False))
    return placed, findings


def look(sample: Sample) -> Look:
    """Read a pair and judge it by itself."""
    image, of_image = _tried(lambda: read_image(sample.image), sample.image, "; save it anew, or take it out")
    labels, of_mask = _tried(sample.read_truth, sample.mask, "")
    picture, truth = ("" if pixels is None else content_of(pixels) for pixels in (image, labels))
    if image is None or labels is None:
        return Look(sample, (*of_image, *of_mask), None, picture, truth)
    _, of_size = _tried(lambda: sample.demand_one_size(image, labels), sample.mask, "; draw it on this picture")
    if of_size:
        return Look(sample, of_size, None, picture, truth)
    return Look(sample, tuple(_judged(sample, image, labels)), _shown(sample, labels), picture, truth)


def look_over(looks: Sequence[Look]) -> list[Finding]:
    """What only the whole shows: pictures that are there twice, classes that nobody drew, too few groups."""
    return [*_twice(looks), *(finding for own in by_set(looks).values() for finding in _of_set(own))]


def by_set(looks: Iterable[Look]) -> dict[str, list[Look]]:
    """Looks by data set, in order of first appearance."""
    found: dict[str, list[Look]] = {}
    for one in looks:
        found.setdefault(one.sample.dataset, []).append(one)
    return found


def summary(looks: Sequence[Look]) -> Summary:
    """The figures of one data set, from its usable pairs."""
    shown = [one.shown for one in looks if one.shown]
    pixels = np.sum([one.pixels for one in shown], axis=0, dtype=np.int64).reshape(-1)
    diameters = [px for one in shown for px in one.diameters]
    median, low, high = np.percentile(diameters, [50, 10, 90]) if diameters else (0.0, 0.0, 0.0)
    return Summary(
        pictures=len(looks),
        groups=len({one.sample.group for one in looks}),
        sizes=tuple(sorted({one.size for one in shown})),
        shares=tuple((pixels / pixels.sum()).tolist()) if shown else (),
        diameter_px=(float(median), float(low), float(high)) if diameters else None,
        white_cells=sum(one.white_cells for one in shown),
        told=all(one.sample.wbc_count is not None for one in looks),
    )


def _tried(read: Callable[[], Read], file: Path, way_out: str) -> tuple[Read | None, tuple[Finding, ...]]:
    try:
        return read(), ()
    except DataError as cause:
        return None, (Finding(file, f"{cause}{way_out}"),)


def _shown(sample: Sample, labels: LabelImage) -> Shown:
    return Shown(
        size=(labels.shape[1], labels.shape[0]),
        pixels=np.bincount(labels.ravel(), minlength=len(CLASSES)),
        diameters=tuple(cell_diameters(labels)),
        white_cells=true_count(sample, labels),
    )


def _judged(sample: Sample, image: RGB, labels: LabelImage) -> Iterator[Finding]:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    around, cytoplasm, nucleus = (_median(grey[labels == label]) for label in (BACKGROUND, CYTOPLASM, NUCLEUS))
    if not labels.any():
        known = f", but {sample.wbc_count} are told" if sample.wbc_count else ""
        text = f"{sample.mask}: all background, which is right only for a field without a white cell{known}"
        yield Finding(sample.mask, text, bool(sample.wbc_count))
    elif nucleus > cytoplasm:
        text = (
            f"{sample.mask}: its nucleus is brighter in the picture than its cytoplasm (median grey {nucleus:.0f} "
            f"against {cytoplasm:.0f}); are the two swapped (--palette), or is it the mask of another picture?"
        )
        yield Finding(sample.mask, text, nucleus - cytoplasm > _CLEARLY_BRIGHTER)
    elif nucleus >= around:
        text = (
            f"{sample.mask}: its nucleus is no darker in the picture than the background (median grey {nucleus:.0f} "
            f"against {around:.0f}); is it the mask of another picture?"
        )
        yield Finding(sample.mask, text, must_mend=False)


def _median(greys: NDArray[np.uint8]) -> float:
    """Not a number, which is neither brighter nor darker than anything, where there are too few pixels."""
    return float(np.median(greys)) if greys.size >= _JUDGED_PX else float("nan")


def _twice(looks: Iterable[Look]) -> Iterator[Finding]:
    first_of: dict[str, Look] = {}
    for one in looks:
        first = first_of.setdefault(one.picture, one) if one.picture else one
        if first is one:
            continue
        mine, other = one.sample, first.sample
        leaks = mine.group != other.group
        masks = "; their masks differ" if one.truth and first.truth and one.truth != first.truth else ""
        place = (
            f"in other groups ({mine.group} and {other.group}): a training takes these for one group, so that it does "
            f"not learn from one and is tested on the other, but the picture counts twice{masks}; take one out, or put "
            "both into one group (groups.csv, or the --splits table)"
            if leaks
            else f"in one group ({mine.group}), so that it counts twice{masks}; take one out"
        )
        yield Finding(mine.image, f"{mine.image} has the same pixels as {other.image}, {place}", leaks)


def _of_set(looks: Sequence[Look]) -> Iterator[Finding]:
    home, figures = looks[0].sample.image.parent, summary(looks)
    if figures.groups < 2:
        text = (
            f"{home}: too few to hold some out (pictures: {figures.pictures}, groups: {figures.groups}); at least "
            "two groups are needed (groups.csv says which pictures belong together)"
        )
        yield Finding(home, text)
    missing = [CLASSES[label] for label, share in enumerate(figures.shares) if not share]
    if missing:
        usable = sum(one.shown is not None for one in looks)
        text = (
            f"{home}: of {usable} usable masks none holds any {' or '.join(missing)}; draw it, or say what the "
            "values mean (--palette)"
        )
        yield Finding(home, text)
    elif figures.shares and not figures.diameter_px:
        text = f"{home}: no cell lies whole in its picture, so none can be measured; training needs --cell-diameter"
        yield Finding(home, text, must_mend=False)


def _torn(splits: Path, group: str, images: Mapping[str, Path]) -> Finding:
    examples = " and ".join(f"{role} ({image})" for role, image in sorted(images.items()))
    return Finding(splits, f"{splits}: the group '{group}' lies in {examples}; give a group one role")
