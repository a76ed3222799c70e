"""The file of an image: a place that still holds what was counted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from station.contract.errors import StationError
from station.database.records import History


class Missing(StationError):
    """No file holds the content any more. `tried`: why each did not, by its path; None: it holds something else."""

    def __init__(self, tried: dict[str, OSError | None]) -> None:
        super().__init__("; ".join(f"{path} {_in_words(cause)}" for path, cause in tried.items()))
        self.tried = tried


def first_with(paths: Iterable[str], sha256: str | None) -> tuple[str, bytes]:
    """The first of these files whose content has this hash, with its bytes. Raises Missing."""
    tried: dict[str, OSError | None] = {}
    for path in dict.fromkeys(paths):
        try:
            data = Path(path).read_bytes()
        except OSError as cause:
            tried[path] = cause
            continue
        if hashlib.sha256(data).hexdigest() == sha256:
            return path, data
        tried[path] = None
    raise Missing(tried)


def original(history: History) -> tuple[str, bytes]:
    """A file that still holds the image, with its bytes. Raises StationError naming what became of each."""
    try:
        return first_with((history.path, *(seen.path for seen in history.paths)), history.sha256)
    except Missing as cause:
        raise StationError(
            f"image {history.image_id} is in none of its files any more: {cause}; copy it back"
        ) from cause


def content_of(history: History) -> bytes | None:
    """The bytes of the image; None where no file holds it any more."""
    try:
        return original(history)[1]
    except StationError:
        return None


def _in_words(cause: OSError | None) -> str:
    if cause is None:
        return "holds another picture now"
    return f"cannot be read ({(cause.strerror or str(cause)).lower()})"
