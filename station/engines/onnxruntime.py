"""ONNX Runtime on the CPU: runs everywhere, and is the reference that other engines are held against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from station.contract.bundle import Bundle
from station.contract.errors import EngineError
from station.engines import ENGINES, INPUT, Setup, check_ends, cores

_ERRORS_ONLY = 3
_LARGE_PX = 1_000_000  # from here on the room that a batch took is given back: some 700 bytes a pixel
_RUNTIME_ERRORS = (
    ort.capi.onnxruntime_pybind11_state.Fail,
    ort.capi.onnxruntime_pybind11_state.InvalidArgument,
    ort.capi.onnxruntime_pybind11_state.InvalidGraph,
    ort.capi.onnxruntime_pybind11_state.InvalidProtobuf,
    ort.capi.onnxruntime_pybind11_state.NotImplemented,
    ort.capi.onnxruntime_pybind11_state.RuntimeException,
)


@dataclass(frozen=True, slots=True)
class OnnxRuntimeEngine:
    """A session with its name."""

    session: Any
    name: str
    batch: int = 1
    abreast: int = 1  # two at once gained 5 % from end to end in int8 and nothing in float32, for 100 MB

    def __call__(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[N, H, W, 3] uint8 -> [N, H, W, 3] float32. Raises EngineError where the runtime fails."""
        large = tiles[..., 0].size > _LARGE_PX
        try:
            (probabilities,) = self.session.run(None, {INPUT: tiles}, _giving_back() if large else None)
        except _RUNTIME_ERRORS as cause:
            raise EngineError(f"{self.name} failed on a batch of shape {tiles.shape}: {cause}") from cause
        return np.asarray(probabilities, np.float32)


def _giving_back() -> Any:
    """Options by which the runtime keeps no room that this run took beyond what it had before."""
    options = ort.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


def problem(precision: str) -> str | None:
    """None: it comes with the station and runs on every processor."""
    return None


def open_network(bundle: Bundle, precision: str, setup: Setup) -> OnnxRuntimeEngine:
    """Load a network; weights stored as float16 are widened once, by constant folding."""
    options = ort.SessionOptions()
    # Told, since by itself the runtime ties each thread to a core, where it waits for the station's others.
    options.intra_op_num_threads = setup.threads or cores()
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # other stages need the cores
    network = bundle.network(ENGINES["onnxruntime"][precision])
    try:
        session = ort.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    except _RUNTIME_ERRORS as cause:
        raise EngineError(f"ONNX Runtime cannot load the model {bundle.manifest.name}: {cause}") from cause
    ends = [end.name for end in (*session.get_inputs(), *session.get_outputs())]
    check_ends(ends, f"the network of the model {bundle.manifest.name}")
    return OnnxRuntimeEngine(session, f"onnxruntime {ort.__version__} {precision}")
