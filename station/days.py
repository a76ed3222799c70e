"""Local days: a report, a signature and a baseline go from midnight to midnight of the station's zone."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

REACH = date(1677, 1, 1), date(2262, 12, 31)  # a file's time is 64 bits of nanoseconds around 1970


def bounds(first: date, last: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Local midnight of `first` to local midnight after `last`: 23 or 25 hours where the clock is changed."""
    return (
        datetime.combine(first, time.min, tzinfo=zone),
        datetime.combine(last + timedelta(days=1), time.min, tzinfo=zone),
    )


def in_reach(day: date) -> bool:
    """Whether a report of this day can be made: calendars and zones end somewhere."""
    return REACH[0] <= day <= REACH[1]


def clock_words(local: datetime, style: str) -> str:
    """A moment in the station's zone, by `strftime`; in the hour that a changed clock repeats with the time's name."""
    twice = local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()
    return local.strftime(f"{style} %Z" if twice else style)


def days_in_words(first: date, last: date) -> str:
    """One day, or two with 'to' between."""
    return f"{first:%Y-%m-%d}" if first == last else f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"
