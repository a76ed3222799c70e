"""Pictures that were decoded a moment ago: what was taken in is not read again for its analysis."""

from __future__ import annotations

from station.contract.imaging import RGB

_MOST_BYTES = 32 << 20  # a dozen fields of 1024 x 768 px: more than are taken in before the next are analysed


class Recent:
    """By the SHA-256 of their files. May be forgotten at any time, the oldest first; no two threads use it."""

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._most_bytes, self._bytes = most_bytes, 0
        self._images: dict[str, RGB] = {}

    def keep(self, sha256: str, image: RGB) -> None:
        """Until it is taken, or there is no room for it any more."""
        self.take(sha256)
        self._images[sha256] = image
        self._bytes += image.nbytes
        while self._bytes > self._most_bytes:
            self.take(next(iter(self._images)))

    def of(self, sha256: str) -> RGB | None:
        """The picture [H, W, 3], which stays."""
        return self._images.get(sha256)

    def take(self, sha256: str) -> RGB | None:
        """The picture [H, W, 3], once."""
        image = self._images.pop(sha256, None)
        self._bytes -= 0 if image is None else image.nbytes
        return image
