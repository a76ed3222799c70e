"""The header reader against files written by other programs, cut, padded, damaged and lied about."""

from __future__ import annotations

import io
import struct
import time
import zlib
from datetime import datetime

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from station.contract.errors import ImageError, Incomplete
from station.contract.headers import read_header

FORMATS = ("bmp", "tiff", "jpeg", "png")


def noise(height: int = 40, width: int = 60) -> NDArray[np.uint8]:
    return np.random.default_rng(7).integers(0, 256, (height, width, 3), np.uint8)


def opencv_file(name: str) -> bytes:
    return cv2.imencode("." + name, noise())[1].tobytes()


def pillow_file(name: str, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(noise()).save(out, name, **options)
    return out.getvalue()


def tiff_file(pixels: NDArray[np.generic], **options: object) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, pixels, photometric="rgb", **options)
    return out.getvalue()


COMPLETE = {
    **{f"opencv {name}": opencv_file(name) for name in FORMATS},
    **{f"pillow {name}": pillow_file(name) for name in FORMATS},
    "progressive jpeg": pillow_file("jpeg", progressive=True),
    "jpeg with restarts": pillow_file("jpeg", restart_marker_blocks=2),
    "big-endian tiff": tiff_file(noise(), byteorder=">"),
    "BigTIFF": tiff_file(noise(), bigtiff=True),
    "big-endian BigTIFF": tiff_file(noise(), bigtiff=True, byteorder=">"),
    "strips": tiff_file(noise(), rowsperstrip=7),
    "tiles": tiff_file(noise(), tile=(32, 32)),
    "planes": tiff_file(np.moveaxis(noise(), 2, 0).copy(), planarconfig="separate"),
    "lzw": pillow_file("tiff", compression="tiff_lzw"),
}


@pytest.mark.parametrize("name", COMPLETE)
def test_complete_files_give_their_size(name: str) -> None:
    header = read_header(COMPLETE[name])
    assert (header.width, header.height, header.pages, header.captured_at) == (60, 40, 1, None)
    assert header.format in name or header.format == "tiff"


@pytest.mark.parametrize("name", COMPLETE)
def test_no_cut_of_a_file_passes_as_complete(name: str) -> None:
    data = COMPLETE[name]
    cuts = {*range(64), *range(64, len(data), 61), len(data) - 2, len(data) - 1}
    passed = [cut for cut in sorted(cuts) if cut < len(data) and _says(data[:cut]) is None]
    # The last bytes of a TIFF may be padding or a name that no pixel needs.
    assert not [cut for cut in passed if "jpeg" in name or "png" in name or "bmp" in name or cut < len(data) * 0.9]


