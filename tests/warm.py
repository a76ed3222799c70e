"""`station` in a process of its own, forked from one that has imported all of it, which else takes seconds a call."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from station.cli import COMMANDS, main

_LIMIT_SECONDS = 300
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([f"station.cli.{name}" for name in COMMANDS])


def call(arguments: Sequence[str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run([python, "-m", "station.cli", *arguments])`: environment, folder, output, exit code."""
    with TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        told = (arguments, str(cwd or Path.cwd()), dict(os.environ), str(out), str(err))
        process = _FORKS.Process(target=_command, args=told)
        process.start()
        process.join(_LIMIT_SECONDS)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(["station", *arguments], _LIMIT_SECONDS)
        return subprocess.CompletedProcess(["station", *arguments], process.exitcode, _text(out), _text(err))


def _command(arguments: Sequence[str], cwd: str, environment: Mapping[str, str], out: str, err: str) -> None:
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(cwd)
    for number, path in ((1, out), (2, err)):
        written = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(written, number)
        os.close(written)
    main([*arguments], prog_name="python -m station.cli")


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""
