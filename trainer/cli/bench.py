"""`trainer bench`: how fast this machine trains, and whether the feed keeps its device busy."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Column, Table

from trainer.cli.context import (
    TRAINING,
    cell_diameter_option,
    diameters_of,
    layout_option,
    need,
    samples_of,
    splits_option,
)

if TYPE_CHECKING:
    from trainer.bench import Bench
    from trainer.feed import Pool
    from trainer.recipe import Recipe

PAINTED_FIELDS = 24


@click.command()
@click.argument("data", nargs=-1, type=click.Path(path_type=Path))
@layout_option
@splits_option
@cell_diameter_option
@click.option("--backbones", default="mobilenet_v2", show_default=True, help="Names with commas, or all.")
@click.option("--size", default=256, show_default=True, type=click.IntRange(32), help="Side of the pictures, px.")
@click.option("--batch", default=16, show_default=True, type=click.IntRange(1), help="Pictures per step.")
@click.option("--steps", default=16, show_default=True, type=click.IntRange(1), help="Counted steps, at least.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the figures to this file (JSON).")
def command(
    data: tuple[Path, ...],
    layout: str | None,
    splits: Path | None,
    cell_diameter: tuple[str, ...],
    backbones: str,
    size: int,
    batch: int,
    steps: int,
    output: Path | None,
) -> None:
    """Measure the training speed of this machine, on the folders DATA or on painted fields.

    With the augmentation of the recipe `station`: steps with one and the same batch, steps that are fed as in a
    training with the share of time spent waiting for data, and the feed alone. KERAS_BACKEND chooses the backend.

    \b
    Example:
      trainer bench
      trainer bench --backbones unet,resnet50 --steps 100 -o bench.json
      KERAS_BACKEND=jax trainer bench my-images
    """
    need(*TRAINING)
    if output and not output.absolute().parent.is_dir():
        raise click.UsageError(f"there is no folder {output.absolute().parent} for {output.name}")
    from trainer.backbones import BACKBONES, backbone
    from trainer.bench import TURNS, Bench, Stand, feed_rates, surroundings, training_rate
    from trainer.display import progress, show
    from trainer.recipe import read_recipe
    from trainer.runs import write_text

    names = list(BACKBONES) if backbones == "all" else [backbone(name).name for name in backbones.split(",")]
    painted = 0 if data else PAINTED_FIELDS
    recipe = read_recipe("station", crop_px=size, batch=batch, painted_fields=painted)
    console = Console(markup=False, highlight=False)
    with progress(console) as bar:
        task = bar.add_task("measuring", total=TURNS * (1 + len(names)))
        stand = Stand(_pools(data, layout, splits, cell_diameter, recipe), recipe, perf_counter)
        result = Bench(
            size_px=size,
            batch=batch,
            data=", ".join(map(str, data)) or f"{painted} painted fields",
            **surroundings(),
            feed=feed_rates(stand, lambda: bar.advance(task)),
            training=tuple(training_rate(stand, name, steps, lambda: bar.advance(task)) for name in names),
        )
    for line in _facts(result):
        console.print(line, soft_wrap=True)
    show(_feed_table(result))
    show(_training_table(result))
    if output:
        write_text(output, result.model_dump_json(indent=2) + "\n")


def _pools(
    data: tuple[Path, ...], layout: str | None, splits: Path | None, cell_diameter: tuple[str, ...], recipe: Recipe
) -> list[Pool]:
    from trainer.feed import pools

    samples = samples_of(data, layout, splits, "train") if data else []
    return pools(samples, diameters_of(samples, cell_diameter), recipe, seed=0)


def _facts(bench: Bench) -> list[str]:
    gpus = f"; {', '.join(bench.gpus)}" if bench.gpus else ""
    versions = ", ".join(f"{name} {number}" for name, number in bench.versions.items())
    return [
        f"{bench.machine}{gpus}; device {bench.device}",
        f"backend {bench.backend}; {versions}",
        f"pictures of {bench.size_px} x {bench.size_px} px, batches of {bench.batch}, from {bench.data}",
    ]


def _feed_table(bench: Bench) -> Table:
    table = Table("the feed alone: threads", *_right("pictures/s", "times one thread"))
    for rate in bench.feed:
        table.add_row(str(rate.threads), f"{rate.pictures_per_second:.0f}", f"{rate.ratio:.2f}")
    return table


def _training_table(bench: Bench) -> Table:
    columns = _right("steps/s, one batch", "steps/s, fed", "pictures/s, fed", "fed : one batch", "waiting for data")
    table = Table("backbone", "precision", "XLA", *columns)
    for rate in bench.training:
        fed = 1 / rate.fed_seconds
        figures = (f"{1 / rate.bare_seconds:.3g}", f"{fed:.3g}", f"{fed * bench.batch:.4g}")
        compiled = "yes" if rate.compiled else "no"
        table.add_row(
            rate.backbone, rate.precision, compiled, *figures, f"{rate.ratio:.2f}", f"{rate.waiting_share:.1%}"
        )
    return table


def _right(*titles: str) -> list[Column]:
    return [Column(title, justify="right") for title in titles]
