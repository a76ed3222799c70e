"""OpenVINO on a processor: float32, bfloat16 where the processor multiplies it, int8 from the bundle's own network.

The precision is always told: left to itself the library computes in bfloat16 wherever it can.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from importlib import import_module
from types import ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from station.contract.bundle import Bundle
from station.contract.errors import EngineError
from station.engines import ENGINES, INPUT, OUTPUT, Setup, abreast, check_ends, check_tiles

_DEVICE: Final = "CPU"
_BFLOAT16: Final = "BF16"


class OpenVinoEngine:
    """A compiled network for any number of threads, one after the other; N, height and width are free.

    A tile alone has all cores. Several are answered two at a time by a second compilation, with half of the cores for
    each: three tenths more tiles a second, since the cores need not wait for each other after every layer.
    """

    def __init__(self, name: str, compile_for: Callable[[int], Any], batch: int) -> None:
        """`compile_for(streams)` makes the network ready for so many tiles at a time."""
        self.name, self.batch = name, batch
        self._compile_for, self._lock = compile_for, threading.Lock()
        self._requests = {1: self._made(1)}

    def __call__(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[N, H, W, 3] uint8 -> [N, H, W, 3] float32. Raises EngineError where the runtime fails."""
        try:
            check_tiles(tiles)  # the library would convert other numbers, and read past the end of fewer channels
            with self._lock:
                return np.concatenate([*self._answers(np.ascontiguousarray(tiles))])
        except (RuntimeError, EngineError) as cause:
            raise EngineError(f"{self.name} failed on a batch of shape {tiles.shape}: {cause}") from cause

    def _answers(self, tiles: NDArray[np.uint8]) -> Iterator[NDArray[np.float32]]:
        streams = min(len(tiles), self.batch)
        if streams not in self._requests:
            self._requests[streams] = self._made(streams)
        requests = self._requests[streams]
        for first in range(0, len(tiles), streams):
            asked = [*zip(requests, tiles[first : first + streams], strict=False)]
            for request, tile in asked:
                request.start_async({INPUT: tile[None]})
            for request, _ in asked:
                request.wait()
            # Copies: a request keeps its own memory.
            yield from [np.array(request.get_tensor(OUTPUT).data, np.float32) for request, _ in asked]

    def _made(self, streams: int) -> list[Any]:
        compiled = self._compile_for(streams)
        return [compiled.create_infer_request() for _ in range(streams)]


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
        model.reshape([1, -1, -1, 3])

        def compile_for(streams: int) -> Any:
            return core.compile_model(model, _DEVICE, _configuration(precision, setup.threads, streams))

        name = f"openvino {library.__version__.partition('-')[0]} {precision}"
        return OpenVinoEngine(name, compile_for, abreast(setup.threads))
    except RuntimeError as cause:
        raise EngineError(f"OpenVINO cannot load the model {bundle.manifest.name}: {cause}") from cause


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
