"""Alembic's folder. Append-only: a column is one more file in versions/, and no file there ever changes."""
