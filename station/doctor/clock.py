"""The clocks of the station and of the camera."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from station.database.arrivals import Arrivals
from station.doctor.finding import Finding
from station.printing import plural
from station.settings import Report
from station.vitals import CLOCKS_AGREE

_SLACK = timedelta(minutes=1)  # a station that runs meanwhile takes in pictures after the checks began


def examine_clock(synchronised: bool | None, now: datetime, trouble: str | None = None) -> Iterator[Finding]:
    """Whether something keeps this machine's clock right; `trouble`: what the running station saw of it."""
    shown = f"the clock says {now.isoformat(sep=' ', timespec='seconds')}"
    if trouble:
        yield Finding("clock", "warning", trouble, "keep the clock right; look over the reports of that day")
    if synchronised:
        yield Finding("clock", "good", f"{shown} and is kept right")
    elif synchronised is None:
        yield Finding("clock", "warning", f"{shown}; whether it is kept right cannot be seen", "ask timedatectl")
    else:
        advice = "timedatectl set-ntp true, or name a time server of the house in /etc/systemd/timesyncd.conf"
        yield Finding("clock", "warning", f"{shown}, and nothing keeps it right", advice)


def examine_moments(arrivals: Arrivals, now: datetime) -> Iterator[Finding]:
    """Whether pictures came from the future, as this clock sees it."""
    if arrivals.last_at is not None and arrivals.last_at > now + _SLACK:
        yield Finding(
            "moments",
            "warning",
            f"a picture was taken in at {arrivals.last_at:%Y-%m-%d %H:%M} UTC, which is still to come: the clock was "
            "set back, or was wrong then",
            "set the clock right; reports go by when a picture was captured",
        )
    ahead = [a.captured_at - a.ingested_at for a in arrivals.newest if a.captured_at - a.ingested_at > CLOCKS_AGREE]
    if ahead:
        yield Finding(
            "moments",
            "warning",
            f"{len(ahead)} of the last {plural(len(arrivals.newest), 'file')} were captured after they were taken in, "
            f"by up to {max(ahead) // timedelta(minutes=1)} minutes",
            "set the clock of the camera's PC, and report.time_zone to the zone that it shows",
        )


def examine_zone(report: Report, now: datetime, utc_offset: timedelta) -> Finding:
    """Whose midnights divide the days."""
    sentence = f"days are those of {report.time_zone}, where it is {now.astimezone(report.zone):%H:%M}"
    if report.time_zone == "UTC" and utc_offset:
        hours = utc_offset / timedelta(hours=1)
        advice = "name the laboratory's zone in report.time_zone"
        return Finding("zone", "warning", f"{sentence}; this machine's own are {hours:+g} h from that", advice)
    return Finding("zone", "good", sentence)
