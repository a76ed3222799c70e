"""The rows. Times are UTC in ISO 8601 with microseconds, so that text sorts as time does."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, Dialect, ForeignKey, Index, Text, TypeDecorator, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Utc(TypeDecorator[datetime]):
    """An aware moment as ISO 8601 text in UTC."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        return None if value is None else value.astimezone(UTC).isoformat(timespec="microseconds")

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:
        return None if value is None else datetime.fromisoformat(value)


class Row(DeclarativeBase):
    """What all tables have in common."""

    type_annotation_map = {datetime: Utc, dict[str, Any]: JSON, list[str]: JSON}  # noqa: RUF012


class Image(Row):
    """One content. A file that never was a whole picture is a row without analyses, replaced once it is one."""

    __tablename__ = "images"
    __table_args__ = (
        Index("images_by_status", "status", "attempts", "id"),
        Index("images_by_capture", "captured_at"),
        Index("images_by_arrival", "ingested_at"),
        Index("images_by_slide", "slide", "captured_at"),
        {"sqlite_autoincrement": True},  # an id is never used twice: it is the order of arrival
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    path: Mapped[str]
    sha256: Mapped[str | None] = mapped_column(unique=True)
    slide: Mapped[str]
    captured_at: Mapped[datetime]
    ingested_at: Mapped[datetime]
    status: Mapped[str]
    reason: Mapped[str | None]
    since: Mapped[datetime]  # of the status
    attempts: Mapped[int] = mapped_column(default=0)
    deaths: Mapped[int] = mapped_column(default=0)  # of the station, while this image was alone in work
    worker: Mapped[str | None]
    next_attempt_at: Mapped[datetime | None]
    clock_differs: Mapped[bool] = mapped_column(default=False)  # captured_at and the station's clock do not agree

    paths: Mapped[list[ImagePath]] = relationship(cascade="all, delete-orphan", passive_deletes=True)


class ImagePath(Row):
    """A name under which a content was seen."""

    __tablename__ = "image_paths"

    image_id: Mapped[int] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"), primary_key=True)
    path: Mapped[str] = mapped_column(primary_key=True)
    first_seen: Mapped[datetime]


class File(Row):
    """What a path holds now: a cache that saves opening known files, and the record of whether events work."""

    __tablename__ = "files"

    path: Mapped[str] = mapped_column(primary_key=True)
    size: Mapped[int]
    mtime_ns: Mapped[int]
    inode: Mapped[int]
    born_ns: Mapped[int | None]  # where the file system knows it
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id"), index=True)
    rung: Mapped[bool]
    next_look_at: Mapped[datetime | None]
    former_id: Mapped[int | None]  # the picture that it held before it was changed in place, while it holds none

    image: Mapped[Image] = relationship()


class AttemptRow(Row):
    """An image handed out for analysis. The outcome is missing while it is under way."""

    __tablename__ = "attempts"

    image_id: Mapped[int] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)  # 1 for the first, also of those that were given back
    worker: Mapped[str]
    begun_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str | None]
    reason: Mapped[str | None]
    package_version: Mapped[str]


