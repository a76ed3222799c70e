"""When a file was made. The kernel tells it, and Python on Linux does not."""

from __future__ import annotations

import ctypes
import os

_FROM_HERE, _BIRTH = -100, 0x800  # AT_FDCWD and STATX_BTIME of linux/fcntl.h and linux/stat.h
_ENDLESS = 1 << 63
_SIZE, _MASK_SIZE, _AT = 256, 4, 80  # bytes: of struct statx, of its stx_mask, and where its stx_btime begins


class _Moment(ctypes.Structure):
    """`struct statx_timestamp`."""

    _fields_ = (("seconds", ctypes.c_int64), ("nanoseconds", ctypes.c_uint32), ("_unused", ctypes.c_int32))


class _Status(ctypes.Structure):
    """`struct statx`, as far as it is read here: see statx(2)."""

    _fields_ = (
        ("mask", ctypes.c_uint32),
        ("_before", ctypes.c_byte * (_AT - _MASK_SIZE)),
        ("birth", _Moment),
        ("_after", ctypes.c_byte * (_SIZE - _AT - ctypes.sizeof(_Moment))),
    )


def born_ns(path: str) -> int | None:
    """Nanoseconds since 1970; None where the file system or the C library does not know, or there is no such file.

    None too where the moment is none that 64 bits hold: servers without births tell that of their calendar's zero.

    An inode alone does not tell a file: the next that is made gets that of one that was removed.
    """
    statx = getattr(ctypes.CDLL(None), "statx", None)
    status = _Status()
    if statx is None or statx(_FROM_HERE, os.fsencode(path), 0, _BIRTH, ctypes.byref(status)) != 0:
        return None
    birth: _Moment = status.birth
    moment = birth.seconds * 10**9 + birth.nanoseconds
    return moment if status.mask & _BIRTH and abs(moment) < _ENDLESS else None
