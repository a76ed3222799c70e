"""Training: pools in, best weights out. Selects and stops on whole held-out images in inference mode."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from time import perf_counter
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from station.contract.errors import NotFinite, StationError
from station.contract.manifest import Manifest
from trainer.ahead import Waited, ahead, reach
from trainer.curve import curve
from trainer.datasets.division import hold_out
from trainer.datasets.samples import Sample
from trainer.device import has_gpu, jit_compile
from trainer.evaluate import ImageScore, score_images, selection_score, told
from trainer.events import event_log
from trainer.feed import Batch, Pool, batch, batch_bytes, class_weights, pools
from trainer.losses import loss
from trainer.recipe import ClassWeights, Recipe
from trainer.runs import Checkpoint, RunFolder, RunRecord, save_weights, write_text, write_whole
from trainer.unet import batch_normalisations, encoder_layers
from trainer.validation import candidate, figures, held_out_of, keras_network

Batches: TypeAlias = Iterator[Waited[Batch]]


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
    history: tuple[dict[str, float], ...]  # a row per epoch, as in history.csv


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


def train(model: Any, session: Session, watcher: Watcher, stop: Callable[[], bool] = lambda: False) -> Trained:
    """Train a U-Net and leave its best weights in the model and in the run's folder.

    Goes on where the folder says that it was cut off, to the same end. Early stopping by the held-out score; at the
    end the batch normalisation statistics are estimated anew and kept if the score is not worse (MobileNet's own
    momentum of 0.999 lags hundreds of steps behind). `stop` is asked after each epoch: True ends the training there;
    where it raises, the run can be taken up again.
    Raises TrainingError when loss or weights are no longer finite, RunError when the folder cannot be written.
    """
    recipe, folder = session.recipe, session.folder
    for layer in batch_normalisations(model):
        layer.momentum = recipe.bn_momentum
    state = _resumed(model, session) or _begun(model, session)
    with event_log(folder.path, state.epochs + 1) as log, _fed(session, state) as batches:
        while state.epochs < recipe.epochs and state.epochs - state.best_epoch < recipe.patience:
            if state.epochs in (0, recipe.frozen_epochs):
                _compile(model, session, frozen=state.epochs < recipe.frozen_epochs)
            row = _epoch(model, session, state, batches, watcher) | figures(_validated(model, session, state))
            log(row)  # before the epoch is kept: of an epoch that is done again, TensorBoard drops the older row
            state = state.after(row)
            _keep(model, session, state)
            watcher.epoch(row, is_best=state.best_epoch == state.epochs)
            if stop():
                break
    return _with_new_statistics(model, session, state)


def prepare(
    samples: Sequence[Sample],
    diameters: dict[str, float],
    record: RunRecord,
    folder: RunFolder,
    tick: Callable[[], None] = lambda: None,
) -> Session:
    """Divide the samples by group and bring the training part to network scale by each data set's cell diameter."""
    recipe = record.recipe
    training, _ = hold_out(samples, recipe.held_out, record.seed)
    held_out, known = held_out_of(samples, diameters, record)
    return Session(
        recipe=recipe,
        seed=record.seed,
        pools=pools(training, diameters, recipe, record.seed, tick),
        held_out=held_out,
        diameters=known,
        manifest=candidate(record),
        folder=folder,
    )


def validate(model: Any, session: Session) -> list[ImageScore]:
    """The held-out images through the station's own contract, scale told by the training masks."""
    return list(score_images(session.held_out, told(session.diameters), session.manifest, keras_network(model)))


def compile_model(model: Any, recipe: Recipe, weights: ClassWeights | None) -> None:
    """Give a model the optimizer and the loss of a recipe, under these class weights; steps compiled where it pays."""
    import keras

    optimizer = keras.optimizers.Adam(recipe.learning_rate)
    compiled = jit_compile(has_gpu(), keras.backend.backend())
    model.compile(optimizer, loss(recipe.loss, weights), jit_compile=compiled)
    model.optimizer.build(model.trainable_variables)  # now: TensorFlow traces a step that makes variables twice


def reestimate_statistics(model: Any, batches: Iterable[NDArray[np.float32]]) -> None:
    """Run training-mode passes without a step, so that moving means and variances fit the final weights."""
    for images in batches:
        model(images, training=True)


def _begun(model: Any, session: Session) -> Checkpoint:
    """What is to be beaten: nothing, or the model that this one descends from."""
    if not session.manifest.provenance.ancestry:
        return Checkpoint()
    state = Checkpoint(best=selection_score(validate(model, session)))
    _keep(model, session, state)
    return state


def _resumed(model: Any, session: Session) -> Checkpoint | None:
    """The state of the run's folder, with weights and optimizer put into the model."""
    state = session.folder.checkpoint()
    if state is None:
        return None
    if state.epochs:
        _compile(model, session, frozen=state.epochs - 1 < session.recipe.frozen_epochs)
    model.load_weights(session.folder.weights_after(state.epochs))
    return state


def _load_best(model: Any, session: Session, state: Checkpoint) -> None:
    path = session.folder.weights_after(state.best_epoch)
    if not path.exists():  # no epoch was ever good: a score is never NaN, so this is a training of no epochs
        return
    with warnings.catch_warnings():
        # The optimizer of that epoch may have had fewer variables, and nobody needs it any more.
        warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
        model.load_weights(path)


