"""`station export`: pictures, masks and cells for other programs, and for the trainer."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import click
from rich.console import Console

from station.cli.context import config_option, now_utc, progress, reading, settings_of, writing
from station.cli.days import DAY, any_span
from station.cli.ends import tidy_when_terminated
from station.exports import FORMATS
from station.exports.choosing import EVER, Wanted
from station.exports.writing import Tally, export
from station.printing import plural, printable
from station.testset import as_written, frozen, note_learnt
from station.watching import as_stored

_SPENT = (
    "no test set is frozen, and none can be drawn from these slides any more: a model is not tested on what it learnt "
    "from; `station testset freeze` keeps slides of other days"
)


@click.command("export")
@click.option("--format", "style", type=click.Choice(FORMATS), required=True, help="For what.")
@click.option("--reviewed", is_flag=True, help="Only pictures that a person accepted or corrected.")
@click.option("--date", "day", type=DAY, help="A local day (default: all).")
@click.option("--from", "first", type=DAY, help="First local day.")
@click.option("--to", "last", type=DAY, help="Last local day, included.")
@click.option("--slide", metavar="NAME", help="Only pictures of this slide.")
@click.option(
    "--names", is_flag=True, help="Show names of files and slides; by default pseudonyms, they may be patients'."
)
@click.option("--overwrite", is_flag=True, help="Put it in the place of an older export.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, file_okay=False), required=True, help="A new or empty folder."
)
@config_option
def command(
    style: str,
    reviewed: bool,
    day: datetime | None,
    first: datetime | None,
    last: datetime | None,
    slide: str | None,
    names: bool,
    overwrite: bool,
    output: Path,
    config: Path | None,
) -> None:
    """Write counted pictures as they count now, corrections included, into a folder.

    training: images, masks and groups as `trainer fit` reads them. With a frozen test set (`station testset`) its
    pictures go into a folder `<output>-test` beside it; draw that first, for slides that were exported for training are
    never drawn for one. qupath: GeoJSON. csv: a line per picture and per cell. coco:
    instances of cells and nuclei. tiff: label images as OME-TIFF. imagej: RoiSet.zip.

    The folder appears whole or not at all; manifest.json says what it holds. Rejected pictures are left out, but for
    csv. A picture whose file is gone is named, the others are written, and the exit code is 1.

    \b
    Example:
      station export --format training --reviewed -o my-images
      station export --format csv --date 2026-11-24 -o day
      station export --format qupath --from 2026-11-02 --to 2026-11-06 --slide S-17 -o for-qupath
    """
    tidy_when_terminated()
    settings = settings_of(config)
    days = any_span(day, first, last) or EVER
    wanted = Wanted(style, *days, as_stored(slide) if slide is not None else None, reviewed, names)
    with reading(settings) as store, progress(Console(stderr=True)) as bar:
        test_set = as_written(store)
        task = bar.add_task("writing pictures", total=None)

        def step(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        def ready(tallies: Sequence[Tally]) -> None:  # known before anybody can learn from it
            if style == "training":
                with writing(settings) as kept:
                    lines = [line for one in tallies if not one.held_back for line in one.written]
                    note_learnt(kept, lines, test_set)

        tallies = export(store, settings, wanted, output, now_utc(), overwrite=overwrite, step=step, ready=ready)
        spent = style == "training" and frozen(store) is None
    for tally in tallies:
        _tell(tally)
    if spent:
        click.echo(_SPENT, err=True)
    sys.exit(1 if any(left.lost for tally in tallies for left in tally.left) else 0)


def _tell(tally: Tally) -> None:
    looked = f"{tally.looked_at} of them looked at by a person, {tally.changed} with changed cells"
    click.echo(
        printable(f"{tally.folder}: {plural(tally.pictures, 'picture')}, {looked}; ")
        + plural(tally.cells, "white cell")
    )
    for reason, count in Counter(left.reason for left in tally.left if not left.lost).items():
        click.echo(printable(f"left out: {plural(count, 'picture')}: {reason}"))
    for left in tally.left:
        if left.lost or left.reason == "rejected":
            click.echo(printable(f"left out: image {left.image_id} ({left.path}): {left.reason}"), err=left.lost)
