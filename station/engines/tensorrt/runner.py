"""Runs a plan: tiles through pinned memory to the GPU, and probabilities back.

One caller at a time, on one stream. Copies are asynchronous, but wait for each other: a tile takes tens of microseconds
to the GPU, and the station's other threads decode and separate meanwhile. No CUDA graph is recorded: it would save the
start of some sixty kernels, tenths of a millisecond, and ties itself to addresses that change as buffers grow.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from station.contract.errors import EngineError
from station.contract.manifest import CLASSES
from station.engines import INPUT, OUTPUT, TileUnfit, check_ends, check_tiles
from station.engines.tensorrt.cuda import Buffer, Cuda
from station.engines.tensorrt.library import Library, created, uncollected
from station.engines.tensorrt.shapes import BATCH

_OUT_OF_MEMORY = ("out of memory", "outofmemory", "cudaerrormemoryallocation")


class PlanRefused(EngineError):
    """A plan that the library does not take, though it is the file that was written."""


@dataclass(frozen=True, slots=True)
class Span:
    """Input shapes that one profile of the plan takes."""

    profile: int
    least: tuple[int, ...]
    most: tuple[int, ...]

    def holds(self, height: int, width: int) -> bool:
        return self.least[1] <= height <= self.most[1] and self.least[2] <= width <= self.most[2]


class Session:
    """A plan on the GPU with all that belongs to it. Not for two threads at once."""

    @uncollected()
    def __init__(self, library: Library, cuda: Cuda, plan: bytes) -> None:
        """Raises PlanRefused, or EngineError where memory is out or the network has other ends."""
        self._cuda, self._log = cuda, library.log()
        with ExitStack() as undone:
            # First: it makes the context, and that a GPU lets nobody in just now is no fault of the plan.
            self._stream = cuda.stream()
            undone.callback(cuda.end, self._stream)
            self._load(library, plan)
            undone.pop_all()
        self._profile = 0
        self._source, self._sink = Buffer(cuda), Buffer(cuda)

    def _load(self, library: Library, plan: bytes) -> None:
        self._runtime = runtime = created(library.trt.Runtime, self._log)  # must outlive the engine
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise _refusal(self._log.reason())
        _check_engine(library.trt, engine)
        self.spans = tuple(_span(engine, profile) for profile in range(engine.num_optimization_profiles))
        self._kind = _numpy_kind(library.trt, engine.get_tensor_dtype(OUTPUT))
        self._context = engine.create_execution_context()
        if self._context is None:
            raise EngineError(f"no memory to run the plan in: {self._log.reason()}")

    @uncollected()
    def infer(self, tiles: NDArray[np.uint8], span: Span) -> NDArray[np.float32]:
        """[N, H, W, 3] uint8 -> [N, H, W, 3] float32, in parts of as many tiles as the span takes."""
        answers = np.empty((*tiles.shape[:3], len(CLASSES)), np.float32)
        most = span.most[0]
        for start in range(0, len(tiles), most):
            self._infer(tiles[start : start + most], answers[start : start + most], span)
        return answers

    def close(self) -> None:
        """Give everything back, the last one first."""
        if self._context is None:
            return
        self._context = None  # before the stream that it ran on
        try:
            self._sink.free()
            self._source.free()
        finally:
            self._cuda.end(self._stream)

    def _infer(self, tiles: NDArray[np.uint8], answers: NDArray[np.float32], span: Span) -> None:
        self._take_shape(tiles.shape, answers.shape, span)
        source, sink, stream = self._source, self._sink, self._stream
        taken, given = tiles.nbytes, answers.size * np.dtype(self._kind).itemsize
        source.reserve(taken)
        sink.reserve(given)
        self._must(self._context.set_tensor_address(INPUT, source.device), "takes no input")
        self._must(self._context.set_tensor_address(OUTPUT, sink.device), "takes no output")
        source.view(tiles.shape, np.uint8)[...] = tiles
        try:
            self._cuda.upload(source.device, source.host, taken, stream)
            self._must(self._context.execute_async_v3(int(stream)), "does not run")
            self._cuda.download(sink.host, sink.device, given, stream)
        finally:  # also after a failure: the pinned memory must not change under a copy that is still on its way
            self._cuda.wait(stream)
        answers[...] = sink.view(answers.shape, self._kind)

    def _take_shape(self, taken: tuple[int, ...], given: tuple[int, ...], span: Span) -> None:
        if span.profile != self._profile:
            changed = self._context.set_optimization_profile_async(span.profile, int(self._stream))
            self._must(changed, "does not change its profile")
            self._profile = span.profile
        self._must(self._context.set_input_shape(INPUT, taken), "does not take this shape")
        out = tuple(self._context.get_tensor_shape(OUTPUT))
        if out != given:
            raise EngineError(f"the network would answer with the shape {out}, not {given}")

    def _must(self, done: bool, failure: str) -> None:
        if not done:
            raise EngineError(f"the plan {failure}: {self._log.reason()}")


class TensorRtEngine:
    """A session with its name, for any number of threads, one after the other."""

    batch, abreast = BATCH, 1

    def __init__(self, name: str, session: Session) -> None:
        self.name = name
        self._session, self._lock = session, threading.Lock()
        self._finalizer = weakref.finalize(self, session.close)

    def __call__(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[N, H, W, 3] uint8 -> [N, H, W, 3] float32.

        Raises EngineError where CUDA or the library fail, TileUnfit for tiles larger or smaller than the plan was built
        for.
        """
        try:
            span = _fitting(self._session.spans, tiles)
            with self._lock:
                return self._session.infer(tiles, span)
        except EngineError as cause:
            raise type(cause)(f"{self.name} failed on a batch of shape {tiles.shape}: {cause}") from cause

    def close(self) -> None:
        """Give the memory of the GPU back now; it happens by itself when nobody holds the engine any more."""
        self._finalizer()


def open_plan(name: str, library: Library, cuda: Cuda, plan: bytes) -> TensorRtEngine:
    """A plan ready to run. Raises PlanRefused where the library does not take it, EngineError for what else fails."""
    return TensorRtEngine(name, Session(library, cuda, plan))


def _refusal(reason: str) -> EngineError:
    """A good plan is not thrown away because another program holds the GPU's memory just now."""
    if any(word in reason.lower() for word in _OUT_OF_MEMORY):
        return EngineError(f"the plan does not fit: out of GPU memory ({reason})")
    return PlanRefused(f"the library refuses the plan: {reason}")


def _check_engine(trt: Any, engine: Any) -> None:
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
    check_ends([*inputs, *(name for name in names if name not in inputs)])


def _span(engine: Any, profile: int) -> Span:
    least, _, most = (tuple(shape) for shape in engine.get_tensor_profile_shape(INPUT, profile))
    return Span(profile, least, most)


def _numpy_kind(trt: Any, kind: Any) -> type[np.float32] | type[np.float16]:
    if kind == trt.DataType.FLOAT:
        return np.float32
    if kind == trt.DataType.HALF:
        return np.float16
    raise EngineError(f"the network answers in {kind}, not in float32 or float16")


def _fitting(spans: Sequence[Span], tiles: NDArray[np.uint8]) -> Span:
    """The span that takes the most tiles of this size at once."""
    check_tiles(tiles)
    height, width = tiles.shape[1:3]
    fitting = [span for span in spans if span.holds(height, width)]
    if not fitting:
        ranges = " or ".join(f"{span.least[1]} to {span.most[1]} px" for span in spans)
        raise TileUnfit(f"the plan was built for sides of {ranges}, not for tiles of {width} x {height} px")
    return max(fitting, key=lambda span: span.most[0])
