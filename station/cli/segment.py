"""`station segment`: single pictures, without a database."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Column, Table

from station.calibration import known_scale
from station.cli.context import CellDiameter, degraded, progress, reading, settings_if_any, show
from station.contract.analysis import Scale
from station.contract.errors import StationError
from station.contract.masks import encode
from station.contract.overlay import overlay_png
from station.contract.scale import estimate
from station.engines import AUTO, ENGINES, PRECISIONS
from station.pipeline import Failure, Result, ScaleOf, analyse_each
from station.printing import printable
from station.registry import Loaded, load_active, load_model, starter_path, told_scale
from station.settings import Engine as EngineSettings
from station.settings import Limits, Settings
from station.watching import PICTURES, is_container, is_picture

_BELOW = "; those in its sub-folders are not taken: name these"


@click.command("segment")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--model", type=click.Path(path_type=Path), help="Bundle (default: the active model, else the starter).")
@click.option("--engine", type=click.Choice([AUTO, *ENGINES]), help="Default: that of the settings, else auto.")
@click.option("--precision", type=click.Choice([AUTO, *PRECISIONS]), help="Default: that of the settings, else auto.")
@click.option(
    "--masks",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write <stem>.labels.png and <stem>.cells.png here.",
)
@click.option("--overlays", type=click.Path(path_type=Path, file_okay=False), help="Write pictures with contours here.")
@click.option(
    "--cell-diameter", type=CellDiameter(), help="Apparent white cell diameter, px (default: settings, else estimated)."
)
@click.option("--format", "style", type=click.Choice(["table", "jsonl"]), default="table", show_default=True)
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Settings: active model, cell diameter, limits, threads (default: $WBC_STATION_CONFIG, else ./station.toml if "
    "it is there).",
)
def command(
    paths: tuple[Path, ...],
    model: Path | None,
    engine: str | None,
    precision: str | None,
    masks: Path | None,
    overlays: Path | None,
    cell_diameter: float | None,
    style: str,
    config: Path | None,
) -> None:
    """Count the white cells of pictures or folders of pictures (not of their sub-folders), in the order given.

    One bad file never stops the others; the exit code is 1 if there was one.

    \b
    Example:
      station segment field.bmp --cell-diameter 120 --overlays seen
      station segment fields/ --format jsonl > counts.jsonl
    """
    files, empty = expanded(paths)
    _refuse_equal_stems(files, masks, overlays)
    _refuse_overwriting(files, masks, overlays)
    settings = settings_if_any(config)
    loaded = _model(model, settings, _engine(settings, engine, precision))
    limits = settings.limits if settings else Limits()
    outcomes = analyse_each(
        files, _scale_of(cell_diameter, settings, loaded), loaded.manifest, loaded.engine, limits.max_megapixels
    )
    um_per_px = settings.camera.um_per_px if settings else None
    failures = _show(outcomes, len(files), style, loaded, um_per_px, masks, overlays)
    tell_empty(empty)
    sys.exit(1 if failures or empty else 0)


def as_json(result: Result, model: Loaded, um_per_px: float | None = None) -> dict[str, Any]:
    """The promised object of one picture."""
    analysis = result.analysis
    cells = []
    for cell in analysis.drawing.measured:
        fields: dict[str, Any] = {
            "id": cell.id,
            "x": cell.x,
            "y": cell.y,
            "bbox": list(cell.bbox),
            "area_px": cell.area_px,
            "nucleus_area_px": cell.nucleus_area_px,
            "cytoplasm_area_px": cell.cytoplasm_area_px,
            "nc_ratio": cell.nc_ratio,
            "touches_edge": cell.touches_edge,
            "confidence": cell.confidence,
            "flags": list(cell.flags),
        }
        cells.append(fields | ({"area_um2": round(cell.area_px * um_per_px**2, 2)} if um_per_px else {}))
    return {
        "path": str(result.path),
        "sha256": result.sha256,
        "wbc_count": analysis.wbc_count,
        "cells": cells,
        "flags": list(analysis.flags),
        "quality": analysis.quality,
        "cell_diameter_px": analysis.scale.cell_diameter_px,
        "cell_diameter_source": analysis.scale.source,
        "model": model.name,
        "engine": result.engine,
        "seconds": result.seconds,
    }


def expanded(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Folders are replaced by their pictures, sorted: (files, folders that hold none).

    A folder that is named like a picture is left to fail by name. Raises UsageError where there is no file at all.
    """
    files: list[Path] = []
    empty: list[Path] = []
    for path in paths:
        own = [path]
        if path.is_dir() and path.suffix.lower().lstrip(".") not in PICTURES:
            own = sorted(entry for entry in path.iterdir() if is_picture(entry.name) and not is_container(entry.name))
        files += own
        empty += [] if own else [path]
    if not files:
        raise click.UsageError(f"no pictures in {', '.join(map(str, paths))}{_BELOW}")
    return files, empty


def tell_empty(folders: Sequence[Path]) -> None:
    """On stderr, each folder that was named and gave nothing."""
    for folder in folders:
        click.echo(printable(f"error: there are no pictures in {folder}{_BELOW}"), err=True)


