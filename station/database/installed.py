"""Which models are installed and which one counts. Each function is part of one transaction of the store."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from station.contract.errors import DatabaseError
from station.database.records import StoredModel
from station.database.tables import Activation, ModelRow


def add(session: Session, name: str, sha256: str, path: str, description: str, now: datetime) -> StoredModel:
    """A new row, or the one that exists for this content, with its file as it is now."""
    row = session.scalar(select(ModelRow).where(ModelRow.sha256 == sha256))
    if row is None:
        row = ModelRow(name=name, sha256=sha256, path=path, description=description, installed_at=now)
        session.add(row)
    row.path = path
    session.flush()
    return _stored(row)


def activate(session: Session, model_id: int, now: datetime) -> None:
    """Count with this model; nothing changes where it is the active one already."""
    if session.get(ModelRow, model_id) is None:
        raise DatabaseError(f"there is no installed model {model_id}")
    current = _last(session)
    if current is None or current.model_id != model_id:
        session.add(Activation(model_id=model_id, activated_at=now))


def roll_back(session: Session, now: datetime) -> StoredModel:
    """Take back the last activation. Raises DatabaseError where no earlier model was active."""
    current = _last(session)
    if current is not None:
        current.rolled_back_at = now
        session.flush()
    before = _last(session)
    if before is None:
        raise DatabaseError("there is no earlier model to go back to")
    return _stored(before.model)


def active(session: Session) -> StoredModel | None:
    """The model that counts."""
    last = _last(session)
    return _stored(last.model) if last else None


def listed(session: Session) -> list[StoredModel]:
    """All installed models in the order of their installation."""
    return [_stored(row) for row in session.scalars(select(ModelRow).order_by(ModelRow.id))]


def _last(session: Session) -> Activation | None:
    valid = select(Activation).where(Activation.rolled_back_at.is_(None))
    return session.scalar(valid.order_by(Activation.id.desc()).limit(1))


def _stored(row: ModelRow) -> StoredModel:
    return StoredModel(row.id, row.name, row.sha256, row.path, row.description, row.installed_at)
