"""How engines came out with a model on this machine. Each function is part of one transaction of the store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from station.database.records import EngineTrial
from station.database.tables import EngineTrialRow


def replace(session: Session, model_sha256: str, trials: Iterable[EngineTrial], now: datetime) -> None:
    """These trials instead of all earlier ones of the model."""
    session.execute(delete(EngineTrialRow).where(EngineTrialRow.model_sha256 == model_sha256))
    session.add_all(EngineTrialRow(model_sha256=model_sha256, tried_at=now, **asdict(trial)) for trial in trials)


def listed(session: Session, model_sha256: str) -> tuple[EngineTrial, ...]:
    """The trials of a model, by name."""
    rows = session.scalars(
        select(EngineTrialRow)
        .where(EngineTrialRow.model_sha256 == model_sha256)
        .order_by(EngineTrialRow.engine, EngineTrialRow.precision)
    )
    return tuple(
        EngineTrial(
            engine=row.engine,
            precision=row.precision,
            threads=row.threads,
            found=row.found,
            milliseconds=row.milliseconds,
            cell_dice=row.cell_dice,
            refusal=row.refusal,
        )
        for row in rows
    )
