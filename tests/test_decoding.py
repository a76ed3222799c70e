"""Pixels out of real files: colours, orientation, depth, and what is refused."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from station.contract.decoding import decode
from station.contract.errors import ImageError, Incomplete, TooLarge

RED, BLUE = (200, 100, 50), (10, 20, 130)


def picture() -> NDArray[np.uint8]:
    """[16, 24, 3]: a red upper left quarter on blue."""
    pixels = np.full((16, 24, 3), BLUE, np.uint8)
    pixels[:8, :12] = RED
    return pixels


def pillow_file(image: Image.Image, name: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, name, **options)
    return out.getvalue()


def tiff_file(pixels: NDArray[np.generic], **options: object) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, pixels, **options)
    return out.getvalue()


def opencv_file(name: str, pixels: NDArray[np.generic]) -> bytes:
    return cv2.imencode(name, pixels)[1].tobytes()


RGB = Image.fromarray(picture())
LOSSLESS = {
    "bmp": pillow_file(RGB, "bmp"),
    "bmp 32 bit": pillow_file(RGB.convert("RGBA"), "bmp"),
    "png": pillow_file(RGB, "png"),
    "png palette": pillow_file(RGB.quantize(4), "png"),
    "png transparent palette": pillow_file(RGB.quantize(4), "png", transparency=0),
    "tiff": pillow_file(RGB, "tiff"),
    "tiff lzw": pillow_file(RGB, "tiff", compression="tiff_lzw"),
    "tiff palette": pillow_file(RGB.quantize(4), "tiff"),
    "tiff big-endian": tiff_file(picture(), photometric="rgb", byteorder=">"),
    "BigTIFF": tiff_file(picture(), photometric="rgb", bigtiff=True),
    "tiff planes": tiff_file(np.moveaxis(picture(), 2, 0).copy(), photometric="rgb", planarconfig="separate"),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_colours_come_out_as_rgb(name: str) -> None:
    pixels = decode(LOSSLESS[name])
    assert pixels.dtype == np.uint8 and pixels.flags.c_contiguous
    np.testing.assert_array_equal(pixels, picture())


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_jpeg_is_close(mode: str) -> None:
    pixels = decode(pillow_file(RGB.convert(mode), "jpeg", quality=98, subsampling=0))
    assert np.abs(pixels.astype(int) - picture()).max() < 12


def test_run_length_bmp() -> None:
    rows = b"\x06\1\0\0" * 4 + b"\0\1"
    palette = bytes([0, 0, 0, 0, *BLUE[::-1], 0])
    info = struct.pack("<IiiHHIIiiII", 40, 6, 4, 1, 8, 1, len(rows), 0, 0, 2, 0)
    head = struct.pack("<2sIHHI", b"BM", 14 + 40 + 8 + len(rows), 0, 0, 14 + 40 + 8)
    np.testing.assert_array_equal(decode(head + info + palette + rows), np.full((4, 6, 3), BLUE))


@pytest.mark.parametrize("name", ["bmp", "png", "tiff"])
def test_one_bit_and_grey_are_spread_to_three_channels(name: str) -> None:
    steps = np.repeat(np.arange(0, 240, 10, np.uint8)[None], 16, 0)
    np.testing.assert_array_equal(decode(pillow_file(Image.fromarray(steps), name)), np.dstack([steps] * 3))
    bits = steps > 100
    expected = np.dstack([bits * np.uint8(255)] * 3)
    np.testing.assert_array_equal(decode(pillow_file(Image.fromarray(bits), name)), expected)


@pytest.mark.parametrize("name", ["jpeg", "png", "tiff"])
def test_exif_rotation_is_applied(name: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side: turn clockwise
    options = {"tiffinfo": {0x0112: 6}} if name == "tiff" else {"exif": exif}
    pixels = decode(pillow_file(RGB, name, **options)).astype(int)
    assert np.abs(pixels - np.rot90(picture(), -1)).mean() < 8


@pytest.mark.parametrize("name", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bits_are_brought_down_by_the_full_range(name: str, channels: int) -> None:
    """A dark picture stays dark: 4095 of 65535 is not white."""
    values = np.array([0, 128, 129, 257, 4095, 32_768, 65_406, 65_407, 65_535] * 16, np.uint16).reshape(9, 16)
    stored = values if channels == 1 else np.dstack([values] * channels)
    expected = np.rint(values / 257).astype(np.uint8)
    np.testing.assert_array_equal(decode(opencv_file(name, stored)), np.dstack([expected] * 3))
    assert expected[values == 4095].max() == 16


def test_alpha_is_dropped() -> None:
    see_through = np.dstack([picture(), np.zeros((16, 24), np.uint8)])
    np.testing.assert_array_equal(decode(pillow_file(Image.fromarray(see_through), "png")), picture())
    data = tiff_file(see_through, photometric="rgb", extrasamples=["unspecified"])
    np.testing.assert_array_equal(decode(data), picture())


def test_float_tiff_is_refused_with_the_way_out() -> None:
    with pytest.raises(ImageError, match="32-bit floating point values; export 8 or 16 bits"):
        decode(tiff_file(picture().astype(np.float32), photometric="rgb"))


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, packed: bytes) -> bytes:
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def test_too_many_pixels_are_refused_before_decoding() -> None:
    with pytest.raises(
        TooLarge, match=r"20000 x 20000 pixels, 400\.0 megapixels, more than limits\.max_megapixels = 50"
    ):
        decode(png(20_000, 20_000, b""))
    with pytest.raises(TooLarge, match=r"limits\.max_megapixels = 0\.0003 "):
        decode(LOSSLESS["png"], max_megapixels=0.0003)
    assert decode(LOSSLESS["png"], max_megapixels=16 * 24 / 1e6).shape == (16, 24, 3)


def test_complete_but_undecodable_is_said_and_is_not_waiting(capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(pillow_file(RGB, "jpeg"))
    at = data.index(b"\xff\xc0")
    data[at + 4] = 5  # five bits per sample
    with pytest.raises(ImageError, match=r"is complete but cannot be decoded \(jpeg, 24 x 16 pixels\)") as caught:
        decode(bytes(data))
    assert not isinstance(caught.value, Incomplete)
    assert "OpenCV" not in capfd.readouterr().err


@pytest.mark.parametrize("name", LOSSLESS)
def test_a_cut_file_is_never_half_a_picture(name: str) -> None:
    data = LOSSLESS[name]
    for cut in range(0, int(len(data) * 0.9), 37):
        with pytest.raises(Incomplete):
            decode(data[:cut])
