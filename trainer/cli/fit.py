"""`trainer fit`: a folder of pictures and masks becomes a run, and a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from trainer.cli.context import (
    EXPORTING,
    TRAINING,
    cell_diameter_option,
    data_argument,
    diameters_of,
    layout_option,
    model_name,
    need,
    runs_option,
    samples_of,
    splits_option,
)
from trainer.cli.export import export_bundle

if TYPE_CHECKING:
    from trainer.datasets.samples import Sample
    from trainer.runs import RunFolder, RunRecord
    from trainer.start import Start


@click.command()
@data_argument
@layout_option
@splits_option
@click.option("--backbone", help="Encoder; see `trainer backbones`.")
@click.option("--loss", help="cross_entropy, dice, cross_entropy+dice or focal.")
@click.option("--recipe", "recipe_name", default="station", show_default=True, help="Shipped recipe or TOML file.")
@click.option("--weights", help="imagenet (the default), none, or a weights file.")
@click.option(
    "--weights-dir", type=click.Path(path_type=Path), help="Folder with ImageNet weights (default ./weights)."
)
@click.option("--from", "parent", type=click.Path(path_type=Path), help="Go on from the weights of this bundle.")
@cell_diameter_option
@click.option("--epochs", type=click.IntRange(1), help="Instead of the recipe's number.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@runs_option
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Export the result to this bundle (.zip).")
def command(
    data: tuple[Path, ...],
    layout: str | None,
    splits: Path | None,
    backbone: str | None,
    loss: str | None,
    recipe_name: str,
    weights: str | None,
    weights_dir: Path | None,
    parent: Path | None,
    cell_diameter: tuple[str, ...],
    epochs: int | None,
    seed: int,
    runs: Path,
    output: Path | None,
) -> None:
    """Train a network on the folders DATA.

    Pictures are divided by group, brought to one cell size and augmented; training stops when whole held-out pictures
    no longer improve.

    \b
    Example:
      trainer fit my-images --weights-dir weights -o my-model.zip
      trainer fit data/bccd data/zheng --splits data/splits.csv
      trainer fit my-images --recipe refine --from "$(station model path)" -o better.zip
    """
    need(*(EXPORTING if output else TRAINING))
    if output:
        model_name(output, None)
    from trainer.datasets.samples import joined_by_content
    from trainer.display import figures_table, show
    from trainer.recipe import read_recipe
    from trainer.training import begin

    start = _start(weights, weights_dir, parent)
    recipe = read_recipe(recipe_name, backbone=backbone or start.backbone, loss=loss, epochs=epochs)
    samples = joined_by_content(samples_of(data, layout, splits, "train"))
    diameters = diameters_of(samples, cell_diameter)
    folder, record = begin(recipe, samples, runs, seed, start, datetime.now(UTC))
    console = Console(markup=False)
    console.print(
        f"run {folder.path}: {len(samples)} pictures, {recipe.backbone}, {recipe.loss}, from {start.words}",
        soft_wrap=True,
    )
    record = _trained(samples, diameters, record, folder, start, console)
    show(figures_table(record.metrics, f"held-out pictures, best epoch {record.best_epoch}"))
    if output:
        export_bundle(folder, output, console)


def _start(weights: str | None, weights_dir: Path | None, parent: Path | None) -> Start:
    from trainer.backbones import IMAGENET
    from trainer.start import Encoder, descendant

    if parent is None:
        return Encoder(weights or IMAGENET, weights_dir)
    if weights or weights_dir:
        raise click.UsageError("--from brings all weights: leave --weights and --weights-dir away")
    return descendant(parent)


def _trained(
    samples: Sequence[Sample],
    diameters: dict[str, float],
    record: RunRecord,
    folder: RunFolder,
    start: Start,
    console: Console,
) -> RunRecord:
    from trainer.display import TrainingBar, progress
    from trainer.fit import prepare, train
    from trainer.training import finish, new_model

    with progress(console) as bar:
        task = bar.add_task("reading pictures", total=len(samples) + record.recipe.painted_fields)
        session = prepare(samples, diameters, record, folder, lambda: bar.advance(task))
    model = new_model(record, start)
    with TrainingBar(console, record.recipe.steps_per_epoch, record.recipe.epochs) as watcher:
        trained = train(model, session, watcher)
    return finish(record, samples, diameters, session, trained)
