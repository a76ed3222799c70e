"""Files at whose reading the station died: what brings it down again and again is put aside, and others get their turn.

Before a file is decoded nothing of it is in the database, so a decoder that takes the process down, or hangs until the
watchdog ends it, would meet the same file first after every start. What was put aside is tried again after pauses that
grow: the cause may have been a short memory, or a decoder that was mended since.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from station.contract.errors import ImageError
from station.database.records import FileStamp


class Deaths:
    """Remembered in one small file, which is there only while a file is read, and as long as one is held to be deadly.

    A disk that takes no more writing is no reason to read no more: then a death is not remembered.
    """

    def __init__(self, memory: Path | None) -> None:
        """`memory`: where it is kept; none: not at all."""
        self._memory = memory
        self._deaths = _read(memory) if memory else {}

    def of(self, path: str, stamp: FileStamp) -> int:
        """How often the station died while this file was read as it is now."""
        return self._deaths.get(_name(path, stamp), 0)

    @contextmanager
    def at_risk(self, path: str, stamp: FileStamp) -> Iterator[None]:
        """Around the reading of a file as it is now."""
        name = _name(path, stamp)
        self._deaths[name] = self._deaths.get(name, 0) + 1
        self._write(self._deaths)
        try:
            yield
        except ImageError:
            self._survived(name)
            raise
        self._survived(name)  # whatever else is raised ends the station, as a crash does

    def _survived(self, name: str) -> None:
        self._deaths.pop(name, None)
        self._write(self._deaths)

    def _write(self, deaths: dict[str, int]) -> None:
        if self._memory is None:
            return
        with suppress(OSError):
            if deaths:
                self._memory.write_text(json.dumps(deaths), encoding="utf-8")
            else:
                self._memory.unlink(missing_ok=True)


def _name(path: str, stamp: FileStamp) -> str:
    return f"{path} {stamp.size} {stamp.mtime_ns} {stamp.inode}"


def _read(memory: Path) -> dict[str, int]:
    try:
        deaths = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # there is none, or the station died while it was written
        return {}
    if not isinstance(deaths, dict):
        return {}
    return {name: times for name, times in deaths.items() if isinstance(times, int)}
