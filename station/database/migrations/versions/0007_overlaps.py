"""Small copies by which fields are recognised, which of them show the same place, and the flag for it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# Whether the earlier field counts may change after they were compared, so the flag is no part of an analysis.
# The + keeps SQLite from walking through all counted images for each overlap, as it would by the index of the status.
_VIEWS = """
CREATE VIEW overlap_results AS
    SELECT o.image_id, o.earlier_id, o.shift_x, o.shift_y, o.shared, o.certainty
    FROM overlaps AS o JOIN images AS e ON e.id = o.earlier_id
    WHERE +e.status = 'done' AND NOT EXISTS (SELECT 1 FROM reviews AS r WHERE r.image_id = e.id AND r.rejected);

CREATE VIEW image_results AS
    SELECT i.id AS image_id, i.path, i.sha256, i.slide, i.captured_at, i.ingested_at, i.status, i.reason,
           a.wbc_count, a.wbc_count_inside, r.wbc_count AS wbc_count_reviewed,
           CASE WHEN EXISTS (SELECT 1 FROM overlap_results AS o WHERE o.image_id = i.id)
                THEN json_insert(a.flags, '$[#]', 'overlaps') ELSE a.flags END AS flags,
           a.cell_diameter_px, a.model, a.engine
    FROM images AS i
    LEFT JOIN newest_analyses AS a ON a.image_id = i.id
    LEFT JOIN reviews AS r ON r.image_id = i.id;
"""


def upgrade() -> None:
    op.create_table(
        "fingerprints",
        _of_image("image_id"),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("jpeg", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "overlaps",
        *map(_of_image, ("image_id", "earlier_id")),
        *(sa.Column(name, sa.Double, nullable=False) for name in ("shift_x", "shift_y", "shared", "certainty")),
    )
    op.create_index("overlaps_by_earlier", "overlaps", ["earlier_id"])
    op.drop_index("images_by_slide", "images")
    op.create_index("images_by_slide", "images", ["slide", "captured_at"])
    op.execute("DROP VIEW image_results")
    for statement in filter(str.strip, _VIEWS.split(";")):
        op.execute(statement)


def _of_image(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, sa.ForeignKey("images.id", ondelete="CASCADE"), primary_key=True)
