"""`trainer backbones`: the table of encoders, and where their ImageNet weights are fetched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Column, Table

from trainer.cli.context import TRAINING, TrainingMissing, need

if TYPE_CHECKING:
    from trainer.backbones import Backbone
    from trainer.cost import Cost


@click.command()
@click.option("--weights-dir", type=click.Path(path_type=Path), default=Path("weights"), show_default=True)
@click.option("--fetch", "fetched", metavar="BACKBONE", help="Download the ImageNet weights of this one instead.")
def command(weights_dir: Path, fetched: str | None) -> None:
    """List the encoders: what a U-Net on each costs, and whether its ImageNet weights are present.

    Millions of parameters; GFLOPs of the convolutions, a product and a sum counted as two, for one picture of
    256 x 256 px; MB of the network file, which stores float16.

    \b
    Example:
      trainer backbones --weights-dir weights
      trainer backbones --fetch resnet50 --weights-dir weights
    """
    if fetched:
        _fetch(fetched, weights_dir)
        return
    from trainer.display import show

    costs, lacking = _costs()
    show(_table(costs, weights_dir))
    if lacking:
        click.echo(f"parameters, GFLOPs and MB: {lacking}")


def _fetch(name: str, weights_dir: Path) -> None:
    from trainer.backbones import backbone
    from trainer.pretrained import fetch

    row = backbone(name)
    need(*TRAINING)
    click.echo(f"{fetch(row, weights_dir)}: ImageNet weights of '{row.name}', from {row.imagenet_source}")


def _costs() -> tuple[dict[str, Cost], str]:
    """By backbone; empty, with the reason, where nothing is installed to build a network with."""
    try:
        need(*TRAINING)
    except TrainingMissing as missing:
        return {}, str(missing)
    from trainer.backbones import BACKBONES
    from trainer.cost import cost_of
    from trainer.display import progress

    with progress(Console(stderr=True)) as bar:
        return {name: cost_of(row) for name, row in bar.track(BACKBONES.items(), description="building networks")}, ""


def _table(costs: dict[str, Cost], weights_dir: Path) -> Table:
    from trainer.backbones import BACKBONES

    right = [Column(title, justify="right") for title in ("stride", "parameters", "GFLOPs", "MB")]
    table = Table("backbone", *right, Column("ImageNet weights", overflow="fold"), Column("from", overflow="fold"))
    for row in BACKBONES.values():
        figures = _figures(costs[row.name]) if costs else ("-", "-", "-")
        table.add_row(row.name, str(row.stride), *figures, *_weights(row, weights_dir))
    return table


def _figures(cost: Cost) -> tuple[str, str, str]:
    return f"{cost.parameters / 1e6:.2f} M", f"{cost.operations / 1e9:.1f}", f"{cost.megabytes:.1f}"


def _weights(row: Backbone, weights_dir: Path) -> tuple[str, str]:
    if row.imagenet_file is None:
        return "none exist", ""
    state = "here" if (weights_dir / row.imagenet_file).is_file() else "missing"
    return f"{row.imagenet_file} ({state})", row.imagenet_source