@pytest.mark.parametrize("name", COMPLETE)
def test_a_cut_file_is_incomplete_not_damaged(name: str) -> None:
    data = COMPLETE[name]
    for cut in (0, 1, 3, 9, 20, len(data) // 3, len(data) // 2):
        with pytest.raises(Incomplete):
            read_header(data[:cut])


@pytest.mark.parametrize("name", [name for name in COMPLETE if "jpeg" in name or "png" in name])
def test_reserved_space_that_is_not_filled_yet_is_incomplete(name: str) -> None:
    data = COMPLETE[name]
    for written in (0, 1, len(data) // 2, len(data) - 12):
        with pytest.raises(Incomplete):
            read_header(data[:written].ljust(len(data), b"\0"))


def _says(data: bytes) -> str | None:
    try:
        read_header(data)
    except ImageError as error:
        return str(error)
    return None


def bmp(claimed: int, *, extra: int = 0, height: int = 4) -> bytes:
    head = struct.pack("<2sIHHI", b"BM", claimed, 0, 0, 54)
    info = struct.pack("<IiiHHIIiiII", 40, 5, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return head + info + bytes(range(16)) * abs(height) + bytes(extra)


@pytest.mark.parametrize("claimed", [0, 17, 118, 0xFFFFFFFF])
def test_a_bmp_with_a_wrong_file_size_is_judged_by_its_dimensions(claimed: int) -> None:
    assert read_header(bmp(claimed)).height == 4
    with pytest.raises(Incomplete, match=r"is shorter than its header says \(117 of 118 bytes\)"):
        read_header(bmp(claimed)[:-1])


def test_a_bmp_with_a_profile_after_its_pixels_is_waited_for() -> None:
    with pytest.raises(Incomplete, match="118 of 3118"):
        read_header(bmp(3118))
    assert read_header(bmp(3118, extra=3000)).width == 5


def test_bmp_variants() -> None:
    assert read_header(bmp(0, height=-4)).height == 4
    core = struct.pack("<2sIHHIIHHHH", b"BM", 0, 0, 0, 26, 12, 5, 4, 1, 24) + bytes(range(64))
    assert (read_header(core).width, read_header(core).height) == (5, 4)
    with pytest.raises(Incomplete):
        read_header(core[:-1])
    run_lengths = b"\5\1\0\0" * 4 + b"\0\1"
    packed = struct.pack("<2sIHHI", b"BM", 0, 0, 0, 54)
    packed += struct.pack("<IiiHHIIiiII", 40, 5, 4, 1, 8, 1, len(run_lengths), 0, 0, 0, 0) + run_lengths
    assert read_header(packed).width == 5
    with pytest.raises(Incomplete):
        read_header(packed[:-1])


def test_jpeg_needs_its_end_after_the_picture() -> None:
    data = pillow_file("jpeg", exif=_exif({}), comment=b"\xff\xd9 is not the end here")
    assert read_header(data + b"\0" * 100).width == 60
    with pytest.raises(Incomplete, match="no end yet"):
        read_header(data[:-2])


def test_png_damage_is_named_and_told_from_waiting() -> None:
    data = bytearray(opencv_file("png"))
    data[2000] ^= 1
    with pytest.raises(ImageError, match=r"PNG chunk IDAT at byte \d+ fails its checksum") as caught:
        read_header(bytes(data))
    assert not isinstance(caught.value, Incomplete)


def test_pages_and_thumbnails() -> None:
    stack = io.BytesIO()
    with tifffile.TiffWriter(stack) as writer:
        for page in range(3):
            writer.write(noise() + page, photometric="rgb", metadata=None)
    with pytest.raises(ImageError, match="holds 3 pages; export single pictures"):
        read_header(stack.getvalue())
    with_thumbnail = io.BytesIO()
    with tifffile.TiffWriter(with_thumbnail) as writer:
        writer.write(noise(), photometric="rgb", metadata=None)
        writer.write(noise(8, 8), photometric="rgb", subfiletype=1, metadata=None)
    assert (read_header(with_thumbnail.getvalue()).width, read_header(with_thumbnail.getvalue()).pages) == (
        60,
        2,
    )


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("f4", "32-bit floating point"),
        ("f8", "64-bit floating"),
        ("u4", "32-bit unsigned"),
        ("i2", "16-bit signed"),
    ],
)
def test_tiff_values_that_have_no_display_range_are_refused(kind: str, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        read_header(tiff_file(noise().astype(kind)))


@pytest.mark.parametrize("tiled", [{}, {"tile": (32, 32)}, {"rowsperstrip": 7}])
def test_deep_colours_in_planes_are_refused(tiled: dict[str, object]) -> None:
    """The decoder leaves memory unwritten, so that a picture would be another one each time."""
    planes = np.moveaxis(noise().astype(np.uint16) * 257, 2, 0).copy()
    with pytest.raises(ImageError, match="holds 16-bit colours in a plane each; export it with the colours of a pixel"):
        read_header(tiff_file(planes, planarconfig="separate", **tiled))


def test_deep_values_of_which_zero_is_white_are_refused() -> None:
    out = io.BytesIO()
    tifffile.imwrite(out, noise()[..., 0].astype(np.uint16) * 257, photometric="miniswhite")
    with pytest.raises(ImageError, match="of which zero is white"):
        read_header(out.getvalue())


def _exif(tags: dict[int, object], inner: dict[int, object] | None = None) -> bytes:
    exif = Image.Exif()
    exif.update(tags)
    exif.get_ifd(0x8769).update(inner or {})
    return exif.tobytes()


STAMP, EARLIER = "2026:03:29 02:30:00", "2026:03:28 23:59:58"


@pytest.mark.parametrize("name", ["jpeg", "png"])
def test_the_time_of_exposure_comes_before_the_time_of_the_file(name: str) -> None:
    both = pillow_file(name, exif=_exif({0x0132: STAMP}, {0x9003: EARLIER}))
    assert read_header(both).captured_at == datetime(2026, 3, 28, 23, 59, 58)
    one = pillow_file(name, exif=_exif({0x0132: STAMP}))
    assert read_header(one).captured_at == datetime(2026, 3, 29, 2, 30)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("big", [False, True])
def test_tiff_date_time(order: str, big: bool) -> None:
    data = tiff_file(noise(), datetime=STAMP, byteorder=order, bigtiff=big)
    assert read_header(data).captured_at == datetime(2026, 3, 29, 2, 30)


@pytest.mark.parametrize("text", ["0000:00:00 00:00:00", "1980:01:01 00:00:00", "    :  :     :  :  ", "today", ""])
def test_a_clock_that_was_never_set_gives_no_time(text: str) -> None:
    assert read_header(pillow_file("jpeg", exif=_exif({}, {0x9003: text}))).captured_at is None


def test_broken_exif_costs_the_time_not_the_picture() -> None:
    for block in (b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"):
        header = read_header(pillow_file("jpeg", exif=block))
        assert (header.width, header.captured_at) == (60, None)


@pytest.mark.parametrize(
    ("data", "words", "waits"),
    [
        (b"", "is empty", True),
        (bytes(5000), r"no picture header yet \(0 bytes", True),
        (b"\x89PN", r"no picture header yet \(3 bytes", True),
        ("Zellbild von gestern, groß\n".encode(), "is text, not a picture", False),
        (b"\x70\0\0\0\x10\0\0\0*", r"is a Leica \.lif container", False),
        (b"%PDF-1.7", "is a PDF document", False),
        (b"\1\2\3\4", "is not a BMP, TIFF, JPEG or PNG picture", False),
        (bmp(0, height=0), "claims a size of 5 x 0 pixels", False),
    ],
)
def test_what_is_no_picture_is_named(data: bytes, words: str, waits: bool) -> None:
    with pytest.raises(ImageError, match=words) as caught:
        read_header(data)
    assert isinstance(caught.value, Incomplete) == waits


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def hostile() -> dict[str, bytes]:
    entry = struct.pack("<HHII", 273, 4, 0xFFFFFFFF, 26)
    many = struct.pack("<H", 65_535) + entry * 65_535 + bytes(4)
    chained = b"".join(struct.pack("<HI", 0, 8 + 6 * (k + 1)) for k in range(200_000))
    return {
        "directory circle": b"II*\0\x08\0\0\0" + struct.pack("<H", 0) + struct.pack("<I", 8),
        "endless strips": b"II*\0\x08\0\0\0" + struct.pack("<H", 1) + entry + bytes(64),
        "too many entries": b"II*\0\x08\0\0\0" + many,
        "huge BigTIFF count": b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**63) + bytes(64),
        "200 000 pages": b"II*\0\x08\0\0\0" + chained,
        "only fill bytes": b"\xff\xd8" + b"\xff" * 20_000_000 + b"\0",
        "jpeg without length": b"\xff\xd8\xff\xe0\0\0" * 1000,
        "empty chunks": b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", bytes(13)) + _chunk(b"teXt", b"") * 300_000,
    }


@pytest.mark.parametrize("name", hostile())
def test_hostile_claims_end_quickly(name: str) -> None:
    data, start = hostile()[name], time.process_time()
    with pytest.raises(ImageError):
        read_header(data)
    assert time.process_time() - start < 2


def test_a_circle_of_directories_is_named() -> None:
    with pytest.raises(ImageError, match="lead in a circle"):
        read_header(hostile()["directory circle"])


def test_random_bytes_after_each_magic_only_raise_image_errors() -> None:
    rng = np.random.default_rng(11)
    for name, data in COMPLETE.items():
        for _ in range(60):
            mutated = bytearray(data)
            for at in rng.integers(2, min(len(data), 400), 6):
                mutated[at] = rng.integers(256)
            assert _says(bytes(mutated)) != "", name


def test_enormous_claims_are_only_numbers() -> None:
    body = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", body) + _chunk(b"IDAT", b"") + _chunk(b"IEND", b"")
    assert (read_header(data).width, read_header(data).height) == (60_000, 60_000)
