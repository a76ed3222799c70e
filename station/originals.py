"""The file of an image: a place that still holds what was counted."""

from __future__ import annotations

import hashlib
from pathlib import Path

from station.contract.errors import StationError
from station.database.records import History


def original(history: History) -> tuple[str, bytes]:
    """A file that still holds the image, with its bytes. Raises StationError naming what became of each."""
    tried = []
    for path in dict.fromkeys((history.path, *(seen.path for seen in history.paths))):
        try:
            data = Path(path).read_bytes()
        except OSError as cause:
            tried.append(f"{path} cannot be read ({(cause.strerror or str(cause)).lower()})")
            continue
        if hashlib.sha256(data).hexdigest() == history.sha256:
            return path, data
        tried.append(f"{path} holds another picture now")
    raise StationError(f"image {history.image_id} is in none of its files any more: {'; '.join(tried)}; copy it back")


def content_of(history: History) -> bytes | None:
    """The bytes of the image; None where no file holds it any more."""
    try:
        return original(history)[1]
    except StationError:
        return None
