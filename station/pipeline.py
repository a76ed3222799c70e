"""From files to results: pictures are decoded ahead of the network and finished behind it, in threads beside it.

Three stages: load, estimate and scale (threads) -> network (one caller, which batches what is ready, or as many as the
engine gains from) -> separate, measure and encode (threads). What is under way is bounded, and results come in the
order of the files.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Self, TypeAlias

import numpy as np

from station.contract.analysis import Analysis, Prepared, Scale, finish, prepare
from station.contract.decoding import decode
from station.contract.errors import EngineError, ImageError, Unreadable
from station.contract.headers import read_header
from station.contract.imaging import RGB, Probabilities, stay_in_one_thread
from station.contract.manifest import Manifest
from station.contract.masks import encode, encode_narrow
from station.engines import Engine
from station.room import Room

ScaleOf: TypeAlias = Callable[[RGB], Scale]

_THREADS = 2  # on each side of the network; decoding and encoding let go of the interpreter
_MOST_PIXELS = 48_000_000  # decoded at a time, unless one picture alone has more: what they hold is some 150 MB
_MOST_IN_A_ROW = 3  # pictures at which an engine fails
_BESIDE = 2  # pictures under way for which the network has no place: one being made ready, one being finished


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded file."""

    path: Path
    sha256: str
    image: RGB


@dataclass(frozen=True, slots=True)
class Result:
    """One analysed picture, with its masks as PNG, the engine that answered and the seconds of each step.

    `cells_png` has 8 bits where no id needs more, else 16.
    """

    path: Path
    sha256: str
    image: RGB
    analysis: Analysis
    engine: str
    labels_png: bytes
    cells_png: bytes
    seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class Failure:
    """One file that gives no result. `reason` does not repeat the name, which may be a patient's."""

    path: Path
    reason: str
    unreadable: bool = False  # nothing is known of its content: it may be there again in a moment

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def load(path: Path, max_megapixels: float) -> Picture:
    """Read and decode one file. Raises ImageError with the cause, Unreadable where it did not come to its bytes."""
    return _decoded(path, _read(path), max_megapixels)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as cause:
        raise Unreadable(f"cannot be read ({(cause.strerror or str(cause)).lower()})") from cause


def _decoded(path: Path, data: bytes, max_megapixels: float) -> Picture:
    image = decode(data, max_megapixels=max_megapixels)
    return Picture(path, hashlib.sha256(data).hexdigest(), image)


def analyse_files(
    files: Iterable[Path | Picture], scale_of: ScaleOf, manifest: Manifest, engine: Engine, max_megapixels: float
) -> Iterator[Result | Failure]:
    """One outcome per file, in order, each as soon as it is ready; a bad one never stops the others.

    `files` is read as the work goes on, a few pictures ahead of it, by the thread that iterates; of a Picture nothing
    is read from the disk. `scale_of` is called in other threads. EngineError is not caught: an engine that fails would
    fail for every picture.
    """
    with _Flow(scale_of, manifest, engine, max_megapixels) as flow:
        for file in files:
            flow.put(file)
            if flow.is_full:
                yield flow.next()
        while flow.under_way:
            yield flow.next()


def analyse_each(
    files: Iterable[Path], scale_of: ScaleOf, manifest: Manifest, engine: Engine, max_megapixels: float
) -> Iterator[Result | Failure]:
    """As `analyse_files`, but a picture at which the engine fails, too large for the memory perhaps, stops no other.

    Raises EngineError where it fails at three in a row: then it is not the pictures.
    """
    source, without_outcome, failed = iter(files), deque[Path](), 0

    def fed() -> Iterator[Path]:
        yield from tuple(without_outcome)  # those behind the one at which the engine failed, once more
        for file in source:
            without_outcome.append(file)
            yield file

    while True:
        try:
            for outcome in analyse_files(fed(), scale_of, manifest, engine, max_megapixels):
                without_outcome.popleft()
                failed = 0
                yield outcome
            return
        except EngineError as cause:
            failed += 1
            if failed == _MOST_IN_A_ROW:
                raise
            yield Failure(without_outcome.popleft(), str(cause))


@dataclass(frozen=True, slots=True)
class _Ready:
    """A picture at network scale."""

    picture: Picture
    prepared: Prepared
    seconds: dict[str, float]


