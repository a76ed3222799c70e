"""Bytes of a picture file -> RGB: the one place that turns a camera's file into pixels."""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from station.contract.errors import ImageError, TooLarge
from station.contract.headers import Header, read_header
from station.contract.strips import check_packing
from station.contract.tiff import open_tiff

# EXIF rotation applied, grey and palettes spread to three channels, alpha dropped, 16 bits kept.
_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH

_EXTRA_SAMPLES, _UNASSOCIATED = 338, (2, 999)  # TIFF 6.0: a tag and its value for alpha; Corel's value
_HOLE = bytes(512)  # coded data of a camera's picture never hold so many zeros; those of a picture of one colour may

# Cameras store the 10, 12 or 14 bits that they measure as they are. By the range of these and never by the brightest
# pixel, so that a dark picture stays dark.
_DEPTHS = (10, 12, 14, 16)


def decode(data: bytes, *, max_megapixels: float = 50.0) -> NDArray[np.uint8]:
    """The picture in `data` (a whole file) as RGB uint8 [H, W, 3].

    Raises `Incomplete`, `TooLarge` (before anything is decoded) or `ImageError`; each text continues a file
    name.
    """
    header = read_header(data)
    _check_size(header, max_megapixels)
    return np.ascontiguousarray(cv2.cvtColor(_to_8_bit(pixels(data, header, _FLAGS)), cv2.COLOR_BGR2RGB), np.uint8)


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """A picture [H, W, 3] as a PNG that `decode` reads back equal; it holds pixels and nothing else."""
    done, buffer = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not done:
        raise ImageError(f"a picture of {image.shape[1]} x {image.shape[0]} px could not be written as PNG")
    return buffer.tobytes()


def _check_size(header: Header, max_megapixels: float) -> None:
    megapixels = header.width * header.height / 1e6
    if megapixels > max_megapixels:
        raise TooLarge(
            f"has {header.width} x {header.height} pixels, {megapixels:.1f} megapixels, more than "
            f"limits.max_megapixels = {max_megapixels:g} allows"
        )


def pixels(data: bytes, header: Header, flags: int) -> NDArray[Any]:
    """What OpenCV makes of a whole file by its flags of `imread`. Raises ImageError where that is not what it holds."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # it writes to stderr what is raised here
    try:
        picture = cv2.imdecode(np.frombuffer(_as_meant(data, header), np.uint8), flags)
    except cv2.error as error:
        raise _undecodable(header) from error
    if picture is None:
        raise _undecodable(header)
    if header.format == "tiff":
        check_packing(data)
    if header.format == "jpeg" and data.find(_HOLE, *header.coded) >= 0 and np.ptp(picture) > 0:
        raise ImageError("is damaged: a part of its JPEG is zeros, as if it was never written; copy the file again")
    return picture


def _as_meant(data: bytes, header: Header) -> bytes | bytearray:
    """The bytes for a decoder that multiplies the colours of an 8-bit TIFF by an alpha that is not in them."""
    if header.format != "tiff":
        return data
    tiff = open_tiff(data)
    extra = tiff.directories()[0].get(_EXTRA_SAMPLES)
    told = tiff.values(extra)
    if extra is None or len(told) != 1 or told[0] not in _UNASSOCIATED:
        return data
    changed = bytearray(data)
    changed[extra.at : extra.at + told.itemsize] = bytes(told.itemsize)  # unspecified, in either order
    return changed


@cache
def _to_8_bit_of(bits: int) -> NDArray[np.uint8]:
    """Value of so many bits -> 0..255, rounded."""
    most = (1 << bits) - 1
    return ((np.arange(most + 1) * 255 + most // 2) // most).astype(np.uint8)


def _undecodable(header: Header) -> ImageError:
    return ImageError(f"is complete but cannot be decoded ({header.format}, {header.width} x {header.height} pixels)")


def _to_8_bit(bgr: NDArray[Any]) -> NDArray[np.uint8]:
    if bgr.dtype == np.uint8:
        return bgr.view(np.uint8)
    if bgr.dtype == np.uint16:
        bits = next(bits for bits in _DEPTHS if int(bgr.max(initial=0)) < 1 << bits)
        narrow: NDArray[np.uint8] = _to_8_bit_of(bits)[bgr]
        return narrow
    raise ImageError(f"holds {bgr.dtype} values; export 8 or 16 bits per channel, unsigned")
