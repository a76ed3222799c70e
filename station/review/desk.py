"""What every page needs: the database, the settings, the pictures, and who sits here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from zoneinfo import ZoneInfo

from station.database.review_records import ReviewLine
from station.database.store import Store
from station.review.pages import render
from station.review.pictures import Pictures
from station.settings import Settings


@dataclass(frozen=True, slots=True)
class Desk:
    """Handed to every page."""

    store: Store
    settings: Settings
    pictures: Pictures
    who: str  # the name that a page proposes; empty where everybody says their own
    secret: str  # given to each page, which gives it back with all that it sends
    version: str  # of this package

    @property
    def zone(self) -> ZoneInfo:
        return self.settings.report.zone

    def page(self, template: str, told: Mapping[str, object]) -> str:
        """A whole page."""
        own = {"zone": self.zone, "who": self.who, "secret": self.secret, "version": self.version}
        return render(template, **own, **told)


def name_of(path: str) -> str:
    """The file's own name, whatever system its path comes from."""
    return PurePath(path).name or path


def count_of(line: ReviewLine) -> int | None:
    """What an image counts now; None where it was not counted."""
    return line.wbc_count if line.wbc_count_reviewed is None else line.wbc_count_reviewed
