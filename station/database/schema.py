"""Which schema a database has, and how it is brought to this package's."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect

from station.contract.errors import DatabaseError
from station.database.backup import verified_copy
from station.database.connection import READING


def migrate(engine: Engine, path: Path) -> None:
    """Bring a database to the newest schema, in one transaction and after a verified copy.

    Raises DatabaseError for one that a newer package made, or that is not a station's.
    """
    found = revision(engine, path)
    if found == newest():
        return
    if found is not None:
        verified_copy(path, path.with_name(f"{path.name}.before-{newest()}"))
    with engine.begin() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def revision(engine: Engine, path: Path) -> str | None:
    """The schema of a database; none for an empty one. Raises DatabaseError as `migrate` does."""
    with engine.execution_options(**READING).connect() as connection:
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


def newest() -> str:
    """The schema that this package writes."""
    return str(ScriptDirectory.from_config(_config()).get_current_head())


def _known() -> set[str]:
    return {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(resources.files("station.database") / "migrations"))
    return config
