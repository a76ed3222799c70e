"""The golden gate for engines that go other ways for several tiles, or for large ones."""

from __future__ import annotations

import numpy as np
import pytest
from networks import colour_network, tiny_bundle
from numpy.typing import NDArray

from station.contract.errors import BundleError
from station.engines import TileUnfit, open_engine
from station.proof import least_cell_dice, prove_engine


class InBatchesWrong:
    """As an engine that goes another way for several tiles than for one."""

    name, batch, abreast = "hasty 1 float32", 3, 1

    def __call__(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        return colour_network(tiles if len(tiles) == 1 else np.zeros_like(tiles))


def test_an_engine_proves_itself_on_batches_too() -> None:
    with pytest.raises(BundleError, match="does not prove itself here"):
        prove_engine(tiny_bundle(), InBatchesWrong(), "float32")


class WideWrong:
    """As TensorRT would be whose plan is wrong for the sizes of large fields alone."""

    name, batch, abreast = "wide wrong", 8, 1

    def __init__(self, *, refuses: bool) -> None:
        self._sound, self._refuses = open_engine(tiny_bundle()), refuses

    def __call__(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        if tiles.shape[2] <= 640:
            return self._sound(tiles)
        if self._refuses:
            raise TileUnfit("the plan was built for other sides")
        return np.broadcast_to(np.array([1, 0, 0], np.float32), tiles.shape)


def test_an_engine_proves_itself_on_large_tiles_too() -> None:
    with pytest.raises(BundleError, match=r"a tile of 960 x 704 px made of golden/01.png comes to other masks"):
        prove_engine(tiny_bundle(), WideWrong(refuses=False), "float32")
    assert prove_engine(tiny_bundle(), WideWrong(refuses=True), "float32")


@pytest.mark.parametrize(
    ("precision", "least"), [("float32", 0.999), ("float16", 0.999), ("bfloat16", 0.998), ("int8", 0.998)]
)
def test_the_gate_asks_less_of_eight_significant_bits(precision: str, least: float) -> None:
    assert least_cell_dice(precision) == least
