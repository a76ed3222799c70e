"""Shelf of engines: the file name is the word in station.toml. An engine is a Network with a name.

Each module has `problem(precision)` and `open_network(bundle, precision, setup)`, and loads its runtime only then.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Final, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from station.contract.bundle import Bundle
from station.contract.errors import EngineError

AUTO: Final = "auto"
REFERENCE: Final = "onnxruntime"  # in float32; what the others are held against, and what answers where they fail

# Engine -> precision that it can compute in -> which network of the bundle it needs for that.
ENGINES: Final[Mapping[str, Mapping[str, str]]] = {
    "onnxruntime": {"float32": "float32", "int8": "int8"},
    "openvino": {"float32": "float32", "bfloat16": "float32", "int8": "int8"},
    "tensorrt": {"float32": "float32", "float16": "float16"},
}
# What pip calls the runtimes; TensorRT goes by many names.
_DISTRIBUTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "onnxruntime": ("onnxruntime",),
    "openvino": ("openvino",),
    "tensorrt": ("tensorrt", "tensorrt-cu12", "tensorrt-cu13", "tensorrt-rtx-cu12", "tensorrt-rtx-cu13"),
}
INPUT, OUTPUT = "image", "probabilities"  # the ends of every network
PRECISIONS: Final = ("float32", "float16", "bfloat16", "int8")


@dataclass(frozen=True, slots=True)
class Option:
    """An engine and the precision that it computes in."""

    engine: str
    precision: str

    def __str__(self) -> str:
        return f"{self.engine} {self.precision}"


# Around what may take the process down, with the name of the engine.
Guard: TypeAlias = Callable[[str], AbstractContextManager[None]]


def unguarded(_engine: str) -> AbstractContextManager[None]:
    """Nothing is written down of what may happen."""
    return nullcontext()


@dataclass(frozen=True, slots=True)
class Setup:
    """What an engine is opened with, beside its network."""

    threads: int = 0  # of a processor's engine; 0: all cores
    plans: Path | None = None  # folder of the plans that TensorRT makes; none: they are made anew each time
    build: bool = True  # whether a missing plan may be made now, which takes minutes
    report: Callable[[int], None] = lambda _percent: None  # how far that is; called from threads of the library
    guard: Guard = unguarded


class TileUnfit(EngineError):
    """Tiles of a size that an engine was not made for: no fault of it, and another one can count them."""


class Engine(Protocol):
    """One verb: tiles [N, H, W, 3] uint8 RGB in, class probabilities [N, H, W, 3] float32 out."""

    @property
    def name(self) -> str:
        """Runtime, version and precision, as written beside every count."""
        ...

    @property
    def batch(self) -> int:
        """The most tiles in one call that it gains from; 1 where one by one is as fast."""
        ...

    @property
    def abreast(self) -> int:
        """How many calls at once it gains from, each by a thread of its own; 1 where one after the other is as fast."""
        ...

    def __call__(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]: ...


class _Shelf(Protocol):
    def problem(self, precision: str) -> str | None: ...
    def open_network(self, bundle: Bundle, precision: str, setup: Setup) -> Engine: ...


def open_engine(bundle: Bundle, name: str = REFERENCE, precision: str = "float32", setup: Setup = Setup()) -> Engine:
    """An engine by its name in station.toml, ready to run the bundle's network.

    Raises EngineError for an unknown name or precision, and where the runtime cannot load the network; BundleError
    where the bundle does not hold the network that this precision needs.
    """
    return _shelf(Option(name, precision)).open_network(bundle, precision, setup)


def cores() -> int:
    """How many cores of the processor this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_ends(ends: Sequence[str], network: str = "the network") -> None:
    """Raise EngineError where a network is not one from `image` to `probabilities`."""
    if [*ends] != [INPUT, OUTPUT]:
        raise EngineError(f"{network} has the ends {', '.join(ends)}, not {INPUT} and {OUTPUT}")


def check_tiles(tiles: NDArray[np.generic]) -> None:
    """Raise EngineError for what is no batch of pictures: not every runtime refuses other shapes and numbers itself."""
    if tiles.ndim != 4 or tiles.shape[3] != 3 or tiles.dtype != np.uint8 or not len(tiles):
        raise EngineError(f"it is no batch of RGB pictures, [N, H, W, 3] uint8, but {tiles.dtype}")


def problem(option: Option) -> str | None:
    """Why the option cannot work on this machine: library, driver or instructions are missing; None where it can."""
    return _shelf(option).problem(option.precision)


def installed(engine: str) -> str:
    """Name and version of its runtime as installed here, whether or not it can work; empty where it is not."""
    return ", ".join(f"{name} {version}" for name in _DISTRIBUTIONS[engine] if (version := _version(name)))


def options(bundle: Bundle) -> tuple[Option, ...]:
    """What the networks of this bundle allow, whether or not this machine can."""
    held = {network.precision for network in bundle.manifest.networks}
    return tuple(
        Option(engine, precision)
        for engine, needs in ENGINES.items()
        for precision, network in needs.items()
        if network in held
    )


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _shelf(option: Option) -> _Shelf:
    if option.engine not in ENGINES:
        raise EngineError(f"there is no engine '{option.engine}'; known: {AUTO}, {', '.join(ENGINES)}")
    if option.precision not in ENGINES[option.engine]:
        able = ", ".join(ENGINES[option.engine])
        raise EngineError(f"the engine {option.engine} does not compute in {option.precision}; it can in {able}")
    return cast(_Shelf, import_module(f"station.engines.{option.engine}"))


def finite_answer(engine: Engine, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Its answer. Raises EngineError where that holds numbers that are none."""
    answer = engine(tiles)
    if not math.isfinite(float(answer.sum())):
        raise EngineError(f"{engine.name} answered with numbers that are not finite")
    return answer
