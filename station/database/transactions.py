"""An open database: every read and every write is one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from datetime import datetime
from pathlib import Path
from typing import Self

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
        self._still: Session | None = None  # in which all is read, where one moment was asked for

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        if _identity(self.path) != self._file:  # what is written from here on would vanish with the open file
            raise DatabaseError(f"the database {self.path} was removed or replaced while it was open; start again")
        with in_words(self.path), Session(self._engine) as session, session.begin():
            yield session

    @contextmanager
    def at_one_moment(self) -> Iterator[Self]:
        """This store as it is now, whatever is written meanwhile: its reads, all of one thread, are one transaction."""
        with self._reading() as session:
            still = copy(self)
            still._still = session
            yield still

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        if self._still is not None:
            yield self._still
            return
        with in_words(self.path), Session(self._reader) as session, session.begin():
            yield session


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
