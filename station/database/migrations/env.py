"""Run by Alembic on the connection that `schema.migrate` hands over."""

from alembic import context

from station.database.tables import Row

# SQLite changes a table by copying it, hence the batch mode; the connection is inside one transaction already.
context.configure(
    connection=context.config.attributes["connection"], target_metadata=Row.metadata, render_as_batch=True
)
context.run_migrations()
