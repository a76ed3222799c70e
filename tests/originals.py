"""The files that are damaged: a field of two cells as cameras and programs save it, in every format and style."""

from __future__ import annotations

import io
import struct
from functools import cache

import numpy as np
import tifffile
from networks import discs
from numpy.typing import NDArray
from PIL import Image


@cache
def originals() -> dict[str, bytes]:
    """Name, which begins with the format -> file: a field of two cells as cameras and programs save it."""
    return _bmp_files() | _png_files() | _jpeg_files() | _tiff_files()


def _field() -> NDArray[np.uint8]:
    return discs(96, 128, ((40, 40, 30, 17), (92, 60, 29, 16)))


def _saved(kind: str, mode: str = "RGB", **options: object) -> bytes:
    picture, out = Image.fromarray(_field()), io.BytesIO()
    (picture.quantize(16) if mode == "P" else picture.convert(mode)).save(out, kind, **options)
    return out.getvalue()


def _grey16() -> NDArray[np.uint16]:
    return _field()[..., 0].astype(np.uint16) * 257


def _exif() -> Image.Exif:
    """Orientation, make, and a directory of its own for the time of capture."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Leica Microsystems"
    exif.get_ifd(0x8769)[0x9003] = "2026:11:23 09:00:00"
    return exif


def _bmp(bits: int, packing: int, body: bytes, between: bytes = b"", colours: int = 0) -> bytes:
    at = 54 + len(between)
    info = struct.pack("<IiiHHIIiiII", 40, 128, 96, 1, bits, packing, len(body), 2835, 2835, colours, 0)
    return struct.pack("<2sIHHI", b"BM", at + len(body), 0, 0, at) + info + between + body


def _bmp_files() -> dict[str, bytes]:
    palette = bytes(range(256)) * 4
    runs = (b"\x40\x05\x00\x40" + bytes(range(64)) + b"\0\0") * 96 + b"\0\1"
    masks = struct.pack("<III", 0xF800, 0x07E0, 0x001F)
    words = np.random.default_rng(3).integers(0, 65_536, (96, 128), np.uint16).tobytes()
    core = b"BM" + struct.pack("<IHHI", 26 + 96 * 384, 0, 0, 26) + struct.pack("<IHHHH", 12, 128, 96, 1, 24)
    return {
        "bmp": _saved("bmp"),
        "bmp 32 bit": _saved("bmp", "RGBA"),
        "bmp palette": _saved("bmp", "P"),
        "bmp grey": _saved("bmp", "L"),
        "bmp 1 bit": _saved("bmp", "1"),
        "bmp run-length": _bmp(8, 1, runs, palette, 256),
        "bmp 16 bit fields": _bmp(16, 3, words, masks),
        "bmp core header": core + _field().tobytes(),
    }


def _png_files() -> dict[str, bytes]:
    wide, out = Image.fromarray(_grey16()), io.BytesIO()
    wide.save(out, "png")
    return {
        "png": _saved("png"),
        "png transparent palette": _saved("png", "P", transparency=0),
        "png alpha": _saved("png", "RGBA"),
        "png 16 bit": out.getvalue(),
        "png EXIF": _saved("png", exif=_exif(), dpi=(300, 300)),
    }


def _jpeg_files() -> dict[str, bytes]:
    return {
        "jpeg": _saved("jpeg"),
        "jpeg progressive": _saved("jpeg", progressive=True),
        "jpeg restarts": _saved("jpeg", restart_marker_blocks=2),
        "jpeg grey": _saved("jpeg", "L"),
        "jpeg CMYK": _saved("jpeg", "CMYK"),
        "jpeg EXIF": _saved("jpeg", exif=_exif(), comment="Dr. Sample"),
    }


def _tiff(pixels: NDArray[np.generic], **options: object) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, pixels, **options)
    return out.getvalue()


def _tiff_files() -> dict[str, bytes]:
    field, planes = _field(), np.moveaxis(_field(), 2, 0).copy()
    return {
        "tiff": _saved("tiff"),
        "tiff EXIF": _saved("tiff", exif=_exif()),
        "tiff LZW": _saved("tiff", compression="tiff_lzw"),
        "tiff deflate": _saved("tiff", compression="tiff_adobe_deflate"),
        "tiff packbits": _saved("tiff", compression="packbits"),
        "tiff JPEG": _saved("tiff", compression="jpeg"),
        "tiff fax": _saved("tiff", "1", compression="group4"),
        "tiff palette": _saved("tiff", "P"),
        "tiff 16 bit": _tiff(_grey16(), photometric="minisblack"),
        "tiff strips": _tiff(field, photometric="rgb", rowsperstrip=7),
        "tiff tiles": _tiff(field, photometric="rgb", tile=(32, 32)),
        "tiff planes": _tiff(planes, photometric="rgb", planarconfig="separate"),
        "tiff big-endian": _tiff(field, photometric="rgb", byteorder=">"),
        "tiff BigTIFF": _tiff(field, photometric="rgb", bigtiff=True),
    }