class Analysis(Row):
    """One run of a model over an image. Never overwritten; the newest counts."""

    __tablename__ = "analyses"
    __table_args__ = (UniqueConstraint("image_id", "model_sha256", "settings_sha256", "cell_diameter_px"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id"))
    created_at: Mapped[datetime]
    model_sha256: Mapped[str]
    model: Mapped[str]
    engine: Mapped[str]
    settings_sha256: Mapped[str]
    package_version: Mapped[str]
    cell_diameter_px: Mapped[float]
    cell_diameter_source: Mapped[str]
    flags: Mapped[list[str]]
    seconds: Mapped[dict[str, Any]]
    quality: Mapped[dict[str, Any]] = mapped_column(default=dict)  # of the picture: focus, light, stain
    width: Mapped[int]
    height: Mapped[int]
    wbc_count: Mapped[int]
    wbc_count_inside: Mapped[int]


class Measured:
    """The columns of a white cell, whoever drew it."""

    cell_id: Mapped[int] = mapped_column(primary_key=True)
    x: Mapped[float]
    y: Mapped[float]
    bbox_x: Mapped[int]
    bbox_y: Mapped[int]
    bbox_w: Mapped[int]
    bbox_h: Mapped[int]
    area_px: Mapped[int]
    nucleus_area_px: Mapped[int]
    cytoplasm_area_px: Mapped[int]
    nc_ratio: Mapped[float | None]
    touches_edge: Mapped[bool]
    confidence: Mapped[float]
    flags: Mapped[list[str]] = mapped_column(default=list)


class CellRow(Measured, Row):
    """One white cell of an analysis."""

    __tablename__ = "cells"

    analysis_id: Mapped[int] = mapped_column(ForeignKey("analyses.id", ondelete="CASCADE"), primary_key=True)


class MaskRow(Row):
    """The masks of an analysis as PNG, apart from it so that lists stay small."""

    __tablename__ = "masks"

    analysis_id: Mapped[int] = mapped_column(ForeignKey("analyses.id", ondelete="CASCADE"), primary_key=True)
    labels_png: Mapped[bytes]
    cells_png: Mapped[bytes]


class FingerprintRow(Row):
    """By what a field is recognised among others of its slide."""

    __tablename__ = "fingerprints"

    image_id: Mapped[int] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[int]
    jpeg: Mapped[bytes]


class OverlapRow(Row):
    """Two fields that show the same place; what their pixels say, whether they count or not."""

    __tablename__ = "overlaps"
    __table_args__ = (Index("overlaps_by_earlier", "earlier_id"),)

    image_id: Mapped[int] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"), primary_key=True)
    earlier_id: Mapped[int] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"), primary_key=True)
    shift_x: Mapped[float]
    shift_y: Mapped[float]
    shared: Mapped[float]
    certainty: Mapped[float]


class CorrectionRow(Row):
    """What a person said of an image, and its counts after it. Appended, never changed."""

    __tablename__ = "corrections"
    __table_args__ = (UniqueConstraint("image_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id"))
    analysis_id: Mapped[int] = mapped_column(ForeignKey("analyses.id"), index=True)  # whose masks it began from
    seen_analysis_id: Mapped[int] = mapped_column(ForeignKey("analyses.id"), index=True)  # the newest that was seen
    number: Mapped[int]
    made_at: Mapped[datetime]
    who: Mapped[str]
    why: Mapped[str]
    kind: Mapped[str]
    detail: Mapped[dict[str, Any]]
    stands: Mapped[int]  # number of the correction that is in force after it; 0: none, all were withdrawn
    changed: Mapped[bool]
    rejected: Mapped[bool]
    wbc_count: Mapped[int]
    wbc_count_inside: Mapped[int]


class ReviewedCellRow(Measured, Row):
    """One white cell as it was after a correction."""

    __tablename__ = "reviewed_cells"

    correction_id: Mapped[int] = mapped_column(ForeignKey("corrections.id", ondelete="CASCADE"), primary_key=True)
    source: Mapped[str]


class ReviewedMaskRow(Row):
    """The masks after a correction; none where the automatic ones had been pruned before."""

    __tablename__ = "reviewed_masks"

    correction_id: Mapped[int] = mapped_column(ForeignKey("corrections.id", ondelete="CASCADE"), primary_key=True)
    labels_png: Mapped[bytes]
    cells_png: Mapped[bytes]


class SignatureRow(Row):
    """A person's name under the numbers of a slide or a day. Appended, never changed."""

    __tablename__ = "signatures"
    __table_args__ = (Index("signatures_by_subject", "subject", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    subject: Mapped[str]
    name: Mapped[str]
    who: Mapped[str]
    signed_at: Mapped[datetime]
    numbers: Mapped[dict[str, Any]]
    models: Mapped[list[str]]
    images: Mapped[list[Any]] = mapped_column(JSON)  # what each image counted: the digest is taken over this
    digest: Mapped[str]


class ModelRow(Row):
    """An installed bundle."""

    __tablename__ = "models"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    sha256: Mapped[str] = mapped_column(unique=True)
    path: Mapped[str]
    description: Mapped[str]
    installed_at: Mapped[datetime]


class Activation(Row):
    """When a model began to count. The last one that was not taken back is the active one."""

    __tablename__ = "activations"

    id: Mapped[int] = mapped_column(primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    activated_at: Mapped[datetime]
    rolled_back_at: Mapped[datetime | None]

    model: Mapped[ModelRow] = relationship(lazy="joined")


class EngineTrialRow(Row):
    """What an engine in one precision came to with a model on this machine; the newest trial alone."""

    __tablename__ = "engine_trials"

    model_sha256: Mapped[str] = mapped_column(primary_key=True)
    engine: Mapped[str] = mapped_column(primary_key=True)
    precision: Mapped[str] = mapped_column(primary_key=True)
    threads: Mapped[int]
    found: Mapped[str]
    milliseconds: Mapped[float | None]
    cell_dice: Mapped[float | None]
    refusal: Mapped[str | None]
    tried_at: Mapped[datetime]


class FactRow(Row):
    """What the station remembers about itself, by name."""

    __tablename__ = "facts"

    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[Any] = mapped_column(JSON)
    recorded_at: Mapped[datetime]
