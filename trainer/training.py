"""A training as a run on disk: its record is begun before the first step and finished after the last."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from trainer.backbones import backbone
from trainer.datasets.division import hold_out
from trainer.datasets.samples import Sample, data_digest, demand_classes, grouped
from trainer.device import has_gpu, numbers_in, precision
from trainer.evaluate import by_dataset, summary
from trainer.fit import Trained
from trainer.learnt import contents, listed
from trainer.losses import loss
from trainer.recipe import Recipe
from trainer.runs import RunError, RunFolder, RunRecord, SourceRecord, new_run, write_text
from trainer.start import Start
from trainer.unet import build


def begin(
    recipe: Recipe,
    samples: Sequence[Sample],
    diameters: Mapping[str, float],
    runs: Path,
    seed: int,
    start: Start,
    now: datetime,
) -> tuple[RunFolder, RunRecord]:
    """A new run below `runs`. What cannot be trained (loss, too few groups, weights) is refused before it is made."""
    loss(recipe.loss)
    start.check(recipe.backbone)
    sources = sources_of(recipe, samples, diameters, seed)
    folder = new_run(runs, recipe, now)
    write_text(folder.learnt, listed([*contents(samples), *start.learnt]))
    record = new_record(folder, recipe, samples, sources, seed, start, now.isoformat(timespec="seconds"))
    return folder, record


def resume(folder: RunFolder, samples: Sequence[Sample]) -> RunRecord:
    """The record of a run that was cut off, perhaps after its training: then it has a score.

    Raises RunError where it cannot go on, or not on these pictures.
    """
    record = folder.load()
    if folder.checkpoint() is None and record.score is None:
        raise RunError(
            f"the run {folder.path} was cut off before its first epoch ended: there is nothing to go on from; start a "
            "new one"
        )
    _demand_data(folder, record, samples)
    return record


def demand_same(folder: RunFolder, record: RunRecord, samples: Sequence[Sample], parent: Start) -> None:
    """Raises RunError where a run was trained on other pictures, or does not come from that model."""
    if record.ancestry != parent.ancestry:
        raise RunError(f"the run {folder.path} was not begun --from the {parent.words}")
    _demand_data(folder, record, samples)


def _demand_data(folder: RunFolder, record: RunRecord, samples: Sequence[Sample]) -> None:
    if record.data_sha256 != data_digest(samples):
        raise RunError(f"the run {folder.path} was begun on other pictures or masks; start a new one")
    known = record.held_out_sha256  # records from before it was kept have none
    if known and known != _held_out_digest(record.recipe, samples, record.seed):
        raise RunError(
            f"the run {folder.path} was begun with other groups, so pictures that it learned from would now choose the "
            "epoch; start a new one"
        )


def new_record(
    folder: RunFolder,
    recipe: Recipe,
    samples: Sequence[Sample],
    sources: dict[str, SourceRecord],
    seed: int,
    start: Start,
    created_at: str,
) -> RunRecord:
    """The record of a run before its first step, saved."""
    record = RunRecord(
        run_id=folder.path.name,
        recipe=recipe,
        seed=seed,
        weights=start.words,
        ancestry=start.ancestry,
        data_sha256=data_digest(samples),
        sources=sources,
        held_out_sha256=_held_out_digest(recipe, samples, seed),
        created_at=created_at,
        package_version=version("wbc-station"),
    )
    folder.save(record)
    return record


def sources_of(
    recipe: Recipe, samples: Sequence[Sample], diameters: Mapping[str, float], seed: int
) -> dict[str, SourceRecord]:
    """What is trained on, by data set. Raises DataError where there are too few groups, or cells, to hold some out."""
    training, held_out = hold_out(samples, recipe.held_out, seed)
    demand_classes(training, "the pictures to train on")
    demand_classes(held_out, "the pictures that are held out to choose the epoch")
    held = {name: len(own) for name, own in grouped(held_out).items()}
    return {
        name: SourceRecord(
            images=len(own) - held.get(name, 0), held_out=held.get(name, 0), cell_diameter_px=diameters[name]
        )
        for name, own in grouped(samples).items()
    }


def _held_out_digest(recipe: Recipe, samples: Sequence[Sample], seed: int) -> str:
    names = sorted(f"{sample.dataset}/{sample.id}" for sample in hold_out(samples, recipe.held_out, seed)[1])
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def new_model(record: RunRecord, start: Start) -> Any:
    """The Keras model of a run before its first step; the same seed gives the same values."""
    import keras

    keras.utils.set_random_seed(record.seed)
    with numbers_in(precision(record.recipe, has_gpu())):
        model = build(backbone(record.recipe.backbone))
        start.load_into(model)
    return model


def finish(record: RunRecord, folder: RunFolder, trained: Trained) -> RunRecord:
    """The record with how the run scored, saved. What was averaged or judged of it before it went on is of the past."""
    metrics = {f"held-out rows of {name}, scale told": summary(own) for name, own in by_dataset(trained.scores).items()}
    changes = {"best_epoch": trained.best_epoch, "score": trained.score, "metrics": metrics}
    changes |= {"epochs": len(trained.history), "averaged": "", "duel": None}
    finished = record.model_copy(update=changes)
    folder.trained.unlink(missing_ok=True)
    folder.save(finished)
    return finished