def _keep(model: Any, session: Session, state: Checkpoint) -> None:
    """Bring the state to the disk, and redraw the curve."""
    session.folder.keep(state, lambda path: save_weights(model, path))
    if state.history:
        name = session.folder.path.name
        write_text(session.folder.curve, curve(name, state.history, state.best_epoch))


def _compile(model: Any, session: Session, *, frozen: bool) -> None:
    for layer in encoder_layers(model):
        layer.trainable = not frozen
    compile_model(model, session.recipe, class_weights(session.pools, session.recipe))


def _fed(session: Session, state: Checkpoint) -> AbstractContextManager[Batches]:
    """The batches that are left, from epoch to epoch: while one is validated, the first of the next are made."""
    recipe = session.recipe
    steps = range(state.epochs * recipe.steps_per_epoch, recipe.epochs * recipe.steps_per_epoch)

    def make(step: int) -> Batch:
        return batch(session.pools, recipe, session.seed, *divmod(step, recipe.steps_per_epoch))

    return ahead(make, steps, reach(batch_bytes(recipe)))


def _epoch(model: Any, session: Session, state: Checkpoint, batches: Batches, watcher: Watcher) -> dict[str, float]:
    recipe, epoch = session.recipe, state.epochs
    started, waiting, mean_loss, rate = perf_counter(), 0.0, math.nan, 0.0
    model.reset_metrics()
    _set_generators(model, session.seed, epoch * recipe.steps_per_epoch)
    for step, ((images, truth), waited) in enumerate(islice(batches, recipe.steps_per_epoch)):
        waiting += waited
        rate = recipe.learning_rate_at(epoch * recipe.steps_per_epoch + step)
        model.optimizer.learning_rate = rate
        mean_loss = float(model.train_on_batch(images, truth))
        if not math.isfinite(mean_loss):
            raise _diverged(model, session, state, step)
        watcher.step(epoch, step, mean_loss)
    return {
        "epoch": float(epoch + 1),
        "loss": mean_loss,
        "learning_rate": rate,
        "seconds": perf_counter() - started,
        "seconds_waiting": waiting,
    }


def _validated(model: Any, session: Session, state: Checkpoint) -> list[ImageScore]:
    """As `validate`. Weights that the last step of an epoch ruined are in no loss: only what they answer shows it."""
    try:
        return validate(model, session)
    except NotFinite as cause:
        raise _diverged(model, session, state, session.recipe.steps_per_epoch - 1) from cause


def _set_generators(model: Any, seed: int, steps: int) -> None:
    """Let dropout draw as after that many steps: weights files do not keep its generators.

    Each layer has one of its own, but for PyTorch, where all draw from one for the whole process.
    """
    import keras
    from keras import ops

    keras.utils.set_random_seed(seed + steps)
    for layer in model.layers:
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            own, _ = ops.convert_to_numpy(generator.state)
            generator.state.assign([own, steps])


def _diverged(model: Any, session: Session, state: Checkpoint, step: int) -> TrainingError:
    """The error of a loss that is no longer finite, after the last good weights were made the run's own.

    Of a run that had ended before and went on, they and their figures stay as they were.
    """
    if session.folder.load().metrics:
        so_far = f"{session.folder.weights} is as it was before the run went on"
    elif session.folder.weights_after(state.best_epoch).exists():
        _load_best(model, session, state)
        write_whole(session.folder.weights, lambda path: save_weights(model, path))
        ended = {"best_epoch": state.best_epoch, "epochs": state.epochs, "score": state.best}
        session.folder.save(session.folder.load().model_copy(update=ended))
        so_far = f"the best weights so far are in {session.folder.weights}"
    else:
        so_far = "there are no good weights yet"
    return TrainingError(
        f"the loss was no longer finite in epoch {state.epochs + 1}, step {step + 1}; {so_far}; "
        "try a lower learning rate"
    )


def _with_new_statistics(model: Any, session: Session, state: Checkpoint) -> Trained:
    recipe = session.recipe

    def make(step: int) -> Batch:
        return batch(session.pools, recipe, session.seed, recipe.epochs, step)

    _load_best(model, session, state)
    if recipe.bn_batches:
        _set_generators(model, session.seed, recipe.epochs * recipe.steps_per_epoch)
        with ahead(make, range(recipe.bn_batches), reach(batch_bytes(recipe))) as fresh:
            reestimate_statistics(model, (images for (images, _), _ in fresh))
    scores = _unless_worse(model, session, state)
    if scores is None:
        _load_best(model, session, state)
        scores = validate(model, session)
    write_whole(session.folder.weights, lambda path: save_weights(model, path))
    return Trained(state.best_epoch, selection_score(scores), tuple(scores), state.history)


def _unless_worse(model: Any, session: Session, state: Checkpoint) -> list[ImageScore] | None:
    """How the new statistics score; None where they are worse than the best epoch, or give no numbers at all."""
    try:
        scores = validate(model, session)
    except NotFinite:
        return None
    return None if selection_score(scores) < state.best else scores
