"""A few steps of a training under the backend of this process: python backend_steps.py ORDER.json.

Writes the mean loss after each step, and the answer of the trained network, to `answer` in the order.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from trainer.backbones import NO_WEIGHTS
from trainer.datasets import open_dataset
from trainer.fit import prepare, train
from trainer.recipe import read_recipe
from trainer.runs import RunFolder
from trainer.start import Encoder
from trainer.training import new_model, new_record, sources_of
from trainer.validation import keras_network


class Losses:
    """A watcher that notes what it is told."""

    def __init__(self) -> None:
        self.steps: list[float] = []

    def step(self, epoch: int, step: int, mean_loss: float) -> None:
        self.steps.append(mean_loss)

    def epoch(self, row: dict[str, float], is_best: bool) -> None: ...


def begun_at(model: Any, weights: Path) -> None:
    """The first process leaves its random values for the others: a seed gives other ones in each backend."""
    if weights.exists():
        model.load_weights(weights)
    else:
        model.save_weights(weights)


def without_dropout(model: Any) -> None:
    """Which values are dropped is drawn by each backend in its own way."""
    for layer in model.layers:
        if hasattr(layer, "rate"):
            layer.rate = 0.0


def main() -> None:
    order = json.loads(Path(sys.argv[1]).read_text())
    recipe, samples = read_recipe(order["recipe"], backbone=order["backbone"]), open_dataset(Path(order["data"]))
    folder, start, diameters = RunFolder(Path(order["run"])), Encoder(NO_WEIGHTS), {"fields": 50.0}
    folder.path.mkdir(parents=True)
    sources = sources_of(recipe, samples, diameters, seed=0)
    record = new_record(folder, recipe, samples, sources, 0, start, "2026-11-24T10:00:00+00:00")
    model = new_model(record, start)
    without_dropout(model)
    begun_at(model, Path(order["weights"]))
    losses = Losses()
    train(model, prepare(samples, diameters, record, folder), losses)
    tiles = np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3), np.uint8)
    np.savez(order["answer"], losses=losses.steps, probabilities=keras_network(model)(tiles))


if __name__ == "__main__":
    main()
