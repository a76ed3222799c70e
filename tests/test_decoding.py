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


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_values_of_fewer_bits_than_16_are_read_by_their_own_range(bits: int) -> None:
    """As cameras measure and microscope programs store them, with nothing that says so: white is not black."""
    most = (1 << bits) - 1
    values = np.array([0, most // 3, most // 2, most] * 36, np.uint16).reshape(9, 16)
    expected = np.array([0, 85, 127, 255] * 36, np.uint8).reshape(9, 16)
    for name in (".png", ".tiff"):
        assert np.abs(decode(opencv_file(name, values))[..., 0].astype(int) - expected).max() <= 1


def test_alpha_is_dropped() -> None:
    see_through = np.dstack([picture(), np.zeros((16, 24), np.uint8)])
    np.testing.assert_array_equal(decode(pillow_file(Image.fromarray(see_through), "png")), picture())
    data = tiff_file(see_through, photometric="rgb", extrasamples=["unspecified"])
    np.testing.assert_array_equal(decode(data), picture())


@pytest.mark.parametrize("alpha", [0, 128, 255])
@pytest.mark.parametrize("order", ["<", ">"])
def test_an_alpha_that_is_not_in_the_colours_leaves_them_as_they_are(order: str, alpha: int) -> None:
    """In frames of 32 bits the fourth byte often holds nothing."""
    pixels = np.dstack([picture(), np.full(picture().shape[:2], alpha, np.uint8)])
    data = tiff_file(pixels, photometric="rgb", extrasamples=["unassalpha"], byteorder=order)
    assert np.array_equal(decode(data), picture())


@pytest.mark.parametrize(("kind", "told"), [(1, 2), (3, 999), (4, 2), (8, 2)])  # byte, Corel's value, long, signed
def test_nor_does_one_that_is_told_in_another_way(kind: int, told: int) -> None:
    pixels = np.dstack([picture(), np.full(picture().shape[:2], 100, np.uint8)])
    data = bytearray(tiff_file(pixels, photometric="rgb", extrasamples=["unassalpha"]))
    struct.pack_into("<HIHxx", data, entries(data)[338] + 2, kind, 1, told)
    assert np.array_equal(decode(bytes(data)), picture())


PACKINGS = {
    "lzw": {"compression": "tiff_lzw"},
    "lzw with differences": {"compression": "tiff_lzw", "tiffinfo": {317: 2}},
    "deflate": {"compression": "tiff_adobe_deflate"},
    "packbits": {"compression": "packbits"},
}


def field(height: int = 300, width: int = 401, channels: int = 3) -> NDArray[np.uint8]:
    """[H, W, 3] smooth colours with noise, as a camera's."""
    rows, columns = np.mgrid[:height, :width]
    waves = [120 + 60 * np.sin(rows / (9 + k)) * np.cos(columns / (13 + k)) for k in range(channels)]
    noisy = np.stack(waves, axis=-1) + np.random.default_rng(3).normal(0, 4, (height, width, channels))
    return noisy.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("pixels", ["field", "flat", "noise", "row"])
@pytest.mark.parametrize("packing", PACKINGS)
def test_packed_tiffs_of_several_writers_are_whole(packing: str, pixels: str) -> None:
    made = {
        "field": field(),
        "flat": np.full((500, 700, 3), 7, np.uint8),
        "noise": np.random.default_rng(1).integers(0, 256, (301, 203, 3), np.uint8),
        "row": field(1, 5000),
    }[pixels]
    codes = {"lzw": 5, "lzw with differences": 5, "deflate": 8, "packbits": 32773}
    theirs = pillow_file(Image.fromarray(made), "tiff", **PACKINGS[packing])
    told = [cv2.IMWRITE_TIFF_COMPRESSION, codes[packing], cv2.IMWRITE_TIFF_PREDICTOR, 2 if "diff" in packing else 1]
    ours = cv2.imencode(".tif", made[..., ::-1], told)[1].tobytes()
    for data in (theirs, ours):
        assert np.array_equal(decode(data), made)
    assert decode(pillow_file(Image.fromarray(made[..., 0]), "tiff", **PACKINGS[packing])).shape == made.shape


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"tile": (64, 48)},
        {"predictor": True},
        {"rowsperstrip": 7},
        {"planarconfig": "separate"},
        {"byteorder": ">"},
        {"bigtiff": True},
        {"tile": (64, 48), "predictor": True},
    ],
    ids=str,
)
def test_deflated_tiffs_of_any_shape_are_whole(told: dict[str, object]) -> None:
    made = field()
    laid = np.moveaxis(made, 2, 0).copy() if "planarconfig" in told else made
    assert np.array_equal(decode(tiff_file(laid, photometric="rgb", compression="zlib", **told)), made)
    if "planarconfig" not in told:
        deep = laid.astype(np.uint16) * 257
        assert np.array_equal(decode(tiff_file(deep, photometric="rgb", compression="zlib", **told)), made)


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_hole_in_a_packed_tiff_is_no_picture_with_bands(packing: str) -> None:
    """The decoder would show what it could unpack, and the bands would be counted."""
    data = pillow_file(Image.fromarray(field()), "tiff", **PACKINGS[packing])
    for at in np.random.default_rng(2).integers(1000, len(data) - 2500, 20):
        holed = data[:at] + bytes(1000) + data[at + 1000 :]
        with pytest.raises(ImageError, match=r"is damaged: strip or tile [0-9]+ of its TIFF does not hold its"):
            decode(holed)


