"""`station replay`: an image analysed again."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from station.cli.context import config_option, degraded, reading, settings_of
from station.ledger import find
from station.printing import printable
from station.replay import Replay, replay


@click.command("replay")
@click.argument("image")
@config_option
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def command(image: str, config: Path | None, as_json: bool) -> None:
    """Analyse IMAGE again and say whether the result is the same. Nothing is written.

    It is done with the model and the cell diameter of its newest analysis, on the engine that is chosen now.
    `the same`: every pixel of the masks is. `alike`: the count is, and Dice is at least 0.998 for whole cells and 0.99
    for nuclei. Otherwise `different`, and the exit code is 1. Where masks were pruned, only count and areas are
    compared. IMAGE is told as for `station explain`.

    \b
    Example:
      station replay 17
      station replay 3fa9c1 --json
    """
    settings = settings_of(config)
    with reading(settings) as store:
        found = replay(find(image, store, settings.camera.folder), store, settings, trouble=degraded())
    if as_json:
        click.echo(json.dumps(asdict(found)))
    else:
        for line in _lines(found):
            click.echo(printable(line))
    sys.exit(1 if found.verdict == "different" else 0)


def _lines(found: Replay) -> Iterator[str]:
    yield f"image {found.image_id}, {found.path}: {found.verdict}"
    yield f"  count: {_beside(str(found.wbc_count), str(found.wbc_count_before))}"
    if found.by_pixels:
        yield f"  whole-cell Dice {found.cell_dice:.4f}, nucleus Dice {found.nucleus_dice:.4f}"
    else:
        most = f"allow a whole-cell Dice of {found.cell_dice:.4f}, a nucleus Dice of {found.nucleus_dice:.4f} at most"
        yield f"  the masks are not there any more: only count and areas were compared, which {most}"
    yield f"  model: {found.model}, {found.model_sha256}"
    yield f"  cell diameter: {found.cell_diameter_px:g} px"
    yield f"  engine: {_beside(found.engine, found.engine_before)}"
    yield f"  version: {_beside(found.package_version, found.package_version_before)}"


def _beside(now: str, before: str) -> str:
    return now if now == before else f"{now}, was {before}"
