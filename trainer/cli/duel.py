"""Two models on the same pictures: what `trainer fit --from` and `trainer evaluate --against` have in common."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from rich.console import Console

if TYPE_CHECKING:
    from station.contract.analysis import Network
    from station.contract.bundle import Bundle
    from trainer.datasets.samples import Sample
    from trainer.evaluate import ImageScore, ScaleOf
    from trainer.runs import DuelRecord, RunFolder, RunRecord


@dataclass(frozen=True, slots=True)
class Ground:
    """Pictures on which models are scored."""

    samples: Sequence[Sample]
    diameters: Mapping[str, float] | None  # data set -> px; None: each model estimates the scale of each picture
    kind: str = ""  # "test" or "held-out"
    caveat: str = ""

    @property
    def pictures(self) -> str:
        return f"{self.kind} pictures".strip()


@dataclass(frozen=True, slots=True)
class Scored:
    """A model with its scores on the pictures of a ground."""

    bundle: Bundle
    scores: Sequence[ImageScore]


def ground_of(
    tests: Sequence[Sample],
    samples: Sequence[Sample],
    record: RunRecord,
    diameters: Mapping[str, float],
    champion: Bundle,
) -> Ground:
    """Where the model of a run meets the one that it descends from: the test pictures, else those that it held out."""
    from trainer.datasets.division import hold_out
    from trainer.learnt import not_told

    known = {name: source.cell_diameter_px for name, source in record.sources.items()}
    if tests:
        return Ground(tests, {**diameters, **known}, "test", not_told(champion))
    held_out = hold_out(samples, record.recipe.held_out, record.seed)[1]
    caveat = (
        "These pictures also chose the epoch of the new model, and the old one may have learned from them: pictures "
        "put aside for good (--test) are a fairer test."
    )
    return Ground(held_out, known, "held-out", caveat)


def scored(bundle: Bundle, ground: Ground, console: Console, threads: int = 0) -> Scored:
    """A bundle on this machine's engine, with a bar."""
    from station.engines import Setup, open_engine
    from trainer.display import progress
    from trainer.evaluate import score_images, told

    engine = open_engine(bundle, setup=Setup(threads=threads))
    scale_of = _estimating(bundle, engine) if ground.diameters is None else told(dict(ground.diameters))
    scores = score_images(ground.samples, scale_of, bundle.manifest, engine)
    with progress(console) as bar:
        total = len(ground.samples)
        return Scored(bundle, list(bar.track(scores, total, description=f"evaluating {bundle.manifest.name}")))


def fought(old: Scored, new: Scored, ground: Ground) -> DuelRecord:
    """Show two models side by side; what came out is said later, as the last word."""
    import numpy as np

    from trainer.datasets.division import joined_by_content
    from trainer.datasets.samples import data_digest
    from trainer.display import duel_table, show
    from trainer.duel import SEED, duel, words
    from trainer.evaluate import by_dataset
    from trainer.runs import DuelRecord

    group_of = {(sample.dataset, sample.id): sample.group for sample in joined_by_content(ground.samples)}
    verdict = duel(old.scores, new.scores, group_of, np.random.default_rng(SEED))
    names = (f"old: {old.bundle.manifest.name}", f"new: {new.bundle.manifest.name}")
    ours = by_dataset(new.scores)
    for dataset, theirs in by_dataset(old.scores).items():
        show(duel_table(dataset, names, theirs, ours[dataset]))
    return DuelRecord(
        against=old.bundle.sha256,
        data_sha256=data_digest(ground.samples),
        pictures=verdict.pictures,
        ruling=verdict.ruling,
        words=f"{words(verdict, ground.pictures)} {ground.caveat}".strip(),
    )


def hold_against(champion: Bundle, output: Path, folder: RunFolder, ground: Ground, console: Console) -> DuelRecord:
    """The exported model of a run against an older one; the result goes into the run and onto the model's card."""
    from station.contract.bundle import read_bundle

    old, new = (scored(bundle, ground, console) for bundle in (champion, read_bundle(output)))
    duel = fought(old, new, ground)
    _note(new, output, folder, ground, duel)
    return duel


def score_again(output: Path, samples: Sequence[Sample], folder: RunFolder, console: Console) -> None:
    """The held-out figures of a bundle that tells cells apart otherwise than the run did when it was scored.

    They go into the run and onto the card; nothing is done where the calibration changed no parameter.
    """
    from station.contract.bundle import read_bundle
    from station.contract.manifest import Separation
    from trainer.validation import held_out_of

    bundle, record = read_bundle(output), folder.load()
    if bundle.manifest.separation != Separation():  # by which a training is scored
        known = {name: source.cell_diameter_px for name, source in record.sources.items()}
        ground = Ground(*held_out_of(samples, known, record), "held-out")
        _note(scored(bundle, ground, console), output, folder, ground, record.duel)


def _note(new: Scored, output: Path, folder: RunFolder, ground: Ground, duel: DuelRecord | None) -> None:
    """Figures of the network as it is stored, which may differ in the fourth digit from the one that was trained."""
    from station.contract.bundle import write_bundle
    from trainer.card import with_record
    from trainer.evaluate import by_dataset, summary

    record, sets = folder.load(), by_dataset(new.scores).items()
    figures = {f"{ground.kind} rows of {name}, scale told": summary(own) for name, own in sets}
    record = record.model_copy(update={"metrics": record.metrics | figures, "duel": duel})
    folder.save(record)
    write_bundle(output, with_record(new.bundle, record), compact=True)


def end(duel: DuelRecord, bundle: Path, console: Console) -> NoReturn:
    """The verdict and what to do, as the last lines. Exit code 0: not worse."""
    said = {
        "not worse": f"Install it with:\nstation model install {shlex.quote(str(bundle))}",
        "worse": f"{bundle} stays where it is, but should not be installed.",
        "open": f"{bundle} stays where it is, but is not offered: try both on more pictures.",
    }
    console.print(f"{duel.words} {said[duel.ruling]}", soft_wrap=True)
    sys.exit(0 if duel.ruling == "not worse" else 1)


def _estimating(bundle: Bundle, engine: Network) -> ScaleOf:
    from station.contract.scale import estimate

    return lambda _sample, image: estimate(image, bundle.manifest, engine)
