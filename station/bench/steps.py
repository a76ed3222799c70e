"""The network alone, and the pure stages of a picture one after the other with nothing beside them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter, process_time, thread_time

import numpy as np
from numpy.typing import NDArray

from station.bench.flow import Lap
from station.bench.rows import Agreement
from station.contract.analysis import Scale, analyse, finish, prepare
from station.contract.bundle import Bundle, cell_dice
from station.contract.cells import Drawing
from station.contract.manifest import Manifest
from station.contract.masks import decode_mask, encode, encode_narrow
from station.engines import REFERENCE, Engine, Setup, open_engine
from station.pipeline import load

MEGAPIXELS = 50.0  # a bound for painted fields, which are far below it
WARM_UP = 3  # calls that are not counted


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls of the network with so many pictures in all."""

    seconds: tuple[float, ...]
    cpu_seconds: float  # of all threads of the process
    pictures: int

    @property
    def per_second(self) -> float:
        """Pictures per second."""
        return self.pictures / sum(self.seconds)

    def and_then(self, more: Calls) -> Calls:
        """Both together."""
        pictures, cpu_seconds = self.pictures + more.pictures, self.cpu_seconds + more.cpu_seconds
        return Calls((*self.seconds, *more.seconds), cpu_seconds, pictures)


@dataclass(frozen=True, slots=True)
class Reference:
    """What the reference finds in the distinct fields: label images as PNG, and counts."""

    labels: tuple[bytes, ...]
    counts: tuple[int, ...]


def tile_of(path: Path, scale: Scale, manifest: Manifest) -> NDArray[np.uint8]:
    """[H, W, 3] of a file at network scale, as the station makes it."""
    return prepare(load(path, MEGAPIXELS).image, scale, manifest).tile


def network_alone(engine: Engine, tiles: Sequence[NDArray[np.uint8]], pictures: int, batch: int = 1) -> Calls:
    """At least so many pictures through the network, in batches of that size, after some calls to warm up."""
    batches = cycle([np.stack([*islice(cycle(tiles), first, first + batch)]) for first in range(len(tiles))])
    for tiles_of_batch in islice(batches, WARM_UP):
        engine(tiles_of_batch)
    calls = -(-pictures // batch)
    seconds, cpu_began = [], process_time()
    for tiles_of_batch in islice(batches, calls):
        began = perf_counter()
        engine(tiles_of_batch)
        seconds.append(perf_counter() - began)
    return Calls(tuple(seconds), process_time() - cpu_began, calls * batch)


def at_once(engine: Engine, tiles: Sequence[NDArray[np.uint8]], pictures: int) -> Calls:
    """So many pictures through the network, as many at once as the engine gains from, after some calls to warm up."""
    with ThreadPoolExecutor(engine.abreast) as callers:
        [*callers.map(lambda _: len(engine(tiles[0][None])), range(WARM_UP * engine.abreast))]
        began, cpu_began = perf_counter(), process_time()
        [*callers.map(lambda number: len(engine(tiles[number % len(tiles)][None])), range(pictures))]
        return Calls((perf_counter() - began,), process_time() - cpu_began, pictures)


def one_by_one(
    paths: Iterable[Path], scale: Scale, manifest: Manifest, engine: Engine
) -> tuple[dict[str, list[Lap]], list[Drawing]]:
    """(stage -> laps, drawings) of pictures that go through the stages alone."""
    clock, drawings = _Stopwatch(), []
    for path in paths:
        clock.start()
        picture = load(path, MEGAPIXELS)
        clock.lap("decode")
        prepared = prepare(picture.image, scale, manifest)
        clock.lap("scale")
        probabilities = engine(prepared.tile[None])[0]
        clock.lap("network")
        drawing = finish(prepared, probabilities, manifest).drawing
        clock.lap("separate")
        encode(drawing.labels), encode_narrow(drawing.cells)
        clock.lap("encode")
        drawings.append(drawing)
    return clock.laps, drawings


def reference_for(bundle: Bundle, paths: Iterable[Path], scale: Scale) -> Reference:
    """Count the fields with the reference engine."""
    engine = open_engine(bundle, REFERENCE, setup=Setup())
    drawings = [analyse(load(path, MEGAPIXELS).image, scale, bundle.manifest, engine).drawing for path in paths]
    counts = tuple(len(drawing.measured) for drawing in drawings)
    return Reference(tuple(encode(drawing.labels) for drawing in drawings), counts)


def agreement(drawings: Sequence[Drawing], reference: Reference) -> Agreement:
    """Counts and masks beside those of the reference; `drawings` begin with the distinct fields."""
    told = [np.asarray(decode_mask(png), np.uint8) for png in reference.labels]
    dice = min(cell_dice(drawing.labels, labels) for drawing, labels in zip(drawings, told, strict=False))
    counts = counts_agree([len(drawing.measured) for drawing in drawings], reference)
    return counts.model_copy(update={"least_cell_dice": round(dice, 5)})


def counts_agree(counts: Sequence[int], reference: Reference) -> Agreement:
    """How many of the distinct fields have the reference's count."""
    equal = sum(found == told for found, told in zip(counts, reference.counts, strict=False))
    return Agreement(fields=len(reference.counts), equal_counts=equal, least_cell_dice=None)


class _Stopwatch:
    def __init__(self) -> None:
        self.laps: dict[str, list[Lap]] = {}
        self.start()

    def start(self) -> None:
        self._last = perf_counter(), thread_time()

    def lap(self, stage: str) -> None:
        now = perf_counter(), thread_time()
        self.laps.setdefault(stage, []).append((now[0] - self._last[0], now[1] - self._last[1]))
        self._last = now
