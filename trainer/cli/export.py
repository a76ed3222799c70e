"""`trainer export`: a run becomes a bundle."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from trainer.cli.context import EXPORTING, model_name, need, runs_option

if TYPE_CHECKING:
    from trainer.runs import RunFolder


@click.command()
@click.argument("run")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Bundle to write (.zip).")
@click.option("--name", help="Name of the model; default: the name of the bundle.")
@runs_option
def command(run: str, output: Path, name: str | None, runs: Path) -> None:
    """Export a RUN to a bundle: ONNX, checked against Keras, with golden pictures.

    \b
    Example:
      trainer export 20261124T101500-mobilenet_v2-cross-entropy-dice -o my-model.zip
    """
    from trainer.runs import open_run

    export_bundle(open_run(runs, run), output, Console(markup=False), name)


def export_bundle(folder: RunFolder, output: Path, console: Console, name: str | None = None) -> None:
    need(*EXPORTING)
    from trainer.export import export_run

    with console.status("exporting and checking against Keras") if console.is_terminal else nullcontext():
        report = export_run(folder, output, model_name(output, name))
    console.print(f"{output}: {report}", soft_wrap=True)
