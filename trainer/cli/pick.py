"""`trainer pick`: the network to train for good, why, and that training."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
from rich.console import Console

from trainer.cli.context import EXPORTING, TRAINING, model_name, need, runs_option, samples_of
from trainer.cli.export import export_bundle
from trainer.cli.fit import train_shown

if TYPE_CHECKING:
    from trainer.ledger import Pick, Setting


@click.command()
@click.argument("comparison", required=False)
@click.option(
    "--on",
    type=click.Choice(["speed", "accuracy"]),
    default="speed",
    show_default=True,
    help="speed: the fastest within one standard error of the best; accuracy: the best.",
)
@click.option("--epochs", type=click.IntRange(1), help="Of the final training, instead of the comparison's number.")
@click.option("--recipe", "recipe_name", help="Of the final training, instead of the comparison's.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Train it on all folds' data into this bundle.")
@runs_option
def command(
    comparison: str | None,
    on: Literal["speed", "accuracy"],
    epochs: int | None,
    recipe_name: str | None,
    seed: int,
    output: Path | None,
    runs: Path,
) -> None:
    """Pick the best network of a COMPARISON (default: the newest), note it in the ledger, and train it for good.

    Without -o it only says which and why.

    \b
    Example:
      trainer pick
      trainer pick --on accuracy -o my-model.zip
    """
    if output:
        need(*TRAINING, *EXPORTING)
        model_name(output, None)
    from trainer.ledger import Pick
    from trainer.ranking import choose, standings
    from trainer.results import find, open_ledger

    ledger = open_ledger(runs)
    setting = find(ledger.comparisons(), comparison)
    chosen, reason = choose(standings(ledger.outcomes(setting.id), ledger.speeds(setting.id)), on)
    pick = Pick(
        backbone=chosen.backbone,
        loss=chosen.loss,
        start=chosen.start,
        rule=on,
        reason=reason,
        picked_at=datetime.now(UTC).isoformat(timespec="microseconds"),
    )
    ledger.add_pick(setting.id, pick)
    console = Console(markup=False, highlight=False)
    console.print(f"picked {reason}", soft_wrap=True)
    if output:
        _train(setting, pick, recipe_name, epochs, seed, runs, output, console)


def _train(
    setting: Setting,
    pick: Pick,
    recipe_name: str | None,
    epochs: int | None,
    seed: int,
    runs: Path,
    output: Path,
    console: Console,
) -> None:
    from trainer.datasets.samples import joined_by_content
    from trainer.recipe import Recipe, read_recipe
    from trainer.start import Encoder
    from trainer.training import begin

    request = setting.request
    folders, splits = [Path(folder) for folder in request.data], Path(request.splits) if request.splits else None
    samples = joined_by_content(samples_of(folders, request.layout, splits, "train"))
    changes = {"backbone": pick.backbone, "loss": pick.loss} | ({"epochs": epochs} if epochs else {})
    if recipe_name:
        recipe = read_recipe(recipe_name, **changes)
    else:
        recipe = Recipe.model_validate_json(setting.recipe).model_copy(update=changes)
    start = Encoder(pick.start, Path(request.weights_dir) if request.weights_dir else None)
    folder, record = begin(recipe, samples, setting.cell_diameters, runs, seed, start, datetime.now(UTC))
    record = record.model_copy(update={"picked": f"comparison {setting.id}: {pick.reason}"})
    folder.save(record)
    train_shown(samples, record, folder, start, console)
    export_bundle(folder, output, console)
