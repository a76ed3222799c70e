"""Whether a station runs, and what it left undone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from station.database.lock import is_station
from station.database.records import OpenItem
from station.doctor.finding import Finding
from station.printing import plural

_LONGEST = timedelta(days=1)
_LIST = "`station status` lists them with their reasons"


def examine_running(running: str | None) -> Finding:
    """Whether somebody counts."""
    if running is None:
        advice = "systemctl start station, or `station run`"
        return Finding("running", "warning", "no station runs on this database", advice)
    if not is_station(running):
        advice = "start the station when that has ended"
        return Finding("running", "warning", f"no station may run while another command works: {running}", advice)
    return Finding("running", "good", f"a station runs: {running}")


def examine_open(items: Sequence[OpenItem], now: datetime) -> Iterator[Finding]:
    """What is put aside, and what is neither counted nor put aside for longer than a day; of `unsettled` ones."""
    aside = [i for i in items if i.status == "quarantined"]
    late = [i for i in items if i.status != "quarantined" and now - i.since > _LONGEST]
    if aside:
        yield Finding("open", "warning", f"{plural(len(aside), 'picture')} quarantined", _LIST)
    if late:
        yield Finding("open", "warning", f"{plural(len(late), 'picture')} not counted for longer than a day", _LIST)
    if not aside and not late:
        yield Finding("open", "good", "no picture is quarantined, or left uncounted for longer than a day")
