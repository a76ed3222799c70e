"""Which schema a database has, and how it is brought to this package's."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect

from station.contract.errors import DatabaseError
from station.database.backup import verified_copy
from station.database.connection import open_engine


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
    found = MigrationContext.configure(connection).get_current_revision() if "alembic_version" in tables else None
    if found is None and tables:
        raise DatabaseError(f"{path} is no database of this station: it holds {', '.join(sorted(tables)[:3])}")
    if found is not None and found not in _known():
        raise DatabaseError(
            f"the database {path} was made by a newer version (schema {found}, this package knows up to {newest()}); "
            "install that version again, or name another file in database.path"
        )
    return found


def _upgrade(connection: Connection, path: Path) -> None:
    found = revision(connection, path)
    if found == newest():
        return
    if found is not None:
        verified_copy(path, path.with_name(f"{path.name}.before-{newest()}"))
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    if connection.exec_driver_sql("PRAGMA foreign_key_check").first():
        raise DatabaseError(f"the update of {path} would leave rows without their owners; nothing was changed")


def newest() -> str:
    """The schema that this package writes."""
    return str(ScriptDirectory.from_config(_config()).get_current_head())


def _known() -> set[str]:
    return {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(resources.files("station.database") / "migrations"))
    return config
