"""`station init`: settings, folders, database, starter model."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click
from rich.console import Console

from station.cli.context import CellDiameter, models_folder, progress, trying, writing
from station.commission import check_database_place, commission, holds_pictures, remember_folder
from station.contract.errors import SettingsError
from station.engines import AUTO, ENGINES
from station.places import kind_of
from station.printing import printable
from station.settings import Settings, misplaced, parse_settings, read_settings
from station.watching import as_stored

_TEMPLATE = """\
# Settings of this station. Every key with its meaning stands in deploy/station.toml and in the README.
[camera]
folder = {folder}
cell_diameter_px = {diameter}

[database]
path = {database}

[engine]
name = {engine}

[report]
time_zone = {zone}
"""


@click.command("init")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path())
@click.option("--camera", type=click.Path(path_type=Path), help="The camera's folder (default: FOLDER/camera).")
@click.option("--cell-diameter", type=CellDiameter(), help="Apparent white cell diameter, px (default: auto).")
@click.option("--time-zone", help="For the days of reports, e.g. Europe/Berlin (default: UTC).")
@click.option("--engine", type=click.Choice([AUTO, *ENGINES]), help="What runs the network (default: auto, by trial).")
def command(
    folder: Path, camera: Path | None, cell_diameter: float | None, time_zone: str | None, engine: str | None
) -> None:
    """Make FOLDER a station: settings file, database, starter model.

    What exists already is kept; a camera folder that is told is only looked at.

    \b
    Example:
      station init my-station --camera /srv/leica --cell-diameter 120 --time-zone Europe/Berlin
    """
    path = folder / "station.toml"
    is_ours = camera is None and not path.exists()
    if path.exists():
        settings = read_settings(path)
        if not settings.database.path.is_file():
            _demand_apart(settings, path)
        if camera or cell_diameter or time_zone or engine:
            click.echo(f"kept {path} as it is; options that are settings were not used", err=True)
    else:
        settings = _written(path, camera, cell_diameter, time_zone or "UTC", engine or AUTO)
    if not settings.camera.folder.is_dir():
        raise SettingsError(f"the camera folder {settings.camera.folder} does not exist; mount or make it first")
    check_database_place(settings.database.path, kind_of(settings.database.path))
    with progress(Console(stderr=True)) as bar, writing(settings, create=True) as store:
        # One without pictures that was there already may be what lies below a share that is not mounted.
        if is_ours or holds_pictures(settings.camera.folder):
            remember_folder(store, settings.camera.folder)
        golden = commission(store, settings, models_folder(settings), step=trying(bar))
    if golden:
        click.echo(f"the starter model proved itself on {len(golden)} golden pictures and is active")
    click.echo(f"station ready: settings {path}, camera folder {settings.camera.folder}")
    click.echo(printable(f"`station run --config {shlex.quote(str(path))}` watches it"))


def _written(path: Path, camera: Path | None, cell_diameter: float | None, time_zone: str, engine: str) -> Settings:
    """New settings, checked before anything is made of them."""
    text = _TEMPLATE.format(
        folder=_toml(str(camera.absolute()) if camera else "camera"),
        diameter=f"{cell_diameter:g}" if cell_diameter else '"auto"',
        database=_toml("station.db"),
        zone=_toml(time_zone),
        engine=_toml(engine),
    )
    settings = parse_settings(text, path)
    _demand_apart(settings, path)
    if camera is not None and not camera.is_dir():
        raise SettingsError(f"the camera folder {camera} does not exist; mount or make it first")
    _make(path.parent)
    if camera is None:
        _make(settings.camera.folder)
    path.write_text(text, encoding="utf-8")
    return settings


def _toml(text: str) -> str:
    """A string of TOML. Raises SettingsError where the text is none, as the name of a folder may be."""
    try:
        text.encode()
    except UnicodeEncodeError as cause:
        raise SettingsError(f"{as_stored(text)} cannot stand in a settings file: its name is no UTF-8") from cause
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _demand_apart(settings: Settings, path: Path) -> None:
    if (reason := misplaced(settings)) is not None:
        raise SettingsError(f"{path}: {reason}; name another place for one of them")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise SettingsError(f"the folder {folder} cannot be made ({cause.strerror})") from cause
