"""Pages: everything that is shown is escaped, and what a terminal or a page would obey is written out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from station.printing import printable


def environment(folder: str, filters: Mapping[str, Callable[..., Any]]) -> Environment:
    """Templates of a folder of this package; a name that is not told is an error."""
    made = Environment(
        loader=PackageLoader("station", folder),
        autoescape=True,
        finalize=_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= filters
    return made


def thousands(value: float) -> str:
    """A number with its thousands apart."""
    return f"{value:,}"


def _printable(value: object) -> object:
    """Names of files may hold line breaks, escape codes and marks that turn the direction of writing."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
