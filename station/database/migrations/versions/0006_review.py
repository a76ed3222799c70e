"""What people say of images and under what they put their names; readers see corrected counts and cells."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# A correction that stands counts for its image: the newest, unless all were withdrawn.
_VIEWS = """
CREATE VIEW reviews AS
    SELECT * FROM corrections AS c
    WHERE c.stands > 0 AND c.number = (SELECT max(number) FROM corrections AS d WHERE d.image_id = c.image_id);

CREATE VIEW image_results AS
    SELECT i.id AS image_id, i.path, i.sha256, i.slide, i.captured_at, i.ingested_at, i.status, i.reason,
           a.wbc_count, a.wbc_count_inside, r.wbc_count AS wbc_count_reviewed, a.flags,
           a.cell_diameter_px, a.model, a.engine
    FROM images AS i
    LEFT JOIN newest_analyses AS a ON a.image_id = i.id
    LEFT JOIN reviews AS r ON r.image_id = i.id;

CREATE VIEW cell_results AS
    SELECT a.image_id, c.cell_id, c.x, c.y, c.area_px, c.nucleus_area_px, c.cytoplasm_area_px, c.nc_ratio,
           c.touches_edge, c.confidence, 'automatic' AS source
    FROM newest_analyses AS a JOIN cells AS c ON c.analysis_id = a.id
    WHERE NOT EXISTS (SELECT 1 FROM reviews AS r WHERE r.image_id = a.image_id)
    UNION ALL
    SELECT r.image_id, c.cell_id, c.x, c.y, c.area_px, c.nucleus_area_px, c.cytoplasm_area_px, c.nc_ratio,
           c.touches_edge, c.confidence, c.source
    FROM reviews AS r JOIN reviewed_cells AS c ON c.correction_id = r.id
    WHERE NOT r.rejected;
"""


def upgrade() -> None:
    _corrections()
    _states()
    _signatures()
    op.create_index("images_by_slide", "images", ["slide"])
    for view in ("cell_results", "image_results"):
        op.execute(f"DROP VIEW {view}")
    for statement in filter(str.strip, _VIEWS.split(";")):
        op.execute(statement)


def _corrections() -> None:
    op.create_table(
        "corrections",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("image_id", sa.Integer, sa.ForeignKey("images.id"), nullable=False),
        *(_analysis(name) for name in ("analysis_id", "seen_analysis_id")),
        _whole("number"),
        *map(_text, ("made_at", "who", "why", "kind")),
        sa.Column("detail", sa.JSON, nullable=False),
        _whole("stands"),
        *map(_truth, ("changed", "rejected")),
        *map(_whole, ("wbc_count", "wbc_count_inside")),
        sa.UniqueConstraint("image_id", "number"),
    )


def _states() -> None:
    op.create_table(
        "reviewed_cells",
        _of_correction(),
        sa.Column("cell_id", sa.Integer, primary_key=True),
        *map(_real, ("x", "y")),
        *map(_whole, ("bbox_x", "bbox_y", "bbox_w", "bbox_h", "area_px", "nucleus_area_px", "cytoplasm_area_px")),
        sa.Column("nc_ratio", sa.Double),
        _truth("touches_edge"),
        _real("confidence"),
        sa.Column("flags", sa.JSON, nullable=False),
        _text("source"),
    )
    op.create_table(
        "reviewed_masks",
        _of_correction(),
        sa.Column("labels_png", sa.LargeBinary, nullable=False),
        sa.Column("cells_png", sa.LargeBinary, nullable=False),
    )


def _signatures() -> None:
    op.create_table(
        "signatures",
        sa.Column("id", sa.Integer, primary_key=True),
        *map(_text, ("subject", "name", "who", "signed_at")),
        *(sa.Column(name, sa.JSON, nullable=False) for name in ("numbers", "models", "images")),
        _text("digest"),
    )
    op.create_index("signatures_by_subject", "signatures", ["subject", "name"])


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def _whole(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=False)


def _real(name: str) -> sa.Column[float]:
    return sa.Column(name, sa.Double, nullable=False)


def _truth(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean, nullable=False)


def _analysis(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, sa.ForeignKey("analyses.id"), nullable=False, index=True)


def _of_correction() -> sa.Column[int]:
    return sa.Column("correction_id", sa.Integer, sa.ForeignKey("corrections.id", ondelete="CASCADE"), primary_key=True)
