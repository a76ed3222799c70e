"""The structure of TIFF, classic and BigTIFF, in both byte orders: directories of tagged values, as in EXIF.

Sources: TIFF 6.0 (Adobe, 1992), the BigTIFF design (AWare Systems), Exif 2.32 (CIPA DC-008).
"""

from __future__ import annotations

import re
import struct
from contextlib import suppress
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
    6: "u1",
    8: "u2",
    9: "u4",
    13: "u4",
    16: "u8",
    18: "u8",
}  # bytes, text, whole numbers (of those with a sign the bits), positions
_DATE_TIME, _EXIF = 306, 34665
_OFFSET = r"Z|[+-]\d\d:?\d\d"  # how far a clock is from Greenwich
# When it was taken, digitised, changed, each with the offset of that clock.
_MOMENTS = ((36867, 36881), (36868, 36882), (_DATE_TIME, 36880))


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
            directory, next_at = self.directory(at)
            at = unpack(self._pointer, self.data, next_at)[0]
            found.append(directory)
        return found

    def first(self) -> Directory:
        """The first directory, whatever its pointer to the next one says."""
        at = unpack(self._pointer, self.data, 8 if self.big else 4)[0]
        return self.directory(at)[0]

    def directory(self, at: int) -> tuple[Directory, int]:
        """The directory at byte `at`, and where the position of the next one stands."""
        if at < 8:
            raise Incomplete("has no TIFF directory yet")
        count_layout, entry = (self.order + "Q", "HHQ8x") if self.big else (self.order + "H", "HHI4x")
        count = unpack(count_layout, self.data, at)[0]
        if count > _MOST_ENTRIES:
            raise ImageError(f"is damaged: a TIFF directory claims {count} entries")
        start, size = at + struct.calcsize(count_layout), struct.calcsize("<" + entry)
        entries = [self._entry(entry, start + k * size) for k in range(count)]
        # The first of a tag counts, as for decoders: what they make room for.
        return dict(reversed(entries)), start + count * size

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
    """EXIF DateTimeOriginal, else DateTimeDigitized, else DateTime; none if broken or never set.

    Local time, without a zone unless EXIF 2.31 tells it.
    """
    tags = {_DATE_TIME: directory[_DATE_TIME]} if _DATE_TIME in directory else {}
    with suppress(ImageError):  # a broken time costs the time, never the picture
        tags |= tiff.directory(tiff.number(directory.get(_EXIF)))[0] if _EXIF in directory else {}
    found = (_moment(_text(tiff, tags, moment), _text(tiff, tags, offset)) for moment, offset in _MOMENTS)
    return next(filter(None, found), None)


def exif_time(block: bytes) -> datetime | None:
    """The capture time in an EXIF block; none if it is empty or broken."""
    try:
        tiff = open_tiff(block)
        return capture_time(tiff, tiff.first())
    except ImageError:
        return None


def _text(tiff: Tiff, tags: Directory, tag: int) -> str:
    try:
        letters = tiff.values(tags.get(tag)).astype(np.uint8).tobytes()
    except ImageError:
        return ""
    return letters.decode("ascii", "replace").partition("\0")[0].rstrip()


def _parsed(text: str, layout: str) -> datetime | None:
    try:
        return datetime.strptime(text, layout)
    except ValueError:
        return None


def _moment(text: str, offset: str) -> datetime | None:
    parts = re.match(rf"([\d: ]{{19}})(?:\.\d+)?({_OFFSET})?(?! ?[AaPp][Mm])", text)
    if parts is None:
        return None
    zone = parts[2] or (offset if re.fullmatch(_OFFSET, offset) else "")
    moment = _parsed(parts[1] + zone, "%Y:%m:%d %H:%M:%S%z") or _parsed(parts[1], "%Y:%m:%d %H:%M:%S")
    if moment is None:
        return None
    # A camera clock that was never set says 0000, 1970 or 1980.
    return moment if 1990 <= moment.year < 2200 else None
