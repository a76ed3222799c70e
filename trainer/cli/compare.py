"""`trainer compare`: backbones x losses x folds, each trained and scored once; tables and a page from the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import click
from rich.console import Console

from station.contract.errors import StationError
from trainer.cli.context import (
    EXPORTING,
    TRAINING,
    cell_diameter_option,
    data_argument,
    diameters_of,
    given,
    interruptible,
    layout_option,
    need,
    runs_option,
    samples_of,
    splits_option,
)

if TYPE_CHECKING:
    from trainer.compare import Plan
    from trainer.ledger import Ledger, Setting
    from trainer.workers import Workers


class ComparisonIncomplete(StationError):
    """Some tasks have no outcome yet."""


@click.command()
@data_argument
@layout_option
@splits_option
@click.option("--backbones", default="all", show_default=True, help="Encoders, separated by commas, or all.")
@click.option("--losses", default="cross_entropy,dice", show_default=True, help="Losses, by commas, or all.")
@click.option("--folds", type=click.IntRange(2), default=5, show_default=True, help="Parts that the groups go into.")
@click.option("--leave-one-set-out", is_flag=True, help="A fold per data set instead: train on the others.")
@click.option("--only-folds", type=click.IntRange(1), help="Do no more than the first N of the folds.")
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="Trainings of each fold.")
@click.option("--recipe", "recipe_name", default="station", show_default=True, help="Shipped recipe or TOML file.")
@click.option("--epochs", type=click.IntRange(1), help="Instead of the recipe's number.")
@click.option(
    "--weights",
    type=click.Choice(["available", "imagenet", "none"]),
    default="available",
    show_default=True,
    help="Start of the encoders; available: ImageNet where its file is there, else random values.",
)
@click.option("--weights-dir", type=click.Path(path_type=Path), help="Folder with ImageNet weights.")
@cell_diameter_option
@click.option(
    "--jobs", type=click.IntRange(1), default=1, show_default=True, help="Trainings at a time, on each machine."
)
@click.option(
    "--ray",
    "ray_address",
    metavar="ADDRESS",
    help="Train on this Ray cluster, whose machines see the same paths; local starts one here.",
)
@runs_option
def command(
    data: tuple[Path, ...],
    layout: str | None,
    splits: Path | None,
    backbones: str,
    losses: str,
    folds: int,
    leave_one_set_out: bool,
    only_folds: int | None,
    seeds: int,
    recipe_name: str,
    epochs: int | None,
    weights: str,
    weights_dir: Path | None,
    cell_diameter: tuple[str, ...],
    jobs: int,
    ray_address: str | None,
    runs: Path,
) -> None:
    """Compare encoders and losses on the folders DATA by group k-fold.

    What is done stays done: start the same command again after a crash or Ctrl-C and it goes on, also within a
    training. Ctrl-C lets running trainings end their epoch (on a Ray cluster it cuts them off, and they go on from the
    epoch before); a second one ends at once. --leave-one-set-out asks how a network does on a laboratory that it has
    not seen: a fold per data set instead of folds of groups.

    \b
    Example:
      trainer compare my-images --folds 5 --weights-dir weights
      trainer compare ward-a ward-b --leave-one-set-out --backbones mobilenet_v2 --losses dice
      trainer compare my-images --backbones mobilenet_v2,resnet18 --losses all --epochs 8 --jobs 2
    """
    need(*TRAINING, "sklearn", *EXPORTING)
    if leave_one_set_out and given("folds"):
        raise click.UsageError("--leave-one-set-out makes a fold of each data set: leave --folds away")
    from trainer.backbones import BACKBONES
    from trainer.compare import Plan, arrange, compare, setting_of
    from trainer.datasets.division import joined_by_content
    from trainer.display import ComparisonBar
    from trainer.ledger import LEDGER_FILE, Ledger, Request
    from trainer.losses import LOSSES
    from trainer.recipe import read_recipe

    data = tuple(folder.absolute() for folder in data)
    weights_dir = (weights_dir or Path("weights")).absolute()
    samples = joined_by_content(samples_of(data, layout, splits, "train"))
    plan = Plan(
        recipe=read_recipe(recipe_name, epochs=epochs),
        samples=samples,
        diameters=diameters_of(samples, cell_diameter),
        backbones=_words(backbones, tuple(BACKBONES)),
        losses=_words(losses, tuple(LOSSES)),
        division="sets" if leave_one_set_out else "groups",
        folds=folds,
        only_folds=only_folds,
        seeds=seeds,
        weights=weights,
        weights_dir=weights_dir,
    )
    arrangement = arrange(plan)
    workers = _workers(jobs, ray_address)
    console = Console(markup=False, highlight=False)
    ledger = Ledger(runs / LEDGER_FILE)
    request = Request(
        data=tuple(map(str, data)),
        layout=layout,
        splits=str(splits.absolute()) if splits else None,
        weights_dir=str(weights_dir),
    )
    now = datetime.now(UTC).isoformat(timespec="seconds")
    setting = ledger.open_comparison(setting_of(plan, arrangement, request, now))
    try:
        with interruptible() as stopping, ComparisonBar(console, plan.recipe.epochs) as watcher:
            outcomes = compare(plan, arrangement, setting, ledger, runs.absolute(), workers, watcher, stopping)
    finally:
        workers.close()
    console.print(f"comparison {setting.id}: {len(outcomes)} of {watcher.total} trainings are in {runs / LEDGER_FILE}")
    if not watcher.left:
        trained = {outcome.task.backbone for outcome in outcomes}
        _measure_speeds(plan, [name for name in plan.backbones if name in trained], setting, ledger, console)
    _show(setting, ledger, runs, plan, stopped=bool(watcher.left))
    if len(outcomes) < watcher.total:
        raise ComparisonIncomplete(
            f"{watcher.total - len(outcomes)} trainings are not done; start the same command again to go on"
        )


def _show(setting: Setting, ledger: Ledger, runs: Path, plan: Plan, *, stopped: bool) -> None:
    """The tables, and the page unless somebody waits for the end."""
    from trainer.cli.results import print_results, write_page
    from trainer.page import PAGE_FILE
    from trainer.results import home, results_of

    results = results_of(ledger, setting)
    print_results(results)
    if not stopped:
        write_page(results, runs, home(runs, setting) / PAGE_FILE, plan.samples)


def _measure_speeds(plan: Plan, names: Sequence[str], setting: Setting, ledger: Ledger, console: Console) -> None:
    """These encoders in one go, where one was not measured on this machine: after the trainings.

    One whose trainings all failed is none of them, and must not keep the others without a latency.
    """
    from trainer.display import progress
    from trainer.speed import machine, measure_all, typical_size

    known = {name for name, speed in ledger.speeds(setting.id).items() if speed.machine == machine()}
    if known >= set(names):
        return
    size = typical_size(plan.samples, plan.diameters, plan.recipe)
    with progress(console) as bar:
        job = bar.add_task("measuring latency", total=None)
        measured = measure_all(
            names,
            plan.recipe,
            size,
            perf_counter,
            lambda done, steps: bar.update(job, completed=done, total=steps),
            lambda reason: console.print(f"no latency of {reason}", soft_wrap=True),
        )
    for speed in measured:
        ledger.add_speed(setting.id, speed)


def _words(told: str, known: tuple[str, ...]) -> tuple[str, ...]:
    return known if told == "all" else tuple(dict.fromkeys(word.strip() for word in told.split(",")))


def _workers(jobs: int, ray_address: str | None) -> Workers:
    from trainer.workers import Processes, RayCluster

    return RayCluster(ray_address, jobs) if ray_address else Processes(jobs)
