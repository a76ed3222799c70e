"""An engine with a standby: where the first one fails, the standby answers, and somebody is told."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from station.contract.errors import EngineError
from station.engines import Engine, TileUnfit, finite_answer

GIVES_UP_AFTER = 3  # failures in a row; then the first engine is not asked again


class WithStandby:
    """Answers as `first` does while that is sound. `trouble` is called with a sentence, in the thread that asked."""

    def __init__(self, first: Engine, open_standby: Callable[[], Engine], trouble: Callable[[str], None]) -> None:
        self._first: Engine | None = first  # none once it is given up, so that its memory is free again
        self._open_standby, self._trouble = open_standby, trouble
        self._standby: Engine | None = None
        self._failures = 0
        self._lock, self._one_by_one = threading.Lock(), threading.Lock()
        self._answered = threading.local()
        self._first_name = first.name

    @property
    def name(self) -> str:
        """Of the engine that answered this thread last; before that, of the first one."""
        return str(getattr(self._answered, "name", self._first_name))

    @property
    def batch(self) -> int:
        """That of the first engine, while it is asked: the standby is asked for one at a time."""
        first = self._first
        return first.batch if first else 1

    @property
    def abreast(self) -> int:
        """That of the first engine, while it is asked."""
        first = self._first
        return first.abreast if first else 1

    def __call__(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Raises EngineError only where the standby fails as well."""
        first = self._first
        if first is None:
            return self._of_standby(tiles)
        try:
            answer = finite_answer(first, tiles)
        except TileUnfit:  # it is as sound as before
            return self._of_standby(tiles)
        except EngineError as cause:
            gone = self._one_more_failure()
            answer = self._of_standby(tiles)
            self._trouble(f"{cause}; {self.name} answered instead{gone}")
            return answer
        self._failures = 0
        self._answered.name = first.name
        return answer

    def _one_more_failure(self) -> str:
        """What it means for the next pictures, in words; empty while the first engine gets another chance."""
        with self._lock:
            self._failures += 1
            if self._failures < GIVES_UP_AFTER:
                return ""
            self._first = None
        return "; it is not asked again before the next start"

    def _of_standby(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        standby = self._opened()
        # A batch, or calls at once, are what the first one gains from, perhaps more than this one's memory holds.
        with self._one_by_one:
            answers = np.concatenate([standby(tile[None]) for tile in tiles])
        self._answered.name = standby.name
        return answers

    def _opened(self) -> Engine:
        with self._lock:
            if self._standby is None:
                self._standby = self._open_standby()
            return self._standby


def first_alone(tell: Callable[[str], None]) -> Callable[[str], None]:
    """Tells the first trouble of a command: whoever answers for the rest is named beside each result."""
    told: list[str] = []

    def tell_first(sentence: str) -> None:
        if not told:
            told.append(sentence)
            tell(sentence)

    return tell_first
