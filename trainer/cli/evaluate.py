"""`trainer evaluate`: the scores of a bundle on whole pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

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

if TYPE_CHECKING:
    from trainer.evaluate import ImageScore
    from trainer.runs import RunFolder


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@data_argument
@layout_option
@splits_option
@click.option("--role", type=click.Choice(["train", "val"]), default="val", show_default=True)
@cell_diameter_option
@click.option("--untold", is_flag=True, help="Estimate the scale of each picture instead.")
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
    samples = samples_of(data, layout, splits, role)
    engine = open_engine(opened, "onnxruntime", threads=threads)
    scale_of = _estimating(opened, engine) if untold else told(diameters_of(samples, cell_diameter))
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


def _note(folder: RunFolder, rows: str, scale: str, scores: Mapping[str, Sequence[ImageScore]]) -> None:
    from trainer.evaluate import summary

    record = folder.load()
    noted = {f"{rows}{dataset}, scale {scale}": summary(own) for dataset, own in scores.items()}
    folder.save(record.model_copy(update={"metrics": record.metrics | noted}))


def _estimating(opened: Any, engine: Any) -> Any:
    from station.contract.scale import estimate

    return lambda _sample, image: estimate(image, opened.manifest, engine)
