"""From the bytes of an ONNX file to a serialized plan, by calls that TensorRT 10.3, 11 and RTX have in common.

The precision lies in the network: it is strongly typed, so a float16 network is another ONNX file. TF32, which would
round the factors of float32 products to ten bits, is switched off: float32 means float32 on every engine.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from station.contract.errors import EngineError
from station.engines import INPUT, check_ends
from station.engines.tensorrt.library import FULL, Library, created, uncollected
from station.engines.tensorrt.shapes import Profile

_RTX_FROM = (8, 0)

FLAGS: Final = ("STRONGLY_TYPED", "no TF32")  # what `serialized_plan` always does, as part of a plan's key

Report: TypeAlias = Callable[[int], None]  # per cent done; called from the library's threads, must not raise


def no_report(_percent: int) -> None:
    """Nobody wants to know."""


@dataclass(slots=True)
class Timings:
    """What the library measured of its kernels in earlier builds; it checks itself whether they hold here."""

    data: bytes = b""


@uncollected()
def serialized_plan(
    library: Library,
    onnx: bytes,
    profiles: Sequence[Profile],
    workspace_bytes: int,
    *,
    report: Report = no_report,
    timings: Timings | None = None,
    capability: str | None = None,
) -> bytes:
    """Build the plan of a network for this GPU; takes seconds with RTX, minutes with the full library.

    `timings` of earlier builds shorten it, and hold those of this one afterwards; `capability` is that of the GPU, such
    as 8.9. Raises EngineError with the library's reason: no GPU, no network, other ends, too little workspace.
    """
    trt, log = library.trt, library.log()
    builder = created(trt.Builder, log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(onnx):
        raise EngineError(_parser_errors(parser) or log.reason())
    check_ends(_ends(network))
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_bytes)
    config.clear_flag(trt.BuilderFlag.TF32)
    config.progress_monitor = monitor = _monitor(trt, report)
    name_target(trt, config, library, capability)
    _add_profiles(builder, config, profiles, log)
    keeps_timings = timings is not None and library.name == FULL  # RTX measures nothing, and warns
    if timings is not None and keeps_timings:
        _give_timings(config, timings)
    plan = builder.build_serialized_network(network, config)
    if monitor.raised is not None:  # Ctrl-C, for one: the library swallows what its callbacks raise
        raise monitor.raised
    if plan is None:
        raise EngineError(f"no plan could be built with {workspace_bytes >> 20} MiB of workspace: {log.reason()}")
    if timings is not None and keeps_timings:
        timings.data = bytes(config.get_timing_cache().serialize())
    return bytes(plan)


@dataclass(slots=True)
class Phases:
    """How far a build is: phases lie within steps of other phases. Called from several threads."""

    report: Report
    _open: dict[str, tuple[str | None, int, int]] = field(default_factory=dict)  # name -> parent, steps, done
    _told: int = -1
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, name: str, parent: str | None, steps: int) -> None:
        with self._lock:
            self._open[name] = parent, steps, 0

    def step(self, name: str, number: int) -> None:
        with self._lock:
            if name in self._open:
                parent, steps, _ = self._open[name]
                self._open[name] = parent, steps, number + 1
            self._tell(int(100 * self._share_done()))

    def finish(self, name: str) -> None:
        with self._lock:
            parent, *_ = self._open.pop(name, (name, 0, 0))
            if parent is None:
                self._tell(100)

    def _tell(self, percent: int) -> None:
        if percent > self._told:
            self._told = percent
            self.report(percent)

    def _share_done(self, parent: str | None = None) -> float:
        """Of the first open phase below `parent`: its steps, and the part of its next step that lies below it."""
        for name, (above, steps, done) in self._open.items():
            if above == parent and name != parent:
                return min(1.0, (done + self._share_done(name)) / max(steps, 1))
        return 0.0


def name_target(trt: Any, config: Any, library: Library, capability: str | None) -> None:
    """Plans of RTX run on compute capability 8.0 and later, unless an older one is named, and then on that alone.

    The full library builds for the GPU that is there, and has no names for capabilities.
    """
    if library.name == FULL or capability is None or tuple(map(int, capability.split("."))) >= _RTX_FROM:
        return
    named = getattr(trt.ComputeCapability, f"SM{capability}".replace(".", ""), None)
    if named is not None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(named, 0)


def _ends(network: Any) -> list[str]:
    inputs = [str(network.get_input(i).name) for i in range(network.num_inputs)]
    return inputs + [str(network.get_output(i).name) for i in range(network.num_outputs)]


def _parser_errors(parser: Any) -> str:
    errors = [parser.get_error(i) for i in range(parser.num_errors)]
    told = [" ".join(f"{parser_error.node_operator()} {parser_error.desc()}".split()) for parser_error in errors]
    return "; ".join(told)


def _add_profiles(builder: Any, config: Any, profiles: Sequence[Profile], log: Any) -> None:
    for one in profiles:
        profile = builder.create_optimization_profile()
        profile.set_shape(INPUT, one.least, one.usual, one.most)
        if config.add_optimization_profile(profile) < 0:
            raise EngineError(f"the network does not take tiles of {one.least} to {one.most}: {log.reason()}")


def _give_timings(config: Any, timings: Timings) -> None:
    """Those of another library or GPU are refused; then an empty cache takes the new ones."""
    cache = config.create_timing_cache(timings.data)
    if cache is None or not config.set_timing_cache(cache, False):
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _monitor(trt: Any, report: Report) -> Any:
    phases = Phases(report)

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.raised: BaseException | None = None

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._tell(phases.start, phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._tell(phases.step, phase_name, step)
            return self.raised is None  # whether to go on

        def phase_finish(self, phase_name: str) -> None:
            self._tell(phases.finish, phase_name)

        def _tell(self, phase: Callable[..., None], *told: object) -> None:
            try:
                phase(*told)
            except (
                KeyboardInterrupt,
                SystemExit,
                OSError,
            ) as cause:  # Ctrl-C, a signal, or nobody who reads the progress
                self.raised = self.raised or cause

    return Monitor()
