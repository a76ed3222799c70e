"""What is to be built: one network of a bundle, for one library and one GPU."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from station.contract.bundle import Bundle, sha256_of
from station.contract.errors import EngineError
from station.engines import ENGINES
from station.engines.tensorrt.building import FLAGS, Report, Timings, no_report, serialized_plan
from station.engines.tensorrt.cuda import Gpu
from station.engines.tensorrt.library import Library
from station.engines.tensorrt.plans import PlanKey, read_timings, write_timings
from station.engines.tensorrt.shapes import profiles_for

# RTX runs a whole network in its workspace, so it must hold the largest tiles; a build shall leave half of a small GPU
# (and of a Jetson, whose memory it shares) to others.
MOST_WORKSPACE_BYTES: Final = 4 << 30


@dataclass(frozen=True, slots=True)
class Order:
    """A network and the key of its plan."""

    model: str
    onnx: bytes
    library: Library
    key: PlanKey

    @property
    def name(self) -> str:
        """Runtime, version and precision, as written beside every count."""
        return f"{self.key.library} {self.key.version} {self.key.precision}"


def order_for(bundle: Bundle, precision: str, library: Library, gpu: Gpu) -> Order:
    """Raises BundleError where the bundle does not hold the network that this precision needs."""
    onnx = bundle.network(ENGINES["tensorrt"][precision])
    key = PlanKey(
        network_sha256=sha256_of(onnx),
        library=library.name,
        version=library.version,
        gpu=gpu.name,
        compute_capability=gpu.compute_capability,
        precision=precision,
        profiles=profiles_for(bundle.manifest.scale),
        workspace_bytes=min(MOST_WORKSPACE_BYTES, gpu.memory_bytes // 2),
        flags=FLAGS,
    )
    return Order(bundle.manifest.name, onnx, library, key)


def build(order: Order, plans: Path | None, *, report: Report = no_report) -> bytes:
    """Build the plan; what the library measured for it is kept beside `plans`. Raises EngineError naming the model."""
    timings, key = Timings(read_timings(plans) if plans else b""), order.key
    try:
        plan = serialized_plan(
            order.library,
            order.onnx,
            key.profiles,
            key.workspace_bytes,
            report=report,
            timings=timings,
            capability=key.compute_capability,
        )
    except EngineError as cause:
        raise EngineError(f"{key.library} {key.version} cannot load the model {order.model}: {cause}") from cause
    if plans and timings.data:
        with suppress(OSError):  # it only makes the next build shorter
            write_timings(plans, timings.data)
    return plan
