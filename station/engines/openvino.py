"""OpenVINO on a processor: float32, bfloat16 where the processor multiplies it, int8 from the bundle's own network.

The precision is always told: left to itself the library computes in bfloat16 wherever it can.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib import import_module
from queue import SimpleQueue
from types import ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from station.contract.bundle import Bundle
from station.contract.errors import EngineError
from station.engines import ENGINES, INPUT, OUTPUT, Setup, check_ends, check_tiles, cores

_DEVICE: Final = "CPU"
_BFLOAT16: Final = "BF16"
_ABREAST: Final = 2  # tiles at once where one is soon answered by half of the cores; each more takes 120 MB
_SOON: Final = ("int8",)  # the precisions in which it is; in bfloat16 one alone waited 65 ms longer, for 5 to 15 % more
_SHARED_PX: Final = 500_000  # from here on a tile has all cores
_PROVED_PX: Final = 256  # the side of a part of a tile, a multiple of every stride
_SAME: Final = 1e-3  # probabilities that differ by less are the same but for rounding
_KEPT_PX: Final = 1_000_000  # from here on the room that a tile took is given back: some 400 bytes a pixel


class OpenVinoEngine:
    """A compiled network for any number of threads, `abreast` of them at once; N, height and width are free.

    Cores that share a tile wait for each other after every layer, and for whatever else the station does on one of
    them. A large tile has all cores nevertheless, and the memory of one: by a second compilation, made when the first
    one comes.
    """

    batch = 1

    def __init__(self, name: str, compile_for: Callable[[int], Any], abreast: int) -> None:
        """`compile_for(streams)` makes the network ready for so many calls at once."""
        self.name, self.abreast = name, abreast
        self._compile_for, self._lock = compile_for, threading.Lock()
        shared = compile_for(abreast)
        self._for_large: Any = shared if abreast == 1 else None
        self._requests: SimpleQueue[Any] = SimpleQueue()
        for _ in range(abreast):
            self._requests.put(shared.create_infer_request())

    def __call__(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[N, H, W, 3] uint8 -> [N, H, W, 3] float32. Raises EngineError where the runtime fails."""
        try:
            check_tiles(tiles)  # the library would convert other numbers, and read past the end of fewer channels
            return self._one(tiles) if tiles[..., 0].size <= _SHARED_PX else self._large(tiles)
        except (RuntimeError, EngineError) as cause:
            raise EngineError(f"{self.name} failed on a batch of shape {tiles.shape}: {cause}") from cause

    def _one(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        request = self._requests.get()
        try:
            return _answer(request, tiles)
        finally:
            self._requests.put(request)

    def _large(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        with self._lock:
            if self._for_large is None:
                self._for_large = self._compiled_for_large(tiles[:1, :_PROVED_PX, :_PROVED_PX])
            try:
                return _answer(self._for_large.create_infer_request(), tiles)
            finally:
                if tiles[..., 0].size > _KEPT_PX:
                    self._for_large.release_memory()

    def _compiled_for_large(self, part: NDArray[np.uint8]) -> Any:
        """Raises EngineError where it answers a part of a tile otherwise than the compilation that proved itself."""
        compiled = self._compile_for(1)
        differs = np.abs(_answer(compiled.create_infer_request(), part) - self._one(part)).max()
        if not differs < _SAME:
            raise EngineError(
                f"made for all cores it answers otherwise, by {differs:.3f}, than made for a share of them"
            )
        return compiled


def _answer(request: Any, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
    answers = request.infer({INPUT: np.ascontiguousarray(tiles)})
    return np.array(answers[OUTPUT], np.float32)  # a copy: the request keeps its own memory


def problem(precision: str) -> str | None:
    """Why it cannot compute in this precision here: no library, half of one, or no instructions for it."""
    try:
        abilities = _abilities(_library())
    except EngineError as cause:
        return str(cause)
    if precision == "bfloat16" and _BFLOAT16 not in abilities:
        return "this processor has no instructions for bfloat16 (AVX512-BF16, AMX or Arm BF16)"
    return None


def open_network(bundle: Bundle, precision: str, setup: Setup) -> OpenVinoEngine:
    """Compile a network; layers that an int8 network leaves in float are computed in float32: bfloat16 was no faster.

    Raises EngineError where the library is missing or cannot load the network.
    """
    library = _library()
    network = bundle.network(ENGINES["openvino"][precision])
    try:
        core = library.Core()
        model = core.read_model(model=network)
        ends = [end.get_any_name() for end in (*model.inputs, *model.outputs)]
        check_ends(ends, f"the network of the model {bundle.manifest.name}")
        _turn_last(model, library)

        def compile_for(streams: int) -> Any:
            return core.compile_model(model, _DEVICE, _configuration(precision, setup.threads, streams))

        name = f"openvino {library.__version__.partition('-')[0]} {precision}"
        return OpenVinoEngine(name, compile_for, _abreast(precision, setup))
    except RuntimeError as cause:
        raise EngineError(f"OpenVINO cannot load the model {bundle.manifest.name}: {cause}") from cause


def _abreast(precision: str, setup: Setup) -> int:
    return min(_ABREAST, setup.threads or cores()) if precision in _SOON else 1


def _turn_last(model: Any, library: ModuleType) -> None:
    """Take the softmax of channels before they become the last axis, not after: the same values.

    Over the last axis of three classes the library works pixel by pixel, a tenth of the time of an int8 network. The
    other runtimes are faster that way, and so the network is exported.
    """
    for softmax in model.get_ops():
        turned = softmax.input_value(0).get_node() if softmax.get_type_name() == "Softmax" else None
        if turned is None or turned.get_type_name() != "Transpose" or softmax.get_attributes()["axis"] not in (-1, 3):
            continue
        order = turned.input_value(1).get_node()
        if order.get_type_name() == "Constant" and order.data.tolist() == [0, 2, 3, 1]:
            shares = library.opset13.softmax(turned.input_value(0), 1)
            last, names = library.opset13.transpose(shares, order), softmax.output(0).get_names()
            softmax.output(0).replace(last.output(0))
            last.output(0).set_names(names)


def _library() -> ModuleType:
    try:
        library = import_module("openvino")
    except (ImportError, OSError) as cause:
        raise EngineError(
            f"OpenVINO is not installed; `pip install 'wbc-station[openvino]'` does it ({cause})"
        ) from cause
    if not hasattr(library, "Core"):  # Python takes a folder that an uninstall left behind for a module
        raise EngineError(
            "what is installed under the name openvino is not OpenVINO, or not all of it; install it anew"
        )
    return library


def _abilities(library: ModuleType) -> frozenset[str]:
    """What it can compute in on this processor, in its words. Raises EngineError where its plugins are damaged."""
    try:
        return frozenset(library.Core().get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES"))
    except RuntimeError as cause:
        raise EngineError(f"OpenVINO does not reach the processor: {' '.join(str(cause).split())}") from cause


def _configuration(precision: str, threads: int, streams: int) -> dict[str, Any]:
    told = {"INFERENCE_NUM_THREADS": threads} if threads else {}
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": streams,
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
        **told,
    }
