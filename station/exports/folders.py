"""The folder of an export appears whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from station.contract.durable import flush
from station.contract.errors import StationError
from station.settings import leads_into

MANIFEST = "manifest.json"  # by which a folder is known as an export, which may be overwritten


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
def whole(output: Path) -> Iterator[Path]:
    """An empty folder that takes the place of `output` at the end of the block, on disk, and is gone after an error.

    Raises StationError where it cannot be written.
    """
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=output.parent, prefix=".export-") as room:
            made = Path(room) / "new"
            made.mkdir()
            yield made
            _settle(made)
            _exchange(made, output, Path(room) / "old")
            flush(output.parent)
    except OSError as cause:
        raise StationError(
            f"{output} cannot be written ({(cause.strerror or str(cause)).lower()}); make room, or name another folder"
        ) from cause


def _exchange(made: Path, output: Path, old: Path) -> None:
    """One folder for another, which is at `old` from then on; where that fails the older one is back."""
    if not output.exists():
        made.rename(output)
        return
    output.rename(old)
    try:
        made.rename(output)
    except OSError:
        old.rename(output)
        raise


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
