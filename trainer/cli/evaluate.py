"""`trainer evaluate`: the scores of a bundle on whole pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
from rich.console import Console

from trainer.cli.context import (
    cell_diameter_option,
    data_argument,
    diameters_of,
    layout_option,
    runs_option,
    samples_of,
    splits_option,
)
from trainer.cli.duel import Ground, end, fought, scored

if TYPE_CHECKING:
    from trainer.evaluate import ImageScore
    from trainer.runs import DuelRecord, RunFolder


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@data_argument
@layout_option
@splits_option
@click.option("--role", type=click.Choice(["train", "val"]), default="val", show_default=True)
@cell_diameter_option
@click.option("--untold", is_flag=True, help="Estimate the scale of each picture instead.")
@click.option(
    "--against", type=click.Path(path_type=Path), help="Hold it against this older bundle, on the same pictures."
)
@click.option("--per-image", is_flag=True, help="One line per picture as well.")
@click.option("--threads", type=int, default=0, help="Threads of ONNX Runtime; 0 = all cores.")
@click.option("--into", "run", help="Note the figures in this run, for the card of the model that it exports.")
@runs_option
def command(
    bundle: Path,
    data: tuple[Path, ...],
    layout: str | None,
    splits: Path | None,
    role: Literal["train", "val"],
    cell_diameter: tuple[str, ...],
    untold: bool,
    against: Path | None,
    per_image: bool,
    threads: int,
    run: str | None,
    runs: Path,
) -> None:
    """Score a BUNDLE on whole pictures, through the same code as the station.

    With --against, the figures of both bundles stand side by side, and a sentence says whether BUNDLE is worse than the
    older one. The exit code is 0 only where it is shown to be not worse: at least 20 pictures in 5 groups, with 95 %
    no mean loss of more than 0.005 Dice of cell or nucleus, and counts as good.

    \b
    Example:
      trainer evaluate my-model.zip my-images
      trainer evaluate my-model.zip data/bccd data/zheng --splits data/splits.csv \\
          --cell-diameter bccd=162 --cell-diameter zheng=75
      trainer evaluate my-model.zip my-test --against "$(station model path)"
    """
    from station.contract.bundle import read_bundle
    from trainer.display import per_image_table, score_table, show
    from trainer.evaluate import by_dataset
    from trainer.runs import open_run

    folder = open_run(runs, run) if run else None
    opened = read_bundle(bundle)
    older = read_bundle(against) if against else None
    samples = samples_of(data, layout, splits, role)
    ground = Ground(samples, None if untold else diameters_of(samples, cell_diameter))
    console = Console(markup=False, highlight=False)
    new = scored(opened, ground, console, threads)
    if per_image:
        show(per_image_table(new.scores))
    duel = fought(scored(older, ground, console, threads), new, ground) if older else None
    if duel is None:
        for dataset, own in by_dataset(new.scores).items():
            show(score_table(dataset, own))
    if folder:
        rows = f"{role} rows of " if splits else ""
        _note(folder, rows, "estimated" if untold else "told", by_dataset(new.scores), duel)
    if duel:
        end(duel, bundle, console)


def _note(
    folder: RunFolder,
    rows: str,
    scale: str,
    scores: Mapping[str, Sequence[ImageScore]],
    duel: DuelRecord | None,
) -> None:
    from trainer.evaluate import summary

    record = folder.load()
    noted = {f"{rows}{dataset}, scale {scale}": summary(own) for dataset, own in scores.items()}
    folder.save(record.model_copy(update={"metrics": record.metrics | noted, "duel": duel or record.duel}))
