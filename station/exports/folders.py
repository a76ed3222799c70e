"""The folder of an export appears whole or not at all."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

from station.contract.durable import flush
from station.contract.errors import StationError
from station.settings import leads_into

MANIFEST = "manifest.json"  # by which a folder is known as an export, which may be overwritten
_NEW, _OLD = "new", "old"
_EXCHANGE = 2  # a flag of renameat2(2)


def named(output: Path) -> Path:
    """The folder as a whole path. Raises StationError for one that cannot be exchanged: `/`, or where one stands."""
    whole_path = output.absolute()
    if whole_path.name in ("", "..") or os.path.realpath(whole_path) == os.path.realpath(os.curdir):
        raise StationError(f"{output} cannot be exchanged for an export; name a new folder with -o")
    return whole_path


def need_place(output: Path, camera: Path, *, overwrite: bool) -> None:
    """Raise StationError where nothing may be written: in the camera folder, or over what is no older export."""
    if leads_into(output, camera) or leads_into(camera, output):
        raise StationError(f"{output} lies in the camera's folder, or around it, where the station only reads")
    if not output.exists() and not output.is_symlink():
        return
    if not output.is_dir() or output.is_symlink():
        raise StationError(f"{output} is not a folder; name another one with -o")
    if not any(output.iterdir()):
        return
    if not overwrite:
        raise StationError(f"{output} is not empty; name another folder with -o, or say --overwrite")
    if not (output / MANIFEST).is_file():
        raise StationError(
            f"{output} is no export (it has no {MANIFEST}), so it is not overwritten; name another folder"
        )


@contextmanager
def whole(outputs: Sequence[Path]) -> Iterator[tuple[Path, ...]]:
    """Empty folders that take the places of `outputs` at the end of the block, on disk, and are gone after an error.

    All do or none. Raises StationError where one of them cannot be written.
    """
    try:
        with ExitStack() as rooms:
            made = [rooms.enter_context(_room(output)) for output in outputs]
            yield tuple(room / _NEW for room in made)
            for room in made:
                _settle(room / _NEW)
            _exchange(made, outputs)
            for room, output in zip(made, outputs, strict=True):
                flush(output.parent)
                rmtree(room / _OLD, ignore_errors=True)
    except OSError as cause:
        why = (cause.strerror or str(cause)).lower()
        raise StationError(
            f"{' and '.join(map(str, outputs))} cannot be written ({why}); make room, or name another folder"
        ) from cause


@contextmanager
def _room(output: Path) -> Iterator[Path]:
    """A folder beside `output` to write in. What is in it goes with it, but for an older export that is not back."""
    output.parent.mkdir(parents=True, exist_ok=True)
    room = Path(mkdtemp(dir=output.parent, prefix=".export-"))
    (room / _NEW).mkdir()
    try:
        yield room
    finally:
        rmtree(room / _NEW, ignore_errors=True)
        with suppress(OSError):
            room.rmdir()


def _exchange(rooms: Sequence[Path], outputs: Sequence[Path]) -> None:
    """The new folders for the older ones, which are in the rooms from then on; where that fails all are back."""
    with ExitStack() as undone:
        for room, output in zip(rooms, outputs, strict=True):
            if output.exists() and _swapped(room / _NEW, output):  # nobody ever finds nothing there
                undone.callback(_swapped, room / _NEW, output)
                continue
            undone.callback(_move, room / _OLD, output)
            if output.exists():
                output.rename(room / _OLD)
            undone.callback(_move, output, room / _NEW)
            (room / _NEW).rename(output)
        undone.pop_all()


def _swapped(one: Path, other: Path) -> bool:
    """Whether two folders changed places, at one moment: renameat2 of Linux, which not every file system can."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    here = -100  # AT_FDCWD
    return rename is not None and rename(here, os.fsencode(one), here, os.fsencode(other), _EXCHANGE) == 0


def _move(source: Path, target: Path) -> None:
    """Unless it lies there still."""
    if source.exists() and not target.exists():
        source.rename(target)


def copy_into(room: Path, name: str, data: bytes) -> None:
    """A file below the room; `name` may have folders before it, which are made."""
    path = room / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _settle(folder: Path) -> None:
    """What a power cut after the renaming must not take: every file and every folder."""
    for home, _, files in os.walk(folder):
        for name in files:
            flush(Path(home) / name)
        flush(Path(home))
