"""A training as a run on disk: its record is begun before the first step and finished after the last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from trainer.backbones import backbone
from trainer.datasets.samples import Sample, data_digest, grouped, hold_out
from trainer.evaluate import by_dataset, summary
from trainer.fit import Session, Trained
from trainer.losses import loss
from trainer.recipe import Recipe
from trainer.runs import RunFolder, RunRecord, SourceRecord, new_run
from trainer.start import Start
from trainer.unet import build


def begin(
    recipe: Recipe, samples: Sequence[Sample], runs: Path, seed: int, start: Start, now: datetime
) -> tuple[RunFolder, RunRecord]:
    """A new run below `runs`. What cannot be trained (loss, too few groups, weights) is refused before it is made."""
    loss(recipe.loss)
    hold_out(samples, recipe.held_out, seed)
    start.check(recipe.backbone)
    folder = new_run(runs, recipe, now)
    record = RunRecord(
        run_id=folder.path.name,
        recipe=recipe,
        seed=seed,
        weights=start.words,
        ancestry=start.ancestry,
        data_sha256=data_digest(samples),
        sources={},
        created_at=now.isoformat(timespec="seconds"),
        package_version=version("wbc-station"),
    )
    folder.save(record)
    return folder, record


def new_model(record: RunRecord, start: Start) -> Any:
    """The Keras model of a run before its first step; the same seed gives the same values."""
    import keras

    keras.utils.set_random_seed(record.seed)
    model = build(backbone(record.recipe.backbone))
    start.load_into(model)
    return model


def finish(
    record: RunRecord,
    samples: Sequence[Sample],
    diameters: Mapping[str, float],
    session: Session,
    trained: Trained,
) -> RunRecord:
    """The record with what was trained on and how it scored, saved."""
    held = {name: len(own) for name, own in grouped(session.held_out).items()}
    sources = {
        name: SourceRecord(
            images=len(own) - held.get(name, 0), held_out=held.get(name, 0), cell_diameter_px=diameters[name]
        )
        for name, own in grouped(samples).items()
    }
    metrics = {f"held-out rows of {name}, scale told": summary(own) for name, own in by_dataset(trained.scores).items()}
    changes = {"sources": sources, "best_epoch": trained.best_epoch, "score": trained.score, "metrics": metrics}
    finished = record.model_copy(update=changes)
    session.folder.save(finished)
    return finished
