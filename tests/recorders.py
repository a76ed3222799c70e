"""A recording double of TensorRT and of the CUDA runtime, installed as the modules that the engine imports.

Every call is noted in order. Memory is real, so tiles truly flow through "device" buffers, and work that was put into a
stream happens only when the stream is waited for: who reads an answer too early reads noise.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tensorrt_double import fake_tensorrt

VERSION = "11.4.0.106"
GPU_NAME = "NVIDIA RTX A2000"
_DEVICE_ADDRESSES = 1 << 60  # no address of the host
_ALIGNED = 256
_NOISE = 0xCD

CUDA_ERRORS = {
    0: ("cudaSuccess", "no error"),
    2: ("cudaErrorMemoryAllocation", "out of memory"),
    46: ("cudaErrorDevicesUnavailable", "CUDA-capable device(s) is/are busy or unavailable"),
    35: ("cudaErrorInsufficientDriver", "CUDA driver version is insufficient for CUDA runtime version"),
    100: ("cudaErrorNoDevice", "no CUDA-capable device is detected"),
    700: ("cudaErrorIllegalAddress", "an illegal memory access was encountered"),
}


@dataclass
class Record:
    """What was called, and how the doubles shall behave."""

    calls: list[str] = field(default_factory=list)
    failing: dict[str, int] = field(default_factory=dict)  # CUDA function -> error code
    refusing: set[str] = field(default_factory=set)  # calls of a context or config that answer False or None
    gpus: int = 1
    memory_bytes: int = 6 << 30
    version: str = VERSION
    gpu: str = GPU_NAME
    deserializes: bool = True
    builds: bool = True
    reason: str = "the reason in the log"
    timings: bytes = b"timings of kernels"

    def names(self) -> list[str]:
        return [call.split(" ")[0] for call in self.calls]


class FakeCuda(ModuleType):
    """`cuda.bindings.runtime`: functions return a tuple, the error first."""

    cudaStreamNonBlocking = 1
    cudaMemcpyKind = Enum("cudaMemcpyKind", ["cudaMemcpyHostToDevice", "cudaMemcpyDeviceToHost"])
    cudaError_t = IntEnum("cudaError_t", {name: code for code, (name, _) in CUDA_ERRORS.items()})

    def __init__(self, record: Record) -> None:
        super().__init__("cuda.bindings.runtime")
        self._record = record
        self.memory: dict[int, NDArray[np.uint8]] = {}  # live allocations, on the device and pinned
        self.streams: dict[int, list[Callable[[], None]]] = {}  # live streams -> what they have still to do
        self._next = _DEVICE_ADDRESSES

    def cudaGetDeviceCount(self) -> Any:
        return self._answer("cudaGetDeviceCount", lambda: self._record.gpus)

    def cudaGetDeviceProperties(self, device: int) -> Any:
        found = SimpleNamespace(
            name=self._record.gpu.encode() + b"\0\0", major=8, minor=6, totalGlobalMem=self._record.memory_bytes
        )
        return self._answer("cudaGetDeviceProperties", lambda: found, device)

    def cudaGetErrorName(self, error: int) -> Any:
        return 0, CUDA_ERRORS[error][0].encode()

    def cudaGetErrorString(self, error: int) -> Any:
        return 0, CUDA_ERRORS[error][1].encode()

    def cudaStreamCreateWithFlags(self, flags: int) -> Any:
        def create() -> int:
            self._next += _ALIGNED
            self.streams[self._next] = []
            return self._next

        return self._answer("cudaStreamCreateWithFlags", create, flags)

    def cudaStreamSynchronize(self, stream: int) -> Any:
        def work() -> None:
            for step in self.streams[stream]:
                step()
            self.streams[stream].clear()

        return self._answer("cudaStreamSynchronize", work)

    def cudaStreamDestroy(self, stream: int) -> Any:
        return self._answer("cudaStreamDestroy", lambda: self.streams.pop(stream) and None)

    def cudaMalloc(self, size: int) -> Any:
        def allocate() -> int:
            self._next += -(-size // _ALIGNED) * _ALIGNED + _ALIGNED
            self.memory[self._next] = np.full(size, _NOISE, np.uint8)
            return self._next

        return self._answer("cudaMalloc", allocate, size)

    def cudaMallocHost(self, size: int) -> Any:
        def allocate() -> int:
            pinned = np.full(size, _NOISE, np.uint8)
            self.memory[pinned.ctypes.data] = pinned
            return int(pinned.ctypes.data)

        return self._answer("cudaMallocHost", allocate, size)

    def cudaFree(self, address: int) -> Any:
        return self._answer("cudaFree", lambda: self.memory.pop(address) is None)

    def cudaFreeHost(self, address: int) -> Any:
        return self._answer("cudaFreeHost", lambda: self.memory.pop(address) is None)

    def cudaMemcpyAsync(self, to: int, source: int, size: int, kind: Any, stream: int) -> Any:
        upload = kind == self.cudaMemcpyKind.cudaMemcpyHostToDevice
        assert (to >= _DEVICE_ADDRESSES) == upload and (source >= _DEVICE_ADDRESSES) != upload

        def copy() -> None:
            self.memory[to][:size] = self.memory[source][:size]

        def put() -> None:
            self.streams[stream].append(copy)

        return self._answer("cudaMemcpyAsync", put, kind.name.removeprefix("cudaMemcpy"), size)

    def _answer(self, function: str, work: Callable[[], Any], *told: Any) -> Any:
        self._record.calls.append(" ".join(map(str, (function, *told))))
        if code := self._record.failing.get(function):
            return self.cudaError_t(code), None
        return self.cudaError_t(0), work()


@dataclass
class Double:
    """The installed doubles."""

    record: Record
    cuda: FakeCuda

    def holds_nothing(self) -> bool:
        """Whether all memory and streams were given back."""
        return not self.cuda.memory and not self.cuda.streams


def install(patch: pytest.MonkeyPatch) -> Double:
    """Stand for `tensorrt` and `cuda.bindings.runtime` until the test ends."""
    record = Record()
    double = Double(record, FakeCuda(record))
    renew(patch, double)
    return double


def renew(patch: pytest.MonkeyPatch, double: Double) -> None:
    """As a start of the station later on, after the record was told of another library or GPU."""
    patch.setitem(sys.modules, "tensorrt", fake_tensorrt(double.record, double.cuda))
    patch.setitem(sys.modules, "cuda.bindings.runtime", double.cuda)


def pretend_gpu() -> None:
    """Give a process without a GPU the name of one, so that the real builder of TensorRT-RTX builds for it."""
    from station.engines.tensorrt.cuda import Cuda, Gpu

    Cuda.gpu = lambda self: Gpu(GPU_NAME, "8.6", 12 << 30)  # type: ignore[method-assign]
