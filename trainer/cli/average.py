"""`trainer average`: a retrained network between what it became and what it comes from."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from trainer.cli.context import TRAINING, data_argument, layout_option, need, runs_option, samples_of, splits_option


@click.command()
@click.argument("run")
@data_argument
@click.option(
    "--from", "parent", type=click.Path(path_type=Path), required=True, help="The bundle that RUN comes from."
)
@layout_option
@splits_option
@runs_option
def command(
    run: str, data: tuple[Path, ...], parent: Path, layout: str | None, splits: Path | None, runs: Path
) -> None:
    """Average the weights of a finished RUN with those of the model that it was trained --from.

    A second training pays for what it wins elsewhere with some of what the first one knew. Several averages are scored
    on the pictures of DATA that the run held out; the best becomes the run's own, for `trainer export`. What was
    trained is kept, so the command may be given again.

    \b
    Example:
      trainer average 20261129T061309-mobilenet_v2-cross-entropy-dice my-images --from old.zip
    """
    need(*TRAINING)
    from trainer.average import SHARES, averages, keep, trained_weights
    from trainer.datasets.division import joined_by_content
    from trainer.display import averages_table, progress, show
    from trainer.runs import open_run
    from trainer.start import descendant
    from trainer.training import demand_same, new_model
    from trainer.validation import held_out_session

    folder, champion = open_run(runs, run), descendant(parent)
    record = folder.load()
    demand_same(folder, record, samples := joined_by_content(samples_of(data, layout, splits, "train")), champion)
    console = Console(markup=False, highlight=False)
    model = new_model(record, champion)
    old, new = list(model.get_weights()), trained_weights(model, folder)
    validate = held_out_session(samples, record)
    with progress(Console(stderr=True)) as bar:
        tried = averages(model, old, new, lambda: validate(model))
        found = list(bar.track(tried, len(SHARES), description="averages, on held-out pictures"))
    show(averages_table(found))
    best = max(found, key=lambda one: one.score)
    record = keep(model, folder, old, new, best, champion.words)
    console.print(f"run {folder.path}: {record.averaged or 'nothing between the two is better'}", soft_wrap=True)
