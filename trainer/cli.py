"""The trainer's commands: arguments in, progress and tables out. Keras is imported only where a command needs it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from rich.console import Console
from rich.table import Column, Table

from station.contract.errors import StationError

if TYPE_CHECKING:
    from trainer.datasets.samples import Sample
    from trainer.evaluate import ImageScore
    from trainer.runs import RunFolder, RunRecord
    from trainer.start import Start


class TrainingMissing(StationError):
    """The extra that trains is not installed."""


class Sentences(click.Group):
    """Turns an expected failure into its sentence and exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except StationError as failure:
            click.echo(f"error: {failure}", err=True)
            sys.exit(failure.exit_code)


@click.group(cls=Sentences, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="wbc-station")
def main() -> None:
    """Train, evaluate and export the networks that `station` runs.

    \b
    Example:
      trainer fit my-images -o my-model.zip
      trainer evaluate my-model.zip my-images
      station model install my-model.zip
    """


_TRAINING = ("keras",)
_EXPORTING = ("keras", "tensorflow", "tf2onnx", "onnx", "onnxslim")

_data = click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path))
_layout = click.option("--layout", help="Layout of DATA; by default the first that recognises the folder.")
_runs = click.option(
    "--runs", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Folder of training runs."
)
_splits = click.option(
    "--splits",
    type=click.Path(path_type=Path),
    help="CSV with dataset,image,role,group; only rows of the role are used.",
)
_cell_diameter = click.option(
    "--cell-diameter",
    multiple=True,
    metavar="[SET=]PX",
    help="Apparent cell diameter of a data set, px; default: the median measured from its masks.",
)


