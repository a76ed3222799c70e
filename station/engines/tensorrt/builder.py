"""Builds a plan in a process of its own: `python -m station.engines.tensorrt.builder BUNDLE PRECISION PLANS`.

A build takes minutes and much memory; where the system kills it, or the library crashes, the station goes on counting.
The process writes `progress PERCENT` lines, and ends with 0, or with 1 and a sentence on stderr.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from station.contract.bundle import read_bundle
from station.contract.errors import StationError
from station.engines.tensorrt.cuda import load_cuda
from station.engines.tensorrt.library import load_library
from station.engines.tensorrt.orders import build, order_for
from station.engines.tensorrt.plans import plan_for

RUNNING: Final = "running"
DONE: Final = "done"
_PROGRESS = "progress"
_NICER = 10  # the pictures that arrive meanwhile come first
_READ_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Build:
    """A build under way, or ended."""

    process: subprocess.Popen[bytes]
    output: IO[bytes]
    errors: IO[bytes]

    def poll(self) -> str:
        """`running`, `done`, or the reason why there is no plan."""
        code = self.process.poll()
        if code is None:
            return RUNNING
        return DONE if code == 0 else _reason(code, self.errors)

    def progress(self) -> int:
        """Per cent done, as far as the library tells."""
        word, _, percent = _last_line(self.output).partition(" ")
        return int(percent) if word == _PROGRESS and percent.isdecimal() else 0

    def stop(self) -> None:
        """End it now, or tidy up after its end; what it has begun is never taken for a plan."""
        self.process.kill()
        self.process.wait()
        self.output.close()
        self.errors.close()


def start_build(bundle: Path, precision: str, plans: Path) -> Build:
    """Start building the plan of a network into the folder `plans`."""
    # -P: what lies in the folder from which the station was started is no module of the builder.
    command = [sys.executable, "-P", "-m", "station.engines.tensorrt.builder", str(bundle), precision, str(plans)]
    return started(command)


def started(command: Sequence[str]) -> Build:
    """A build by another command, which must write as this module does."""
    # Files, since they never fill up as pipes do; they live as long as the build.
    output, errors = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors)
    return Build(process, output, errors)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 where the plan lies in its folder."""
    words = sys.argv[1:] if arguments is None else arguments
    if len(words) != 3:
        print("usage: python -m station.engines.tensorrt.builder BUNDLE PRECISION PLANS", file=sys.stderr)
        return 2
    bundle, precision, plans = Path(words[0]), words[1], Path(words[2])
    os.nice(_NICER)
    with suppress(OSError):  # where memory runs out this goes first, and never the station
        Path("/proc/self/oom_score_adj").write_text("1000")
    try:
        order = order_for(read_bundle(bundle, weights=False), precision, load_library(), load_cuda().gpu())
        plan_for(plans, order.key, lambda: build(order, plans, report=_print_progress))
    except StationError as cause:
        print(cause, file=sys.stderr)
        return 1
    return 0


def _print_progress(percent: int) -> None:
    print(_PROGRESS, percent, flush=True)


def _reason(code: int, errors: IO[bytes]) -> str:
    if code == -signal.SIGKILL:
        return "the build was killed, as the system does when memory runs out"
    if code < 0:
        return f"the build ended by {signal.Signals(-code).name}"
    return _last_line(errors) or f"the build ended with exit code {code}"


def _last_line(file: IO[bytes]) -> str:
    """Read beside the process that writes it: both share one position in the file."""
    descriptor = file.fileno()
    size = os.fstat(descriptor).st_size
    tail = os.pread(descriptor, _READ_BYTES, max(0, size - _READ_BYTES)).decode(errors="replace")
    lines = [line for line in tail.splitlines() if line.strip()]
    return lines[-1] if lines else ""


if __name__ == "__main__":
    sys.exit(main())
