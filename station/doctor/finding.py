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


def size(count: float) -> str:
    """Bytes in words, in decimal units."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"


def times(count: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
