"""An engine with a standby: where the first one fails, the reference answers, and somebody is told."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from station.contract.errors import EngineError
from station.engines import Engine

GIVES_UP_AFTER = 3  # failures in a row; then the first engine is not asked again


class WithStandby:
    """Answers as `first` does while that is sound. `trouble` is called with a sentence, in the thread that asked."""

    def __init__(self, first: Engine, open_standby: Callable[[], Engine], trouble: Callable[[str], None]) -> None:
        self._first, self._open_standby, self._trouble = first, open_standby, trouble
        self._standby: Engine | None = None
        self._failures = 0
        self._lock = threading.Lock()
        self._answered = threading.local()

    @property
    def name(self) -> str:
        """Of the engine that answered this thread last; before that, of the first one."""
        return str(getattr(self._answered, "name", self._first.name))

    @property
    def batch(self) -> int:
        return self._first.batch

    def __call__(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Raises EngineError only where the standby fails as well."""
        answer = self._of_first(tiles) if self._failures < GIVES_UP_AFTER else None
        if answer is not None:
            self._answered.name = self._first.name
            return answer
        standby = self._opened()
        self._answered.name = standby.name
        # One by one: a batch is the size that the first one gains from, perhaps more than this one's memory holds.
        return np.concatenate([standby(tile[None]) for tile in tiles])

    def _of_first(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        try:
            answer = self._first(tiles)
            if not math.isfinite(float(answer.sum())):
                raise EngineError(f"{self._first.name} answered with numbers that are not finite")
        except EngineError as cause:
            self._failures += 1
            gone = "; it is not asked again before the next start" if self._failures >= GIVES_UP_AFTER else ""
            self._trouble(f"{cause}; {self._opened().name} answered instead{gone}")
            return None
        self._failures = 0
        return answer

    def _opened(self) -> Engine:
        with self._lock:
            if self._standby is None:
                self._standby = self._open_standby()
            return self._standby
