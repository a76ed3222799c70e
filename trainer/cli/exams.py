"""`trainer evaluate --counting`, `--stress`, `--scale`, `--marks`: exact truth, disturbances, cameras, doubts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from rich.console import Console

if TYPE_CHECKING:
    from station.contract.bundle import Bundle
    from trainer.datasets.samples import Sample

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Exam:
    """What a bundle is put through, on samples with the cell diameters (px) of their data sets."""

    run: Callable[[Bundle, Sequence[Sample], Mapping[str, float], range, int], None]  # ..., seeds, threads
    seeds: int  # fields to compose or draws to make, where nobody tells how many


def count(
    bundle: Bundle, samples: Sequence[Sample], diameters: Mapping[str, float], seeds: range, threads: int
) -> None:
    """A table per kind of field; those that are not composed are fewer."""
    from station.engines import Setup, open_engine
    from trainer.counting import ADDITIONAL_FIELDS, counted, kinds_of_fields, tallies
    from trainer.display import counting_table, show

    network = open_engine(bundle, setup=Setup(threads=threads))
    for number, (kind, make) in enumerate(kinds_of_fields(samples, diameters).items()):
        chosen = seeds if number == 0 else seeds[:ADDITIONAL_FIELDS]
        scores = _tracked(counted(map(make, chosen), bundle.manifest, network), len(chosen), kind)
        show(counting_table(f"{kind}: {len(scores)} fields", tallies(scores)))


def stress(
    bundle: Bundle,
    samples: Sequence[Sample],
    diameters: Mapping[str, float],
    seeds: range,
    threads: int,
    only: Sequence[str] = (),
) -> None:
    """A line per disturbance, or per one with a word of `only` in its name; in the end those that cost too much."""
    from station.engines import Setup, open_engine
    from trainer.composites import compose
    from trainer.cutouts import stock
    from trainer.display import show, stress_table
    from trainer.stress import chosen, counted_exactly, effects, outlined, words

    disturbances = chosen(only)
    network = open_engine(bundle, setup=Setup(threads=threads))
    cells, grounds = stock(samples, diameters)
    fields = (compose(seed, cells, grounds) for seed in seeds)
    outlines = outlined(samples, diameters, bundle.manifest, network, disturbances)
    pictures = _tracked(outlines, len(samples), "pictures, disturbed")
    exactly = counted_exactly(fields, bundle.manifest, network, disturbances)
    counts = _tracked(exactly, len(seeds), "composed fields, disturbed")
    found = effects(pictures, counts, disturbances)
    show(stress_table(f"{len(pictures)} pictures, {len(counts)} composed fields", found))
    Console(markup=False, highlight=False).print(words(found), soft_wrap=True)


def scale(
    bundle: Bundle, samples: Sequence[Sample], _diameters: Mapping[str, float], seeds: range, threads: int
) -> None:
    """A line per data set; the cells' true diameters are those of its masks."""
    from station.engines import Setup, open_engine
    from trainer.display import scale_table, show
    from trainer.scales import estimated, scale_score

    network = open_engine(bundle, setup=Setup(threads=threads))
    pictures = _tracked(estimated(samples, bundle.manifest, network), len(samples), "pictures, scale untold")
    sets = dict.fromkeys(one.dataset for one in pictures)
    own = {name: [one for one in pictures if one.dataset == name] for name in sets}
    show(scale_table(len(seeds), {name: scale_score(found, seeds) for name, found in own.items()}))


def marks(
    bundle: Bundle, samples: Sequence[Sample], diameters: Mapping[str, float], seeds: range, threads: int
) -> None:
    """A line for the composed fields and for each data set, the scale told and not."""
    from station.engines import Setup, open_engine
    from trainer.composites import compose
    from trainer.cutouts import stock
    from trainer.display import marks_table, show
    from trainer.marks import mark_scores, of_fields, of_pictures

    network = open_engine(bundle, setup=Setup(threads=threads))
    cells, grounds = stock(samples, diameters)
    fields = of_fields((compose(seed, cells, grounds) for seed in seeds), bundle.manifest, network)
    counts = _tracked(fields, len(seeds), "composed fields")
    counts += _tracked(of_pictures(samples, diameters, bundle.manifest, network), len(samples), "pictures")
    show(marks_table(mark_scores(counts)))


EXAMS: Final[Mapping[str, Exam]] = {
    "--counting": Exam(count, 300),
    "--stress": Exam(stress, 60),
    "--scale": Exam(scale, 200),
    "--marks": Exam(marks, 300),
}


def stress_under(words: Sequence[str]) -> Exam:
    """That of `--stress` with the disturbances that have one of these words in their names."""
    return Exam(partial(stress, only=words), EXAMS["--stress"].seeds)


def _tracked(scores: Iterable[_T], total: int, description: str) -> list[_T]:
    from trainer.display import progress

    with progress(Console(stderr=True)) as bar:
        return list(bar.track(scores, total, description=description))
