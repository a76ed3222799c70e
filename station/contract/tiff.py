"""The structure of TIFF, classic and BigTIFF, in both byte orders: directories of tagged values, as in EXIF.

Sources: TIFF 6.0 (Adobe, 1992), the BigTIFF design (AWare Systems), Exif 2.32 (CIPA DC-008).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from station.contract.claims import demand, unpack
from station.contract.errors import ImageError, Incomplete

# Far above any camera's file: more would only cost time.
_MOST_PAGES = 100
_MOST_ENTRIES = 4096

_TYPES = {
    1: "u1",
    2: "u1",
    3: "u2",
    4: "u4",
    13: "u4",
    16: "u8",
    18: "u8",
}  # bytes, text, unsigned, positions
_DATE_TIME, _EXIF, _DATE_TIME_ORIGINAL = 306, 34665, 36867


@dataclass(frozen=True, slots=True)
class Entry:
    """One tagged value; `at` is the position of the value itself or, where it is long, of its position."""

    kind: int
    count: int
    at: int


Directory: TypeAlias = dict[int, Entry]  # tag -> value


@dataclass(frozen=True, slots=True)
class Tiff:
    """A TIFF file or block in memory. Its methods raise `Incomplete` where it ends too early."""

    data: bytes
    order: str  # "<" or ">", as in struct
    big: bool

    @property
    def _pointer(self) -> str:
        return self.order + ("Q" if self.big else "I")

    def directories(self) -> list[Directory]:
        """The chain of directories, at least one. Raises `ImageError` for a circle or an absurd number."""
        found: list[Directory] = []
        seen: set[int] = set()
        at = unpack(self._pointer, self.data, 8 if self.big else 4)[0]
        while at or not found:
            if at in seen:
                raise ImageError("is damaged: its TIFF directories lead in a circle")
            if len(found) == _MOST_PAGES:
                raise ImageError(f"holds more than {_MOST_PAGES} pages; export single pictures")
            seen.add(at)
            directory, at = self.directory(at)
            found.append(directory)
        return found

    def directory(self, at: int) -> tuple[Directory, int]:
        """The directory at byte `at`, and the position of the next one (0: none)."""
        if at < 8:
            raise Incomplete("has no TIFF directory yet")
        count_layout, entry = (self.order + "Q", "HHQ8x") if self.big else (self.order + "H", "HHI4x")
        count = unpack(count_layout, self.data, at)[0]
        if count > _MOST_ENTRIES:
            raise ImageError(f"is damaged: a TIFF directory claims {count} entries")
        start, size = at + struct.calcsize(count_layout), struct.calcsize("<" + entry)
        following = unpack(self._pointer, self.data, start + count * size)[0]
        entries = [self._entry(entry, start + k * size) for k in range(count)]
        return dict(reversed(entries)), following  # the first of a tag counts, as for decoders: what they make room for

    def _entry(self, layout: str, at: int) -> tuple[int, Entry]:
        tag, kind, count = unpack(self.order + layout, self.data, at)
        return tag, Entry(kind, count, at + (12 if self.big else 8))

    def values(self, entry: Entry | None) -> NDArray[np.unsignedinteger]:
        """The whole numbers (or the characters) of an entry; none for a missing entry or another type."""
        if entry is None or entry.kind not in _TYPES:
            return np.zeros(0, np.uint64)
        dtype = np.dtype(self.order + _TYPES[entry.kind])
        length = entry.count * dtype.itemsize
        inline = length <= struct.calcsize(self._pointer)
        at = entry.at if inline else unpack(self._pointer, self.data, entry.at)[0]
        demand(self.data, at + length)
        return np.frombuffer(self.data, dtype, entry.count, at)

    def number(self, entry: Entry | None, otherwise: int = 0) -> int:
        """The first value of an entry."""
        values = self.values(entry)
        return int(values[0]) if len(values) else otherwise


def open_tiff(data: bytes) -> Tiff:
    """The TIFF that begins with the first byte of `data`."""
    order = "<" if data.startswith(b"II") else ">"
    return Tiff(data, order, big=unpack(order + "H", data, 2)[0] == 43)


def capture_time(tiff: Tiff, directory: Directory) -> datetime | None:
    """EXIF DateTimeOriginal, else DateTime, as local time without a zone; none if broken or never set."""
    try:
        exif = tiff.directory(tiff.number(directory[_EXIF]))[0] if _EXIF in directory else {}
        texts = [tiff.values(exif.get(_DATE_TIME_ORIGINAL)), tiff.values(directory.get(_DATE_TIME))]
    except ImageError:  # a broken time costs the time, never the picture
        return None
    return next(filter(None, map(_moment, texts)), None)


def exif_time(block: bytes) -> datetime | None:
    """The capture time in an EXIF block; none if it is empty or broken."""
    try:
        tiff = open_tiff(block)
        return capture_time(tiff, tiff.directories()[0])
    except ImageError:
        return None


def _moment(text: NDArray[np.unsignedinteger]) -> datetime | None:
    try:
        moment = datetime.strptime(text[:19].tobytes().decode("ascii"), "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None
    # A camera clock that was never set says 0000, 1970 or 1980.
    return moment if 1990 <= moment.year < 2200 else None
