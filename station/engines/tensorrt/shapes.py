"""Which sizes of tiles a plan is built for.

Memory grows with the largest number of pixels that a plan allows (the starter model: 340 bytes a pixel in float32, half
of it in float16), so one range for all sizes would ask for more than most GPUs have. There are two: many tiles of the
size that cameras send, or a single large one.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from station.contract.manifest import Frozen, NetworkScale

Shape: TypeAlias = tuple[int, int, int, int]  # tiles, height px, width px, 3

BATCH: Final = 8  # tiles in one call

# A field of 1024 x 768 px with cells of 120 px becomes 576 x 416 px for a network of 64 px. The trials by which the
# scale is estimated make its shorter side up to 711 px, so up to 1264 px for the longer one of 16:9.
SIDE_OF_MANY: Final = 640
SIDE_OF_ONE: Final = 1536
_USUAL_OF_MANY: Final = (416, 576)
_USUAL_OF_ONE: Final = (704, 960)


class Profile(Frozen):
    """A range of input shapes: what the library must accept, and what it is tuned for."""

    least: Shape
    usual: Shape
    most: Shape


def profiles_for(
    scale: NetworkScale, *, batch: int = BATCH, side_of_many: int = SIDE_OF_MANY, side_of_one: int = SIDE_OF_ONE
) -> tuple[Profile, ...]:
    """Up to `batch` tiles with sides from one stride to `side_of_many` px, or one of up to `side_of_one` px.

    Sides are multiples of the network's stride. A network of stretched pictures sees one size, whatever the camera
    sends: it has one range. A tile outside all of them cannot run; a station counts its picture on the processor.
    """
    if scale.policy == "stretch":
        side = scale.stretch_px
        tiles = batch if side <= side_of_many else 1
        return (Profile(least=(1, side, side, 3), usual=(1, side, side, 3), most=(tiles, side, side, 3)),)
    many = _range(scale.stride, batch, _USUAL_OF_MANY, side_of_many)
    one = _range(scale.stride, 1, _USUAL_OF_ONE, side_of_one)
    return many, one


def _range(stride: int, tiles: int, usual: tuple[int, int], most: int) -> Profile:
    height, width, side = (_down(min(length, most), stride) for length in (*usual, most))
    return Profile(least=(1, stride, stride, 3), usual=(1, height, width, 3), most=(tiles, side, side, 3))


def _down(length: int, stride: int) -> int:
    return max(length // stride, 1) * stride
