"""TensorRT on an NVIDIA GPU: the full library 10.3 to 11, or the one for RTX cards, by the same calls.

A network becomes a plan for this GPU and this library, which is a cache that may be lost at any time.
"""

from __future__ import annotations

from pathlib import Path

from station.contract.bundle import Bundle
from station.contract.errors import EngineError, PlanMissing
from station.engines import Setup
from station.engines.tensorrt.cuda import Cuda, load_cuda
from station.engines.tensorrt.library import load_library
from station.engines.tensorrt.orders import Order, build, order_for
from station.engines.tensorrt.plans import plan_for, read_plan, remove_plan
from station.engines.tensorrt.runner import PlanRefused, TensorRtEngine, open_plan


def problem(precision: str) -> str | None:
    """Why no network can run here: library, CUDA bindings, driver or GPU are missing; None where one can."""
    try:
        load_library()
        load_cuda().gpu()
    except EngineError as cause:
        return str(cause)
    return None


def open_network(bundle: Bundle, precision: str, setup: Setup) -> TensorRtEngine:
    """Load the plan of a network, or build it first where there is none for this GPU, library and model.

    A kept plan that the library refuses is deleted and built once more. Raises PlanMissing, with that refusal, where it
    would have to be built and `setup.build` forbids it; EngineError where library, driver, GPU, memory or the network
    do not let it run.
    """
    library, cuda = load_library(), load_cuda()
    order = order_for(bundle, precision, library, cuda.gpu())
    kept = read_plan(setup.plans, order.key) if setup.plans else None
    if kept is None:
        return _built(order, cuda, setup, "has no plan yet")
    try:
        return open_plan(order.name, library, cuda, kept)
    except PlanRefused as refusal:
        _forget(order, setup.plans)
        return _built(order, cuda, setup, f"has no plan any more ({refusal})")


def _built(order: Order, cuda: Cuda, setup: Setup, why: str) -> TensorRtEngine:
    if not setup.build:
        raise PlanMissing(
            f"the model {order.model} {why} for {order.key.gpu} and {order.key.library} {order.key.version}; "
            "`station model install` and a running station build it"
        )

    def make() -> bytes:
        return build(order, setup.plans, report=setup.report)

    plan = plan_for(setup.plans, order.key, make) if setup.plans else make()
    try:
        return open_plan(order.name, order.library, cuda, plan)
    except PlanRefused:
        _forget(order, setup.plans)
        raise


def _forget(order: Order, plans: Path | None) -> None:
    if plans is not None:
        remove_plan(plans, order.key)
