"""Engines at which the station died: one that takes the process down must not do so at every start.

A runtime or a driver that aborts raises nothing that could be caught, and one that hangs gives nothing back. systemd
starts the station again, into the same; so what was at risk is written down before, and taken back after it went well.
"""

from __future__ import annotations

import faulthandler
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from station.contract.errors import EngineError, StationError
from station.database.records import MOST_DEATHS
from station.database.store import Store

ENGINE_DEATHS: Final = "engine_deaths"  # a fact: how often in a row the station died with an engine, as JSON
DIED: Final = "the station died"  # so begins the reason for which such an engine is refused
MOST_AT_WORK: Final = 5  # in a row, without a picture counted: a single picture that is deadly is put aside before
_INSTALLING: Final = "an installation"  # stands among the deaths while one is under way
LIMIT_SECONDS: Final = 300.0  # that an engine may take to open and prove itself; then the station ends and says where


class Crashes:
    """Remembered in the database. Engines are named with their runtime, so that another version gets its chance."""

    def __init__(self, store: Store, limit_seconds: float | None = LIMIT_SECONDS) -> None:
        """`limit_seconds`: none where a plan may be built, which takes minutes."""
        self._store, self._limit_seconds = store, limit_seconds
        self._sound: set[str] = set()

    @contextmanager
    def guard(self, engine: str) -> Iterator[None]:
        """Around opening and proving an engine. Raises EngineError where the station died of that too often."""
        name, before = f"opening {engine}", self._deaths()
        if (deaths := before.get(name, 0)) >= MOST_DEATHS:
            raise EngineError(f"{DIED} {deaths} times while it was opened; `station model install` tries it again")
        self._note(name, deaths + 1)
        try:
            with _limited(self._limit_seconds):
                yield
        except StationError:
            self._note(name, deaths=0)
            raise
        self._note(name, deaths=0)  # whatever else is raised ends the station, as a crash does

    def died_at_work(self, engine: str) -> bool:
        """Once more the station died while it counted with this engine; whether that is too often."""
        name = f"asking {engine}"
        deaths = self._deaths().get(name, 0) + 1
        self._sound.discard(engine)
        self._note(name, deaths if deaths < MOST_AT_WORK else 0)
        return deaths >= MOST_AT_WORK

    def worked(self, engine: str) -> None:
        """A picture was counted with it."""
        if engine not in self._sound:
            self._sound.add(engine)
            self._note(f"asking {engine}", deaths=0)

    @contextmanager
    def anew(self) -> Iterator[None]:
        """Around an installation: every engine gets its chance again, unless the last installation died of one."""
        if _INSTALLING not in self._deaths():
            self._store.record_fact(ENGINE_DEATHS, None)
        self._note(_INSTALLING, 1)
        try:
            yield
        finally:
            self._note(_INSTALLING, deaths=0)

    def _deaths(self) -> dict[str, int]:
        known = self._store.fact(ENGINE_DEATHS)
        return json.loads(known) if isinstance(known, str) else {}

    def _note(self, name: str, deaths: int) -> None:
        before = self._deaths()
        after = {one: times for one, times in (before | {name: deaths}).items() if times}
        if after != before:
            self._store.record_fact(ENGINE_DEATHS, json.dumps(after))


@contextmanager
def _limited(seconds: float | None) -> Iterator[None]:
    """Ends the process if the block takes longer: only a thread that needs no lock of Python can end what hangs."""
    if seconds is None or sys.__stderr__ is None:
        yield
        return
    faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__)  # what may stand in for it has no number
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
