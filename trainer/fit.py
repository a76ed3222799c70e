"""Training: pools in, best weights out. Selects and stops on whole held-out images in inference mode."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from station.contract.analysis import Network
from station.contract.errors import StationError
from station.contract.manifest import Manifest
from trainer.backbones import backbone
from trainer.datasets.samples import Sample, hold_out
from trainer.evaluate import ImageScore, score_images, selection_score, told
from trainer.feed import Pool, batch, pools
from trainer.losses import loss
from trainer.recipe import Recipe
from trainer.runs import RunFolder, RunRecord
from trainer.unet import batch_normalisations, encoder_layers


class TrainingError(StationError):
    """A training that cannot go on; the last good weights stay in the run's folder."""


class Watcher(Protocol):
    """Who is told how a training goes: a progress bar, plain lines, a test."""

    def step(self, epoch: int, step: int, mean_loss: float) -> None: ...
    def epoch(self, row: dict[str, float], is_best: bool) -> None: ...


@dataclass(frozen=True, slots=True)
class Trained:
    """The end of a training; the model holds the best weights."""

    best_epoch: int  # from 1; 0: no epoch was better than the model it started from
    score: float
    scores: tuple[ImageScore, ...]


@dataclass(frozen=True, slots=True)
class Session:
    """What one training is made of, beside the model itself."""

    recipe: Recipe
    seed: int
    pools: Sequence[Pool]
    held_out: Sequence[Sample]
    diameters: dict[str, float]  # data set -> median cell diameter at camera scale, px
    manifest: Manifest
    folder: RunFolder


def train(model: Any, session: Session, watcher: Watcher) -> Trained:
    """Train a U-Net and leave its best weights in the model and in the run's folder.

    Early stopping by the held-out score; at the end the batch normalisation statistics are estimated anew and kept if
    the score is not worse (MobileNet's own momentum of 0.999 lags hundreds of steps behind).
    Raises TrainingError when the loss is no longer finite.
    """
    recipe = session.recipe
    for layer in batch_normalisations(model):
        layer.momentum = recipe.bn_momentum
    best_epoch, best = _start(model, session)
    for epoch in range(recipe.epochs):
        if epoch in (0, recipe.frozen_epochs):
            _compile(model, recipe, frozen=epoch < recipe.frozen_epochs)
        row_of_history = _epoch(model, session, epoch, watcher)
        score = selection_score(validate(model, session))
        session.folder.append_history(row_of_history | {"score": score})
        watcher.epoch(row_of_history | {"score": score}, is_best=score > best)
        if score > best:
            best_epoch, best = epoch + 1, score
            model.save_weights(session.folder.weights)
        elif epoch + 1 - best_epoch >= recipe.patience:
            break
    _load_best(model, session)
    return _with_new_statistics(model, session, best_epoch, best)


def prepare(
    samples: Sequence[Sample],
    diameters: dict[str, float],
    record: RunRecord,
    folder: RunFolder,
    tick: Callable[[], None] = lambda: None,
) -> Session:
    """Divide the samples by group and bring the training part to network scale by each data set's cell diameter."""
    recipe = record.recipe
    training, held_out = hold_out(samples, recipe.held_out, record.seed)
    return Session(
        recipe=recipe,
        seed=record.seed,
        pools=pools(training, diameters, recipe, record.seed, tick),
        held_out=held_out,
        diameters=diameters,
        manifest=record.manifest("candidate", (), backbone(recipe.backbone).stride),
        folder=folder,
    )


def validate(model: Any, session: Session) -> list[ImageScore]:
    """The held-out images through the station's own contract, scale told by the training masks."""
    return list(score_images(session.held_out, told(session.diameters), session.manifest, keras_network(model)))


def keras_network(model: Any) -> Network:
    """A Keras model as the contract's Network, in inference mode."""
    from keras import ops

    def network(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        answer = model(ops.convert_to_tensor(tiles.astype(np.float32)), training=False)
        return np.asarray(ops.convert_to_numpy(answer), np.float32)

    return network


def reestimate_statistics(model: Any, batches: Iterable[NDArray[np.float32]]) -> None:
    """Run training-mode passes without a step, so that moving means and variances fit the final weights."""
    for images in batches:
        model(images, training=True)


def learning_rate(recipe: Recipe, step: int) -> float:
    """Half a cosine from the recipe's rate to zero over all planned steps (Loshchilov & Hutter 2017, eq. 5)."""
    total = recipe.epochs * recipe.steps_per_epoch
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * min(step, total) / total))


def _start(model: Any, session: Session) -> tuple[int, float]:
    """(epoch, score) to beat: nothing, or the model that this one descends from."""
    if not session.manifest.provenance.ancestry:
        return 0, -1.0
    score = selection_score(validate(model, session))
    model.save_weights(session.folder.weights)
    return 0, score


def _load_best(model: Any, session: Session) -> None:
    with warnings.catch_warnings():
        # The file of a start that was never beaten holds no optimizer, which nobody needs any more.
        warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
        model.load_weights(session.folder.weights)


def _compile(model: Any, recipe: Recipe, *, frozen: bool) -> None:
    import keras

    for layer in encoder_layers(model):
        layer.trainable = not frozen
    model.compile(keras.optimizers.Adam(recipe.learning_rate), loss(recipe.loss), jit_compile=False)


def _epoch(model: Any, session: Session, epoch: int, watcher: Watcher) -> dict[str, float]:
    recipe = session.recipe
    started, waiting, mean_loss, rate = perf_counter(), 0.0, math.nan, 0.0
    model.reset_metrics()
    for step, (images, truth, waited) in enumerate(_prefetched(session, epoch)):
        waiting += waited
        rate = learning_rate(recipe, epoch * recipe.steps_per_epoch + step)
        model.optimizer.learning_rate = rate
        mean_loss = float(model.train_on_batch(images, truth))
        if not math.isfinite(mean_loss):
            kept = session.folder.weights
            so_far = f"the best weights so far are in {kept}" if kept.exists() else "there are no good weights yet"
            raise TrainingError(
                f"the loss was no longer finite in epoch {epoch + 1}, step {step + 1}; {so_far}; "
                "try a lower learning rate"
            )
        watcher.step(epoch, step, mean_loss)
    return {
        "epoch": float(epoch + 1),
        "loss": mean_loss,
        "learning_rate": rate,
        "seconds": perf_counter() - started,
        "seconds_waiting": waiting,
    }


def _prefetched(session: Session, epoch: int) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32], float]]:
    """The epoch's batches and the seconds waited for each; the next is made while the device works."""

    def make(step: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return batch(session.pools, session.recipe, session.seed, epoch, step)

    with ThreadPoolExecutor(max_workers=1) as maker:
        following = maker.submit(make, 0)
        for step in range(session.recipe.steps_per_epoch):
            asked = perf_counter()
            images, truth = following.result()
            waited = perf_counter() - asked
            if step + 1 < session.recipe.steps_per_epoch:
                following = maker.submit(make, step + 1)
            yield images, truth, waited


def _with_new_statistics(model: Any, session: Session, best_epoch: int, best: float) -> Trained:
    recipe = session.recipe
    if recipe.bn_batches:
        fresh = (batch(session.pools, recipe, session.seed, recipe.epochs, i)[0] for i in range(recipe.bn_batches))
        reestimate_statistics(model, fresh)
    scores = validate(model, session)
    if selection_score(scores) < best:
        _load_best(model, session)
        scores = validate(model, session)
    model.save_weights(session.folder.weights)
    return Trained(best_epoch, selection_score(scores), tuple(scores))
