"""Whether the strips and tiles of a TIFF are all there and hold the pixels that they promise.

The decoder shows what it could unpack and says nothing of the rest: a hole in a packed file would be counted as a field
with bands, and for a strip that the file does not list it may show the one before once more. Sources: TIFF 6.0 (Adobe,
1992), sections 9 (PackBits) and 13 (LZW), technical note 2 of 2002 (Deflate).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from itertools import repeat
from math import ceil

import numpy as np
from numpy.typing import NDArray

from station.contract.errors import ImageError
from station.contract.tiff import Directory, Tiff, open_tiff

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STARTS, _LENGTHS, _SAMPLES, _ROWS, _PLANES = 273, 279, 277, 278, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILE_STARTS, _TILE_LENGTHS = 322, 323, 324, 325
_APART = 2  # each colour in a plane of its own
_YCBCR = 6  # may hold fewer colours than pixels
_BARE = 1
_CLEAR, _END, _FIRST = 256, 257, 258  # LZW: the codes behind the bytes
_LZW_TABLE = 4096
_MOST_BESIDE = 1 << 22  # bytes after the pixels: some writers fill the last strip with rows that are not of the picture


def check_packing(data: bytes) -> None:
    """Raises ImageError where a strip or tile of the first page is missing, or unpacks to less than its pixels."""
    tiff = open_tiff(data)
    page = tiff.directories()[0]
    _check_number(tiff, page)
    packing = tiff.number(page.get(_COMPRESSION), 1)
    holds = _HOLDS.get(packing)
    if packing == _BARE and _may_be_mended(tiff, page):
        return
    if holds is None or tiff.number(page.get(_PHOTOMETRIC)) == _YCBCR:
        return
    for number, (packed, needed, row) in enumerate(_pieces(tiff, page)):
        if not holds(packed, needed, row):
            raise ImageError(f"is damaged: strip or tile {number} of its TIFF does not hold its {needed} bytes")


def _check_number(tiff: Tiff, page: Directory) -> None:
    """A file may do without lengths, but not without positions."""
    starts, lengths = (len(values) for values in _places(tiff, page))
    needed = _needed(tiff, page)
    if starts < needed or 0 < lengths < needed:
        listed = min(starts, lengths or starts)
        raise ImageError(f"is damaged: its TIFF lists {listed} of the {needed} strips or tiles of its picture")


def _may_be_mended(tiff: Tiff, page: Directory) -> bool:
    """Whether the decoder reckons the lengths of bare strips itself, as libtiff does in TIFFReadDirectory."""
    needed, lengths = _needed(tiff, page), _places(tiff, page)[1]
    apart = tiff.number(page.get(_PLANES), 1) == _APART
    return needed == 1 or (needed > 2 and len(lengths) > 2 and not apart and 0 != lengths[0] != lengths[1] != 0)


def _needed(tiff: Tiff, page: Directory) -> int:
    """Strips or tiles that the picture takes."""
    width, height = (tiff.number(page.get(tag)) for tag in (_WIDTH, _HEIGHT))
    piece_width, piece_height = width, _rows(tiff, page)
    if _TILE_STARTS in page:
        piece_width, piece_height = (tiff.number(page.get(tag)) for tag in (_TILE_WIDTH, _TILE_HEIGHT))
    planes = tiff.number(page.get(_SAMPLES), 1) if tiff.number(page.get(_PLANES), 1) == _APART else 1
    return planes * ceil(width / max(1, piece_width)) * ceil(height / max(1, piece_height))


def _places(tiff: Tiff, page: Directory) -> tuple[NDArray[np.unsignedinteger], NDArray[np.unsignedinteger]]:
    """(positions, lengths) of the strips or tiles."""
    starts, lengths = (_TILE_STARTS, _TILE_LENGTHS) if _TILE_STARTS in page else (_STARTS, _LENGTHS)
    return tiff.values(page.get(starts)), tiff.values(page.get(lengths))


def _pieces(tiff: Tiff, page: Directory) -> Iterator[tuple[bytes, int, int]]:
    """Each strip or tile as it is packed, the bytes of pixels that it must hold, and those of one row."""
    tiled = _TILE_STARTS in page
    starts, lengths = _places(tiff, page)
    row = _row_bytes(tiff, page, tiff.number(page.get(_TILE_WIDTH if tiled else _WIDTH)))
    heights = repeat(tiff.number(page.get(_TILE_HEIGHT))) if tiled else _strip_heights(tiff, page)
    for start, length, height in zip(starts.tolist(), lengths.tolist(), heights, strict=False):
        yield tiff.data[start : start + length], height * row, row


def _row_bytes(tiff: Tiff, page: Directory, width: int) -> int:
    samples = 1 if tiff.number(page.get(_PLANES), 1) == _APART else tiff.number(page.get(_SAMPLES), 1)
    return max(1, (width * samples * tiff.number(page.get(_BITS), 1) + 7) // 8)


def _strip_heights(tiff: Tiff, page: Directory) -> Iterator[int]:
    """Rows of the strips of one plane after the other; the last of each has those that are left."""
    height, rows = tiff.number(page.get(_HEIGHT)), _rows(tiff, page)
    while True:
        yield from (min(rows, height - top) for top in range(0, height, rows))


def _rows(tiff: Tiff, page: Directory) -> int:
    """Of a strip; where nothing is said all rows lie in one."""
    height = tiff.number(page.get(_HEIGHT))
    return max(1, min(tiff.number(page.get(_ROWS), height), height))


def _is_bare(packed: bytes, needed: int, _row: int) -> bool:
    """Whether unpacked pixels are so many bytes."""
    return len(packed) >= needed


def _is_deflated(packed: bytes, needed: int, _row: int) -> bool:
    """Whether a zlib stream holds so many bytes, which its end and its checksum prove."""
    stream = zlib.decompressobj()
    try:
        return len(stream.decompress(packed, needed + _MOST_BESIDE)) >= needed and stream.eof
    except zlib.error:
        return False


def _are_runs(packed: bytes, needed: int, row: int) -> bool:
    """Whether a PackBits stream holds so many bytes, or whole rows more.

    In a damaged one pixels are taken for lengths, so that it holds too many as often as too few.
    """
    at = found = 0
    while at < len(packed):
        count = packed[at]
        if count < 128:  # so many bytes and one as they are
            found += min(count + 1, len(packed) - at - 1)
            at += count + 2
        else:
            found += 257 - count if count > 128 and at + 1 < len(packed) else 0
            at += 1 if count == 128 else 2
    return found >= needed and found % row == 0


def _is_lzw(packed: bytes, needed: int, _row: int) -> bool:
    """Whether an LZW stream holds so many bytes, by the lengths of its codes, each of which stands for something."""
    if packed[:1] == b"\0" and packed[1:2] and packed[1] & 1:  # with the bits of old writers, the other way round
        return True
    if int.from_bytes(packed[:2]) >> 7 != _CLEAR:  # the decoder would show black
        return False
    bits = np.frombuffer(packed + b"\0\0\0\0", np.uint8).astype(np.uint32)
    at = found = 0
    while found < needed and at + 9 <= 8 * len(packed):
        codes, steps = _codes(bits, at, 8 * len(packed))
        stops = np.flatnonzero((codes == _CLEAR) | (codes == _END))
        count = int(stops[0]) if len(stops) else len(codes)
        if (length := _length(codes[:count])) is None:
            return False
        found += length
        if not len(stops) or codes[count] == _END:
            break
        at = int(steps[count])
    return found >= needed


# The number of bits of each code after the table was cleared: one more just before the table needs it.
_CODE_BITS = np.clip(np.ceil(np.log2(np.arange(_LZW_TABLE) + _FIRST + 1)), 9, 12).astype(np.int64)


def _codes(bits: NDArray[np.uint32], at: int, end: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The codes from bit `at` on as if none cleared the table, and the bit behind each."""
    behind = at + np.cumsum(_CODE_BITS)
    behind = behind[behind <= end]
    width = _CODE_BITS[: len(behind)]
    first = behind - width
    byte, offset = first >> 3, first & 7
    window = bits[byte] << 16 | bits[byte + 1] << 8 | bits[byte + 2]
    return (window.astype(np.int64) >> (24 - offset - width)) & ((1 << width) - 1), behind


def _length(codes: NDArray[np.int64]) -> int | None:
    """Bytes that codes after a cleared table stand for: each makes an entry of the one before it. None: of nothing."""
    earlier = np.where(codes >= _FIRST, codes - _FIRST, -1)  # the code whose bytes, and one more, this one stands for
    if (earlier >= np.arange(len(codes))).any():
        return None
    lengths = np.ones(len(codes), np.int64)
    while (linked := np.flatnonzero(earlier >= 0)).size:
        lengths[linked] += lengths[earlier[linked]]
        earlier[linked] = earlier[earlier[linked]]
    return int(lengths.sum())


_HOLDS: dict[int, Callable[[bytes, int, int], bool]] = {
    _BARE: _is_bare,
    5: _is_lzw,
    8: _is_deflated,
    32946: _is_deflated,
    32773: _are_runs,
}
