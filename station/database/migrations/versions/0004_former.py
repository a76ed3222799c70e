"""Which picture a file held before it was changed in place; whether its time and the station's clock agree."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("files", sa.Column("former_id", sa.Integer, nullable=True))
    op.add_column("images", sa.Column("clock_differs", sa.Boolean, nullable=False, server_default=sa.false()))
