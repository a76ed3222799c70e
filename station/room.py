"""How many pixels may be in memory at once, while pictures are analysed in their order."""

from __future__ import annotations

import threading


class Room:
    """Threads bring pictures in, in any order; they leave in the order of their numbers, from 0.

    A picture waits outside while those inside and it would have more than `most` pixels. The next one to leave never
    waits, or nobody would leave: of pictures that are larger than all of the room there is one at a time, or two.
    """

    def __init__(self, most: int) -> None:
        self._most, self._inside, self._next = most, 0, 0
        self._is_open = False
        self._changed = threading.Condition()

    def enter(self, number: int, pixels: int) -> None:
        """Come in as soon as there is room."""
        with self._changed:
            self._changed.wait_for(lambda: self._may_enter(number, pixels))
            self._inside += pixels

    def leave(self, pixels: int) -> None:
        """The next one in the order, with what it entered with, or 0 if it never came in."""
        with self._changed:
            self._inside -= pixels
            self._next += 1
            self._changed.notify_all()

    def open(self) -> None:
        """Let all in from now on, so that no thread waits for what will not happen."""
        with self._changed:
            self._is_open = True
            self._changed.notify_all()

    def _may_enter(self, number: int, pixels: int) -> bool:
        return self._is_open or number == self._next or self._inside + pixels <= self._most
