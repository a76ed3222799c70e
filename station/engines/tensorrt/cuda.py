"""A thin, checked layer over the CUDA runtime: the GPU, a stream, memory on the GPU and pinned memory beside it."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from station.contract.errors import EngineError

DEVICE: Final = 0
_INSTALL = "`pip install cuda-bindings` installs them"
_IN_WORDS: Final = {
    "cudaErrorMemoryAllocation": "out of GPU memory; another program may hold it",
    "cudaErrorInsufficientDriver": "there is no NVIDIA driver, or it is older than the CUDA runtime; update the driver",
    "cudaErrorNoDevice": "the driver sees no NVIDIA GPU",
    "cudaErrorSystemDriverMismatch": "the parts of the NVIDIA driver do not fit each other; a restart may help",
}


@dataclass(frozen=True, slots=True)
class Gpu:
    """What a plan depends on."""

    name: str
    compute_capability: str  # as "8.6"
    memory_bytes: int


class Cuda:
    """Calls into `cuda.bindings.runtime`, where every function returns its error first. All raise EngineError."""

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime

    def gpu(self) -> Gpu:
        """The first GPU. Raises EngineError where there is no driver or no GPU."""
        if self._call("cudaGetDeviceCount") < 1:
            raise EngineError("the driver sees no NVIDIA GPU")
        found = self._call("cudaGetDeviceProperties", DEVICE)
        name = found.name.split(b"\0")[0].decode(errors="replace")
        return Gpu(name, f"{found.major}.{found.minor}", int(found.totalGlobalMem))

    def stream(self) -> Any:
        """A new stream beside the default one, which would wait for all others."""
        return self._call("cudaStreamCreateWithFlags", self._runtime.cudaStreamNonBlocking)

    def wait(self, stream: Any) -> None:
        """Until all that was put into the stream is done."""
        self._call("cudaStreamSynchronize", stream)

    def end(self, stream: Any) -> None:
        self._call("cudaStreamDestroy", stream)

    def on_device(self, size: int) -> int:
        """The address of `size` new bytes on the GPU."""
        return int(self._call("cudaMalloc", size))

    def on_host(self, size: int) -> int:
        """The address of `size` new bytes of pinned memory, which the GPU copies by itself."""
        return int(self._call("cudaMallocHost", size))

    def free_device(self, address: int) -> None:
        self._call("cudaFree", address)

    def free_host(self, address: int) -> None:
        self._call("cudaFreeHost", address)

    def upload(self, device: int, host: int, size: int, stream: Any) -> None:
        """Put a copy of `size` bytes to the GPU into the stream."""
        self._call("cudaMemcpyAsync", device, host, size, self._kind("cudaMemcpyHostToDevice"), stream)

    def download(self, host: int, device: int, size: int, stream: Any) -> None:
        """Put a copy of `size` bytes from the GPU into the stream."""
        self._call("cudaMemcpyAsync", host, device, size, self._kind("cudaMemcpyDeviceToHost"), stream)

    def _kind(self, name: str) -> Any:
        return getattr(self._runtime.cudaMemcpyKind, name)

    def _call(self, function: str, *arguments: Any) -> Any:
        error, *results = getattr(self._runtime, function)(*arguments)
        if int(error) != 0:
            raise EngineError(self._in_words(function, error))
        return results[0] if results else None

    def _in_words(self, function: str, error: Any) -> str:
        name, text = (self._text(of, error) for of in ("cudaGetErrorName", "cudaGetErrorString"))
        return f"{_IN_WORDS.get(name, text)} ({function}: {name})"

    def _text(self, function: str, error: Any) -> str:
        _, text = getattr(self._runtime, function)(error)
        return str(text.decode())


class Buffer:
    """Memory of one tensor, on the GPU and pinned beside it; as large as the largest tensor that it held so far."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self.device = self.host = self.size = 0

    def reserve(self, size: int) -> None:
        """Room for `size` bytes; what it held is lost where it grows. Raises EngineError where memory is out."""
        if size <= self.size:
            return
        self.free()  # before, so that old and new need not fit in together
        self.device = self._cuda.on_device(size)
        self.host = self._cuda.on_host(size)
        self.size = size

    def view(self, shape: tuple[int, ...], kind: DTypeLike) -> NDArray[Any]:
        """The pinned memory as an array; of use until the next `reserve`."""
        count = int(np.prod(shape))
        pinned = (ctypes.c_uint8 * (count * np.dtype(kind).itemsize)).from_address(self.host)
        return np.frombuffer(memoryview(pinned), np.dtype(kind)).reshape(shape)

    def free(self) -> None:
        """Give back what it holds, the last one first."""
        host, device = self.host, self.device
        self.device = self.host = self.size = 0
        try:
            if host:
                self._cuda.free_host(host)
        finally:
            if device:
                self._cuda.free_device(device)


def load_cuda() -> Cuda:
    """The CUDA runtime by its Python bindings. Raises EngineError where they are missing."""
    try:
        return Cuda(import_module("cuda.bindings.runtime"))
    except (ImportError, OSError) as cause:
        raise EngineError(f"the CUDA bindings cannot be loaded ({cause}); {_INSTALL}") from cause
