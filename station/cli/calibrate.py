"""`station calibrate`: the apparent cell diameter of a camera, from its pictures."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Column, Table

from station.cli.context import config_option, degraded, progress, reading, settings_if_any, settings_of, show, writing
from station.cli.segment import expanded, tell_empty
from station.contract.errors import ImageError, StationError
from station.printing import plural, printable
from station.settings import Engine, Settings
from station.watching import is_container, scan

if TYPE_CHECKING:
    from station.registry import Loaded


@dataclass(frozen=True, slots=True)
class _Told:
    """What one picture said; no diameter without a white cell, and then perhaps what was wrong with it."""

    path: Path
    diameter_px: float | None
    failure: str = ""


@click.command("calibrate")
@click.argument("pictures", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--most", type=click.IntRange(min=1), default=20, show_default=True, help="Pictures to look at.")
@click.option("--seed", type=int, default=0, show_default=True, help="Which ones are chosen, where there are more.")
@click.option("--keep", is_flag=True, help="Make it the scale of the camera, for all pictures from the next on.")
@config_option
def command(pictures: tuple[Path, ...], most: int, seed: int, keep: bool, config: Path | None) -> None:
    """Measure the apparent diameter of white cells in PICTURES or folders of them; by default in the camera folder.

    Each picture is shown to the network at several assumed sizes; what stays the same is a cell. Nothing is counted.
    A station whose camera.cell_diameter_px is a number goes by that number, whatever is kept.

    \b
    Example:
      station calibrate fields/
      station calibrate --keep --config my-station/station.toml
    """
    from station.calibration import LEAST_PICTURES, keep_scale
    from station.contract.scale import camera_diameter

    settings = settings_if_any(config) if pictures and not keep else settings_of(config)
    if keep and settings and settings.camera.cell_diameter_px != "auto":
        raise StationError('camera.cell_diameter_px is told in the settings; make it "auto" to keep a measured one')
    if keep and settings and settings.camera.um_per_px is not None:
        raise StationError("camera.um_per_px tells the scale in the settings; take it out to keep a measured one")
    files, empty = expanded(pictures) if pictures or not settings else (_of_camera(settings.camera.folder), [])
    tell_empty(empty)
    told = list(_told(_chosen(files, most, seed), settings))
    found = [one.diameter_px for one in told if one.diameter_px is not None]
    show(_table(told))
    if len(found) < (LEAST_PICTURES if keep else 1):
        raise StationError(
            f"{plural(len(found), 'picture')} of {len(told)} told a diameter, which is too few; "
            "name more fields with white cells, or measure one cell and write its diameter into the settings"
        )
    click.echo(_sentence(camera_diameter(found), found))
    if keep and settings:
        with writing(settings) as store:
            click.echo(f"kept: {keep_scale(store, found):g} px from the next picture on")
    sys.exit(1 if empty else 0)


def _of_camera(folder: Path) -> list[Path]:
    """Also those in its sub-folders, which are its slides. Raises FolderGone."""
    files = [Path(path) for path in sorted(scan(folder)) if not is_container(path)]
    if not files:
        raise StationError(f"there are no pictures in {folder}")
    return files


def _chosen(files: Sequence[Path], most: int, seed: int) -> list[Path]:
    return sorted(random.Random(seed).sample(files, min(most, len(files))))


def _told(files: Sequence[Path], settings: Settings | None) -> Iterator[_Told]:
    from station.contract.scale import estimate
    from station.pipeline import load
    from station.settings import Limits

    model, limits = _model(settings), settings.limits if settings else Limits()
    with progress(Console(stderr=True)) as bar:
        for path in bar.track(files, description="measuring"):
            try:
                image = load(path, limits.max_megapixels).image
            except ImageError as cause:
                yield _Told(path, None, str(cause))
                continue
            scale = estimate(image, model.manifest, model.engine)
            yield _Told(path, scale.cell_diameter_px if scale.source == "estimated" else None)


def _model(settings: Settings | None) -> Loaded:
    from station.registry import load_active, load_model, starter_path

    if settings and settings.database.path.exists():
        with reading(settings) as store:
            if active := store.active_model():
                return load_active(active, store, settings.engine, degraded())
    return load_model(starter_path(), settings.engine if settings else Engine(), degraded())


def _table(told: Sequence[_Told]) -> Table:
    table = Table(Column("picture", overflow="fold"), "diameter px")
    for one in told:
        table.add_row(printable(str(one.path)), f"{one.diameter_px:g}" if one.diameter_px else one.failure or "no cell")
    return table


def _sentence(diameter_px: float, found: Sequence[float]) -> str:
    least, most = min(found), max(found)
    return (
        f"cell_diameter_px = {diameter_px:.1f}   ({plural(len(found), 'picture')} with a white cell, "
        f"{least:.0f} to {most:.0f} px)"
    )
