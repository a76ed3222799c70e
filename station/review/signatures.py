"""Signing: what stands in the way, what would be signed, and what was changed since it was."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from station.contract.errors import CorrectionError
from station.database.review_records import ReviewLine, Subject
from station.review.desk import Desk, name_of
from station.review.gallery import days
from station.signing import SignatureState, numbers, scope_of, seen_of, sign, signature_state

_SLIDES, _DAYS = 100, 31  # in the list
_MOST_IN_THE_WAY = 200  # images that are named
_NUMBER = re.compile(r"^image (\d+): ")


@dataclass(frozen=True, slots=True)
class Blocker:
    """An image that keeps its slide or day from being signed."""

    image_id: int
    name: str
    words: str


def list_page(desk: Desk) -> str:
    """Slides and days, and which of them are signed."""
    slides = desk.store.slides(_SLIDES)
    told = {
        "slides": [(one.name, one.images, _state(desk, "slide", one.name)) for one in slides],
        "days": [(f"{day}", _state(desk, "day", f"{day}")) for day in days(desk)[:_DAYS]],
    }
    return desk.page("signatures", told)


def subject_of(told: Mapping[str, str]) -> tuple[Subject, str]:
    """(`slide` or `day`, its name) as an address says it. Raises CorrectionError where it says neither, or both."""
    given: list[tuple[Subject, str]] = [(one, told[one]) for one in ("slide", "day") if told.get(one)]
    if len(given) != 1:
        raise CorrectionError("say a slide or a day")
    return given[0]


def sign_page(desk: Desk, subject: Subject, name: str, problem: str = "") -> str:
    """What a signature would stand under. Raises CorrectionError for no day."""
    lines = desk.store.review_lines(scope_of(subject, name, desk.zone))
    state = _state(desk, subject, name)
    in_the_way = _in_the_way(lines)
    told = {
        "subject": subject,
        "name": name,
        "state": state,
        "differs": [_with_number(line) for line in state.differs],
        "numbers": numbers(lines),
        "models": sorted({line.model for line in lines if line.model and line.status == "done"}),
        "blockers": in_the_way[:_MOST_IN_THE_WAY],
        "blocked": len(in_the_way),
        "seen": seen_of(lines),
        "signatures": desk.store.signatures(subject, name)[::-1],
        "problem": problem,
    }
    return desk.page("sign", told)


def signed(desk: Desk, subject: Subject, name: str, told: Mapping[str, Any]) -> None:
    """Sign what the page showed. Raises CorrectionError where that is not so any more, or something is in the way."""
    sign(desk.store, subject, name, str(told.get("who", "")), desk.zone, seen=str(told.get("seen", "")))


def _state(desk: Desk, subject: Subject, name: str) -> SignatureState:
    return signature_state(desk.store, subject, name, desk.zone)


def _in_the_way(lines: Sequence[ReviewLine]) -> list[Blocker]:
    marked = [Blocker(line.image_id, name_of(line.path), "marked for review") for line in lines if line.marked]
    open_ones = (line for line in lines if line.status in ("waiting", "queued", "leased") and not line.marked)
    return marked + [Blocker(line.image_id, name_of(line.path), f"{line.status}, not counted") for line in open_ones]


def _with_number(line: str) -> tuple[int | None, str]:
    """A line that tells a change, and the number of its image."""
    found = _NUMBER.match(line)
    return (int(found[1]), line[found.end() :]) if found else (None, line)
