"""The ledger of comparisons: one SQLite file beside the runs. Every figure of a table comes from here.

A comparison is known by what its figures depend on: recipe, pictures, masks and counts, folds, cell diameters. Starting
it again finds it. Versions and number formats are kept with each outcome.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import Field, ValidationError
from sqlalchemy import Column, Float, Integer, MetaData, String, Table, create_engine, event, literal_column, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DatabaseError
from sqlalchemy.schema import CreateTable

from station.contract.errors import StationError
from station.contract.manifest import Frozen
from trainer.task import Epoch, Outcome, PictureScore, Task

LEDGER_FILE = "ledger.db"

Division: TypeAlias = Literal["groups", "sets"]  # how folds are made: k of whole groups, or one per data set


class LedgerError(StationError):
    """A ledger that cannot be read or written."""


class Request(Frozen):
    """Where the pictures of a comparison came from, for the training of the picked network. No part of its identity."""

    data: tuple[str, ...]
    layout: str | None = None
    splits: str | None = None
    weights_dir: str | None = None


class Setting(Frozen):
    """What the figures of one comparison depend on, beside backbone, loss, start, fold and seed."""

    id: str
    recipe: str  # JSON; its backbone and loss are those of the tasks
    data_sha256: str
    folds: int
    division: Division = "groups"
    cell_diameters: dict[str, float]
    sources: dict[str, int] = Field(description="data set -> pictures")
    request: Request
    created_at: str
    package_version: str


class Speed(Frozen):
    """How long one picture takes on one machine, with an engine that a station would use."""

    backbone: str
    engine: str
    machine: str
    picture: str  # its size, "WIDTHxHEIGHT" at network scale
    milliseconds: float  # median
    parameters: int


class Pick(Frozen):
    """A choice, with its reason in words."""

    backbone: str
    loss: str
    start: str
    rule: str
    reason: str
    picked_at: str


_metadata = MetaData()
_TASK_KEY = ("comparison", "backbone", "loss", "start", "fold", "seed")


def _task_columns() -> list[Column[Any]]:
    whole = ("fold", "seed")
    return [Column(name, Integer if name in whole else String, primary_key=True) for name in _TASK_KEY]


_comparisons = Table(
    "comparisons",
    _metadata,
    Column("id", String, primary_key=True),
    Column("setting", String, nullable=False),
)
_outcomes = Table(
    "outcomes",
    _metadata,
    *_task_columns(),
    Column("best_epoch", Integer, nullable=False),
    Column("steps", Integer, nullable=False),
    Column("parameters", Integer, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("made_with", String, nullable=False),
)
_pictures = Table(
    "pictures",
    _metadata,
    *_task_columns(),
    Column("dataset", String, primary_key=True),
    Column("picture", String, primary_key=True),
    Column("confusion", String, nullable=False),  # nine pixel counts, row-major
    Column("wbc_count", Integer, nullable=False),
    Column("wbc_true", Integer, nullable=False),
    Column("cell_diameter_px", Float, nullable=False),
)
_epochs = Table(
    "epochs",
    _metadata,
    *_task_columns(),
    Column("epoch", Integer, primary_key=True),
    Column("mean_loss", Float, nullable=False),
    Column("score", Float, nullable=False),
    Column("seconds", Float, nullable=False),
)
_failures = Table("failures", _metadata, *_task_columns(), Column("reason", String, nullable=False))
_speeds = Table(
    "speeds",
    _metadata,
    Column("comparison", String, primary_key=True),
    Column("backbone", String, primary_key=True),
    Column("speed", String, nullable=False),
)
_picks = Table(
    "picks",
    _metadata,
    Column("comparison", String, primary_key=True),
    Column("picked_at", String, primary_key=True),
    Column("pick", String, nullable=False),
)


class Ledger:
    """Outcomes by comparison. One method is one transaction."""

    def __init__(self, path: Path) -> None:
        """Open or make the file. Raises LedgerError."""
        self._path = path
        self._engine = _engine(path)
        with self._writing() as connection:
            for table in _metadata.sorted_tables:  # not create_all: it looks first, and another may come in between
                connection.execute(CreateTable(table, if_not_exists=True))

    def open_comparison(self, setting: Setting) -> Setting:
        """The comparison of this identity: the one that exists, with the places of this one, else this one."""
        with self._writing() as connection:
            row = {"id": setting.id, "setting": setting.model_dump_json()}
            connection.execute(insert(_comparisons).values(row).on_conflict_do_nothing())
            kept = self._setting(connection, setting.id).model_copy(update={"request": setting.request})
            connection.execute(_comparisons.update().filter_by(id=setting.id).values(setting=kept.model_dump_json()))
            return kept

    def comparisons(self) -> list[Setting]:
        """All comparisons, the oldest first."""
        with self._reading() as connection:
            texts = connection.execute(select(_comparisons.c.setting)).scalars()
            return sorted((Setting.model_validate_json(text) for text in texts), key=lambda s: s.created_at)

    def finish(self, comparison: str, outcome: Outcome) -> None:
        """Write a task's outcome, whole; an earlier failure of it is forgotten. Once written it stays as it is."""
        key = _key(comparison, outcome.task)
        with self._writing() as connection:
            figures = outcome.model_dump(include={"best_epoch", "steps", "parameters", "seconds", "made_with"})
            added = connection.execute(insert(_outcomes).values(key | figures).on_conflict_do_nothing())
            if added.rowcount:
                connection.execute(insert(_pictures), [key | _picture_row(p) for p in outcome.pictures])
                connection.execute(insert(_epochs), [key | epoch.model_dump() for epoch in outcome.curve])
            connection.execute(_failures.delete().filter_by(**key))

    def fail(self, comparison: str, task: Task, reason: str) -> None:
        """Note why a task has no outcome."""
        row = _key(comparison, task) | {"reason": reason}
        with self._writing() as connection:
            connection.execute(insert(_failures).values(row).on_conflict_do_update(set_={"reason": reason}))

    def outcomes(self, comparison: str) -> list[Outcome]:
        """All outcomes of a comparison, in order of the task."""
        with self._reading() as connection:
            rows = connection.execute(select(_outcomes).filter_by(comparison=comparison)).mappings().all()
            found = [self._outcome(connection, dict(row)) for row in rows]
        return sorted(found, key=lambda outcome: outcome.task.folder_name)

    def failures(self, comparison: str) -> dict[Task, str]:
        """Why tasks have no outcome."""
        with self._reading() as connection:
            rows = connection.execute(select(_failures).filter_by(comparison=comparison)).mappings()
            return {_task(dict(row)): str(row["reason"]) for row in rows}

    def add_speed(self, comparison: str, speed: Speed) -> None:
        """The newest measurement of a backbone replaces the one before."""
        text = speed.model_dump_json()
        row = {"comparison": comparison, "backbone": speed.backbone, "speed": text}
        with self._writing() as connection:
            connection.execute(insert(_speeds).prefix_with("OR REPLACE").values(row))

    def speeds(self, comparison: str) -> dict[str, Speed]:
        """By backbone, the one that was measured last at the end."""
        query = select(_speeds.c.speed).filter_by(comparison=comparison).order_by(literal_column("rowid"))
        with self._reading() as connection:
            texts = connection.execute(query).scalars()
            return {speed.backbone: speed for speed in map(Speed.model_validate_json, texts)}

    def add_pick(self, comparison: str, pick: Pick) -> None:
        """Picks are kept, all of them."""
        row = {"comparison": comparison, "picked_at": pick.picked_at, "pick": pick.model_dump_json()}
        with self._writing() as connection:
            connection.execute(insert(_picks).values(row))

    def picks(self, comparison: str) -> list[Pick]:
        """The oldest first."""
        query = select(_picks.c.pick).filter_by(comparison=comparison).order_by(_picks.c.picked_at)
        with self._reading() as connection:
            return [Pick.model_validate_json(text) for text in connection.execute(query).scalars()]

    def close(self) -> None:
        self._engine.dispose()

    def _setting(self, connection: Connection, comparison: str) -> Setting:
        query = select(_comparisons.c.setting).filter_by(id=comparison)
        return Setting.model_validate_json(connection.execute(query).scalar_one())

    def _outcome(self, connection: Connection, row: dict[str, object]) -> Outcome:
        own = {name: row.pop(name) for name in _TASK_KEY}
        pictures = connection.execute(select(_pictures).filter_by(**own)).mappings()
        curve = connection.execute(select(_epochs).filter_by(**own).order_by(_epochs.c.epoch)).mappings()
        return Outcome.model_validate(
            row
            | {
                "task": _task(own),
                "pictures": tuple(_picture(dict(picture)) for picture in pictures),
                "curve": tuple(Epoch.model_validate(_without_key(dict(epoch))) for epoch in curve),
            }
        )

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._errors_named(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._errors_named(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except DatabaseError as cause:
            raise LedgerError(f"the ledger {self._path} cannot be used ({cause.orig})") from cause
        except ValidationError as cause:
            problem = cause.errors()[0]["msg"]
            raise LedgerError(
                f"the ledger {self._path} holds what this version does not understand ({problem}); "
                "it was written by another version, or damaged"
            ) from cause


def _engine(path: Path) -> Engine:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise LedgerError(f"{path.parent} cannot take a ledger ({cause.strerror})") from cause
    engine = create_engine(f"sqlite:///{path}")

    @event.listens_for(engine, "connect")
    def _durable(connection: object, _record: object) -> None:
        cursor = connection.cursor()  # type: ignore[attr-defined]
        cursor.execute("PRAGMA busy_timeout=10000")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.close()

    return engine


def _key(comparison: str, task: Task) -> dict[str, object]:
    return {"comparison": comparison} | task.model_dump()


def _task(row: dict[str, object]) -> Task:
    return Task.model_validate({name: row[name] for name in Task.model_fields})


def _without_key(row: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in row.items() if name not in _TASK_KEY}


def _picture_row(picture: PictureScore) -> dict[str, object]:
    row = picture.model_dump(exclude={"id", "confusion"})
    return row | {"picture": picture.id, "confusion": json.dumps(picture.confusion)}


def _picture(row: dict[str, object]) -> PictureScore:
    own = {"id": row["picture"], "confusion": tuple(json.loads(str(row["confusion"])))}
    rest = {name: row[name] for name in PictureScore.model_fields if name not in own}
    return PictureScore.model_validate(own | rest)
