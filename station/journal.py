"""Lines with a priority, where systemd's journal takes them: it reads `<4>` at the start of a line as "warning"."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Final, TextIO

import click

_ERROR, _WARNING, _INFO = 3, 4, 6  # of syslog
PRIORITIES: Final = {"error": _ERROR, "degraded": _WARNING, "quarantined": _WARNING}


def say(line: str, *, err: bool = False) -> None:
    """Prints one line to the output, or to the error output; with its priority where that is the journal."""
    stream = sys.stderr if err else sys.stdout
    click.echo(with_priority(line) if is_journal(stream) else line, err=err)


def with_priority(line: str) -> str:
    """The line with its priority in front, by the word before its first colon.

    Every line gets one: a slide called `<0>` must not ring as an emergency on all terminals.
    """
    return f"<{PRIORITIES.get(line.partition(':')[0], _INFO)}>{line}"


def is_journal(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the stream ends in the journal: systemd names device and inode of the one it opened in JOURNAL_STREAM.

    The variable alone says nothing, since a shell or a pipe inside a service inherits it.
    """
    told = environment.get("JOURNAL_STREAM")
    if not told:
        return False
    try:
        found = os.fstat(stream.fileno())
    except OSError:  # no file at all, as where output is collected
        return False
    return told == f"{found.st_dev}:{found.st_ino}"
