"""What every check answers with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Verdict: TypeAlias = Literal["good", "warning", "fault"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence and how grave it is: a fault keeps the station from counting, a warning from counting well."""

    check: str  # one word, the same for all findings of a check
    verdict: Verdict
    sentence: str
    advice: str = ""  # what to do
