"""`trainer backbones`: the table of encoders."""

from __future__ import annotations

from pathlib import Path

import click
from rich.table import Column, Table


@click.command()
@click.option("--weights-dir", type=click.Path(path_type=Path), default=Path("weights"), show_default=True)
def command(weights_dir: Path) -> None:
    """List the encoders and whether their ImageNet weights are present.

    \b
    Example:
      trainer backbones --weights-dir weights
    """
    from trainer.backbones import BACKBONES
    from trainer.display import show

    table = Table("backbone", "stride", Column("ImageNet weights", overflow="fold"), Column("from", overflow="fold"))
    for row in BACKBONES.values():
        file = row.imagenet_file
        present = (
            "none exist" if file is None else f"{file} ({'here' if (weights_dir / file).is_file() else 'missing'})"
        )
        table.add_row(row.name, str(row.stride), present, row.imagenet_source if file else "")
    show(table)
