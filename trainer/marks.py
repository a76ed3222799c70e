"""Whether the mark for review earns its keep: how many wrong counts it catches, and how many right ones it doubts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from station.contract.analysis import Network, Scale, analyse
from station.contract.flags import REVIEW
from station.contract.imaging import RGB
from station.contract.manifest import Manifest
from station.contract.scale import estimate
from trainer.composites import Composite
from trainer.datasets.samples import Sample
from trainer.evaluate import true_count

TOLD, UNTOLD = "told", "nothing told"
COMPOSED: Final = "composed fields"


@dataclass(frozen=True, slots=True)
class Marked:
    """One count: whether it is right, and the flags of its picture."""

    right: bool
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MarkScore:
    """Over the pictures of a kind: numbers of pictures."""

    wrong: int
    wrong_marked: int
    right: int
    right_marked: int
    with_flag: Mapping[str, tuple[int, int]]  # flag -> (wrong, right) counts that have it; most of the wrong first


# (kind of picture, `told` or `nothing told`) -> the count
Counts: TypeAlias = Mapping[tuple[str, str], Marked]


def of_fields(fields: Iterable[Composite], manifest: Manifest, network: Network) -> Iterator[Counts]:
    """Composed fields, whose truth is exact. Lazy, for a progress bar around it."""
    for field in fields:
        yield _both(COMPOSED, field.image, field.cell_diameter_px, field.wbc_count, manifest, network)


def of_pictures(
    samples: Iterable[Sample], diameters: Mapping[str, float], manifest: Manifest, network: Network
) -> Iterator[Counts]:
    """Pictures with their masks, which may leave out a cell; `diameters`: data set -> cell diameter, px."""
    for sample in samples:
        image, labels = sample.read()
        true = true_count(sample, labels)
        yield _both(sample.dataset, image, diameters[sample.dataset], true, manifest, network)


def mark_scores(counts: Sequence[Counts]) -> dict[tuple[str, str], MarkScore]:
    """Each kind and scale by itself, in the order in which they come."""
    keys = dict.fromkeys(key for of_picture in counts for key in of_picture)
    return {key: mark_score([of_picture[key] for of_picture in counts if key in of_picture]) for key in keys}


def mark_score(counts: Sequence[Marked]) -> MarkScore:
    """Of the counts of one kind."""
    wrong, right = ([one.flags for one in counts if one.right == is_right] for is_right in (False, True))
    flags = {flag for one in counts for flag in one.flags} - {REVIEW}
    found = {flag: (_having(flag, wrong), _having(flag, right)) for flag in flags}
    ordered = sorted(found.items(), key=lambda item: (-item[1][0], item[1][1], item[0]))
    return MarkScore(len(wrong), _having(REVIEW, wrong), len(right), _having(REVIEW, right), dict(ordered))


def _having(flag: str, flags: Iterable[tuple[str, ...]]) -> int:
    return sum(flag in own for own in flags)


def _both(
    kind: str, image: RGB, cell_diameter_px: float, true: int, manifest: Manifest, network: Network
) -> dict[tuple[str, str], Marked]:
    scales = {TOLD: Scale(cell_diameter_px, "told"), UNTOLD: estimate(image, manifest, network)}
    found = {name: analyse(image, scale, manifest, network) for name, scale in scales.items()}
    return {(kind, name): Marked(own.wbc_count == true, own.flags) for name, own in found.items()}
