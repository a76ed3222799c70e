"""Where a picture comes from: its slide, and the moment at which the camera took it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, tzinfo
from pathlib import Path

from station.contract.headers import read_header
from station.database.records import FileStamp
from station.watching import as_stored


def slide_of(below: Path, pattern: re.Pattern[str] | None) -> str | None:
    """The slide of a path below the camera folder: the pattern's first group, or the sub-folder; None without both."""
    found = pattern.search(below.as_posix()) if pattern else None
    if found is not None and found[1]:
        return as_stored(found[1])
    return None if below.parent == Path() else as_stored(below.parent.as_posix())


def captured(data: bytes, stamp: FileStamp, zone: tzinfo) -> datetime:
    """Aware, UTC: what the camera wrote into the picture, or when the file was written.

    Its clock goes by `zone`, unless the picture tells how far it is from Greenwich.

    In the hour that a changed clock shows twice, the one of both that is nearer to the writing.
    """
    told = read_header(data).captured_at
    if told is None:
        return stamp.written_at
    if told.tzinfo is not None:
        return told.astimezone(UTC)
    both = (told.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return min(both, key=lambda moment: abs(moment - stamp.written_at))