class _Work:
    """A file on its way: `ready` comes from the first stage, `answered` from the second, a future of the third."""

    def __init__(self, path: Path, number: int) -> None:
        self.path, self.number = path, number
        self.pixels = 0  # that it holds of the room
        self.ready: Future[_Ready]
        self.answered: Future[Future[Result]]
        self.finishing: Future[Result] | None = None  # set and read by the one thread that makes batches

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether it can join a batch of tiles of this shape now."""
        if self.finishing or not self.ready.done() or self.ready.exception():
            return False
        return self.ready.result().prepared.tile.shape == shape


class _Flow:
    def __init__(self, scale_of: ScaleOf, manifest: Manifest, engine: Engine, max_megapixels: float) -> None:
        stay_in_one_thread()  # pictures are worked on side by side
        self._scale_of, self._manifest, self._engine = scale_of, manifest, engine
        self._max_megapixels = max_megapixels
        self._most = _BESIDE + 2 * engine.batch * engine.abreast  # as much waits before the network as is in it
        self._order: deque[_Work] = deque()
        self._numbers = count()
        self._room = Room(_MOST_PIXELS)
        self._lock = threading.Lock()
        self._before = ThreadPoolExecutor(_THREADS, thread_name_prefix="decode")
        self._network = ThreadPoolExecutor(engine.abreast, thread_name_prefix="network")
        self._after = ThreadPoolExecutor(_THREADS, thread_name_prefix="finish")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._room.open()
        for stage in (self._before, self._network, self._after):
            stage.shutdown(cancel_futures=True)

    @property
    def under_way(self) -> int:
        return len(self._order)

    @property
    def is_full(self) -> bool:
        return len(self._order) >= self._most

    def put(self, file: Path | Picture) -> None:
        work = _Work(file.path if isinstance(file, Picture) else file, next(self._numbers))
        work.ready = self._before.submit(self._make_ready, work, file)
        with self._lock:
            self._order.append(work)
        work.answered = self._network.submit(self._answer, work)

    def next(self) -> Result | Failure:
        """The outcome of the file that was put in first."""
        with self._lock:
            work = self._order.popleft()
        try:
            return work.answered.result().result()
        except ImageError as cause:
            return Failure(work.path, str(cause), isinstance(cause, Unreadable))
        finally:
            self._room.leave(work.pixels)

    def _make_ready(self, work: _Work, file: Path | Picture) -> _Ready:
        clock = _Stopwatch()
        picture = file if isinstance(file, Picture) else self._load(work, clock)
        clock.lap("decode")
        scale = self._scale_of(picture.image)
        clock.lap("estimate")
        prepared = prepare(picture.image, scale, self._manifest)
        clock.lap("scale")
        return _Ready(picture, prepared, clock.laps)

    def _load(self, work: _Work, clock: _Stopwatch) -> Picture:
        data = _read(work.path)
        header = read_header(data)
        clock.lap("decode")
        pixels = header.width * header.height
        self._room.enter(work.number, pixels)
        work.pixels = pixels
        clock.go_on()
        return _decoded(work.path, data, self._max_megapixels)

    def _answer(self, work: _Work) -> Future[Result]:
        """The network for this file, unless it was in an earlier batch, and for others that are ready."""
        if work.finishing is None:
            shape = work.ready.result().prepared.tile.shape
            self._run([work, *self._others(work, shape)])
        assert work.finishing is not None
        return work.finishing

    def _others(self, first: _Work, shape: tuple[int, ...]) -> list[_Work]:
        if self._engine.batch == 1:
            return []
        with self._lock:
            waiting = list(self._order)
        return [work for work in waiting if work is not first and work.fits(shape)][: self._engine.batch - 1]

    def _run(self, batch: list[_Work]) -> None:
        ready = [work.ready.result() for work in batch]
        started = perf_counter()
        answers = self._engine(np.stack([one.prepared.tile for one in ready]))
        seconds = (perf_counter() - started) / len(batch)
        name = self._engine.name  # of the one that answered: a standby may have stepped in
        for work, one, probabilities in zip(batch, ready, answers, strict=True):
            work.finishing = self._after.submit(self._finish, one, probabilities, name, seconds)

    def _finish(self, ready: _Ready, probabilities: Probabilities, engine: str, network_seconds: float) -> Result:
        clock = _Stopwatch()
        analysis = finish(ready.prepared, probabilities, self._manifest)
        clock.lap("separate")
        labels_png, cells_png = encode(analysis.drawing.labels), encode_narrow(analysis.drawing.cells)
        clock.lap("encode")
        picture, steps = ready.picture, ready.seconds | {"network": network_seconds} | clock.laps
        seconds = {step: round(value, 5) for step, value in (steps | {"total": sum(steps.values())}).items()}
        return Result(picture.path, picture.sha256, picture.image, analysis, engine, labels_png, cells_png, seconds)


class _Stopwatch:
    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = perf_counter()

    def lap(self, step: str) -> None:
        """The time since the last one belongs to this step."""
        now = perf_counter()
        self.laps[step] = self.laps.get(step, 0.0) + now - self._last
        self._last = now

    def go_on(self) -> None:
        """The time since the last lap belongs to no step."""
        self._last = perf_counter()
