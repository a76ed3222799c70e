"""`station reconcile`: the camera folder held against the database."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from station.cli.context import config_option, now_utc, reading, settings_of
from station.ledger import GAPS, STAYS, Line, Reconciliation
from station.printing import plural, printable
from station.reports.completeness import reconciled
from station.settings import Camera


@click.command("reconcile")
@config_option
@click.option("--list", "as_list", is_flag=True, help="Each file, line by line: status, path, reason.")
@click.option("--json", "as_json", is_flag=True, help="For programs; with --list each file too, else only gaps.")
def command(config: Path | None, as_list: bool, as_json: bool) -> None:
    """Hold the camera folder against the database: each picture must be counted, or not yet with a reason.

    A gap is a picture that the database does not know as it is now, or a counted one that lacks its analysis, cells or
    masks; the exit code is 1 if there is one. A file that has just come is `arriving`. Nothing is changed.

    \b
    Example:
      station reconcile --config my-station/station.toml
      station reconcile --list > pictures.txt
    """
    settings = settings_of(config)
    with reading(settings) as store:
        found = reconciled(store, settings.camera, now_utc())
    lines = (*found.files, *found.flaws, *found.gone) if as_list else found.gaps
    if as_json:
        click.echo(json.dumps(_summary(settings.camera, found) | {"lines": [line._asdict() for line in lines]}))
    else:
        for sentence in (*_each(lines if as_list else ()), *_sentences(settings.camera, found)):
            click.echo(printable(sentence))
    sys.exit(1 if found.gaps else 0)


def _summary(camera: Camera, found: Reconciliation) -> dict[str, object]:
    return {
        "folder": str(camera.folder),
        "files": len(found.files),
        "counts": found.counts,
        "duplicates": found.duplicates,
        "gone": len(found.gone),
        "gaps": dict(Counter(line.status for line in found.gaps)),
    }


def _each(lines: Iterable[Line]) -> Iterator[str]:
    for line in lines:
        yield f"{line.status:<12} {line.path}" + (f": {line.reason}" if line.reason else "")


def _sentences(camera: Camera, found: Reconciliation) -> Iterator[str]:
    counts = ", ".join(f"{count} {status}" for status, count in found.counts.items())
    yield f"{camera.folder}: {len(found.files)} files" + (f": {counts}" if counts else "")
    if found.duplicates:
        yield f"{found.duplicates} of them hold the content of another one and are not counted again"
    if found.gone:
        counted = sum(line.reason == STAYS for line in found.gone)
        are = f"{plural(len(found.gone), 'image')} {'is' if len(found.gone) == 1 else 'are'} in the folder no more"
        yield f"{are}: {counted} counted, as before, {len(found.gone) - counted} never counted"
    for status, count in Counter(line.status for line in found.gaps).items():
        yield f"gap: {count} {status} ({GAPS[status]})"
    yield "each gap is named by --list" if found.gaps else "no gap"
