"""Beside a count stand the model, engine and flags of the analysis on which it rests, and not of a newer one.

What a person accepted or corrected goes on counting when another model analyses the picture again.
"""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_VIEWS = """
CREATE VIEW counting_analyses AS
    SELECT * FROM analyses AS a
    WHERE a.id = coalesce((SELECT r.analysis_id FROM reviews AS r WHERE r.image_id = a.image_id),
                          (SELECT max(b.id) FROM analyses AS b WHERE b.image_id = a.image_id));

CREATE VIEW image_results AS
    SELECT i.id AS image_id, i.path, i.sha256, i.slide, i.captured_at, i.ingested_at, i.status, i.reason,
           a.wbc_count, a.wbc_count_inside, r.wbc_count AS wbc_count_reviewed,
           CASE WHEN EXISTS (SELECT 1 FROM overlap_results AS o WHERE o.image_id = i.id)
                THEN json_insert(a.flags, '$[#]', 'overlaps') ELSE a.flags END AS flags,
           a.cell_diameter_px, a.model, a.engine
    FROM images AS i
    LEFT JOIN counting_analyses AS a ON a.image_id = i.id AND i.status = 'done'
    LEFT JOIN reviews AS r ON r.image_id = i.id AND i.status = 'done';
"""


def upgrade() -> None:
    op.execute("DROP VIEW image_results")
    for statement in filter(str.strip, _VIEWS.split(";")):
        op.execute(statement)
