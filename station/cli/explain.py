"""`station explain`: where an image came from, and what made its number."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from station.cli.context import config_option, reading, settings_of
from station.contract.corrections import words_of
from station.database.overlap_records import EarlierField
from station.database.records import (
    Attempt,
    History,
    SeenPath,
    StoredAnalysis,
    StoredCell,
    StoredCorrection,
)
from station.database.review_records import Reviewed, ReviewedCell
from station.ledger import find, masks_state, pruned_before
from station.printing import plural, printable


@click.command("explain")
@click.argument("image")
@config_option
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def command(image: str, config: Path | None, as_json: bool) -> None:
    """Say where IMAGE came from, every attempt at it, and what made its number: model, engine, settings, version.

    Cells are listed as each analysis found them and, where people corrected the picture, as they count since.

    IMAGE is its number, a path under which it was seen, or the first six or more hex digits of its content hash. Times
    are UTC.

    \b
    Example:
      station explain 17
      station explain /srv/leica/S-17/Image_0001.bmp --json
      station explain 3fa9c1
    """
    settings = settings_of(config)
    with reading(settings) as store, store.at_one_moment() as still:
        history, pruned = find(image, still, settings.camera.folder), pruned_before(still)
        now = still.reviewed(history.image_id) if history.corrections else None
    if as_json:
        click.echo(json.dumps(_as_json(history, now, pruned)))
        return
    for line in _lines(history, now, pruned):
        click.echo(printable(line))


def _as_json(history: History, now: Reviewed | None, pruned: datetime | None) -> dict[str, Any]:
    analyses = [asdict(one) | {"masks": masks_state(one, pruned)} for one in history.analyses]
    counts = None if now is None else _counted(now)
    told: dict[str, Any] = _told(asdict(history) | {"analyses": analyses, "corrected": counts})
    return told


def _counted(now: Reviewed) -> dict[str, Any]:
    """What the image counts since people looked at it; `correction` 0: as the newest analysis found it."""
    counts = {"wbc_count": now.wbc_count, "wbc_count_inside": now.wbc_count_inside}
    return {
        "correction": now.stands if now.by_a_person else 0,
        "rejected": now.rejected,
        **counts,
        "cells": [asdict(one) for one in now.cells],
    }


def _told(value: Any) -> Any:
    """As JSON can hold it; whether masks are there is told by their state."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {name: _told(part) for name, part in value.items() if name != "has_masks"}
    return [_told(part) for part in value] if isinstance(value, list | tuple) else value


def _lines(history: History, now: Reviewed | None, pruned: datetime | None) -> Iterator[str]:
    yield f"image {history.image_id}, {history.path}"
    yield f"  {history.status} since {_moment(history.since)}" + (f": {history.reason}" if history.reason else "")
    yield f"  content: {history.sha256 or 'never was a whole picture'}"
    yield f"  slide: {history.slide}"
    yield f"  captured {_moment(history.captured_at)}, taken in {_moment(history.ingested_at)}"
    yield from map(_path, history.paths)
    yield from map(_attempt, history.attempts)
    if history.analyses and not history.attempts:
        yield "attempts: none written down, an earlier version did not keep them"
    for analysis in history.analyses:
        yield from _analysis(analysis, masks_state(analysis, pruned))
    yield from map(_correction, history.corrections)
    if now is not None and now.by_a_person:
        base = next(one for one in history.analyses if one.analysis_id == now.analysis_id)
        yield from _counts_now(now, base)
    yield from map(_overlap, history.overlaps)


def _path(seen: SeenPath) -> str:
    found = {True: "announced by an event", False: "found by a look at the folder", None: "holds it no longer"}
    return f"path {seen.path}: first seen {_moment(seen.first_seen)}, {found[seen.rung]}"


def _attempt(attempt: Attempt) -> str:
    ended = f"{attempt.outcome} {_moment(attempt.ended_at)}" if attempt.ended_at else "under way"
    reason = f": {attempt.reason}" if attempt.reason else ""
    begun = f"begun {_moment(attempt.begun_at)} by {attempt.worker}, version {attempt.package_version}"
    return f"attempt {attempt.number}: {begun}; {ended}{reason}"


def _analysis(analysis: StoredAnalysis, masks: str) -> Iterator[str]:
    yield f"analysis of {_moment(analysis.created_at)}: {analysis.wbc_count} cells, {analysis.wbc_count_inside} inside"
    yield f"  model: {analysis.model}, {analysis.model_sha256}"
    yield f"  engine: {analysis.engine}"
    yield f"  settings: {analysis.settings_sha256}"
    yield f"  version: {analysis.package_version}"
    yield f"  cell diameter: {analysis.cell_diameter_px:g} px ({analysis.cell_diameter_source})"
    yield f"  picture: {analysis.width} x {analysis.height} px"
    yield f"  flags: {', '.join(analysis.flags) or 'none'}"
    yield f"  seconds: {', '.join(f'{step} {seconds:g}' for step, seconds in analysis.seconds.items())}"
    yield f"  masks: {masks}"
    yield from map(_cell, analysis.cells)


def _cell(cell: StoredCell) -> str:
    ratio = f", N:C {cell.nc_ratio:g}" if cell.nc_ratio is not None else ""
    edge = ", at the edge" if cell.touches_edge else ""
    area = f"{cell.area_px} px, nucleus {cell.nucleus_area_px} px"
    return f"  cell {cell.cell_id} at ({cell.x:g}, {cell.y:g}): {area}{ratio}{edge}, confidence {cell.confidence:g}"


def _correction(one: StoredCorrection) -> str:
    why = f" ({one.why})" if one.why else ""
    said = f"{one.who} {words_of(one.kind, one.detail)}{why}"
    return f"correction {one.number}, {_moment(one.made_at)}: {said}; {one.wbc_count} cells since"


def _counts_now(now: Reviewed, base: StoredAnalysis) -> Iterator[str]:
    counts = "rejected, none of its cells counts"
    if not now.rejected:
        counts = f"{plural(now.wbc_count, 'cell')}, {now.wbc_count_inside} inside"
    yield f"counts by correction {now.stands} of the analysis of {_moment(base.created_at)} by {base.model}: {counts}"
    yield from (f"{_cell(cell)}, {_drawn(cell)}" for cell in now.cells)


def _drawn(cell: ReviewedCell) -> str:
    return {"automatic": "as found", "added": "added by hand", "changed": "changed by hand"}[cell.source]


def _overlap(one: EarlierField) -> str:
    place = f"{100 * one.shared:.0f} % of the field, shifted by ({one.shift_x:g}, {one.shift_y:g}) px"
    shown = f"it counts {plural(len(one.cells), 'cell')} of this one too"
    return f"overlaps image {one.earlier_id}: {place}, certainty {one.certainty:.2f}; {shown}"


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
