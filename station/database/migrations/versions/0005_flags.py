"""What is doubtful about a cell, and what was measured of the picture: focus, light, stain."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("cells", sa.Column("flags", sa.JSON, nullable=False, server_default="[]"))
    op.add_column("analyses", sa.Column("quality", sa.JSON, nullable=False, server_default="{}"))
