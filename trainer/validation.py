"""What the epochs of a run are chosen by: whole held-out pictures, shown to the network as the station would."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from station.contract.analysis import Network
from station.contract.manifest import Manifest
from trainer.backbones import backbone
from trainer.datasets.division import hold_out
from trainer.datasets.samples import Sample
from trainer.elsewhere import COMPOSED, composed, elsewhere, named_elsewhere
from trainer.evaluate import ImageScore, by_dataset, score_images, selection_score, summary, told
from trainer.runs import RunRecord


def held_out_of(
    samples: Sequence[Sample], diameters: dict[str, float], record: RunRecord
) -> tuple[list[Sample], dict[str, float]]:
    """What the epochs of a run are chosen by, and the cell diameter (px) of each of its data sets."""
    recipe = record.recipe
    _, held_out = hold_out(samples, recipe.held_out, record.seed)
    others = [*elsewhere(held_out, diameters, recipe)] if recipe.held_out_elsewhere else []
    known = {named_elsewhere(name): px for name, px in diameters.items()} | {COMPOSED: recipe.cell_diameter_px}
    return [*held_out, *others, *composed(held_out, diameters, recipe)], diameters | known


def held_out_session(samples: Sequence[Sample], record: RunRecord) -> Callable[[Any], list[ImageScore]]:
    """Scores a Keras model on what the epochs of a run were chosen by, its pictures read anew each time."""
    diameters = {name: source.cell_diameter_px for name, source in record.sources.items()}
    held_out, known = held_out_of(samples, diameters, record)
    manifest = candidate(record)
    return lambda model: list(score_images(held_out, told(known), manifest, keras_network(model)))


def candidate(record: RunRecord) -> Manifest:
    """The manifest of a network that is still being trained."""
    return record.manifest("candidate", (), backbone(record.recipe.backbone).stride)


def figures(scores: Sequence[ImageScore]) -> dict[str, float]:
    """What the held-out pictures say of an epoch: the score, and Dice of each data set."""
    row = {"score": selection_score(scores)}
    for name, own in by_dataset(scores).items():
        dice = summary(own)
        row |= {f"{region}/{name}": dice[region] for region in ("dice_nucleus", "dice_cell")}
    return row


def keras_network(model: Any) -> Network:
    """A Keras model as the contract's Network, in inference mode."""
    from keras import ops

    def network(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        answer = model(ops.convert_to_tensor(tiles.astype(np.float32)), training=False)
        return np.asarray(ops.convert_to_numpy(answer), np.float32)

    return network
