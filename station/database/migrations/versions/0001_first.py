"""The first schema: images and the files that hold them, analyses with cells and masks, models, facts, public views."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# The rows that are promised to readers. The newest analysis of an image counts.
_VIEWS = """
CREATE VIEW newest_analyses AS
    SELECT * FROM analyses AS a WHERE a.id = (SELECT max(id) FROM analyses AS b WHERE b.image_id = a.image_id);

CREATE VIEW image_results AS
    SELECT i.id AS image_id, i.path, i.sha256, i.slide, i.captured_at, i.ingested_at, i.status, i.reason,
           a.wbc_count, a.wbc_count_inside, CAST(NULL AS INTEGER) AS wbc_count_reviewed, a.flags,
           a.cell_diameter_px, a.model, a.engine
    FROM images AS i LEFT JOIN newest_analyses AS a ON a.image_id = i.id;

CREATE VIEW cell_results AS
    SELECT a.image_id, c.cell_id, c.x, c.y, c.area_px, c.nucleus_area_px, c.cytoplasm_area_px, c.nc_ratio,
           c.touches_edge, c.confidence, 'automatic' AS source
    FROM newest_analyses AS a JOIN cells AS c ON c.analysis_id = a.id;
"""


def upgrade() -> None:
    _intake()
    _results()
    _station()
    for statement in filter(str.strip, _VIEWS.split(";")):
        op.execute(statement)


def _intake() -> None:
    op.create_table(
        "images",
        sa.Column("id", sa.Integer, primary_key=True),
        _text("path"),
        _text("sha256", nullable=True),
        _text("slide"),
        _text("captured_at"),
        _text("ingested_at"),
        _text("status"),
        _text("reason", nullable=True),
        _text("since"),
        *map(_whole, ("attempts", "deaths")),
        _text("worker", nullable=True),
        _text("next_attempt_at", nullable=True),
        sa.UniqueConstraint("sha256"),
        sqlite_autoincrement=True,
    )
    op.create_index("images_by_status", "images", ["status", "attempts", "id"])
    op.create_index("images_by_capture", "images", ["captured_at"])
    op.create_index("images_by_arrival", "images", ["ingested_at"])
    op.create_table(
        "image_paths",
        sa.Column("image_id", sa.Integer, sa.ForeignKey("images.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("path", sa.Text, primary_key=True),
        _text("first_seen"),
    )
    op.create_table(
        "files",
        sa.Column("path", sa.Text, primary_key=True),
        *map(_whole, ("size", "mtime_ns", "inode")),
        sa.Column("image_id", sa.Integer, sa.ForeignKey("images.id"), nullable=False, index=True),
        sa.Column("rung", sa.Boolean, nullable=False),
        _text("next_look_at", nullable=True),
    )


def _results() -> None:
    op.create_table(
        "analyses",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("image_id", sa.Integer, sa.ForeignKey("images.id"), nullable=False),
        *map(_text, ("created_at", "model_sha256", "model", "engine", "settings_sha256", "package_version")),
        _real("cell_diameter_px"),
        _text("cell_diameter_source"),
        sa.Column("flags", sa.JSON, nullable=False),
        sa.Column("seconds", sa.JSON, nullable=False),
        *map(_whole, ("width", "height", "wbc_count", "wbc_count_inside")),
        sa.UniqueConstraint("image_id", "model_sha256", "settings_sha256", "cell_diameter_px"),
    )
    op.create_table(
        "cells",
        _of_analysis(),
        sa.Column("cell_id", sa.Integer, primary_key=True),
        *map(_real, ("x", "y")),
        *map(_whole, ("bbox_x", "bbox_y", "bbox_w", "bbox_h", "area_px", "nucleus_area_px", "cytoplasm_area_px")),
        sa.Column("nc_ratio", sa.Double),
        sa.Column("touches_edge", sa.Boolean, nullable=False),
        _real("confidence"),
    )
    op.create_table(
        "masks",
        _of_analysis(),
        sa.Column("labels_png", sa.LargeBinary, nullable=False),
        sa.Column("cells_png", sa.LargeBinary, nullable=False),
    )


def _station() -> None:
    op.create_table(
        "models",
        sa.Column("id", sa.Integer, primary_key=True),
        *map(_text, ("name", "sha256", "path", "description", "installed_at")),
        sa.UniqueConstraint("sha256"),
    )
    op.create_table(
        "activations",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("model_id", sa.Integer, sa.ForeignKey("models.id"), nullable=False),
        _text("activated_at"),
        _text("rolled_back_at", nullable=True),
    )
    op.create_table(
        "facts",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.JSON, nullable=False),
        _text("recorded_at"),
    )


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=nullable)


def _whole(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=False)


def _real(name: str) -> sa.Column[float]:
    return sa.Column(name, sa.Double, nullable=False)


def _of_analysis() -> sa.Column[int]:
    return sa.Column("analysis_id", sa.Integer, sa.ForeignKey("analyses.id", ondelete="CASCADE"), primary_key=True)
