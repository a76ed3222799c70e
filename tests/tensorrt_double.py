"""A recording double of the module `tensorrt`; see `recorders`, which installs it.

Its classes have no name that one of the recorded libraries lacks (`test_tensorrt_api` sees to it). The network that a
plan holds always computes `colour_network`.
"""

from __future__ import annotations

import json
from enum import Enum, IntEnum
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from networks import colour_network

if TYPE_CHECKING:
    from recorders import FakeCuda, Record

_ALIGNED = 256


class InWorld:
    """A class of the library; what it knows of its surroundings is given when the module is made."""

    _record: Record
    _cuda: FakeCuda
    _trt: Any


class ILogger(InWorld):
    INTERNAL_ERROR, ERROR, WARNING = range(3)

    def log(self, severity: int, msg: str) -> None: ...


class IProgressMonitor(InWorld): ...


class ITimingCache(InWorld):
    def __init__(self, data: bytes) -> None:
        self._data = data

    def serialize(self) -> bytes:
        return self._data or self._record.timings


class IOptimizationProfile(InWorld):
    def set_shape(self, input: str, least: Any, usual: Any, most: Any) -> None:
        self._shapes = input, least, usual, most


class INetworkDefinition(InWorld):
    _ends: Any = None

    @property
    def num_inputs(self) -> int:
        return len(self._ends.input)

    @property
    def num_outputs(self) -> int:
        return len(self._ends.output)

    def get_input(self, index: int) -> Any:
        return self._ends.input[index]

    def get_output(self, index: int) -> Any:
        return self._ends.output[index]


class OnnxParser(InWorld):
    num_errors = 1

    def __init__(self, network: INetworkDefinition, log: ILogger) -> None:
        self._network = network

    def parse(self, model: bytes) -> bool:
        try:
            self._network._ends = onnx.load_from_string(model).graph
        except DecodeError:
            return False
        return bool(self._network._ends.node)

    def get_error(self, index: int) -> Any:
        return SimpleNamespace(desc=lambda: "this is\nno network", node_operator=lambda: "")


class IBuilderConfig(InWorld):
    progress_monitor: Any = None

    def __init__(self) -> None:
        self._profiles: list[IOptimizationProfile] = []

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        self._record.calls.append(f"set_memory_pool_limit {pool.name} {size}")

    def clear_flag(self, flag: Any) -> None:
        self._record.calls.append(f"clear_flag {flag.name}")

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self._profiles.append(profile)
        return -1 if "add_optimization_profile" in self._record.refusing else len(self._profiles) - 1

    def create_timing_cache(self, data: bytes) -> ITimingCache:
        self._record.calls.append(f"create_timing_cache {data.decode()}")
        return self._trt.ITimingCache(data)

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        self._cache = cache
        return not (cache._data and "set_timing_cache" in self._record.refusing)

    def get_timing_cache(self) -> ITimingCache:
        return self._cache


class Builder(InWorld):
    def __init__(self, log: ILogger) -> None:
        if "Builder" in self._record.refusing:
            log.log(ILogger.ERROR, self._record.reason)
            raise TypeError("factory function returned nullptr")
        self._log = log

    def create_network(self, flags: int) -> INetworkDefinition:
        self._record.calls.append(f"create_network {flags}")
        return self._trt.INetworkDefinition()

    def create_builder_config(self) -> IBuilderConfig:
        return self._trt.IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return self._trt.IOptimizationProfile()

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> bytes | None:
        self._record.calls.append("build_serialized_network")
        config.progress_monitor.phase_start("Building engine", None, 2)
        for step in range(2):
            assert config.progress_monitor.step_complete("Building engine", step)
        config.progress_monitor.phase_finish("Building engine")
        if not self._record.builds:
            self._log.log(ILogger.WARNING, "a warning is no reason")
            self._log.log(ILogger.ERROR, self._record.reason)
            return None
        half = network.get_output(0).type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
        kind = "INT32" if "float answers" in self._record.refusing else "HALF" if half else "FLOAT"
        profiles = [profile._shapes for profile in config._profiles]
        held = {
            "version": self._record.version,
            "gpu": self._record.gpu,
            "kind": kind,
            "profiles": profiles,
        }
        return json.dumps(held).encode() + b" " * 1000


