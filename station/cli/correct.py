"""`station correct`: what a person says of an image's cells."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from station.cli.context import CellDiameter, config_option, settings_of, writing
from station.contract.corrections import AddCell, Correction, correction_of
from station.contract.errors import CorrectionError
from station.ledger import find
from station.printing import printable
from station.reviewing import Outcome, correct, picture_of

who_option = click.option(
    "--who", metavar="NAME", default=lambda: _user(), help="Who says it (default: the name of this system's user)."
)


def _place(text: str) -> tuple[float, float]:
    """A place in the picture, px."""
    try:
        x, y = map(float, text.split(","))
    except ValueError as cause:
        raise click.UsageError(f"'{text}' is no place; say it as 410,280") from cause
    return x, y


@click.command("correct")
@click.argument("image")
@click.argument("more", nargs=-1, metavar="[X,Y | CELL]...")
@click.option("--add", type=_place, metavar="X,Y", help="A cell that was missed.")
@click.option("--remove", type=int, metavar="CELL", help="No white cell.")
@click.option("--split", type=int, metavar="CELL", help="Several cells: a place in each of them follows.")
@click.option("--merge", type=int, metavar="CELL", help="Parts of one cell: the numbers of the others follow.")
@click.option("--reject", is_flag=True, help="Not fit to be counted.")
@click.option("--accept", is_flag=True, help="Looked at, and right as it is.")
@click.option("--flag", is_flag=True, help="Somebody should look once more: marked for review until then.")
@click.option("--withdraw", is_flag=True, help="Take the last correction back that still stands.")
@click.option("--diameter", type=CellDiameter(), metavar="PX", help="Of the cell to add (default: the picture's).")
@who_option
@click.option("--why", default="", metavar="TEXT", help="A word on the reason.")
@config_option
def command(
    image: str, more: tuple[str, ...], diameter: float | None, who: str, why: str, config: Path | None, **told: Any
) -> None:
    """Correct the cells of IMAGE, which is told as for `station explain`: that lists the numbers of its cells, too.

    Each correction is written down beside the automatic result, with its author; nothing is overwritten. No model is
    loaded.

    \b
    Example:
      station correct 17 --add 410,280 --who "A. Weber"
      station correct 17 --split 3 120,90 160,95 --why "two neutrophils touch"
      station correct 17 --merge 4 5
      station correct 17 --withdraw
    """
    settings = settings_of(config)
    correction = _correction(told, more, diameter)
    with writing(settings) as store:
        history = find(image, store, settings.camera.folder)
        most = settings.limits.max_megapixels
        picture = picture_of(history, max_megapixels=most) if isinstance(correction, AddCell) else None
        outcome = correct(store, history.image_id, correction, who, why, image=picture)
    click.echo(printable(_told(outcome)), err=outcome.written is None)
    sys.exit(0 if outcome.written else 1)


def _correction(told: dict[str, Any], more: Sequence[str], diameter: float | None) -> Correction:
    """What the options come to. Raises UsageError where they are none, several, or incomplete."""
    given = [kind for kind, value in told.items() if value is not None and value is not False]
    if len(given) != 1:
        kinds = ", ".join(f"--{kind}" for kind in told)
        raise click.UsageError(f"say one, and only one, of {kinds}")
    (kind,) = given
    if more and kind not in ("split", "merge"):
        raise click.UsageError(f"--{kind} takes no further places or cells: {' '.join(more)}")
    if diameter is not None and kind != "add":
        raise click.UsageError("--diameter goes with --add")
    try:
        return correction_of(kind, _detail(kind, told[kind], more, diameter))
    except CorrectionError as cause:
        raise click.UsageError(str(cause)) from cause


def _detail(kind: str, value: Any, more: Sequence[str], diameter: float | None) -> dict[str, Any]:
    if kind == "add":
        return {"x": value[0], "y": value[1], "diameter_px": diameter}
    if kind == "remove":
        return {"cell_id": value}
    if kind == "split":
        if len(more) < 2:
            raise click.UsageError(f"--split takes a cell and a place in each part: --split {value} 120,90 160,95")
        return {"cell_id": value, "points": tuple(_place(one) for one in more)}
    if kind == "merge":
        return {"cell_ids": (value, *more)}
    return {}


def _told(outcome: Outcome) -> str:
    if outcome.written is None:
        return f"error: nothing was written: {outcome.words}"
    return f"correction {outcome.written.number} of image {outcome.state.image_id}: {outcome.words}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError) as cause:  # a number without a name, as in some containers
        raise click.UsageError("this system does not know your name; say --who") from cause
