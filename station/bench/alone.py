"""Work in a process of its own, so that its memory is its own and a crash of a runtime ends only itself."""

from __future__ import annotations

import signal
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, TypeVar

from station.contract.errors import EngineError, StationError

Job = TypeVar("Job")
Answer = TypeVar("Answer")

STATUS: Final = Path("/proc/self/status")


def alone(work: Callable[[Job, Callable[[], None]], Answer], job: Job, tick: Callable[[], None]) -> Answer:
    """`work(job, tick)` in a fresh process, with `tick` called here each time that it is called there.

    `work` is a function of a module. Raises the StationError that it raises, EngineError where the process dies.
    """
    context = get_context("spawn")
    ears, mouth = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(mouth, work, job), daemon=True)
    process.start()
    mouth.close()
    try:
        answer: Answer = _listen(ears, tick)
        return answer
    except EOFError:
        process.join()
        raise EngineError(
            f"the process that measured it ended without an answer (exit code {process.exitcode})"
        ) from None
    finally:
        process.kill()  # one that answered has nothing more to do
        process.join()


def memory_mb(field: str, status: Path = STATUS) -> float | None:
    """Memory of this process, MB: `VmRSS` now or `VmHWM` at its peak; none where the kernel does not tell.

    Not `getrusage`: there a process inherits the peak of the one that started it.
    """
    try:
        lines = status.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    found = next((line.split() for line in lines if line.startswith(f"{field}:")), None)
    return round(int(found[1]) * 1024 / 1e6, 1) if found else None


def _listen(ears: Connection, tick: Callable[[], None]) -> Any:
    while True:
        kind, value = ears.recv()
        if kind == "answer":
            return value
        if kind == "failure":
            raise value
        tick()


def _serve(mouth: Connection, work: Callable[[Any, Callable[[], None]], Any], job: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to both; the one that started this ends it
    try:
        mouth.send(("answer", work(job, lambda: mouth.send(("tick", None)))))
    except StationError as failure:
        mouth.send(("failure", failure))
