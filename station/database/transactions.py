"""An open database: every read and every write is one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from station.contract.errors import DatabaseError
from station.database.connection import READING, in_words


class Transactions:
    """What all parts of the store have in common. `clock` gives aware moments."""

    def __init__(self, path: Path, engine: Engine, clock: Callable[[], datetime]) -> None:
        self.path, self._engine, self._clock = path, engine, clock
        self._reader = engine.execution_options(**READING)
        self._file = _identity(path)

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        if _identity(self.path) != self._file:  # what is written from here on would vanish with the open file
            raise DatabaseError(f"the database {self.path} was removed or replaced while it was open; start again")
        with in_words(self.path), Session(self._engine) as session, session.begin():
            yield session

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        with in_words(self.path), Session(self._reader) as session, session.begin():
            yield session


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
