"""Camera scale and network scale: from one to the other, and the way back without a full-size copy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from station.contract.errors import ImageError
from station.contract.manifest import NetworkScale

RGB: TypeAlias = NDArray[np.uint8]  # [H, W, 3], 0..255
Probabilities: TypeAlias = NDArray[np.float32]  # [h, w, 3]: background, cytoplasm, nucleus; each pixel sums to 1

MAX_NETWORK_MEGAPIXELS = 8.0
_MOST_PADDED_MEGAPIXELS = 9.0  # a picture of a few rows may be padded to many times what it was

_ENDLESS_PX = np.float32(65_536)

_T = TypeVar("_T", np.uint8, np.float32)


@dataclass(frozen=True, slots=True)
class Frame:
    """How one picture lies in the network's input. All sizes in px."""

    height: int
    width: int
    network_height: int
    network_width: int
    padded_height: int
    padded_width: int
    stretched: bool = False  # each axis by its own factor, whatever the cells measure

    @property
    def factors(self) -> tuple[float, float]:
        """(down, across): network px per camera px. Unless stretched they differ only by the rounding of the sizes."""
        return self.network_height / self.height, self.network_width / self.width


def stay_in_one_thread() -> None:
    """Let OpenCV work in the thread that calls it, in this process: its own threads spin while they wait."""
    cv2.setNumThreads(1)


def frame_for(height: int, width: int, cell_diameter_px: float, scale: NetworkScale) -> Frame:
    """The frame of a height x width picture whose cells measure `cell_diameter_px` at camera scale.

    Raises ImageError where the network would see more pixels than a station can hold.
    """
    stretched = scale.policy == "stretch"
    square = (scale.stretch_px, scale.stretch_px)
    network_height, network_width = square if stretched else _size_by_cells(height, width, cell_diameter_px, scale)
    return Frame(
        height=height,
        width=width,
        network_height=network_height,
        network_width=network_width,
        padded_height=_multiple(network_height, scale.stride),
        padded_width=_multiple(network_width, scale.stride),
        stretched=stretched,
    )


def network_diameter(cell_diameter_px: float, frame: Frame, scale: NetworkScale) -> float:
    """What a cell of `cell_diameter_px` at camera scale measures in the network's input, px.

    Stretched to an ellipse, it is the diameter of the disc of the same area.
    """
    if not frame.stretched:
        return scale.cell_diameter_px
    down, across = frame.factors
    return cell_diameter_px * math.sqrt(down * across)


def to_network_scale(image: RGB, frame: Frame) -> RGB:
    """[H, W, 3] -> [padded_height, padded_width, 3] uint8; the padding mirrors the picture, so no false edge arises."""
    down, across = frame.padded_height - frame.network_height, frame.padded_width - frame.network_width
    padded = cv2.copyMakeBorder(resized(image, frame), 0, down, 0, across, cv2.BORDER_REFLECT)
    return np.asarray(padded, np.uint8)


def resized(channels: NDArray[Any], frame: Frame) -> NDArray[Any]:
    """[H, W, C] -> [network_height, network_width, C] of the same type, without padding.

    Averages where it shrinks and interpolates where it grows. A stretched picture may do both, one along each axis,
    and `cv2.resize` would only interpolate: so it shrinks first.
    """
    if frame.stretched:
        least = (min(frame.width, frame.network_width), min(frame.height, frame.network_height))
        channels = cv2.resize(channels, least, interpolation=cv2.INTER_AREA)
    shrinks = frame.network_height < frame.height and not frame.stretched
    size = (frame.network_width, frame.network_height)
    return cv2.resize(channels, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def without_padding(padded: NDArray[_T], frame: Frame) -> NDArray[_T]:
    """[padded_height, padded_width, 3] -> [network_height, network_width, 3], a view."""
    return padded[: frame.network_height, : frame.network_width]


def to_camera_scale(
    network_map: NDArray[np.float32], frame: Frame, box: tuple[int, int, int, int], origin: tuple[int, int] = (0, 0)
) -> NDArray[np.float32]:
    """The part (x, y, w, h) at camera scale of a map [network_height, network_width(, C)], resampled bilinearly.

    The map may be a part itself, whose first pixel is the whole map's (x, y) = `origin`.

    Only the box is ever made, so memory is bounded by it. Pixel centres lie at half-integers on both scales, as in
    `cv2.resize`; beyond the border the outermost value is continued.
    """
    x, y, w, h = box
    down, across = frame.factors
    left, top = (x + 0.5) * across - 0.5 - origin[0], (y + 0.5) * down - 0.5 - origin[1]
    to_source = np.array([[across, 0.0, left], [0.0, down, top]], dtype=np.float64)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    resampled = cv2.warpAffine(network_map, to_source, (w, h), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(resampled, dtype=np.float32)


def distances(inside: NDArray[np.uint8]) -> NDArray[np.float32]:
    """[h, w] how far each pixel that is not 0 lies from the nearest that is, px; 65,536 where none is.

    The library's last bit differs from call to call, and with it where touching cells are parted. Squares of distances
    are whole numbers, so what they should have been is known.
    """
    found = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.sqrt(np.rint(np.square(np.minimum(found, _ENDLESS_PX), dtype=np.float32)))


def _size_by_cells(height: int, width: int, cell_diameter_px: float, scale: NetworkScale) -> tuple[int, int]:
    factor = scale.cell_diameter_px / cell_diameter_px
    network_height, network_width = max(1, round(height * factor)), max(1, round(width * factor))
    padded = _multiple(network_height, scale.stride) * _multiple(network_width, scale.stride)
    if network_height * network_width > MAX_NETWORK_MEGAPIXELS * 1e6 or padded > _MOST_PADDED_MEGAPIXELS * 1e6:
        raise ImageError(
            f"is too large for its cells: at a cell diameter of {cell_diameter_px:g} px its {width} x {height} px "
            f"become {network_width} x {network_height} px for the network, more than {MAX_NETWORK_MEGAPIXELS:g} "
            "megapixels; tell the true cell diameter, or save smaller fields"
        )
    return network_height, network_width


def _multiple(length: int, stride: int) -> int:
    return -(-length // stride) * stride
