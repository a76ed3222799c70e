"""A mark for a second look is no look: alone it leaves the newest automatic count in force."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_REVIEWS = """
CREATE VIEW reviews AS
    SELECT * FROM corrections AS c
    WHERE c.stands > 0 AND c.number = (SELECT max(number) FROM corrections AS d WHERE d.image_id = c.image_id)
        AND EXISTS (SELECT 1 FROM corrections AS b
                    WHERE b.image_id = c.image_id AND b.number <= c.stands AND b.kind NOT IN ('flag', 'withdraw')
                    AND NOT EXISTS (SELECT 1 FROM corrections AS w
                                    WHERE w.image_id = b.image_id AND w.kind = 'withdraw' AND w.stands < b.number
                                    AND w.number > b.number AND w.number <= c.stands))
"""


def upgrade() -> None:
    op.execute("DROP VIEW reviews")
    op.execute(_REVIEWS)
