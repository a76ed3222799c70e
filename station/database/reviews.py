"""The part of the store's door that people go through who look at results, correct and sign them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from station.database import corrections, gallery, signatures
from station.database.gallery import Sieve, SlideLine
from station.database.records import StoredCorrection
from station.database.review_records import (
    NewCorrection,
    NewSignature,
    Reviewed,
    ReviewLine,
    Scope,
    Signature,
    Subject,
)
from station.database.transactions import Transactions


class Reviews(Transactions):
    """Corrections and signatures; both are appended, never changed."""

    def append_correction(self, new: NewCorrection) -> StoredCorrection | None:
        """A correction with the state after it; None where the image was corrected or analysed meanwhile."""
        with self._writing() as session:
            return corrections.append(session, new, self._clock())

    def corrections(self, image_id: int) -> tuple[StoredCorrection, ...]:
        """All corrections of an image, the oldest first."""
        with self._reading() as session:
            return corrections.listed(session, image_id)

    def reviewed(self, image_id: int, at: int | None = None) -> Reviewed | None:
        """An image as it counts now, or as it was after its correction `at` (0: the newest automatic result).

        None where there is no such image, or no analysis of it.
        """
        with self._reading() as session:
            return corrections.reviewed(session, image_id, at)

    def review_lines(self, scope: Scope) -> tuple[ReviewLine, ...]:
        """The images of a slide or a time with what they count, in the order of their capture."""
        with self._reading() as session:
            return corrections.lines(session, scope)

    def sign(self, scope: Scope, seal: Callable[[tuple[ReviewLine, ...]], NewSignature]) -> Signature:
        """What `seal` makes of the images as they are at this moment; whatever it raises, nothing is written."""
        with self._writing() as session:
            return signatures.append(session, seal(corrections.lines(session, scope)), self._clock())

    def signatures(self, subject: Subject, name: str) -> tuple[Signature, ...]:
        """Every signature under a slide or a day (YYYY-MM-DD), the oldest first."""
        with self._reading() as session:
            return signatures.listed(session, subject, name)

    # To leaf through

    def gallery(self, sieve: Sieve, most: int, before: int | None = None) -> tuple[ReviewLine, ...]:
        """Up to `most` images, the last arrival first; only those that arrived before image `before`."""
        with self._reading() as session:
            return gallery.newest(session, sieve, most, before)

    def gallery_after(self, sieve: Sieve, most: int, image_id: int) -> tuple[ReviewLine, ...]:
        """Up to `most` images that arrived next after an image, the first of them first."""
        with self._reading() as session:
            return gallery.after(session, sieve, most, image_id)

    def least_confidences(self, image_ids: Iterable[int]) -> dict[int, float]:
        """Of each of these images that has a cell, the confidence of its least certain one, 0..1."""
        with self._reading() as session:
            return gallery.least_confidences(session, image_ids)

    def slides(self, most: int) -> tuple[SlideLine, ...]:
        """The slides, that with the newest image first."""
        with self._reading() as session:
            return gallery.slides(session, most)

    def hours(self, most: int) -> tuple[datetime, ...]:
        """The hours of UTC in which images were captured, the latest first."""
        with self._reading() as session:
            return gallery.hours(session, most)

    def known_flags(self) -> tuple[str, ...]:
        """The flags that images had lately, by name."""
        with self._reading() as session:
            return gallery.flags(session)
