"""The structure of JPEG: segments of FF, marker, length; after SOS coded data, where 00 or a restart follows each FF.

Source: ITU-T T.81 (1992), annex B.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from station.contract.claims import broken, demand, unpack
from station.contract.errors import ImageError, Incomplete
from station.contract.tiff import exif_time

_SOS, _EOI, _EXIF, _TABLES = 0xDA, 0xD9, 0xE1, 0xC4
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ONE_PASS = (0xC0, 0xC1)  # frames whose blocks are coded one after the other
_OF_BRIGHTNESS, _END_OF_BLOCK = 0x10, 0  # the first table of AC codes; the symbol after which a block is flat
_TABLE_HEAD = 17  # bytes of a Huffman table before its symbols
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


@dataclass(frozen=True, slots=True)
class Jpeg:
    """What its segments promise."""

    width: int
    height: int
    captured_at: datetime | None  # as of `exif_time`
    coded: tuple[int, int]  # first byte of the coded data and the one behind them, without what lies beside the picture
    zeros_are_flat: bool  # whether a run of zeros in them may be a flat area


def read_jpeg(data: bytes) -> Jpeg:
    """The structure of a whole file. Raises `Incomplete` where it ends too early, `ImageError` where it is damaged."""
    size, captured_at, coded_at = (0, 0), None, 0
    one_pass, shortest = False, _END_OF_BLOCK
    for marker, at, end in _segments(data):
        if marker in _FRAMES:
            height, width = unpack(">HH", data, at + 3)
            size, one_pass = (width, height), marker in _ONE_PASS
        elif marker == _TABLES:
            shortest = dict(_shortest_codes(data[at + 2 : end])).get(_OF_BRIGHTNESS, shortest)
        elif marker == _EXIF and data.startswith(b"Exif\0\0", at + 2):
            captured_at = captured_at or exif_time(data[at + 8 : end])
        elif marker == _SOS:
            coded_at = coded_at or end
    if size == (0, 0) or not coded_at:
        raise ImageError("is damaged: its JPEG ends without a picture")
    return Jpeg(*size, captured_at, (coded_at, end), not one_pass or shortest == _END_OF_BLOCK)


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, position of its length, end) of each, that of EOI last, which has no length."""
    at, scanned = 2, False
    while (step := _next_marker(data, at, scanned))[0] != _EOI:
        marker, start = step
        length = unpack(">H", data, start)[0]
        if length < 2:
            raise broken(data, start, "a JPEG segment has no length")
        at, scanned = start + length, scanned or marker == _SOS
        demand(data, at)
        yield marker, start, at
    yield _EOI, step[1], step[1]


def _next_marker(data: bytes, at: int, scanned: bool) -> tuple[int, int]:
    """The next marker and the position after it; coded data after SOS, and fill bytes FF, are passed over."""
    found = _MARKER.search(data, at)
    skipped_to = found.start() if found else len(data)
    if not scanned and data.count(0xFF, at, skipped_to) != skipped_to - at:
        raise broken(data, at, "a JPEG marker is missing")
    if not found:
        raise Incomplete("has no end yet (no JPEG EOI marker)")
    return data[skipped_to + 1], found.end()


def _shortest_codes(tables: bytes) -> Iterator[tuple[int, int]]:
    """(class and number of a Huffman table, the symbol whose code is all zeros) of a DHT segment (B.2.4.2)."""
    while len(tables) > _TABLE_HEAD:
        yield tables[0], tables[_TABLE_HEAD]
        tables = tables[_TABLE_HEAD + sum(tables[1:_TABLE_HEAD]) :]
