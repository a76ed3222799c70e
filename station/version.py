"""Which version of this program runs."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version


@cache
def package_version() -> str:
    """As it was installed; read once, for it is noted with every picture."""
    return version("wbc-station")
