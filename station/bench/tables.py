"""A measurement as tables and sentences."""

from __future__ import annotations

from collections.abc import Iterator
from functools import singledispatch

from rich.table import Column, Table

from station.bench.rows import Bench, Contender, Latency, Machine, Measured, Soak, Spread


@singledispatch
def tables(report: Bench | Latency | Soak) -> Iterator[Table]:
    """What there is to show, in order."""
    raise TypeError(type(report))


@singledispatch
def sentences(report: Bench | Latency | Soak) -> Iterator[str]:
    """What stands above and below the tables."""
    raise TypeError(type(report))


@tables.register
def _of_bench(report: Bench) -> Iterator[Table]:
    yield _rates(report)
    yield _costs(report)
    yield _stages(report)


@tables.register
def _of_latency(report: Latency) -> Iterator[Table]:
    table = Table("a file comes", *_right("files", "p50 ms", "p95 ms", "p99 ms"), title="beyond the settle time")
    for way in report.ways:
        table.add_row(way.name, str(way.beyond_settling_ms.samples), *_spread(way.beyond_settling_ms))
    yield table


@tables.register
def _of_soak(report: Soak) -> Iterator[Table]:
    table = Table(*_right("pictures", "MB"))
    every = -(-len(report.points) // 20)  # the file holds all of them
    for point in (*report.points[:-1:every], report.points[-1]):
        table.add_row(str(point.images), f"{point.mb:.1f}")
    yield table


@sentences.register
def _say_bench(report: Bench) -> Iterator[str]:
    yield f"{report.fields} fields ({report.pictures}), {_many(report.rounds, 'round')}, {_threads(report.machine)}"
    yield _load(report.machine)
    for row in report.contenders:
        if row.reason:
            yield f"{row.name}: {row.reason}"


@sentences.register
def _say_latency(report: Latency) -> Iterator[str]:
    yield f"{report.engine}, settle time {report.settle_seconds:g} s; from the complete file to its committed row"
    yield _load(report.machine)


@sentences.register
def _say_soak(report: Soak) -> Iterator[str]:
    images = report.points[-1].images
    yield f"{report.engine}: {images} pictures in one process, {report.images_per_second:.1f} per second"
    yield f"peak {report.peak_mb:.0f} MB, slope {report.slope_mb_per_1000:+.2f} MB per 1000 pictures"
    yield _load(report.machine)


def _rates(report: Bench) -> Table:
    columns = _right("p50 ms", "p95 ms", "p99 ms", "alone/s", "end to end/s", "of alone", "x naive", "x Keras")
    table = Table("", "network", *columns, title="pictures per second")
    for row, one in _measured(report):
        rates = f"{one.network_images_per_second:.2f}", f"{one.images_per_second:.2f}", f"{one.share_of_network:.0%}"
        times = _times(one.times_naive), _times(one.times_keras)
        table.add_row("auto" if row.is_auto else "", row.name, *_spread(one.network_ms), *rates, *times)
    return table


def _costs(report: Bench) -> Table:
    columns = _right("all ms", "beside the network ms", "peak MB", "counts as the reference", "least Dice")
    table = Table("", *columns, title="processor time for one picture, memory, agreement")
    for row, one in _measured(report):
        figures = f"{one.cpu_ms:.1f}", _figure(one.cpu_ms_beside, ".1f"), _figure(one.peak_mb, ".0f")
        alike = one.agreement
        counts = f"{alike.equal_counts} of {alike.fields}" if alike else ""
        table.add_row(row.name, *figures, counts, _figure(alike.least_cell_dice if alike else None, ".4f"))
    return table


def _stages(report: Bench) -> Table:
    columns = _right("p50 ms", "p95 ms", "p99 ms", "processor ms")
    table = Table(
        "", "stage", *columns, title="stages, one picture at a time; taking in and storing beside the network"
    )
    for row, one in _measured(report):
        for number, stage in enumerate(one.stages):
            name = row.name if number == 0 else ""
            table.add_row(name, stage.name, *_spread(stage.wall_ms), f"{stage.cpu_ms:.2f}")
    return table


def _measured(report: Bench) -> Iterator[tuple[Contender, Measured]]:
    return ((row, row.measured) for row in report.contenders if row.measured)


def _spread(one: Spread) -> tuple[str, str, str]:
    return f"{one.p50:.1f}", f"{one.p95:.1f}", f"{one.p99:.1f}"


def _times(ratio: float | None) -> str:
    return _figure(ratio, ".2f")


def _figure(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _threads(machine: Machine) -> str:
    return _many(machine.threads or machine.cores, "thread")


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _load(machine: Machine) -> str:
    busy = f"load {min(machine.loads):.1f} to {max(machine.loads):.1f} on {_many(machine.cores, 'core')}"
    if machine.niceness:
        busy += f", measured at nice {machine.niceness}"
    return f"{machine.model} ({machine.model_sha256[:12]}), wbc-station {machine.package_version}; {busy}"


def _right(*titles: str) -> list[Column]:
    return [Column(title, justify="right") for title in titles]
