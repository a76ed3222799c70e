"""What a file's header claims, against the bytes that are there.

Every length in a file is a claim: it is compared, never allocated.
"""

from __future__ import annotations

import struct
from typing import Any

from station.contract.errors import ImageError, Incomplete


def demand(data: bytes, length: int) -> None:
    """Raise `Incomplete` unless `data` has at least `length` bytes."""
    if len(data) < length:
        raise Incomplete(f"is shorter than its header says ({len(data)} of {length} bytes)")


def unpack(layout: str, data: bytes, at: int) -> tuple[Any, ...]:
    """`struct.unpack_from`, raising `Incomplete` where the bytes end too early."""
    demand(data, at + struct.calcsize(layout))
    return struct.unpack_from(layout, data, at)


def broken(data: bytes, at: int, what: str) -> ImageError:
    """The error for bytes from `at` that make no sense.

    Only zeros to the end mean `Incomplete`: copying programs set the final size first and fill it afterwards.
    """
    if data.count(0, at) == len(data) - at:
        return Incomplete(f"is only zeros from byte {at} on: reserved, not yet written")
    return ImageError(f"is damaged: {what} (byte {at})")