@main.command()
@_data
@_layout
@_splits
@click.option("--backbone", help="Encoder; see `trainer backbones`.")
@click.option("--loss", help="cross_entropy, dice, cross_entropy+dice or focal.")
@click.option("--recipe", "recipe_name", default="station", show_default=True, help="Shipped recipe or TOML file.")
@click.option("--weights", help="imagenet (the default), none, or a weights file.")
@click.option(
    "--weights-dir", type=click.Path(path_type=Path), help="Folder with ImageNet weights (default ./weights)."
)
@click.option("--from", "parent", type=click.Path(path_type=Path), help="Go on from the weights of this bundle.")
@_cell_diameter
@click.option("--epochs", type=click.IntRange(1), help="Instead of the recipe's number.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@_runs
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Export the result to this bundle (.zip).")
def fit(
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
    _need(*(_EXPORTING if output else _TRAINING))
    if output:
        _model_name(output, None)
    from trainer.datasets.samples import joined_by_content
    from trainer.display import figures_table, show
    from trainer.recipe import read_recipe
    from trainer.training import begin

    start = _start(weights, weights_dir, parent)
    recipe = read_recipe(recipe_name, backbone=backbone or start.backbone, loss=loss, epochs=epochs)
    samples = joined_by_content(_samples(data, layout, splits, "train"))
    diameters = _diameters(samples, cell_diameter)
    folder, record = begin(recipe, samples, runs, seed, start, datetime.now(UTC))
    console = Console(markup=False)
    console.print(
        f"run {folder.path}: {len(samples)} pictures, {recipe.backbone}, {recipe.loss}, from {start.words}",
        soft_wrap=True,
    )
    record = _trained(samples, diameters, record, folder, start, console)
    show(figures_table(record.metrics, f"held-out pictures, best epoch {record.best_epoch}"))
    if output:
        _export(folder, output, console)


@main.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@_data
@_layout
@_splits
@click.option("--role", type=click.Choice(["train", "val"]), default="val", show_default=True)
@_cell_diameter
@click.option("--untold", is_flag=True, help="Estimate the scale of each picture instead.")
@click.option("--per-image", is_flag=True, help="One line per picture as well.")
@click.option("--threads", type=int, default=0, help="Threads of ONNX Runtime; 0 = all cores.")
@click.option("--into", "run", help="Note the figures in this run, for the card of the model that it exports.")
@_runs
def evaluate(
    bundle: Path,
    data: tuple[Path, ...],
    layout: str | None,
    splits: Path | None,
    role: Literal["train", "val"],
    cell_diameter: tuple[str, ...],
    untold: bool,
    per_image: bool,
    threads: int,
    run: str | None,
    runs: Path,
) -> None:
    """Score a BUNDLE on whole pictures, through the same code as the station.

    \b
    Example:
      trainer evaluate my-model.zip my-images
      trainer evaluate my-model.zip data/bccd data/zheng --splits data/splits.csv \\
          --cell-diameter bccd=162 --cell-diameter zheng=75
    """
    from station.contract.bundle import read_bundle
    from station.engines import open_engine
    from trainer.display import per_image_table, progress, score_table, show
    from trainer.evaluate import by_dataset, score_images, told
    from trainer.runs import open_run

    folder = open_run(runs, run) if run else None
    opened = read_bundle(bundle)
    samples = _samples(data, layout, splits, role)
    engine = open_engine(opened, "onnxruntime", threads=threads)
    scale_of = _estimating(opened, engine) if untold else told(_diameters(samples, cell_diameter))
    console = Console(markup=False)
    with progress(console) as bar:
        task = bar.add_task("evaluating", total=len(samples))
        scores = []
        for score in score_images(samples, scale_of, opened.manifest, engine):
            scores.append(score)
            bar.advance(task)
    if per_image:
        show(per_image_table(scores))
    for dataset, own in by_dataset(scores).items():
        show(score_table(dataset, own))
    if folder:
        rows = f"{role} rows of " if splits else ""
        _note(folder, rows, "estimated" if untold else "told", by_dataset(scores))


@main.command()
@click.argument("run")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Bundle to write (.zip).")
@click.option("--name", help="Name of the model; default: the name of the bundle.")
@_runs
def export(run: str, output: Path, name: str | None, runs: Path) -> None:
    """Export a RUN to a bundle: ONNX, checked against Keras, with golden pictures.

    \b
    Example:
      trainer export 20261124T101500-mobilenet_v2-cross-entropy-dice -o my-model.zip
    """
    from trainer.runs import open_run

    _export(open_run(runs, run), output, Console(markup=False), name)


@main.command()
@click.option("--weights-dir", type=click.Path(path_type=Path), default=Path("weights"), show_default=True)
def backbones(weights_dir: Path) -> None:
    """List the encoders and whether their ImageNet weights are present.

    \b
    Example:
      trainer backbones --weights-dir weights
    """
    from trainer.backbones import BACKBONES
    from trainer.display import show

    table = Table("backbone", "stride", Column("ImageNet weights", overflow="fold"), Column("from", overflow="fold"))
    for row in BACKBONES.values():
        file = row.imagenet_file
        present = (
            "none exist" if file is None else f"{file} ({'here' if (weights_dir / file).is_file() else 'missing'})"
        )
        table.add_row(row.name, str(row.stride), present, row.imagenet_source if file else "")
    show(table)


def _samples(
    data: Sequence[Path], layout: str | None, splits: Path | None, role: Literal["train", "val"]
) -> list[Sample]:
    from trainer.datasets import open_datasets
    from trainer.datasets.samples import in_role

    found = open_datasets(data, layout)
    return in_role(found, splits, role) if splits else found


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


def _export(folder: RunFolder, output: Path, console: Console, name: str | None = None) -> None:
    _need(*_EXPORTING)
    from trainer.export import export_run

    with console.status("exporting and checking against Keras") if console.is_terminal else nullcontext():
        report = export_run(folder, output, _model_name(output, name))
    console.print(f"{output}: {report}", soft_wrap=True)


def _model_name(output: Path, name: str | None) -> str:
    """The name in the manifest, refused before any work is done for it."""
    chosen = name or output.stem
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", chosen):
        raise click.UsageError(f"a model cannot be called '{chosen}': letters, digits, dot, dash and underscore only")
    if not output.absolute().parent.is_dir():
        raise click.UsageError(f"there is no folder {output.absolute().parent} for the bundle")
    return chosen


def _note(folder: RunFolder, rows: str, scale: str, scores: Mapping[str, Sequence[ImageScore]]) -> None:
    from trainer.evaluate import summary

    record = folder.load()
    noted = {f"{rows}{dataset}, scale {scale}": summary(own) for dataset, own in scores.items()}
    folder.save(record.model_copy(update={"metrics": record.metrics | noted}))


def _diameters(samples: Sequence[Sample], told: Sequence[str]) -> dict[str, float]:
    """Cell diameter per data set: told as SET=PX or PX, else measured."""
    from trainer.datasets.samples import grouped, median_diameter

    sets = grouped(samples)
    try:
        pairs = {name: float(px) for name, _, px in (text.rpartition("=") for text in told)}
    except ValueError as cause:
        raise click.BadParameter(f"{cause}; use --cell-diameter SET=PX") from cause
    unknown = pairs.keys() - {"", *sets}
    if unknown or not all(4 <= px <= 2000 for px in pairs.values()):
        problem = f"there is no set '{min(unknown)}'" if unknown else "a cell diameter lies between 4 and 2000 px"
        raise click.BadParameter(f"{problem}; use --cell-diameter SET=PX with SET one of {', '.join(sets)}")
    return {name: pairs.get(name) or pairs.get("") or median_diameter(own) for name, own in sets.items()}


def _estimating(opened: Any, engine: Any) -> Any:
    from station.contract.scale import estimate

    return lambda _sample, image: estimate(image, opened.manifest, engine)


def _need(*modules: str) -> None:
    """Raise TrainingMissing where the extra `train` is not installed; keep TensorFlow's start quiet where it is."""
    if missing := [name for name in modules if find_spec(name) is None]:
        raise TrainingMissing(
            f"this needs {', '.join(missing)}, which the station alone does not: pip install 'wbc-station[train]' "
            "(in a clone: pip install '.[train]')"
        )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
