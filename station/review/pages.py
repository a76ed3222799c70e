"""Templates: everything that is shown is escaped, and what a terminal or a page would obey is written out."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from zoneinfo import ZoneInfo

from jinja2 import Environment, pass_context
from jinja2.runtime import Context

from station.days import clock_words
from station.printing import plural
from station.templates import environment, thousands


def render(template: str, **told: object) -> str:
    """A page, or a part of one, from `templates/`."""
    return _environment().get_template(f"{template}.jinja").render(told)


@cache
def _environment() -> Environment:
    return environment("review/templates", {"plural": plural, "local": _local, "number": thousands})


@pass_context
def _local(context: Context, moment: datetime, style: str = "%Y-%m-%d %H:%M:%S") -> str:
    """A moment in the station's time zone, which the page was told as `zone`."""
    zone: ZoneInfo = context["zone"]
    return clock_words(moment.astimezone(zone), style)
