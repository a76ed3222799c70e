"""Names under the numbers of slides and days. Each function is part of one transaction of the store."""

from __future__ import annotations

from dataclasses import astuple
from datetime import datetime
from typing import cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from station.database.review_records import NewSignature, Signature, SignedImage, Subject
from station.database.tables import SignatureRow


def append(session: Session, new: NewSignature, now: datetime) -> Signature:
    """Write a name down. What was signed before stays."""
    row = SignatureRow(
        subject=new.subject,
        name=new.name,
        who=new.who,
        signed_at=now,
        numbers=new.numbers,
        models=list(new.models),
        images=[list(astuple(image)) for image in new.images],
        digest=new.digest,
    )
    session.add(row)
    session.flush()
    return _stored(row)


def listed(session: Session, subject: Subject, name: str) -> tuple[Signature, ...]:
    """Every signature under a slide or a day, the oldest first."""
    own = select(SignatureRow).where(SignatureRow.subject == subject, SignatureRow.name == name)
    return tuple(map(_stored, session.scalars(own.order_by(SignatureRow.id))))


def _stored(row: SignatureRow) -> Signature:
    return Signature(
        signature_id=row.id,
        subject=cast(Subject, row.subject),
        name=row.name,
        who=row.who,
        signed_at=row.signed_at,
        numbers=row.numbers,
        models=tuple(row.models),
        images=tuple(SignedImage(*image) for image in row.images),
        digest=row.digest,
    )
