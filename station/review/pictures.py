"""Pictures for browsers, made from the camera's files when they are asked for; the last ones are kept in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np

from station.contract.errors import ImageError
from station.contract.imaging import RGB
from station.contract.masks import decode_mask
from station.contract.thumbnail import Masks, field_jpeg
from station.database.records import History
from station.database.review_records import Reviewed
from station.database.store import Store
from station.reviewing import picture_of

THUMBNAIL_WIDTH = 400  # px
_QUALITY = 92  # of the large picture: people judge nuclei by it
_MOST_BYTES = 64_000_000
_AT_ONCE = 2  # pictures that are decoded; a large one takes 150 MB


class Pictures:
    """JPEGs of images; None where no file holds an image's content any more."""

    def __init__(self, store: Store, max_megapixels: float, most_bytes: int = _MOST_BYTES) -> None:
        self._store, self._max_megapixels = store, max_megapixels
        self._kept = Kept(most_bytes)
        self._turns = threading.Semaphore(_AT_ONCE)

    def whole(self, image_id: int) -> bytes | None:
        """As large as the camera's, without contours."""
        return self._kept.get(("whole", image_id), lambda: self._whole(image_id))

    def thumbnail(self, image_id: int) -> bytes | None:
        """THUMBNAIL_WIDTH px wide, with the contours that count now."""
        state = self._store.reviewed(image_id)
        version = (state.analysis_id, state.number) if state else ()
        return self._kept.get(("thumbnail", image_id, *version), lambda: self._thumbnail(image_id, state))

    def pixels(self, image_id: int) -> RGB | None:
        """The picture [H, W, 3] itself."""
        history = self._store.history(image_id)
        return self._decoded(history) if history else None

    def _whole(self, image_id: int) -> bytes | None:
        image = self.pixels(image_id)
        return None if image is None else field_jpeg(image, None, image.shape[1], _QUALITY)

    def _thumbnail(self, image_id: int, state: Reviewed | None) -> bytes | None:
        image = self.pixels(image_id)
        if image is None:
            return None
        try:
            return field_jpeg(image, _masks(state), THUMBNAIL_WIDTH)
        except ImageError:  # masks of another size: none is better than no picture
            return field_jpeg(image, None, THUMBNAIL_WIDTH)

    def _decoded(self, history: History) -> RGB | None:
        with self._turns:
            return picture_of(history, max_megapixels=self._max_megapixels)


class Kept:
    """What was made last, up to a number of bytes. Any number of threads may ask."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes, self._bytes = most_bytes, 0
        self._made: OrderedDict[tuple[object, ...], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[object, ...], make: Callable[[], bytes | None]) -> bytes | None:
        """What is kept under this key, else what `make` makes; nothing is not kept."""
        with self._lock:
            if key in self._made:
                self._made.move_to_end(key)
                return self._made[key]
        made = make()
        if made is not None:
            self._keep(key, made)
        return made

    def _keep(self, key: tuple[object, ...], made: bytes) -> None:
        with self._lock:
            self._bytes += len(made) - len(self._made.pop(key, b""))
            self._made[key] = made
            while self._bytes > self._most_bytes:
                self._bytes -= len(self._made.popitem(last=False)[1])


def _masks(state: Reviewed | None) -> Masks | None:
    if state is None or state.rejected or state.labels_png is None or state.cells_png is None:
        return None
    labels, cells = decode_mask(state.labels_png), decode_mask(state.cells_png)
    return Masks(labels.astype(np.uint8), cells.astype(np.uint16))