class Runtime(InWorld):
    def __init__(self, log: ILogger) -> None:
        self._log = log

    def deserialize_cuda_engine(self, plan: bytes) -> ICudaEngine | None:
        self._record.calls.append("deserialize_cuda_engine")
        held = json.loads(plan)
        fits = (held["version"], held["gpu"]) == (self._record.version, self._record.gpu)
        if not (self._record.deserializes and fits):
            self._log.log(ILogger.ERROR, self._record.reason)
            return None
        return self._trt.ICudaEngine(held, self._log)


class ICudaEngine(InWorld):
    num_io_tensors = 2

    def __init__(self, held: Any, log: ILogger) -> None:
        self._held, self._log = held, log

    @property
    def num_optimization_profiles(self) -> int:
        return len(self._held["profiles"])

    def get_tensor_name(self, index: int) -> str:
        return ("image", "probabilities")[index]

    def get_tensor_mode(self, name: str) -> Any:
        return self._trt.TensorIOMode.INPUT if name == "image" else self._trt.TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return self._trt.DataType[self._held["kind"]]

    def get_tensor_profile_shape(self, name: str, profile: int) -> Any:
        shapes = self._held["profiles"][profile]
        assert shapes[0] == name == "image"
        return shapes[1:]

    def create_execution_context(self) -> IExecutionContext | None:
        if "create_execution_context" in self._record.refusing:
            self._log.log(ILogger.ERROR, self._record.reason)
            return None
        return self._trt.IExecutionContext(self)


class IExecutionContext(InWorld):
    def __init__(self, engine: ICudaEngine) -> None:
        self._engine, self._profile = engine, 0
        self._shape: tuple[int, ...] = ()
        self._addresses: dict[str, int] = {}

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        self._profile, self._shape = profile, ()
        return self._done("set_optimization_profile_async", profile)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        _, least, _, most = self._engine._held["profiles"][self._profile]
        self._shape = shape
        inside = all(low <= one <= high for low, one, high in zip(least, shape, most, strict=True))
        return self._done("set_input_shape", *shape) and inside

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        strange = "get_tensor_shape" in self._record.refusing
        return (*self._shape[:3], 4 if strange else 3)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        assert memory % _ALIGNED == 0 and memory in self._cuda.memory
        self._addresses[name] = memory
        return self._done("set_tensor_address", name)

    def execute_async_v3(self, stream: int) -> bool:
        shape, addresses = self._shape, dict(self._addresses)
        self._cuda.streams[stream].append(lambda: self._compute(shape, addresses))
        return self._done("execute_async_v3")

    def _compute(self, shape: tuple[int, ...], addresses: dict[str, int]) -> None:
        kind = np.float16 if self._engine._held["kind"] == "HALF" else np.float32
        tiles = self._cuda.memory[addresses["image"]][: int(np.prod(shape))].reshape(shape)
        answer = colour_network(tiles).astype(kind)
        self._cuda.memory[addresses["probabilities"]][: answer.nbytes] = answer.reshape(-1).view(np.uint8)

    def _done(self, *call: Any) -> bool:
        self._record.calls.append(" ".join(map(str, call)))
        if call[0] in self._record.refusing:
            self._engine._log.log(ILogger.ERROR, self._record.reason)
        return call[0] not in self._record.refusing


CLASSES = (ILogger, IProgressMonitor, ITimingCache, IOptimizationProfile, INetworkDefinition, OnnxParser)
CLASSES += (IBuilderConfig, Builder, Runtime, ICudaEngine, IExecutionContext)


def fake_tensorrt(record: Record, cuda: FakeCuda) -> ModuleType:
    """A module `tensorrt`; its classes have no name that one of the recorded libraries lacks (a test sees to it)."""
    trt: Any = ModuleType("tensorrt")
    known = {"_record": record, "_cuda": cuda, "_trt": trt}
    trt.__version__ = record.version
    trt.NetworkDefinitionCreationFlag = IntEnum("NetworkDefinitionCreationFlag", {"STRONGLY_TYPED": 1})
    trt.MemoryPoolType = Enum("MemoryPoolType", ["WORKSPACE"])
    trt.BuilderFlag = Enum("BuilderFlag", ["TF32"])
    trt.TensorIOMode = Enum("TensorIOMode", ["NONE", "INPUT", "OUTPUT"])
    trt.DataType = Enum("DataType", ["FLOAT", "HALF", "INT32", "UINT8"])
    for one in CLASSES:
        setattr(trt, one.__name__, type(one.__name__, (one,), known))
    return trt  # type: ignore[no-any-return]
