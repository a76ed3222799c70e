"""Which TensorRT this machine has, and what it says."""

from __future__ import annotations

import gc
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from station.contract.errors import EngineError

# Module -> how it is called beside every count. The full library comes first: it runs on every GPU.
LIBRARIES: Final = {"tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt-rtx"}
FULL: Final = "tensorrt"
_KEPT_LINES, _TOLD_LINES = 40, 3
_LOCK = threading.Lock()
_uncollected = 0  # blocks that are under way


@dataclass(frozen=True, slots=True)
class Library:
    """A loaded TensorRT: its module, and name and full version as plans and counts carry them."""

    trt: Any
    name: str
    version: str

    def log(self) -> Any:
        """An ILogger that keeps what went wrong: `log.reason()` gives it as one sentence and forgets it."""
        return _log_class(self.trt)()


def load_library() -> Library:
    """The full TensorRT, else TensorRT for RTX. Raises EngineError with the causes where neither can be loaded."""
    causes = []
    for module, name in LIBRARIES.items():
        try:
            trt = import_module(module)
        except (ImportError, OSError) as cause:  # OSError: the bindings are there, a library below them is not
            causes.append(f"{module}: {cause}")
            continue
        if hasattr(trt, "Builder"):  # not so a folder that happens to be called so
            return Library(trt, name, str(trt.__version__))
        causes.append(f"{module}: what is installed under this name is not TensorRT")
    raise EngineError(
        f"TensorRT cannot be loaded ({'; '.join(causes)}); `pip install 'wbc-station[tensorrt]'` or, for RTX cards, "
        "`pip install 'wbc-station[rtx]'` installs it"
    )


def created(factory: Any, log: Any) -> Any:
    """A Builder or Runtime. Raises EngineError where the library makes none, as without GPU or driver."""
    try:
        return factory(log)
    except TypeError as cause:  # how the bindings tell that the library gave them nothing
        raise EngineError(f"no usable GPU or driver answers TensorRT: {log.reason()}") from cause


@contextmanager
def uncollected() -> Iterator[None]:
    """No garbage is collected within the block, or the decorated function.

    The library calls a log, which is Python, with a lock of its own held. What Python collects there may be an object
    of the library, left over in the traceback of a failure, and to destroy that takes the same lock: for ever.
    """
    global _uncollected
    with _LOCK:
        _uncollected += 1
        gc.disable()
    try:
        yield
    finally:
        with _LOCK:
            _uncollected -= 1
            if not _uncollected:
                gc.enable()


def _log_class(trt: Any) -> Any:
    """The class is made here, since its base comes with the library."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self._lines: deque[str] = deque(maxlen=_KEPT_LINES)

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self._lines.append(" ".join(msg.split()))

        def reason(self) -> str:
            lines = [self._lines.popleft() for _ in range(len(self._lines))]
            return "; ".join(dict.fromkeys(lines[-_TOLD_LINES:])) or "the library gives no reason"

    return Log