def _refuse_equal_stems(files: Sequence[Path], *folders: Path | None) -> None:
    twice = [stem for stem, count in Counter(path.stem for path in files).items() if count > 1]
    if any(folders) and twice:
        raise click.UsageError(
            f"several inputs are called {twice[0]!r} and would overwrite each other's pictures; segment them apart"
        )


def _refuse_overwriting(files: Sequence[Path], masks: Path | None, overlays: Path | None) -> None:
    inputs = {os.path.realpath(path) for path in files}  # which leaves a link in a circle as it is
    for path in files:
        for target in _targets(path.stem, masks, overlays).values():
            if os.path.realpath(target) in inputs:
                raise click.UsageError(f"{target} is an input and would be overwritten; name another folder")


def _targets(stem: str, masks: Path | None, overlays: Path | None) -> dict[str, Path]:
    """What is written for a picture of this stem: labels, cells, overlay."""
    labels_and_cells = {kind: masks / f"{stem}.{kind}.png" for kind in ("labels", "cells")} if masks else {}
    return labels_and_cells | ({"overlay": overlays / f"{stem}.png"} if overlays else {})


def _engine(settings: Settings | None, name: str | None, precision: str | None) -> EngineSettings:
    """The settings' engine, or the one that is told here; a name that is told alone leaves the precision to `auto`."""
    kept = settings.engine if settings else EngineSettings()
    if name is None and precision is None:
        return kept
    told = {"name": name or kept.name, "precision": precision or "auto", "threads": kept.threads}
    return EngineSettings.model_validate(told)


def _model(told: Path | None, settings: Settings | None, engine: EngineSettings) -> Loaded:
    if told:
        return load_model(told, engine, degraded())
    if settings and settings.database.path.exists():
        with reading(settings) as store:
            if active := store.active_model():
                return load_active(active, store, engine, degraded())
    return load_model(starter_path(), engine, degraded())


def _scale_of(told: float | None, settings: Settings | None, model: Loaded) -> ScaleOf:
    """Told here, else by the settings or as the station settled it, else estimated from each picture alone."""
    if scale := Scale(told, "told") if told else settings and _of_station(settings, model):
        return lambda _image: scale
    return lambda image: estimate(image, model.manifest, model.engine)


def _of_station(settings: Settings, model: Loaded) -> Scale | None:
    if not settings.database.path.exists():
        return told_scale(settings.camera, model.manifest.scale)
    with reading(settings) as store:
        return known_scale(store, settings, model)


def _show(
    outcomes: Iterator[Result | Failure],
    total: int,
    style: str,
    model: Loaded,
    um_per_px: float | None,
    masks: Path | None,
    overlays: Path | None,
) -> int:
    """Print each outcome as soon as it is there (jsonl) or all at the end (table); the number of failures."""
    failures, table = 0, _empty_table()
    # Lines on a terminal show the progress themselves, and a bar would be drawn into them.
    console = Console(stderr=True, markup=False, highlight=False)
    try:
        with progress(console, disable=style == "jsonl" and sys.stdout.isatty()) as bar:
            task = bar.add_task("segmenting", total=total)
            for outcome in outcomes:
                if isinstance(outcome, Failure):
                    failures += 1
                    console.print(f"error: {printable(str(outcome))}", soft_wrap=True)
                else:
                    _write_pictures(outcome, masks, overlays)
                    table.add_row(*_row(outcome))
                if style == "jsonl":
                    click.echo(json.dumps(_line(outcome, model, um_per_px)))
                bar.advance(task)
    finally:  # what was counted before an error or Ctrl-C is shown
        if style == "table" and table.row_count:
            show(table)
    return failures


def _line(outcome: Result | Failure, model: Loaded, um_per_px: float | None) -> dict[str, Any]:
    if isinstance(outcome, Failure):
        return {"path": str(outcome.path), "error": str(outcome)}
    return as_json(outcome, model, um_per_px)


def _empty_table() -> Table:
    # Short headings leave room for a name on eighty columns.
    picture = Column("picture", overflow="fold", min_width=24)
    return Table(picture, "cells", "edge", "diameter px", "s", Column("flags", overflow="fold"))


def _row(result: Result) -> tuple[str, ...]:
    analysis = result.analysis
    cut = sum(cell.touches_edge for cell in analysis.drawing.measured)
    scale = f"{analysis.scale.cell_diameter_px:g} ({analysis.scale.source})"
    seconds = f"{result.seconds['total']:.2f}"
    path = printable(str(result.path))
    return path, str(analysis.wbc_count), str(cut), scale, seconds, ", ".join(analysis.flags)


def _write_pictures(result: Result, masks: Path | None, overlays: Path | None) -> None:
    make = {
        "labels": lambda: result.labels_png,
        "cells": lambda: encode(result.analysis.drawing.cells),  # 16 bits, whatever the number of cells
        "overlay": lambda: overlay_png(result.image, result.analysis.drawing),
    }
    for kind, path in _targets(result.path.stem, masks, overlays).items():
        _write(path, make[kind]())


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as cause:
        raise StationError(f"{path} cannot be written ({cause.strerror})") from cause
