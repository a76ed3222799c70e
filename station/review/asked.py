"""Which images a page is about: what stands in its address."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from station.contract.errors import CorrectionError
from station.database.gallery import Sieve
from station.database.review_records import Between, Slide
from station.signing import scope_of


@dataclass(frozen=True, slots=True)
class Asked:
    """The filter of the gallery; an empty word lets all images pass."""

    day: str = ""  # local, YYYY-MM-DD
    slide: str = ""
    flag: str = ""
    marked: bool = False
    below: float | None = None  # least confidence, 0..1

    @classmethod
    def of(cls, told: Mapping[str, str]) -> Self:
        """Raises CorrectionError where the confidence is no number."""
        words = {name: told.get(name, "").strip() for name in ("day", "flag")}
        return cls(slide=told.get("slide", ""), marked=told.get("marked") == "1", below=_share(told), **words)

    def sieve(self, zone: ZoneInfo) -> Sieve:
        """For the database. Raises CorrectionError for no day."""
        within = scope_of("day", self.day, zone) if self.day else None
        return Sieve(
            slide=Slide(self.slide) if self.slide else None,
            within=within if isinstance(within, Between) else None,
            flag=self.flag or None,
            marked=self.marked,
            below=self.below,
        )

    def query(self, **more: object) -> str:
        """As it stands in an address, with its question mark; nothing where there is nothing to say."""
        own = {
            "day": self.day,
            "slide": self.slide,
            "flag": self.flag,
            "marked": "1" if self.marked else "",
            "below": "" if self.below is None else f"{self.below:g}",
        }
        told = urlencode({name: value for name, value in (own | more).items() if value not in ("", None)})
        return f"?{told}" if told else ""


def _share(told: Mapping[str, str]) -> float | None:
    text = told.get("below", "").strip()
    if not text:
        return None
    try:
        value = float(text.replace(",", "."))
    except ValueError as cause:
        raise CorrectionError(f"'{text}' is no confidence; say a number from 0 to 1") from cause
    if not math.isfinite(value):
        raise CorrectionError(f"'{text}' is no confidence; say a number from 0 to 1")
    return value
