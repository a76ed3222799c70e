"""`trainer fit`: a folder of pictures and masks becomes a run, and a bundle."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from trainer.cli.calibrate import calibrate_trained
from trainer.cli.context import (
    EXPORTING,
    TRAINING,
    cell_diameter_option,
    data_argument,
    demand_named,
    diameters_of,
    given,
    interruptible,
    layout_option,
    model_name,
    need,
    runs_option,
    samples_of,
    splits_option,
)
from trainer.cli.duel import end, ground_of, hold_against, score_again
from trainer.cli.export import export_trained

if TYPE_CHECKING:
    from trainer.datasets.samples import Sample
    from trainer.runs import RunFolder, RunRecord
    from trainer.start import Descendant, Start


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
@click.option(
    "--test",
    "test",
    multiple=True,
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="With --from and -o: pictures put aside for good, on which the new model meets the old one.",
)
@click.option("--resume", "resumed", metavar="RUN", help="Go on with a run that was cut off, as it was begun.")
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
    test: tuple[Path, ...],
    resumed: str | None,
    cell_diameter: tuple[str, ...],
    epochs: int | None,
    seed: int,
    runs: Path,
    output: Path | None,
) -> None:
    """Train a network on the folders DATA.

    Pictures are divided by group, brought to one cell size and augmented; training stops when whole held-out pictures
    no longer improve. Ctrl-C ends it after the epoch, with the best weights so far; a run that was ended so or killed
    goes on with --resume, also where only its bundle is missing.

    With --from and -o the new model is held against the old one: on the pictures of --test (with --splits, their val
    rows), none of which may be trained on, else on those that this run held out. The verdict goes into the run and onto
    the model's card. The last line is the command that installs the new model, or says why not; then the bundle is kept
    and the exit code is 1. See `trainer evaluate --help` for what counts as not worse.

    \b
    Example:
      trainer fit my-images --weights-dir weights -o my-model.zip
      trainer fit data/bccd data/zheng --splits data/splits.csv
      trainer fit my-images --recipe refine --from "$(station model path)" --test my-test -o better.zip
      trainer fit my-images --resume 20261124T101500-mobilenet_v2-cross-entropy-dice
    """
    need(*(EXPORTING if output else TRAINING))
    if output:
        model_name(output, None)
    champion = _champion(parent, weights or weights_dir, test, output)
    from trainer.backbones import IMAGENET
    from trainer.datasets.division import joined_by_content
    from trainer.recipe import read_recipe
    from trainer.runs import RunError
    from trainer.start import Encoder
    from trainer.training import begin

    console = Console(markup=False, highlight=False)
    found = samples_of(data, layout, splits, "train")
    tests = _tests(test, layout, splits, found, champion)
    samples = joined_by_content(found)
    own_sets = {sample.dataset for sample in samples}
    other_sets = [sample for sample in tests if sample.dataset not in own_sets]
    if resumed:
        if cell_diameter and not other_sets:
            raise click.UsageError("--resume goes on as the run was begun: leave --cell-diameter away")
        folder, record, start = _taken_up(resumed, runs, samples, champion, output)
        diameters = diameters_of(other_sets, cell_diameter)  # the run knows those that it is trained on
    else:
        diameters = diameters_of([*samples, *other_sets], cell_diameter)
        start = champion or Encoder(weights or IMAGENET, weights_dir)
        recipe = read_recipe(recipe_name, backbone=backbone or start.backbone, loss=loss, epochs=epochs)
        folder, record = begin(recipe, samples, diameters, runs, seed, start, datetime.now(UTC))
    if record.score is None or folder.checkpoint() is not None:
        beside = [("--layout", layout), ("--splits", splits), ("--from", parent), *(("--test", one) for one in test)]
        others = {"", *(sample.dataset for sample in other_sets)}  # the run knows the others
        beside += [("--cell-diameter", one) for one in cell_diameter if other_sets and one.rpartition("=")[0] in others]
        again = resuming(folder, data, [*beside, ("-o", output)])
        train_shown(samples, record, folder, start, console, again)
    elif output:
        console.print(f"run {folder.path} is trained: on with its bundle", soft_wrap=True)
    else:
        raise RunError(f"the run {folder.path} is trained: `-o NAME.zip` goes on with its bundle")
    if output:
        _handed_on(folder, output, samples, champion, console)
    if output and champion:
        ground = ground_of(tests, samples, record, diameters, champion.bundle)
        end(hold_against(champion.bundle, output, folder, ground, console), output, console)


def _handed_on(
    folder: RunFolder, output: Path, samples: Sequence[Sample], champion: Descendant | None, console: Console
) -> None:
    """The bundle of a run that was trained, calibrated on the pictures that it was trained on, with its figures."""
    export_trained(folder, output, console)
    own = {name: source.cell_diameter_px for name, source in folder.load().sources.items()}
    calibrate_trained(output, samples, own, champion.bundle if champion else None, console)
    score_again(output, samples, folder, console)


def _champion(
    parent: Path | None, weights: str | Path | None, test: Sequence[Path], output: Path | None
) -> Descendant | None:
    """The model of --from, which the new one descends from and has to stand up to."""
    from trainer.start import descendant

    if test and not (parent and output):
        raise click.UsageError("--test is where a new bundle (-o) meets the one that it comes from (--from): name both")
    if parent is None:
        return None
    demand_named(parent, "--from")
    if weights:
        raise click.UsageError("--from brings all weights: leave --weights and --weights-dir away")
    if output and output.resolve() == parent.resolve():
        raise click.UsageError(f"-o would write over {parent}, which may prove to be the better one; use another name")
    return descendant(parent)


def _tests(
    test: Sequence[Path],
    layout: str | None,
    splits: Path | None,
    training: Sequence[Sample],
    champion: Descendant | None,
) -> list[Sample]:
    """The pictures of --test, of which neither the old model nor the new one may learn anything."""
    from trainer.datasets.division import demand_apart, namesakes
    from trainer.learnt import demand_unseen

    if not test or champion is None:
        return []
    tests = samples_of(test, layout, splits, "val")
    demand_apart(tests, training)
    demand_unseen(champion.bundle, tests)
    if common := namesakes(tests, training):
        click.echo(
            f"note: --test and the training pictures both have a group '{common[0]}' (of {len(common)} such names): "
            "if that is one slide, the verdict is worth nothing; take it out of one of them",
            err=True,
        )
    return tests


def _taken_up(
    run: str, runs: Path, samples: Sequence[Sample], champion: Descendant | None, output: Path | None
) -> tuple[RunFolder, RunRecord, Start]:
    from trainer.runs import RunError, open_run
    from trainer.start import Kept
    from trainer.training import resume

    if told := given("backbone", "loss", "recipe_name", "weights", "weights_dir", "epochs", "seed"):
        raise click.UsageError(f"--resume goes on as the run was begun: leave {', '.join(told)} away")
    folder = open_run(runs, run)
    record = resume(folder, samples)
    if champion and record.ancestry != champion.ancestry:
        raise RunError(f"the run {folder.path} was not begun --from the {champion.words}")
    if output and record.ancestry and not champion:
        raise RunError(
            f"the run {folder.path} was begun from the model {record.ancestry[-1][:12]}: name its bundle with --from, "
            "so that the new one can be held against it, or leave -o away"
        )
    return folder, record, Kept(record.weights, record.ancestry)


def resuming(folder: RunFolder, data: Sequence[Path | str], options: Sequence[tuple[str, str | Path | None]]) -> str:
    """The line that goes on with a run; of the options those that have a value."""
    told = [("--resume", folder.path.name), ("--runs", folder.path.parent), *options]
    words = [word for option, value in told if value is not None for word in (option, value)]
    return shlex.join(map(str, ["trainer", "fit", *data, *words]))


def train_shown(
    samples: Sequence[Sample], record: RunRecord, folder: RunFolder, start: Start, console: Console, again: str
) -> None:
    """Train a run that was begun, with bars and lines, and show how it scored; `again` is the line that goes on."""
    from trainer.display import figures_table, show
    from trainer.runs import RunError

    recipe = record.recipe
    console.print(
        f"run {folder.path}: {len(samples)} pictures, {recipe.backbone}, {recipe.loss}, "
        f"from {record.weights}; if it is cut off, this goes on: {again}",
        soft_wrap=True,
    )
    with folder.locked() as mine:
        if not mine:
            raise RunError(f"another process trains the run {folder.path}: wait for it, or end it")
        finished = _trained(samples, record, folder, start, console)
    show(figures_table(finished.metrics, f"held-out pictures, best epoch {finished.best_epoch}"))
    if not finished.best_epoch:
        score = f"{finished.score:.4f}"
        console.print(f"no epoch was better than the model that it started from (score {score}): its weights are kept")
    if folder.checkpoint() is not None:
        console.print(f"ended after {finished.epochs} of {recipe.epochs} epochs; this goes on: {again}", soft_wrap=True)


def _trained(
    samples: Sequence[Sample], record: RunRecord, folder: RunFolder, start: Start, console: Console
) -> RunRecord:
    from trainer.display import TrainingBar, progress
    from trainer.fit import prepare, train
    from trainer.training import finish, new_model

    recipe = record.recipe
    diameters = {name: source.cell_diameter_px for name, source in record.sources.items()}
    with progress(console) as bar:
        total = sum(source.images for source in record.sources.values())
        task = bar.add_task("making pictures ready", total=total + recipe.painted_fields + recipe.composed_fields)
        session = prepare(samples, diameters, record, folder, lambda: bar.advance(task))
    model = new_model(record, start)
    watching = TrainingBar(console, recipe.steps_per_epoch, recipe.epochs)
    with interruptible() as stopping, watching as watcher:
        trained = train(model, session, watcher, stopping)
    finished = finish(record, folder, trained)
    if not (stopping() and len(trained.history) < recipe.epochs):  # else a person ended it, who may change their mind
        folder.close()
    return finished