# How a TIFF is laid -> bytes of a value and the number of strips or tiles that its picture takes.
LAID: dict[str, tuple[dict[str, object], int, int]] = {
    "strips": ({"rowsperstrip": 50}, 1, 6),
    "16 bit": ({"rowsperstrip": 50}, 2, 6),
    "deflate": ({"rowsperstrip": 50, "compression": "zlib"}, 1, 6),
    "tiles": ({"tile": (64, 48)}, 1, 45),
    "16 bit tiles": ({"tile": (64, 48)}, 2, 45),
    "planes": ({"rowsperstrip": 300, "planarconfig": "separate"}, 1, 3),
}


def laid_out(kind: str) -> tuple[bytearray, NDArray[np.uint8]]:
    """A TIFF and its picture."""
    told, deep, _ = LAID[kind]
    made = field()
    pixels = made if deep == 1 else made.astype(np.uint16) * 257
    pixels = np.moveaxis(pixels, 2, 0).copy() if "planarconfig" in told else pixels
    return bytearray(tiff_file(pixels, photometric="rgb", **told)), made


def entries(data: bytearray) -> dict[int, int]:
    """Tag -> position of its entry in the first directory."""
    first = struct.unpack_from("<I", data, 4)[0]
    places = range(first + 2, first + 2 + 12 * struct.unpack_from("<H", data, first)[0], 12)
    return {struct.unpack_from("<H", data, at)[0]: at for at in places}


@pytest.mark.parametrize(
    ("tag", "value", "sentence"),
    [
        (259, 34712, r"is packed in a way that is not read here \(TIFF compression 34712\); export it without"),
        (259, 1234, r"is packed in a way that is not read here \(TIFF compression 1234\)"),
        (262, 8, r"holds colours that are not read here \(TIFF photometric 8\); export RGB"),
        (262, 1, r"says that its 3 colours are grey \(TIFF photometric 1\); export RGB"),
        (254, 1, r"begins with a thumbnail or a mask of its picture; export single pictures"),
    ],
)
def test_a_tiff_that_the_decoder_would_show_wrongly_is_refused(tag: int, value: int, sentence: str) -> None:
    """Of most other packings it makes black without a word, and cells are counted in black."""
    data = bytearray(tiff_file(field(), photometric="rgb", subfiletype=0, metadata=None))
    assert np.array_equal(decode(bytes(data)), field())
    struct.pack_into("<H", data, entries(data)[tag] + 8, value)
    with pytest.raises(ImageError, match=sentence):
        decode(bytes(data))


def test_an_lzw_strip_that_does_not_clear_its_table_first_is_not_black() -> None:
    data = bytearray(pillow_file(Image.fromarray(field()), "tiff", compression="tiff_lzw"))
    first = struct.unpack_from("<I", data, entries(data)[273] + 8)[0]
    if struct.unpack_from("<I", data, entries(data)[273] + 4)[0] > 1:
        first = struct.unpack_from("<I", data, first)[0]
    assert int.from_bytes(data[first : first + 2]) >> 7 == 256
    data[first] = 0x40
    with pytest.raises(ImageError, match="is damaged: strip or tile 0"):
        decode(bytes(data))


@pytest.mark.parametrize("way", [0, cv2.IMWRITE_JPEG_OPTIMIZE, cv2.IMWRITE_JPEG_PROGRESSIVE])
@pytest.mark.parametrize("flat", [0, 255])
def test_a_jpeg_with_much_of_one_colour_is_a_picture_in_whatever_way_it_is_coded(way: int, flat: int) -> None:
    """Where the end of a block has the shortest code, a round field's black surround is coded as zeros."""
    made = field(1200, 1600)
    made[:500] = flat
    for picture in (made, np.where(np.arange(1600)[None, :, None] < 40, made, np.uint8(flat))):
        _, file = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90, *([way, 1] if way else [])])
        assert decode(file.tobytes()).shape == picture.shape


def test_a_jpeg_with_a_part_that_was_never_written_is_no_picture_with_a_grey_end() -> None:
    made = field(480, 640)
    _, file = cv2.imencode(".jpg", made, [cv2.IMWRITE_JPEG_QUALITY, 92])
    whole = file.tobytes()
    middle = len(whole) // 2
    for holed in (
        whole[:middle] + bytes(len(whole) - middle - 2) + whole[-2:],
        whole[:middle] + bytes(4096) + whole[middle + 4096 :],
    ):
        with pytest.raises(ImageError, match=r"is damaged: a part of its JPEG is zeros, as if it was never written"):
            decode(holed)
    assert decode(whole + bytes(5000)).shape == (480, 640, 3)  # beside the picture zeros are no damage
    beside = b"\xff\xef" + struct.pack(">H", 5002) + bytes(5000)
    assert np.array_equal(decode(whole[:2] + beside + whole[2:]), decode(whole))


