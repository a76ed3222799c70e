"""What each engine came to with each model on this machine."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "engine_trials",
        sa.Column("model_sha256", sa.Text, primary_key=True),
        sa.Column("engine", sa.Text, primary_key=True),
        sa.Column("precision", sa.Text, primary_key=True),
        sa.Column("threads", sa.Integer, nullable=False),
        sa.Column("found", sa.Text, nullable=False),
        sa.Column("milliseconds", sa.Double, nullable=True),
        sa.Column("cell_dice", sa.Double, nullable=True),
        sa.Column("refusal", sa.Text, nullable=True),
        sa.Column("tried_at", sa.Text, nullable=False),
    )
