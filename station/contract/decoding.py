"""Bytes of a picture file -> RGB: the one place that turns a camera's file into pixels."""

from __future__ import annotations

import struct
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

_EXTRA_SAMPLES, _SHORT, _UNSPECIFIED, _UNASSOCIATED = 338, 3, 0, 2  # TIFF 6.0: a tag, its type, two of its values

# By the full range and never by the brightest pixel, so that a dark picture stays dark: round(v / 257).
_TO_8_BIT = ((np.arange(65_536) + 128) // 257).astype(np.uint8)


def decode(data: bytes, *, max_megapixels: float = 50.0) -> NDArray[np.uint8]:
    """The picture in `data` (a whole file) as RGB uint8 [H, W, 3].

    Raises `Incomplete`, `TooLarge` (before anything is decoded) or `ImageError`; each text continues a file
    name.
    """
    header = read_header(data)
    _check_size(header, max_megapixels)
    return np.ascontiguousarray(cv2.cvtColor(_to_8_bit(_decoded(data, header)), cv2.COLOR_BGR2RGB), np.uint8)


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


def _decoded(data: bytes, header: Header) -> NDArray[Any]:
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # it writes to stderr what is raised here
    try:
        picture = cv2.imdecode(np.frombuffer(_as_meant(data, header), np.uint8), _FLAGS)
    except cv2.error as error:
        raise _undecodable(header) from error
    if picture is None:
        raise _undecodable(header)
    if header.format == "tiff":
        check_packing(data)
    return picture


def _as_meant(data: bytes, header: Header) -> bytes | bytearray:
    """The bytes for a decoder that multiplies the colours of an 8-bit TIFF by an alpha that is not in them."""
    if header.format != "tiff":
        return data
    tiff = open_tiff(data)
    page = tiff.directories()[0]
    extra = page.get(_EXTRA_SAMPLES)
    if extra is None or (extra.kind, extra.count, tiff.number(extra)) != (_SHORT, 1, _UNASSOCIATED):
        return data
    changed = bytearray(data)
    struct.pack_into(tiff.order + "H", changed, extra.at, _UNSPECIFIED)
    return changed


def _undecodable(header: Header) -> ImageError:
    return ImageError(f"is complete but cannot be decoded ({header.format}, {header.width} x {header.height} pixels)")


def _to_8_bit(bgr: NDArray[Any]) -> NDArray[np.uint8]:
    if bgr.dtype == np.uint8:
        return bgr.view(np.uint8)
    if bgr.dtype == np.uint16:
        narrow: NDArray[np.uint8] = _TO_8_BIT[bgr]
        return narrow
    raise ImageError(f"holds {bgr.dtype} values; export 8 or 16 bits per channel, unsigned")
