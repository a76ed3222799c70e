"""Shelf of engines: the file name is the word in station.toml. An engine is a Network with a name.

Each module has `open_network(bundle, threads) -> Engine` and loads its runtime only then.
"""

from __future__ import annotations

from importlib import import_module
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from station.contract.bundle import Bundle
from station.contract.errors import EngineError

ENGINES = ("onnxruntime",)
AUTO = "auto"


class Engine(Protocol):
    """One verb: tiles [N, H, W, 3] uint8 RGB in, class probabilities [N, H, W, 3] float32 out."""

    @property
    def name(self) -> str:
        """Runtime, version and precision, as written beside every count."""
        ...

    def __call__(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]: ...


class _Shelf(Protocol):
    def open_network(self, bundle: Bundle, threads: int) -> Engine: ...


def open_engine(bundle: Bundle, name: str = AUTO, *, threads: int = 0) -> Engine:
    """An engine by its name in station.toml, ready to run the bundle's network; `threads` 0 = all cores.

    Raises EngineError for an unknown name, or where the runtime cannot load the network.
    """
    chosen = choose_engine() if name == AUTO else name
    if chosen not in ENGINES:
        raise EngineError(f"there is no engine '{name}'; known: {AUTO}, {', '.join(ENGINES)}")
    return cast(_Shelf, import_module(f"station.engines.{chosen}")).open_network(bundle, threads)


def choose_engine() -> str:
    """The engine that `auto` stands for on this machine."""
    return ENGINES[0]
