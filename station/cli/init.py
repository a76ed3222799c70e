"""`station init`: settings, folders, database, starter model."""

from __future__ import annotations

import json
from pathlib import Path

import click

from station.cli.context import models_folder, writing
from station.commission import commission, remember_folder
from station.contract.errors import SettingsError
from station.settings import Settings, read_settings

_TEMPLATE = """\
# Settings of this station. Every key with its meaning stands in deploy/station.toml and in the README.
[camera]
folder = {folder}
cell_diameter_px = {diameter}

[database]
path = {database}

[report]
time_zone = {zone}
"""


@click.command("init")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path())
@click.option("--camera", type=click.Path(path_type=Path), help="The camera's folder (default: FOLDER/camera).")
@click.option(
    "--cell-diameter", type=click.FloatRange(4, 2000), help="Apparent white cell diameter, px (default: auto)."
)
@click.option("--time-zone", default="UTC", show_default=True, help="For the days of reports, e.g. Europe/Berlin.")
def command(folder: Path, camera: Path | None, cell_diameter: float | None, time_zone: str) -> None:
    """Make FOLDER a station: settings file, database, starter model.

    What exists already is kept; the camera folder is only looked at.

    \b
    Example:
      station init my-station --camera /srv/leica --cell-diameter 120 --time-zone Europe/Berlin
    """
    settings = _settings(folder, camera, cell_diameter, time_zone)
    if camera is None:
        _make(settings.camera.folder)
    elif not settings.camera.folder.is_dir():
        raise SettingsError(f"the camera folder {settings.camera.folder} does not exist; mount or make it first")
    with writing(settings, create=True) as store:
        remember_folder(store, settings.camera.folder)
        golden = commission(store, settings, models_folder(settings))
    if golden:
        click.echo(f"the starter model proved itself on {len(golden)} golden pictures and is active")
    click.echo(f"station ready: settings {folder / 'station.toml'}, camera folder {settings.camera.folder}")


def _settings(folder: Path, camera: Path | None, cell_diameter: float | None, time_zone: str) -> Settings:
    path = folder / "station.toml"
    _make(folder)
    if not path.exists():
        text = _TEMPLATE.format(
            folder=json.dumps(str(camera.absolute()) if camera else "camera"),
            diameter=f"{cell_diameter:g}" if cell_diameter else '"auto"',
            database=json.dumps("station.db"),
            zone=json.dumps(time_zone),
        )
        path.write_text(text, encoding="utf-8")
    return read_settings(path)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise SettingsError(f"the folder {folder} cannot be made ({cause.strerror})") from cause
