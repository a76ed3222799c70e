"""Fields overlap within one slide: a picture that was moved to another one takes its pairs along with nobody."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# The pairs stay, for a slide's folder is renamed picture by picture. The + as in 0007.
_OVERLAPS = """
CREATE VIEW overlap_results AS
    SELECT o.image_id, o.earlier_id, o.shift_x, o.shift_y, o.shared, o.certainty
    FROM overlaps AS o JOIN images AS e ON e.id = o.earlier_id JOIN images AS i ON i.id = o.image_id
    WHERE +e.status = 'done' AND +i.slide = +e.slide
        AND NOT EXISTS (SELECT 1 FROM reviews AS r WHERE r.image_id = e.id AND r.rejected)
"""


def upgrade() -> None:
    op.execute("DROP VIEW overlap_results")
    op.execute(_OVERLAPS)
