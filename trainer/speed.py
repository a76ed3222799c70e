"""How long one picture takes this machine's engine: a figure of the architecture, whatever the weights.

A machine slows down and recovers while it is measured. So the encoders take turns, in several rounds, and the quickest
round of each is what it can do.
"""

from __future__ import annotations

import gc
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import cv2
import numpy as np
from numpy.typing import NDArray

from station.contract.bundle import bundle_of, sha256_of
from station.contract.errors import EngineError
from station.contract.imaging import frame_for
from station.contract.manifest import Manifest, NetworkFile, Provenance
from station.engines import Engine, open_engine
from trainer.backbones import backbone
from trainer.conversion import ConversionError, to_onnx
from trainer.datasets.samples import Sample
from trainer.ledger import Speed
from trainer.recipe import Recipe
from trainer.unet import build

ENGINE = "onnxruntime"
_NETWORK_FILE = "network.onnx"
_ROUNDS = 4
_WARM_UP, _TIMED = 2, 5  # calls in a round


@dataclass(frozen=True, slots=True)
class _Candidate:
    """An encoder's network, ready to run."""

    name: str
    engine: Engine
    tile: NDArray[np.uint8]  # [1, H, W, 3], a size that the network takes
    parameters: int


def measure_all(
    names: Sequence[str],
    recipe: Recipe,
    size: tuple[int, int],
    now: Callable[[], float],
    tick: Callable[[int, int], None],
    skipped: Callable[[str], None] = lambda _: None,
) -> list[Speed]:
    """Time the networks of encoders on one picture of `size` (width, height at network scale, px), batch 1.

    `now` is a clock in seconds; `tick` is told how many steps are done, of how many; `skipped` hears of an encoder
    whose network cannot be made, and why: the others are timed without it. All engines are open at a time.
    The network alone: decoding, scaling and separation cost the same for every encoder.
    """
    steps = iter(range(1, len(names) * (1 + _ROUNDS) + 1))

    def done() -> None:
        tick(next(steps), len(names) * (1 + _ROUNDS))

    ready, medians = [], {name: list[float]() for name in names}
    for name in names:
        try:
            ready.append(_candidate(name, recipe, size))
        except (ConversionError, EngineError) as cause:
            skipped(f"{name}: {cause}")
        done()
    for _ in range(_ROUNDS):
        for one in ready:
            medians[one.name].append(_median_of_calls(one, now))
            done()
    return [_speed(one, size, min(medians[one.name])) for one in ready]


def _candidate(name: str, recipe: Recipe, size: tuple[int, int]) -> _Candidate:
    """Of the Keras model and the file nothing stays in memory."""
    import keras

    row = backbone(name)
    model = build(row)
    data, parameters = to_onnx(model), int(model.count_params())
    del model
    keras.backend.clear_session()
    gc.collect()
    engine = open_engine(bundle_of(_manifest(recipe, row.stride, data), {_NETWORK_FILE: data}), ENGINE)
    width, height = (-(-length // row.stride) * row.stride for length in size)
    tile = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
    return _Candidate(name, engine, tile, parameters)


def _median_of_calls(one: _Candidate, now: Callable[[], float]) -> float:
    """Seconds; the first calls of a round find the caches full of another network."""
    for _ in range(_WARM_UP):
        one.engine(one.tile)
    seconds = []
    for _ in range(_TIMED):
        began = now()
        one.engine(one.tile)
        seconds.append(now() - began)
    return median(seconds)


def _speed(one: _Candidate, size: tuple[int, int], seconds: float) -> Speed:
    return Speed(
        backbone=one.name,
        engine=ENGINE,
        machine=machine(),
        picture=f"{size[0]}x{size[1]}",
        milliseconds=1000 * seconds,
        parameters=one.parameters,
    )


def typical_size(samples: Sequence[Sample], diameters: dict[str, float], recipe: Recipe) -> tuple[int, int]:
    """(width, height) at network scale, px, of the picture with the median area."""
    sizes = sorted((_network_size(sample, diameters[sample.dataset], recipe) for sample in samples), key=np.prod)
    return sizes[len(sizes) // 2]


def machine() -> str:
    """What the figures were measured on, in words."""
    names = (line.partition(":")[2] for line in _cpu_lines() if line.startswith("model name"))
    return f"{next(names, platform.processor() or platform.machine()).strip()}, {cv2.getNumberOfCPUs()} cores"


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def _network_size(sample: Sample, diameter: float, recipe: Recipe) -> tuple[int, int]:
    height, width = sample.read()[0].shape[:2]
    frame = frame_for(height, width, diameter, recipe.network_scale(1))
    return frame.network_width, frame.network_height


def _manifest(recipe: Recipe, stride: int, data: bytes) -> Manifest:
    """Just enough for an engine to open the network."""
    nobody = Provenance(
        backbone=recipe.backbone,
        loss=recipe.loss,
        recipe_sha256=recipe.digest,
        data_sha256="0" * 64,
        seed=0,
        trained_on=(),
        created_at="",
        package_version="",
    )
    network = NetworkFile(file=_NETWORK_FILE, precision="float32", sha256=sha256_of(data))
    return Manifest(name="timed", scale=recipe.network_scale(stride), networks=(network,), provenance=nobody)
