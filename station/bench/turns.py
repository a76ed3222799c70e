"""One turn of one contender, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from station.bench.alone import memory_mb
from station.bench.flow import Flow, Lap, TimedStore
from station.bench.rows import Agreement
from station.bench.stand import now_utc
from station.bench.steps import (
    WARM_UP,
    Calls,
    Reference,
    agreement,
    at_once,
    counts_agree,
    network_alone,
    one_by_one,
    reference_for,
    tile_of,
)
from station.contract.analysis import Scale
from station.contract.bundle import read_bundle
from station.contract.errors import EngineError
from station.engines import Engine
from station.naive import Counted, count_all, onnx_predict
from station.settings import Settings

TAKE_IN, NETWORK, STORE = "take in", "network", "store"
STAGED = 48  # pictures that go through the stages one by one


@dataclass(frozen=True, slots=True)
class EngineJob:
    """A station on one engine, before a backlog."""

    settings: Settings
    paths: tuple[Path, ...]
    scale: Scale
    reference: Reference


@dataclass(frozen=True, slots=True)
class NaiveJob:
    """The naive loop before the same backlog."""

    bundle_path: Path
    paths: tuple[Path, ...]
    scale: Scale
    threads: int
    database: Path
    reference: Reference


@dataclass(frozen=True, slots=True)
class ReferenceJob:
    """The distinct fields, to be counted by the reference."""

    bundle_path: Path
    paths: tuple[Path, ...]
    scale: Scale


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn came to."""

    engine: str
    network_seconds: tuple[float, ...]  # of calls with one picture
    network_per_second: float
    network_cpu_seconds: float | None  # per picture
    per_second: float  # end to end
    cpu_seconds: float  # per picture, end to end
    peak_mb: float | None
    agreement: Agreement | None = None
    stages: Mapping[str, Sequence[Lap]] = field(default_factory=dict)


def reference_turn(job: ReferenceJob, tick: Callable[[], None]) -> Reference:
    """What the others are held against."""
    return reference_for(read_bundle(job.bundle_path), job.paths, job.scale)


def engine_turn(job: EngineJob, tick: Callable[[], None]) -> Turn:
    """The station's turn. Half of the calls to the network alone come before the backlog, half after it.

    So a machine that slows down meanwhile slows both. Raises EngineError where the engine or a picture fails.
    """
    with closing(TimedStore.open(job.settings.database.path, clock=now_utc)) as store:
        assert isinstance(store, TimedStore)
        flow = Flow(job.settings, store, tick)
        with closing(flow):
            model = flow.station.model.current()
            tiles = [tile_of(path, job.scale, model.manifest) for path in job.paths[: len(job.reference.counts)]]
            before = _alone(model.engine, tiles, len(job.paths) // 2)
            flow.run(len(job.paths))
            peak = memory_mb("VmHWM")
            after = _alone(model.engine, tiles, len(job.paths) - len(job.paths) // 2)
            stages, drawings = one_by_one(job.paths[:STAGED], job.scale, model.manifest, model.engine)
        single, batched = (one.and_then(more) for one, more in zip(before, after, strict=True))
        return Turn(
            engine=model.engine.name,
            network_seconds=single.seconds,
            network_per_second=batched.per_second,
            network_cpu_seconds=batched.cpu_seconds / batched.pictures,
            per_second=len(job.paths) / flow.took,
            cpu_seconds=flow.cpu_took / len(job.paths),
            peak_mb=peak,
            agreement=agreement(drawings, job.reference),
            stages={TAKE_IN: flow.taking_in} | stages | {STORE: store.laps},
        )


def naive_turn(job: NaiveJob, tick: Callable[[], None]) -> Turn:
    """The naive loop's turn, with the same network, input size and threads."""
    bundle = read_bundle(job.bundle_path)
    predict = onnx_predict(bundle.network("float32"), job.threads)
    height, width, _ = tile_of(job.paths[0], job.scale, bundle.manifest).shape
    for _ in range(WARM_UP):
        predict(np.zeros((1, height, width, 3), np.uint8))
    counted = count_all(job.paths, predict, (width, height), job.database, tick=tick)
    return _turn_of_loop("ONNX Runtime in a plain loop", counted, job, memory_mb("VmHWM"))


def keras_turn(job: NaiveJob, tick: Callable[[], None]) -> Turn:
    """The same loop with Keras, which the station never imports: the trainer's, in a process of its own.

    Raises EngineError with its last words where it fails.
    """
    bundle = read_bundle(job.bundle_path)
    height, width, _ = tile_of(job.paths[0], job.scale, bundle.manifest).shape
    told = (job.bundle_path, job.paths[0].parent, job.database, width, height, job.threads)
    line = [sys.executable, "-m", "trainer.predict", *map(str, told)]
    run = subprocess.run(line, capture_output=True, text=True, check=False)
    if run.returncode:
        raise EngineError(f"Keras gave up: {(run.stderr.strip() or 'without a word').splitlines()[-1]}")
    counted = Counted(**json.loads(run.stdout.splitlines()[-1]))
    return _turn_of_loop("Keras predict in a plain loop", counted, job, None)


def _alone(engine: Engine, tiles: Sequence[NDArray[np.uint8]], pictures: int) -> tuple[Calls, Calls]:
    """(one by one, in the batches that the engine likes or as many at once)."""
    single = network_alone(engine, tiles, pictures)
    if engine.abreast > 1:
        return single, at_once(engine, tiles, pictures)
    return single, single if engine.batch == 1 else network_alone(engine, tiles, pictures, engine.batch)


def _turn_of_loop(engine: str, counted: Counted, job: NaiveJob, peak_mb: float | None) -> Turn:
    pictures = len(job.paths)
    return Turn(
        engine=engine,
        network_seconds=tuple(counted.network_seconds),
        network_per_second=pictures / sum(counted.network_seconds),
        network_cpu_seconds=None,
        per_second=pictures / counted.seconds,
        cpu_seconds=counted.cpu_seconds / pictures,
        peak_mb=peak_mb,
        agreement=counts_agree(counted.counts, job.reference),
    )
