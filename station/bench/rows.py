"""What was measured, as values that become JSON and back."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from station.contract.manifest import Frozen


class Spread(Frozen):
    """Times of one kind, ms: half, 95 % and 99 % of them are not longer."""

    samples: int
    p50: float
    p95: float
    p99: float


class Stage(Frozen):
    """One step of the way of a picture."""

    name: str
    wall_ms: Spread
    cpu_ms: float  # median processor time of the thread that does it; of all threads where it is the network


class Agreement(Frozen):
    """How the counts and masks of the distinct fields compare with those of the reference."""

    fields: int
    equal_counts: int
    least_cell_dice: float | None  # whole cell, over the fields; none where only counts are compared


class Measured(Frozen):
    """What a contender came to. Rates are medians over the rounds, ratios are taken within a round."""

    engine: str
    network_ms: Spread
    network_images_per_second: float
    images_per_second: float  # end to end, from the first look at the folder to the last committed row
    share_of_network: float  # end to end : network alone
    cpu_ms: float  # per picture end to end, of all threads
    cpu_ms_beside: float | None  # of them not for the network
    peak_mb: float | None  # memory of its own process; none where the kernel does not tell
    times_naive: float | None = None  # end to end : naive loop
    times_keras: float | None = None  # end to end : the same loop with Keras
    agreement: Agreement | None = None
    stages: tuple[Stage, ...] = ()


class Contender(Frozen):
    """One row: what was measured, or the reason why not."""

    name: str
    is_auto: bool = False  # whether `engine.name = "auto"` takes it
    reason: str | None = None
    measured: Measured | None = None


class Machine(Frozen):
    """What it was measured on."""

    processor: str
    cores: int
    abilities: tuple[str, ...]
    loads: tuple[
        float, ...
    ]  # mean number of running processes over a minute, at the begin of each round and at the end
    niceness: int  # of the measurement: above 0 every other process comes first
    package_version: str
    model: str
    model_sha256: str
    threads: int  # 0: all cores


class Bench(Frozen):
    """A whole measurement."""

    machine: Machine
    pictures: str
    fields: int
    rounds: int
    contenders: tuple[Contender, ...]


class Way(Frozen):
    """How fast a picture becomes a row when it comes to the folder in one way."""

    name: str
    beyond_settling_ms: Spread


class Latency(Frozen):
    """From the moment when a file is complete to its committed row, beyond the settle time, station idle before."""

    machine: Machine
    engine: str
    settle_seconds: float
    ways: tuple[Way, ...]


class Memory(Frozen):
    """Resident memory after so many pictures."""

    images: int
    mb: float


class Soak(Frozen):
    """Memory of one process over many pictures."""

    machine: Machine
    engine: str
    images_per_second: float
    points: tuple[Memory, ...]
    slope_mb_per_1000: float  # least squares over the last four fifths
    peak_mb: float


def spread(seconds: Sequence[float]) -> Spread:
    """Nearest-rank percentiles. Raises ValueError where there is nothing."""
    if not seconds:
        raise ValueError("no times were measured")
    ordered = sorted(seconds)
    p50, p95, p99 = (round(1000 * ordered[ceil(share * len(ordered)) - 1], 3) for share in (0.5, 0.95, 0.99))
    return Spread(samples=len(ordered), p50=p50, p95=p95, p99=p99)
