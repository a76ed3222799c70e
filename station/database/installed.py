"""Which models are installed and which one counts. Each function is part of one transaction of the store."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from station.contract.errors import DatabaseError
from station.database.records import StoredModel
from station.database.tables import Activation, ModelRow

_VALID = select(Activation).where(Activation.rolled_back_at.is_(None)).order_by(Activation.id.desc())


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


def roll_back(session: Session, now: datetime, model_id: int | None = None) -> StoredModel:
    """Take back the last activation, or all since that of this model.

    Raises DatabaseError where no earlier one was active.
    """
    valid = list(session.scalars(_VALID))
    reached = next((one for one in valid[1:] if model_id in (None, one.model_id)), None)
    if reached is None:
        raise DatabaseError("there is no earlier model to go back to")
    for one in valid:
        if one.id > reached.id:
            one.rolled_back_at = now
    return _stored(reached.model)


def earlier(session: Session) -> tuple[StoredModel, ...]:
    """The models that were active before, the last one first, each once."""
    found = [_stored(one.model) for one in session.scalars(_VALID)]
    return tuple(dict.fromkeys(one for one in found[1:] if one != found[0]))


def active(session: Session) -> StoredModel | None:
    """The model that counts."""
    last = _last(session)
    return _stored(last.model) if last else None


def listed(session: Session) -> list[StoredModel]:
    """All installed models in the order of their installation."""
    return [_stored(row) for row in session.scalars(select(ModelRow).order_by(ModelRow.id))]


def _last(session: Session) -> Activation | None:
    return session.scalar(_VALID.limit(1))


def _stored(row: ModelRow) -> StoredModel:
    return StoredModel(row.id, row.name, row.sha256, row.path, row.description, row.installed_at)
