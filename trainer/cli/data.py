"""`trainer data`: are the pictures fit to train on, and how do they get into the default layout."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from trainer.cli.context import data_argument, layout_option, splits_option, warn

if TYPE_CHECKING:
    from trainer.datasets.pairing import Finding
    from trainer.datasets.samples import Sample
    from trainer.inspection import Look, Summary


@click.group("data")
def command() -> None:
    """Check data sets, and bring them into the default layout.

    \b
    Example:
      trainer data check my-images --sheet sheet.png
      trainer data convert tlemcen -o my-images
    """


@command.command("check")
@data_argument
@layout_option
@splits_option
@click.option(
    "--sheet", type=click.Path(path_type=Path), help="Draw up to 48 pictures with their masks' outlines (PNG)."
)
def check(data: tuple[Path, ...], layout: str | None, splits: Path | None, sheet: Path | None) -> None:
    """Find what is wrong with the folders DATA before anything is trained on them.

    Everything is read. Each problem is a line that names the file: `mend` must be put right, else the exit code is 1;
    `look` is worth a look. With --splits, the groups are those of the table.

    \b
    Example:
      trainer data check my-images --sheet sheet.png
      trainer data check data/bccd data/zheng --splits data/splits.csv
      trainer data check coloured --palette "255,255,255=background;0,0,255=cytoplasm;0,255,255=nucleus"
    """
    from trainer.display import progress, show
    from trainer.inspection import divided, list_all, look, look_over

    samples, findings = list_all(data, layout)
    if splits:
        samples, of_division = divided(samples, splits)
        findings += of_division
    with progress(Console(markup=False)) as bar:
        looks = [look(sample) for sample in bar.track(samples, description="reading pictures")]
    findings += [*(finding for one in looks for finding in one.findings), *look_over(looks)]
    for finding in sorted(findings, key=lambda finding: not finding.must_mend):
        click.echo(f"{'mend' if finding.must_mend else 'look'}: {finding.text}")
    if looks:
        show(_summary_table(looks))
    if sheet:
        _draw(looks, findings, sheet)
    mend = sum(finding.must_mend for finding in findings)
    click.echo(f"{mend} to be mended, {len(findings) - mend} worth a look")
    sys.exit(1 if mend else 0)


@command.command("convert")
@data_argument
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder to write; new or empty.")
@layout_option
def convert(data: tuple[Path, ...], output: Path, layout: str | None) -> None:
    """Copy the folders DATA into one folder of the default layout, and read it back.

    Pictures are copied byte for byte as images/<id>, masks become masks/<id>.png with 0 background, 1 cytoplasm and
    2 nucleus; groups.csv and counts.csv keep what is known. Of several folders, ids begin with the set's name.

    \b
    Example:
      trainer data convert tlemcen -o my-images
      trainer data convert grey --palette "0=background,128=cytoplasm,255=nucleus" -o my-images
    """
    from trainer.datasets import open_datasets
    from trainer.display import progress
    from trainer.relayout import relayout

    samples = open_datasets(data, layout, warn)
    console = Console(markup=False)
    with progress(console) as bar:
        task = bar.add_task("writing, reading back", total=2 * len(samples))
        copies = relayout(samples, output, lambda: bar.advance(task))
    groups = len({sample.group for sample in copies})
    click.echo(f"{output}: {len(copies)} pictures in {groups} groups; all masks read back equal")


def _draw(looks: Sequence[Look], findings: Iterable[Finding], path: Path) -> None:
    from trainer.sheet import Tile, chosen, contact_sheet, save

    found: dict[Path, bool] = {}
    for finding in findings:
        found[finding.file] = found.get(finding.file, False) or finding.must_mend

    def tile(sample: Sample) -> Tile:
        marks = [found[file] for file in (sample.image, sample.mask) if file in found]
        return Tile(sample, any(marks) if marks else None)

    if not looks:
        click.echo(f"{path} is not written: there is no picture to draw")
        return
    tiles = chosen([tile(one.sample) for one in looks])
    save(contact_sheet(tiles), path)
    click.echo(f"{path}: {len(tiles)} of {len(looks)} pictures are on it")


def _summary_table(looks: Sequence[Look]) -> Table:
    """One column for each data set, so that several fit on a terminal."""
    from trainer.inspection import by_set, summary

    summaries = {name: _words(summary(own)) for name, own in by_set(looks).items()}
    table = Table("", *summaries)
    for row in next(iter(summaries.values())):
        table.add_row(row, *(words[row] for words in summaries.values()))
    return table


def _words(figures: Summary) -> dict[str, str]:
    from station.contract.manifest import CLASSES

    shares = [f"{share:.1%}" for share in figures.shares] or ["-"] * len(CLASSES)
    diameter = "{:.0f} ({:.0f}..{:.0f})".format(*figures.diameter_px) if figures.diameter_px else "-"
    return {
        "pictures with a mask": str(figures.pictures),
        "groups": str(figures.groups),
        "size, px": _size_words(figures.sizes),
        **dict(zip(CLASSES, shares, strict=True)),
        "cell diameter, px (10th..90th)": diameter,
        "white cells": f"{figures.white_cells} ({'told' if figures.told else 'regions with a nucleus'})",
    }


def _size_words(sizes: Sequence[tuple[int, int]]) -> str:
    if len(sizes) < 2:
        return "".join(f"{width} x {height}" for width, height in sizes) or "-"
    widths, heights = zip(*sizes, strict=True)
    return f"{len(sizes)} sizes, {min(widths)}..{max(widths)} x {min(heights)}..{max(heights)}"
