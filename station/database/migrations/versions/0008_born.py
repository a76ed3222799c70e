"""When a file was made: one that was removed leaves its inode to the next."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("files", sa.Column("born_ns", sa.Integer, nullable=True))
