"""From files to results: decoding runs ahead of the network in a thread, so that neither waits for the other."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TypeAlias

from station.contract.analysis import Analysis, Scale, finish, prepare
from station.contract.cells import encode
from station.contract.decoding import decode
from station.contract.errors import ImageError
from station.contract.imaging import RGB
from station.contract.manifest import Manifest
from station.engines import Engine

ScaleOf: TypeAlias = Callable[[RGB], Scale]

_DECODED_AHEAD = 2  # pictures held in memory beside the one in work


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded file."""

    path: Path
    sha256: str
    image: RGB
    seconds: float


@dataclass(frozen=True, slots=True)
class Result:
    """One analysed picture, with its masks as PNG and the seconds of each step."""

    path: Path
    sha256: str
    image: RGB
    analysis: Analysis
    labels_png: bytes
    cells_png: bytes
    seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class Failure:
    """One file that gives no result. `reason` does not repeat the name, which may be a patient's."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def load(path: Path, max_megapixels: float) -> Picture:
    """Read and decode one file. Raises ImageError with the cause."""
    started = perf_counter()
    try:
        data = path.read_bytes()
    except OSError as cause:
        raise ImageError(f"cannot be read ({(cause.strerror or str(cause)).lower()})") from cause
    image = decode(data, max_megapixels=max_megapixels)
    return Picture(path, hashlib.sha256(data).hexdigest(), image, perf_counter() - started)


def analyse_picture(picture: Picture, scale_of: ScaleOf, manifest: Manifest, engine: Engine) -> Result:
    """All steps after decoding. Raises ImageError with the cause, EngineError where the network fails."""
    clock = _Stopwatch()
    scale = scale_of(picture.image)
    clock.lap("estimate")
    prepared = prepare(picture.image, scale, manifest)
    clock.lap("scale")
    probabilities = engine(prepared.tile[None])[0]
    clock.lap("network")
    analysis = finish(prepared, probabilities, manifest)
    clock.lap("separate")
    labels_png, cells_png = encode(analysis.drawing.labels), encode(analysis.drawing.cells)
    clock.lap("encode")
    seconds = {"decode": picture.seconds} | clock.laps
    seconds = {step: round(value, 5) for step, value in (seconds | {"total": sum(seconds.values())}).items()}
    return Result(picture.path, picture.sha256, picture.image, analysis, labels_png, cells_png, seconds)


def analyse_files(
    paths: Iterable[Path], scale_of: ScaleOf, manifest: Manifest, engine: Engine, max_megapixels: float
) -> Iterator[Result | Failure]:
    """One outcome per path, in order, each as soon as it is ready; a bad file never stops the others.

    EngineError is not caught: an engine that fails would fail for every picture.
    """
    for path, loading in _ahead(paths, lambda path: load(path, max_megapixels)):
        try:
            yield analyse_picture(loading.result(), scale_of, manifest, engine)
        except ImageError as cause:
            yield Failure(path, str(cause))


def _ahead(paths: Iterable[Path], load_one: Callable[[Path], Picture]) -> Iterator[tuple[Path, Future[Picture]]]:
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="decode") as reader:
        waiting: deque[tuple[Path, Future[Picture]]] = deque()
        try:
            for path in paths:
                waiting.append((path, reader.submit(load_one, path)))
                if len(waiting) > _DECODED_AHEAD:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            for _, unread in waiting:
                unread.cancel()


class _Stopwatch:
    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = perf_counter()

    def lap(self, step: str) -> None:
        now = perf_counter()
        self.laps[step] = now - self._last
        self._last = now
