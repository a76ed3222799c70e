"""Where the tasks of a comparison run: processes of this machine, or a Ray cluster. Both give futures of outcomes."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Protocol

from station.contract.errors import StationError
from trainer.device import BACKEND_SETTINGS
from trainer.task import LENGTH_BYTES, PAUSED, STOP, Order, Outcome, Paused, outcome_of, perform


class WorkerError(StationError):
    """A task that ended without an outcome, or workers that cannot be had."""


class Workers(Protocol):
    """Who does the tasks."""

    def submit(self, order: Order) -> Future[Outcome]:
        """Do it when there is room. The future raises Paused or WorkerError."""
        ...

    def stop(self) -> None:
        """Let running tasks end after their epoch, and begin no other."""
        ...

    def close(self) -> None:
        """End what still runs, at once."""
        ...


class Processes:
    """At most `jobs` at a time, each in a fresh process, so that none inherits memory or random state."""

    def __init__(self, jobs: int) -> None:
        self._threads = ThreadPoolExecutor(jobs)
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopping = self._closed = False

    def submit(self, order: Order) -> Future[Outcome]:
        return self._threads.submit(self._perform, order)

    def stop(self) -> None:
        with self._lock:
            self._stopping = True
            for process in self._running:
                _tell(process, STOP)

    def close(self) -> None:
        with self._lock:
            self._stopping = self._closed = True
            for process in self._running:
                process.kill()
        self._threads.shutdown(cancel_futures=True)

    def _perform(self, order: Order) -> Outcome:
        try:
            exit_code, log = self._run(order)
        except OSError as cause:
            raise WorkerError(f"{order.folder} cannot be used ({cause.strerror or cause})") from cause
        outcome = outcome_of(order.folder)
        if outcome is not None:
            return outcome
        if exit_code == PAUSED:
            raise Paused(f"{order.folder.name} stands after a whole epoch")
        raise WorkerError(_reason(exit_code, log))

    def _run(self, order: Order) -> tuple[int, str]:
        """The exit code of the task's process, and what it printed."""
        order.folder.mkdir(parents=True, exist_ok=True)
        path = order.folder / "log.txt"
        with path.open("wb") as lines, self._started(str(order.folder), lines) as process:
            packed = pickle.dumps(order)
            _tell(process, len(packed).to_bytes(LENGTH_BYTES) + packed)
            self._reachable(process)
            exit_code = process.wait()
            with self._lock:
                self._running.discard(process)
            _hang_up(process)
        return exit_code, path.read_text(encoding="utf-8", errors="replace")

    def _started(self, name: str, log: Any) -> subprocess.Popen[bytes]:
        """In a session of its own: Ctrl-C reaches the comparison alone, which then says what shall happen."""
        with self._lock:
            if self._stopping:
                raise Paused("not begun")
            return subprocess.Popen(
                [sys.executable, "-c", "from trainer.task import main; main()", name],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _reachable(self, process: subprocess.Popen[bytes]) -> None:
        """From now on, since the order must be the first that it hears, it is told what happens; and what has."""
        with self._lock:
            self._running.add(process)
            if self._closed:
                process.kill()
            elif self._stopping:
                _tell(process, STOP)


class RayCluster:
    """The same tasks on a Ray cluster whose machines see the data and the folder of runs under the same paths."""

    def __init__(self, address: str, jobs: int) -> None:
        """`jobs` tasks at a time on each machine.

        Raises WorkerError where Ray is not installed or nobody answers at the address.
        """
        try:
            import ray
        except ImportError as cause:
            raise WorkerError("--ray needs the extra ray: pip install 'wbc-station[train,ray]'") from cause
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster that it starts would report to its makers
        try:
            ray.init(
                address=None if address == "local" else address,
                log_to_driver=False,
                logging_level="ERROR",
                runtime_env={"env_vars": BACKEND_SETTINGS},
            )
        except (ConnectionError, ValueError, RuntimeError) as cause:
            raise WorkerError(f"no Ray cluster answers at {address} ({cause})") from cause
        self._ray = ray
        # A process serves one task, so that none inherits memory or random state.
        self._perform: Callable[[Order], Any] = ray.remote(max_calls=1, **_share(ray.nodes(), jobs))(perform).remote
        self._references: list[Any] = []
        self._stopping = False

    def submit(self, order: Order) -> Future[Outcome]:
        reference = self._perform(order)
        self._references.append(reference)
        result: Future[Outcome] = Future()
        reference.future().add_done_callback(lambda done: self._hand_over(done, result))
        return result

    def _hand_over(self, done: Future[Outcome], result: Future[Outcome]) -> None:
        """Ray's own errors become ours; a sentence of the task stays what it says."""
        failure = done.exception()
        if failure is None:
            result.set_result(done.result())
        elif isinstance(failure, self._ray.exceptions.TaskCancelledError) or self._stopping:
            result.set_exception(Paused("cut off"))
        else:
            cause = getattr(failure, "cause", None) or failure
            lines = str(cause).strip().splitlines() or [type(cause).__name__]
            result.set_exception(WorkerError(lines[-1]))

    def stop(self) -> None:
        """Ray cannot ask a task to end after its epoch: it is cut off, and goes on from the epoch before."""
        self._stopping = True
        for reference in self._references:
            self._ray.cancel(reference, force=True)

    def close(self) -> None:
        self._ray.shutdown()


def _share(nodes: list[dict[str, Any]], jobs: int) -> dict[str, float]:
    """What a task asks of a machine of the cluster: its part of the GPUs where there are any, else of the cores."""
    resources = [node["Resources"] for node in nodes if node["Alive"]]
    for kind, name in (("GPU", "num_gpus"), ("CPU", "num_cpus")):
        counts = [count[kind] for count in resources if count.get(kind)]
        if counts:
            return {name: min(counts) / jobs if kind == "GPU" else max(1, min(counts) // jobs)}
    return {}


def _tell(process: subprocess.Popen[bytes], word: bytes) -> None:
    if process.stdin is None or process.poll() is not None:
        return
    try:
        process.stdin.write(word)
        process.stdin.flush()
    except BrokenPipeError:
        return  # it ended a moment ago


def _hang_up(process: subprocess.Popen[bytes]) -> None:
    """Popen would raise for the rest of an order that a process which died did not read."""
    if process.stdin is not None:
        with suppress(BrokenPipeError):
            process.stdin.close()


def _reason(exit_code: int, log: str) -> str:
    """Why a process ended without an outcome, in a sentence."""
    if exit_code < 0:
        return f"its process was ended by signal {-exit_code} (9: often for lack of memory; try fewer --jobs)"
    lines = [line for line in log.splitlines() if line.strip()]
    return lines[-1] if lines else f"its process ended with exit code {exit_code}"
