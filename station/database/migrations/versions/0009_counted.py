"""Results are those of pictures that count: not of one that was put aside, or that is queued anew."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# The + keeps SQLite from walking through all counted images for each cell, as it would by the index of the status.
_VIEWS = """
CREATE VIEW image_results AS
    SELECT i.id AS image_id, i.path, i.sha256, i.slide, i.captured_at, i.ingested_at, i.status, i.reason,
           a.wbc_count, a.wbc_count_inside, r.wbc_count AS wbc_count_reviewed,
           CASE WHEN EXISTS (SELECT 1 FROM overlap_results AS o WHERE o.image_id = i.id)
                THEN json_insert(a.flags, '$[#]', 'overlaps') ELSE a.flags END AS flags,
           a.cell_diameter_px, a.model, a.engine
    FROM images AS i
    LEFT JOIN newest_analyses AS a ON a.image_id = i.id AND i.status = 'done'
    LEFT JOIN reviews AS r ON r.image_id = i.id AND i.status = 'done';

CREATE VIEW cell_results AS
    SELECT a.image_id, c.cell_id, c.x, c.y, c.area_px, c.nucleus_area_px, c.cytoplasm_area_px, c.nc_ratio,
           c.touches_edge, c.confidence, 'automatic' AS source
    FROM newest_analyses AS a JOIN cells AS c ON c.analysis_id = a.id JOIN images AS i ON i.id = a.image_id
    WHERE +i.status = 'done' AND NOT EXISTS (SELECT 1 FROM reviews AS r WHERE r.image_id = a.image_id)
    UNION ALL
    SELECT r.image_id, c.cell_id, c.x, c.y, c.area_px, c.nucleus_area_px, c.cytoplasm_area_px, c.nc_ratio,
           c.touches_edge, c.confidence, c.source
    FROM reviews AS r JOIN reviewed_cells AS c ON c.correction_id = r.id JOIN images AS i ON i.id = r.image_id
    WHERE NOT r.rejected AND +i.status = 'done';
"""


def upgrade() -> None:
    for view in ("cell_results", "image_results"):
        op.execute(f"DROP VIEW {view}")
    for statement in filter(str.strip, _VIEWS.split(";")):
        op.execute(statement)
