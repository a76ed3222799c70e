"""`trainer pick`: the network to train for good, why, and that training."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
from rich.console import Console

from station.contract.errors import StationError
from trainer.cli.calibrate import calibrate_trained
from trainer.cli.context import EXPORTING, TRAINING, model_name, need, runs_option, samples_of
from trainer.cli.duel import score_again
from trainer.cli.export import export_trained
from trainer.cli.fit import resuming, train_shown

if TYPE_CHECKING:
    from trainer.datasets.samples import Sample
    from trainer.ledger import Ledger, Pick, Setting
    from trainer.recipe import Recipe


class OtherPictures(StationError):
    """The pictures or masks of a comparison are no longer those that it was made on."""


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
@click.option("--weights-dir", type=click.Path(path_type=Path), help="Folder with ImageNet weights, if it moved.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Train it on all folds' data into this bundle.")
@runs_option
def command(
    comparison: str | None,
    on: Literal["speed", "accuracy"],
    epochs: int | None,
    recipe_name: str | None,
    seed: int,
    weights_dir: Path | None,
    output: Path | None,
    runs: Path,
) -> None:
    """Pick the best network of a COMPARISON (default: the last begun), note it in the ledger, and train it for good.

    Without -o it only says which and why.

    \b
    Example:
      trainer pick
      trainer pick --on accuracy -o my-model.zip
    """
    if output:
        need(*TRAINING, *EXPORTING)
        model_name(output, None)
    from trainer.results import find, open_ledger

    ledger = open_ledger(runs)
    setting = find(ledger.comparisons(), comparison)
    pick = _choice(ledger, setting, on)
    recipe, samples = _recipe(setting, pick, recipe_name, epochs), _samples(setting) if output else []
    ledger.add_pick(setting.id, pick)
    console = Console(markup=False, highlight=False)
    console.print(f"picked {pick.reason}", soft_wrap=True)
    if output:
        folder = weights_dir or (Path(setting.request.weights_dir) if setting.request.weights_dir else None)
        _train(setting, pick, recipe, samples, seed, folder, runs, output, console)


def _choice(ledger: Ledger, setting: Setting, on: Literal["speed", "accuracy"]) -> Pick:
    from trainer.ledger import Pick
    from trainer.ranking import choose, standings

    outcomes, speeds = ledger.outcomes(setting.id), ledger.speeds(setting.id)
    chosen, reason = choose(standings(outcomes, speeds, None, setting.division), on)
    if (tested := len({fold for fold, _ in chosen.exams})) < setting.folds:
        reason += f"; tested on {tested} of {setting.folds} folds"
    return Pick(
        backbone=chosen.backbone,
        loss=chosen.loss,
        start=chosen.start,
        rule=on,
        reason=reason,
        picked_at=datetime.now(UTC).isoformat(timespec="microseconds"),
    )


def _samples(setting: Setting) -> list[Sample]:
    """The pictures that were compared on. Raises OtherPictures where they, or their masks, are others now."""
    from trainer.datasets.division import joined_by_content
    from trainer.datasets.samples import data_digest

    request = setting.request
    folders, splits = [Path(folder) for folder in request.data], Path(request.splits) if request.splits else None
    samples = joined_by_content(samples_of(folders, request.layout, splits, "train"))
    digest = data_digest(samples)
    if digest != setting.data_sha256:
        raise OtherPictures(
            f"{', '.join(request.data)} now holds pictures and masks of digest {digest[:12]}, and comparison "
            f"{setting.id} was made on {setting.data_sha256[:12]}: bring back what was compared, or run "
            "`trainer compare` on what is there"
        )
    return samples


def _recipe(setting: Setting, pick: Pick, recipe_name: str | None, epochs: int | None) -> Recipe:
    from trainer.recipe import read_recipe
    from trainer.results import recipe_of

    changes = {"backbone": pick.backbone, "loss": pick.loss} | ({"epochs": epochs} if epochs else {})
    if recipe_name:
        return read_recipe(recipe_name, **changes)
    return recipe_of(setting).model_copy(update=changes)


def _train(
    setting: Setting,
    pick: Pick,
    recipe: Recipe,
    samples: list[Sample],
    seed: int,
    weights_dir: Path | None,
    runs: Path,
    output: Path,
    console: Console,
) -> None:
    from trainer.start import Encoder
    from trainer.training import begin

    start = Encoder(pick.start, weights_dir)
    folder, record = begin(recipe, samples, setting.cell_diameters, runs, seed, start, datetime.now(UTC))
    record = record.model_copy(update={"picked": f"comparison {setting.id}: {pick.reason}"})
    folder.save(record)
    request = setting.request
    again = resuming(folder, request.data, [("--layout", request.layout), ("--splits", request.splits), ("-o", output)])
    train_shown(samples, record, folder, start, console, again)
    export_trained(folder, output, console)
    calibrate_trained(output, samples, setting.cell_diameters, None, console)
    score_again(output, samples, folder, console)
