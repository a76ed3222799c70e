"""`trainer export`: a run becomes a bundle, or a bundle gets networks in further precisions."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from trainer.cli.context import EXPORTING, model_name, need, runs_option

if TYPE_CHECKING:
    from trainer.precisions import Precision
    from trainer.runs import RunFolder

EXTENDING = ("onnx",)


@click.command()
@click.argument("run")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Bundle to write (.zip).")
@click.option("--name", help="Name of the model; default: the name of the bundle, or the one that RUN has as a bundle.")
@click.option("--int8", "int8", is_flag=True, help="Add a network in eight bits, for processors.")
@click.option("--float16", "float16", is_flag=True, help="Add a network in half precision, for TensorRT.")
@click.option("--repaint", is_flag=True, help="Of a bundle: paint its golden pictures anew, as for a new one.")
@runs_option
def command(run: str, output: Path, name: str | None, int8: bool, float16: bool, repaint: bool, runs: Path) -> None:
    """Export a RUN to a bundle: ONNX, checked against Keras, with golden pictures.

    RUN may also be a bundle: then it is written again with networks in further precisions, which are made of its own
    float32 network. A network that does not reproduce the golden pictures is refused.

    \b
    Example:
      trainer export 20261124T101500-mobilenet_v2-cross-entropy-dice -o my-model.zip --int8 --float16
      trainer export my-model.zip --int8 -o my-model-int8.zip
    """
    from trainer.runs import open_run

    precisions = _told(int8, float16)
    console = Console(markup=False)
    if _is_bundle(Path(run)):
        _extend(Path(run), output, console, name, precisions, repaint)
    elif repaint:
        raise click.UsageError("--repaint is for a bundle; those of a run are painted anew at every export")
    else:
        _export(open_run(runs, run), output, console, name, precisions, spare=False)


def export_trained(folder: RunFolder, output: Path, console: Console) -> None:
    """The bundle of a training that has just ended, with an int8 network where that passes its gate."""
    _export(folder, output, console, None, ("int8",), spare=True)


def _export(
    folder: RunFolder, output: Path, console: Console, name: str | None, precisions: Sequence[Precision], *, spare: bool
) -> None:
    need(*EXPORTING)
    from trainer.export import export_run

    with _status(console, "exporting and checking against Keras"):
        report = export_run(folder, output, model_name(output, name), precisions, spare=spare)
    console.print(f"{output}: {report}", soft_wrap=True)


def _extend(
    path: Path, output: Path, console: Console, name: str | None, precisions: Sequence[Precision], repaint: bool
) -> None:
    if not precisions and not repaint:
        raise click.UsageError(f"{path} is a bundle already; say with --int8, --float16 what shall be added to it")
    need(*EXTENDING)
    from trainer.export import extend_bundle

    model_name(output, name)
    with _status(console, "making and proving the networks"):
        rows = extend_bundle(path, output, name, precisions, repaint=repaint)
    size = f"{output.stat().st_size / 1e6:.1f} MB"
    console.print(f"{output}: {'; '.join((size, *map(str, rows)))}", soft_wrap=True)


def _told(int8: bool, float16: bool) -> list[Precision]:
    chosen: list[Precision] = []
    if int8:
        chosen.append("int8")
    if float16:
        chosen.append("float16")
    return chosen


def _is_bundle(path: Path) -> bool:
    return path.is_file() or (path / "manifest.json").is_file()


def _status(console: Console, words: str) -> AbstractContextManager[object]:
    return console.status(words) if console.is_terminal else nullcontext()
