"""What the first bytes of a BMP, TIFF, JPEG or PNG promise, and whether the file keeps the promise.

`read_header` gets the bytes of the whole file and decodes nothing. Its errors are phrases that continue a
file name ("is empty").
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from station.contract.claims import broken, demand, unpack
from station.contract.errors import ImageError, Incomplete
from station.contract.jpeg import read_jpeg
from station.contract.tiff import Directory, Tiff, capture_time, exif_time, open_tiff


@dataclass(frozen=True, slots=True)
class Header:
    """The promise of a picture file. Width and height are pixels as stored, before any EXIF rotation."""

    format: str  # "bmp", "tiff", "jpeg" or "png"
    width: int
    height: int
    pages: int  # TIFF: directories in the file, one picture and any thumbnails; otherwise 1
    captured_at: datetime | None  # the camera's local time, without a zone unless the file tells it
    coded: tuple[int, int] = (0, 0)  # JPEG: from where to where no run of zeros can be a picture


def read_header(data: bytes) -> Header:
    """The header of a whole picture file.

    Raises `Incomplete` when the file is empty or ends before its format does, and `ImageError` when it is
    something else, is damaged, or holds several pictures.
    """
    for magic, read in _READERS.items():
        if data.startswith(magic):
            return _with_a_size(read(data))
    raise _not_a_picture(data)


def _with_a_size(header: Header) -> Header:
    if header.width < 1 or header.height < 1:
        raise ImageError(f"claims a size of {header.width} x {header.height} pixels")
    return header


# BMP: file header (magic, file size, offset of the pixels), then a core or an info header.

_PLAUSIBLE_TRAILER = 4 << 20  # bytes after the pixels: padding, a colour profile
_BY_MASKS = 3  # the packing that says by masks which bits are which colour
_MASKS_READ_FROM = 56  # bytes of a header whose masks OpenCV reads


def _read_bmp(data: bytes) -> Header:
    claimed, pixels_at, kind = unpack("<2xI4xII", data, 0)
    if kind == 12:
        width, height, bits = unpack("<HH2xH", data, 18)
        packing, packed_bytes = 0, 0
    elif 40 <= kind <= 256:
        width, height, bits, packing, packed_bytes = unpack("<ii2xHII", data, 18)
    else:
        raise broken(data, 14, "its BMP header has an unknown length")
    if pixels_at < 14 + kind:
        raise broken(data, 10, "its pixels would begin within its BMP header")
    if packing == _BY_MASKS:
        _check_masks(data, kind, bits)
    raw_bytes = (abs(width) * bits + 31) // 32 * 4 * abs(height)
    pixel_bytes = raw_bytes if packing in (0, 3, 6) else packed_bytes
    demand(data, _bmp_length(claimed, pixels_at + pixel_bytes))
    return Header("bmp", width, abs(height), 1, None)  # a negative height means rows from top to bottom


def _check_masks(data: bytes, kind: int, bits: int) -> None:
    """Refuse what the decoder takes for other colours than the masks say, or does not know."""
    if bits == 32 and kind < _MASKS_READ_FROM and unpack("<III", data, 54) != (0xFF0000, 0xFF00, 0xFF):
        raise ImageError("holds 32-bit colours in an order of its own; export 24 bits a pixel")
    if bits == 16 and kind > 40:
        raise ImageError(f"holds 16-bit colours behind a BMP header of {kind} bytes; export 24 bits a pixel")


def is_bare(data: bytes) -> bool:
    """Whether a picture is a BMP that holds pixels and nothing else: no colour profile, no text beside them."""
    if not data.startswith(b"BM") or len(data) < 54:
        return False
    reserved, pixels_at, kind, width, height, bits, packing, packed_bytes, colours = unpack("<6xIIIii2xHII8xI", data, 0)
    if kind != 40 or reserved:
        return False
    masks = 12 if packing == _BY_MASKS else 0
    palette = 4 * (colours or (1 << bits if bits <= 8 else 0))
    pixel_bytes = packed_bytes if packing else (abs(width) * bits + 31) // 32 * 4 * abs(height)
    beside = data[14 + kind + masks + palette : pixels_at] + data[pixels_at + pixel_bytes :]
    return not beside.strip(b"\0")  # zeros are padding


def _bmp_length(claimed: int, computed: int) -> int:
    """Some writers leave the file size 0 or count it wrongly: it is believed near what the pixels need."""
    return claimed if computed <= claimed <= computed + _PLAUSIBLE_TRAILER else computed


# PNG: a signature and chunks of length, type, data, CRC-32, from IHDR to IEND.

_MOST_CHUNKS = 200_000


def _read_png(data: bytes) -> Header:
    chunks = _png_chunks(data)
    if chunks[0] != (b"IHDR", 16, 13):
        raise ImageError("is damaged: its first PNG chunk is not IHDR")
    for name, at, length in chunks:
        _check_sum(data, name, at, length)
    width, height = unpack(">II", data, 16)
    exif = next((data[at : at + length] for name, at, length in chunks if name == b"eXIf"), b"")
    return Header("png", width, height, 1, exif_time(exif))


def _png_chunks(data: bytes) -> list[tuple[bytes, int, int]]:
    """(type, position of its data, length) of all chunks to IEND."""
    chunks: list[tuple[bytes, int, int]] = []
    at = 8
    while len(chunks) < _MOST_CHUNKS:
        length, name = unpack(">I4s", data, at)
        if not name.isalpha():
            raise broken(data, at, "a PNG chunk has no type")
        demand(data, at + 12 + length)
        chunks.append((name, at + 8, length))
        if name == b"IEND":
            return chunks
        at += 12 + length
    raise ImageError(f"is damaged: it has more than {_MOST_CHUNKS} PNG chunks")


def _check_sum(data: bytes, name: bytes, at: int, length: int) -> None:
    """Only the chunks that make the picture. libpng would name no cause and write to standard error."""
    if name[:1].isupper():
        told = unpack(">I", data, at + length)[0]
        if zlib.crc32(memoryview(data)[at - 4 : at + length]) != told:
            raise ImageError(f"is damaged: PNG chunk {name.decode()} at byte {at - 8} fails its checksum")


def _read_jpeg(data: bytes) -> Header:
    found = read_jpeg(data)
    coded = (0, 0) if found.zeros_are_flat else found.coded
    return Header("jpeg", found.width, found.height, 1, found.captured_at, coded)


# TIFF: one directory for each page; the pixels lie in strips or tiles.

_SUBFILE, _WIDTH, _HEIGHT, _BITS, _SAMPLE_FORMAT = 254, 256, 257, 258, 339
_COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANES, _EXTRA_SAMPLES = 259, 262, 277, 284, 338
_WHITE_IS_ZERO, _BLACK_IS_ZERO = 0, 1
# What the decoder unpacks: of another packing it may make a black picture without a word.
_PACKINGS = frozenset({1, 2, 3, 4, 5, 7, 8, 32773, 32946})
_COLOURS = frozenset({0, 1, 2, 3, 5, 6})  # grey, RGB, palette, CMYK, YCbCr; CIELab comes out yellow
_STRIPS, _TILES = (273, 279), (324, 325)  # positions, lengths
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
_TILE_STEP, _MODEST_TILE = 16, 1 << 22  # sides are multiples of the one, px; a tile of the other is no burden, px
_THUMBNAIL_OR_MASK = 0b101
_SAMPLE_FORMATS = {1: "unsigned", 2: "signed", 3: "floating point", 4: "unsigned"}


def _read_tiff(data: bytes) -> Header:
    tiff = open_tiff(data)
    directories = tiff.directories()
    page, *others = directories
    pictures = [other for other in others if not tiff.number(other.get(_SUBFILE)) & _THUMBNAIL_OR_MASK]
    if tiff.number(page.get(_SUBFILE)) & _THUMBNAIL_OR_MASK:
        raise ImageError("begins with a thumbnail or a mask of its picture; export single pictures")
    if pictures:  # a confocal stack: decoders show its first page and drop the others in silence
        raise ImageError(f"holds {1 + len(pictures)} pages; export single pictures")
    _check_samples(tiff, page)
    _check_strips(tiff, page)
    width, height = (tiff.number(page.get(tag)) for tag in (_WIDTH, _HEIGHT))
    _check_tiles(tiff, page, (width + _TILE_STEP) * (height + _TILE_STEP))
    return Header("tiff", width, height, len(directories), capture_time(tiff, page))


def _check_samples(tiff: Tiff, page: Directory) -> None:
    bits = tiff.number(page.get(_BITS), 1)
    kind = _SAMPLE_FORMATS.get(tiff.number(page.get(_SAMPLE_FORMAT), 1), "complex")
    if kind != "unsigned" or bits > 16:
        raise ImageError(f"holds {bits}-bit {kind} values; export 8 or 16 bits per channel, unsigned")
    _check_colours(tiff, page)
    if bits > 8 and tiff.number(page.get(_PLANES), 1) != 1 and tiff.number(page.get(_SAMPLES), 1) > 1:
        # The decoder would leave memory unwritten and call it a picture.
        raise ImageError(f"holds {bits}-bit colours in a plane each; export it with the colours of a pixel together")
    if bits > 8 and tiff.number(page.get(_PHOTOMETRIC), 1) == _WHITE_IS_ZERO:
        raise ImageError(f"holds {bits}-bit values of which zero is white; export it with zero as black")


def _check_colours(tiff: Tiff, page: Directory) -> None:
    if (packing := tiff.number(page.get(_COMPRESSION), 1)) not in _PACKINGS:
        way_out = "export it without compression, or with LZW"
        raise ImageError(f"is packed in a way that is not read here (TIFF compression {packing}); {way_out}")
    if (meaning := tiff.number(page.get(_PHOTOMETRIC), _BLACK_IS_ZERO)) not in _COLOURS:
        raise ImageError(f"holds colours that are not read here (TIFF photometric {meaning}); export RGB")
    colours = tiff.number(page.get(_SAMPLES), 1) - len(tiff.values(page.get(_EXTRA_SAMPLES)))
    if _PHOTOMETRIC in page and meaning in (_WHITE_IS_ZERO, _BLACK_IS_ZERO) and colours > 1:
        raise ImageError(f"says that its {colours} colours are grey (TIFF photometric {meaning}); export RGB")


def _check_strips(tiff: Tiff, page: Directory) -> None:
    tags = _TILES if _TILES[0] in page else _STRIPS
    starts, lengths = (tiff.values(page.get(tag)).astype(np.uint64) for tag in tags)
    if not len(starts) or not starts.all():
        raise Incomplete("has no TIFF strips yet")
    demand(tiff.data, int(starts.max()))
    if len(lengths) == len(starts):
        demand(tiff.data, int(lengths.max()))  # first alone: the sum of two claims could pass 64 bits
        demand(tiff.data, int((starts + lengths).max()))


def _check_tiles(tiff: Tiff, page: Directory, needed: int) -> None:
    """A decoder makes room for a whole tile, however small the picture (of `needed` pixels) is."""
    width, height = (tiff.number(page.get(tag)) for tag in (_TILE_WIDTH, _TILE_HEIGHT))
    if width * height > max(needed, _MODEST_TILE):
        raise ImageError(f"is damaged: its TIFF tiles of {width} x {height} pixels are far larger than the picture")


# What is not a picture, by its name.


def _not_a_picture(data: bytes) -> ImageError:
    if not data:
        return Incomplete("is empty")
    written = data.rstrip(b"\0")  # copying programs reserve the space first
    if any(magic.startswith(written) for magic in _READERS):
        return Incomplete(f"has no picture header yet ({len(written)} bytes are written)")
    for magic, name in _STRANGERS.items():
        if data.startswith(magic):
            return ImageError(f"is {name}; export single pictures as BMP, TIFF, JPEG or PNG")
    looks = "is text, not a picture" if _is_text(data[:512]) else "is not a BMP, TIFF, JPEG or PNG picture"
    return ImageError(looks)


def _is_text(start: bytes) -> bool:
    return all(byte in b"\t\n\r\f" or 32 <= byte < 127 or byte >= 128 for byte in start)


_STRANGERS = {
    b"\x70\0\0\0": "a Leica .lif container",
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a ZIP archive or an office document",
    b"GIF8": "a GIF picture",
    b"RIFF": "a WebP picture, a film or a sound",
    b"ZISRAWFILE": "a Zeiss .czi container",
}
_READERS: dict[bytes, Callable[[bytes], Header]] = {
    b"BM": _read_bmp,
    b"II*\0": _read_tiff,
    b"MM\0*": _read_tiff,
    b"II+\0": _read_tiff,
    b"MM\0+": _read_tiff,
    b"\xff\xd8\xff": _read_jpeg,
    b"\x89PNG\r\n\x1a\n": _read_png,
}