def test_a_jpeg_of_one_colour_may_hold_nothing_but_zeros() -> None:
    grey = Image.fromarray(np.full((1024, 1024), 128, np.uint8))
    data = pillow_file(grey, "jpeg", optimize=True)
    assert bytes(512) in data and np.ptp(decode(data)) == 0


@pytest.mark.parametrize("tables", [("starts",), ("lengths",), ("starts", "lengths")], ids=" and ".join)
@pytest.mark.parametrize("kind", LAID)
def test_a_tiff_that_lists_too_few_strips_is_no_picture(kind: str, tables: tuple[str, ...]) -> None:
    """The decoder would leave those rows black, or show the strip before once more."""
    data, made = laid_out(kind)
    assert np.array_equal(decode(bytes(data)), made)
    tags = {"starts": 324, "lengths": 325} if "tile" in kind else {"starts": 273, "lengths": 279}
    for table in tables:
        at = entries(data)[tags[table]] + 4
        count = struct.unpack_from("<I", data, at)[0]
        assert count == LAID[kind][2]
        struct.pack_into("<I", data, at, count - 2)
    with pytest.raises(ImageError, match=r"is damaged: its TIFF lists|is complete but cannot be decoded"):
        decode(bytes(data))


@pytest.mark.parametrize("kind", ["strips", "16 bit"])
def test_a_strip_that_is_shorter_than_its_rows_is_no_picture(kind: str) -> None:
    data, _ = laid_out(kind)
    entry = entries(data)[279]
    layout = {3: "<H", 4: "<I"}[struct.unpack_from("<H", data, entry + 2)[0]]
    at = struct.unpack_from("<I", data, entry + 8)[0] + 2 * struct.calcsize(layout)
    struct.pack_into(layout, data, at, struct.unpack_from(layout, data, at)[0] // 2)
    with pytest.raises(ImageError, match="is damaged: strip or tile 2 of its TIFF does not hold its"):
        decode(bytes(data))


def test_lengths_that_the_decoder_reckons_itself_are_no_damage() -> None:
    """As some writers leave them: it takes the distance to the next strip where the first two differ."""
    data, made = laid_out("strips")
    entry = entries(data)[279]
    layout = {3: "<H", 4: "<I"}[struct.unpack_from("<H", data, entry + 2)[0]]
    at = struct.unpack_from("<I", data, entry + 8)[0]
    for number in range(6):
        struct.pack_into(layout, data, at + number * struct.calcsize(layout), 100 + number)
    assert np.array_equal(decode(bytes(data)), made)


def test_a_flipped_bit_of_a_deflated_tiff_is_found() -> None:
    data = pillow_file(Image.fromarray(field()), "tiff", compression="tiff_adobe_deflate")
    for at in np.random.default_rng(4).integers(1000, len(data) - 1500, 20):
        with pytest.raises(ImageError, match="damaged"):
            decode(data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :])


def masked(order: tuple[int, int, int], kind: int, bits: int = 32) -> bytes:
    """A BMP of one colour whose masks say which bits are red, green and blue."""
    header = struct.pack("<IiiHHIIiiII", kind, 2, 2, 1, bits, 3, 2 * 2 * bits // 8, 0, 0, 0, 0)
    masks = struct.pack("<III", *order) + bytes(max(0, kind - 52))
    value = sum((channel * mask // 255) & mask for channel, mask in zip(RED, order, strict=True))
    at = 14 + len(header) + len(masks)
    pixels = value.to_bytes(bits // 8, "little") * 4
    return b"BM" + struct.pack("<IHHI", at + len(pixels), 0, 0, at) + header + masks + pixels


def test_a_bmp_whose_masks_the_decoder_does_not_read_is_refused() -> None:
    usual, turned = (0xFF0000, 0xFF00, 0xFF), (0xFF, 0xFF00, 0xFF0000)
    for kind in (40, 52, 56, 108, 124):
        assert decode(masked(usual, kind))[0, 0].tolist() == list(RED)
    for kind in (56, 108, 124):
        assert decode(masked(turned, kind))[0, 0].tolist() == list(RED)
    for kind in (40, 52):
        with pytest.raises(ImageError, match="holds 32-bit colours in an order of its own; export 24 bits a pixel"):
            decode(masked(turned, kind))
    narrow = (0xF800, 0x7E0, 0x1F)
    assert np.abs(decode(masked(narrow, 40, 16))[0, 0].astype(int) - RED).max() <= 8
    for kind in (56, 124):
        with pytest.raises(ImageError, match=f"16-bit colours behind a BMP header of {kind} bytes; export 24"):
            decode(masked(narrow, kind, 16))


def test_pixels_do_not_begin_within_the_header() -> None:
    data = LOSSLESS["bmp"]
    for at in (0, 14, 53):
        with pytest.raises(ImageError, match="its pixels would begin within its BMP header"):
            decode(data[:10] + struct.pack("<I", at) + data[14:])


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
