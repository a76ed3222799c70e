"""How a command ends that was cut off: with the exit codes by which a shell tells that, and no failure of its own."""

from __future__ import annotations

import os
import signal
import sys
from typing import Final, NoReturn

INTERRUPTED: Final = 130  # 128 + SIGINT
_NOBODY_READS: Final = 141  # 128 + SIGPIPE
_TERMINATED: Final = 143  # 128 + SIGTERM


def tidy_when_terminated() -> None:
    """SIGTERM ends this command as Ctrl-C does, so that what it began to write is taken away."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))


def leave_quietly() -> NoReturn:
    """Whoever read the output has stopped reading, as `head` does; what is still held back is dropped."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    sys.exit(_NOBODY_READS)
