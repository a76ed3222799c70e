"""Which schema a database has, and how it is brought to this package's."""

from __future__ import annotations

import os
from functools import cache
from importlib import resources
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect

from station.contract.errors import DatabaseError
from station.database.backup import verified_copy
from station.database.connection import open_engine
from station.database.lock import holder


def migrate(engine: Engine, path: Path) -> None:
    """Bring a database to the newest schema: one transaction, which begins before the verified copy is made.

    Foreign keys are off meanwhile: Alembic changes a table by remaking it, and dropping the old one would delete what
    refers to it. Raises DatabaseError as `revision` does.
    """
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.execute("PRAGMA foreign_keys = OFF")
        try:
            with connection.begin():
                _upgrade(connection, path)
        finally:
            driver.execute("PRAGMA foreign_keys = ON")


def check(path: Path) -> str | None:
    """The schema of an existing database, which is not changed by looking. Raises DatabaseError as `revision` does."""
    engine = open_engine(path, read_only=True)
    try:
        with engine.connect() as connection:
            return revision(connection, path)
    finally:
        engine.dispose()


def revision(connection: Connection, path: Path) -> str | None:
    """The schema of a database; none for an empty one.

    Raises DatabaseError for one that a newer package made, or that is not a station's.
    """
    tables = inspect(connection).get_table_names()
    asked = "SELECT version_num FROM alembic_version"
    found = connection.exec_driver_sql(asked).scalar() if "alembic_version" in tables else None
    if found is None and tables:
        raise DatabaseError(f"{path} is no database of this station: it holds {', '.join(sorted(tables)[:3])}")
    if found is not None and found not in _all(_migrations()):
        raise DatabaseError(
            f"the database {path} was made by a newer version (schema {found}, this package knows up to {newest()}); "
            "install that version again, or name another file in database.path"
        )
    return None if found is None else str(found)


def newest() -> str:
    """The schema that this package writes."""
    return _all(_migrations())[-1]


@cache
def _all(migrations: Path) -> list[str]:
    """Every schema, the oldest first, by the names of the migrations."""
    names = (file.name for file in (migrations / "versions").iterdir())
    return sorted(name.partition("_")[0] for name in names if name[0].isdecimal())


def _upgrade(connection: Connection, path: Path) -> None:
    found = revision(connection, path)
    if found == newest():
        return
    if found is not None:
        _demand_alone(path, found)
        verified_copy(path, path.with_name(f"{path.name}.before-{newest()}"))
    migrate_within(connection)
    if connection.exec_driver_sql("PRAGMA foreign_key_check").first():
        raise DatabaseError(f"the update of {path} would leave rows without their owners; nothing was changed")


def _demand_alone(path: Path, found: str) -> None:
    """Raise DatabaseError where a station that was not started anew since an upgrade writes by the older schema."""
    other = holder(path)
    if other and f"process {os.getpid()} " not in other:  # who holds the lock itself may
        raise DatabaseError(
            f"the database {path} has the older schema {found}, and a station works on it ({other}) that knows no "
            "other: start it anew first (`systemctl restart station`)"
        )


def migrate_within(connection: Connection, schema: str = "head") -> None:
    """Run the migrations up to a schema, in the transaction of this connection."""
    from alembic import command  # a fifth of a second, which commands need not wait that change no schema
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_migrations()))
    config.attributes["connection"] = connection
    command.upgrade(config, schema)


def _migrations() -> Path:
    return Path(str(resources.files("station.database") / "migrations"))
