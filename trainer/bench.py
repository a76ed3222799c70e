"""How fast this machine trains: steps with and without the feed, and the feed alone.

All is measured in short turns that alternate, so that what else the machine does disturbs all alike. Figures are
medians over the turns, ratios are taken within a turn.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from statistics import median
from typing import Any, TypeAlias, TypeVar

import cv2

from station.contract.manifest import Frozen
from trainer.ahead import Reach, Waited, ahead, reach
from trainer.backbones import backbone
from trainer.device import gpu_models, has_gpu, numbers_in, precision
from trainer.feed import Batch, Pool, batch, batch_bytes
from trainer.fit import compile_model
from trainer.recipe import Recipe
from trainer.speed import machine
from trainer.unet import build

TURNS = 4
_BATCHES_PER_CORE = 4  # in a turn of the feed alone, so that each thread has several to make
_PACKAGES = ("wbc-station", "keras", "tensorflow", "tensorflow-cpu", "jax", "torch", "numpy", "opencv-python-headless")

Clock: TypeAlias = Callable[[], float]  # seconds
Measured = TypeVar("Measured")


class FeedRate(Frozen):
    """The feed alone, by so many threads."""

    threads: int
    pictures_per_second: float
    ratio: float  # to one thread


class TrainingRate(Frozen):
    """Steps of one network: `bare` repeats one batch, `fed` takes them as a training does."""

    backbone: str
    precision: str
    compiled: bool  # by XLA, or by torch.compile
    bare_seconds: float  # per step
    fed_seconds: float  # per step
    ratio: float  # bare to fed: 1 where feeding costs nothing
    waiting_share: float  # of the time of fed steps, 0..1


class Bench(Frozen):
    """What was measured, on what."""

    size_px: int
    batch: int
    data: str
    machine: str
    gpus: tuple[str, ...]
    device: str
    backend: str
    versions: dict[str, str]
    feed: tuple[FeedRate, ...]
    training: tuple[TrainingRate, ...] = ()


@dataclass(frozen=True, slots=True)
class Stand:
    """What all measurements have in common."""

    pools: Sequence[Pool]
    recipe: Recipe
    now: Clock

    def batches(self, count: int, threads: int | None = None) -> AbstractContextManager[Iterator[Waited[Batch]]]:
        def make(step: int) -> Batch:
            return batch(self.pools, self.recipe, 0, 0, step)

        return ahead(make, range(count), self.reach(threads))

    def reach(self, threads: int | None = None) -> Reach:
        return reach(batch_bytes(self.recipe), threads)


def surroundings() -> dict[str, Any]:
    """The fields of a Bench that say where it was measured."""
    import keras

    return {
        "machine": machine(),
        "gpus": gpu_models(),
        "device": str(keras.ops.convert_to_tensor(0.0).device),
        "backend": keras.backend.backend(),
        "versions": {"python": platform.python_version(), **dict(_versions())},
    }


def feed_rates(stand: Stand, tick: Callable[[], None]) -> tuple[FeedRate, ...]:
    """By 1, 2, 4 ... threads, up to one per core."""
    cores = cv2.getNumberOfCPUs()
    counts = sorted({cores, *(2**power for power in range(cores.bit_length()) if 2**power <= cores)})
    _feed_seconds(stand, 1, cores)  # memory and libraries are warm from here on
    turns = [_ticked({threads: _feed_seconds(stand, threads, cores) for threads in counts}, tick) for _ in range(TURNS)]
    pictures = cores * _BATCHES_PER_CORE * stand.recipe.batch
    return tuple(
        FeedRate(
            threads=threads,
            pictures_per_second=pictures / median(turn[threads] for turn in turns),
            ratio=median(turn[1] / turn[threads] for turn in turns),
        )
        for threads in counts
    )


def training_rate(stand: Stand, name: str, steps: int, tick: Callable[[], None]) -> TrainingRate:
    """`steps` of each kind at least, in turns that are longer than what is made ahead."""
    import keras

    policy = precision(stand.recipe, has_gpu())
    with numbers_in(policy):
        model = build(backbone(name))
    compile_model(model, stand.recipe, None)
    per_turn = max(stand.reach().window, -(-steps // TURNS))
    with stand.batches(1) as made:
        ((one, _),) = made
    for _ in range(2):  # traces and compiles
        _step(model, one)
    turns = [_ticked((_bare(stand, model, one, per_turn), _fed(stand, model, per_turn)), tick) for _ in range(TURNS)]
    compiled = bool(model.jit_compile)
    keras.backend.clear_session()
    return TrainingRate(
        backbone=name,
        precision=policy,
        compiled=compiled,
        bare_seconds=median(bare for bare, _ in turns),
        fed_seconds=median(fed for _, (fed, _) in turns),
        ratio=median(bare / fed for bare, (fed, _) in turns),
        waiting_share=sum(waited for _, (_, waited) in turns) / sum(fed for _, (fed, _) in turns),
    )


def _bare(stand: Stand, model: Any, one: Batch, steps: int) -> float:
    """Seconds per step with one and the same batch."""
    _step(model, one)
    began = stand.now()
    for _ in range(steps):
        _step(model, one)
    return (stand.now() - began) / steps


def _fed(stand: Stand, model: Any, steps: int) -> tuple[float, float]:
    """(seconds per step, those of them spent waiting) with batches as they come.

    Counted from where those have been used up that all threads began at once: they come together, and a feed that is
    too slow would not be seen.
    """
    waiting, first = 0.0, stand.reach().window
    with stand.batches(first + steps) as made:
        for following, _ in islice(made, first):
            _step(model, following)
        began = stand.now()
        for following, waited in made:
            waiting += waited
            _step(model, following)
        return (stand.now() - began) / steps, waiting / steps


def _step(model: Any, one: Batch) -> float:
    """As a training takes it: the loss is read after each, so that a step is over when it is."""
    return float(model.train_on_batch(*one))


def _feed_seconds(stand: Stand, threads: int, cores: int) -> float:
    count = cores * _BATCHES_PER_CORE
    with stand.batches(count, threads) as made:
        began = stand.now()
        for _ in islice(made, count):
            pass
        return stand.now() - began


def _versions() -> Iterator[tuple[str, str]]:
    for package in _PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue  # the other backends


def _ticked(measured: Measured, tick: Callable[[], None]) -> Measured:
    tick()
    return measured
