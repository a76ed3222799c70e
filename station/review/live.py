"""News for open pages, as server-sent events: one task asks the database, however many pages listen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Final

from station.contract.errors import DatabaseError
from station.database.changes import Change, Changes
from station.journal import say
from station.printing import printable

POLL_SECONDS: Final = 0.5
MOST_LISTENERS: Final = 100
_MOST_IDS = 500  # that wait for one page; with more it is told that anything may have changed
_BEAT_SECONDS = 15.0  # a page that went away is noticed by the next word to it


class _Listener:
    """A page that listens, and what it was not told yet."""

    def __init__(self) -> None:
        self.image_ids: set[int] = set()
        self.many = False
        self.rung = asyncio.Event()

    def hear(self, change: Change) -> None:
        self.image_ids.update(change.image_ids)
        self.many = self.many or len(self.image_ids) > _MOST_IDS
        self.rung.set()

    def news(self) -> bytes:
        told = None if self.many else sorted(self.image_ids)
        self.image_ids, self.many = set(), False
        self.rung.clear()
        return f"event: change\ndata: {json.dumps({'images': told})}\n\n".encode()


class Hub:
    """Asks what changed, and tells all who listen."""

    def __init__(self, changes: Changes, stopping: Callable[[], bool], poll_seconds: float = POLL_SECONDS) -> None:
        """`stopping` says whether the server is about to end; it would wait for streams that go on."""
        self._changes, self._stopping, self._poll_seconds = changes, stopping, poll_seconds
        self._listeners: set[_Listener] = set()
        self._trouble = ""

    @property
    def is_full(self) -> bool:
        return len(self._listeners) >= MOST_LISTENERS

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(self._poll_seconds)
            change = await asyncio.to_thread(self._look)
            if change is not None:
                for listener in self._listeners:
                    listener.hear(change)

    async def stream(self) -> AsyncIterator[bytes]:
        """The events for one page."""
        listener, silent = _Listener(), 0.0
        self._listeners.add(listener)
        try:
            yield b"retry: 1000\n\n"
            while not self._stopping():
                try:
                    await asyncio.wait_for(listener.rung.wait(), self._poll_seconds)
                except TimeoutError:
                    silent += self._poll_seconds
                    if silent < _BEAT_SECONDS:
                        continue
                silent = 0.0
                yield listener.news() if listener.rung.is_set() else b": still here\n\n"
        finally:
            self._listeners.discard(listener)

    def _look(self) -> Change | None:
        try:
            change = self._changes.look()
        except DatabaseError as failure:
            if str(failure) != self._trouble:
                self._trouble = str(failure)
                say(f"degraded: {printable(self._trouble)}", err=True)
            return None
        self._trouble = ""
        return change
