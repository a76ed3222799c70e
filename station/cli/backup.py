"""`station backup`: a verified copy of the database in use."""

from __future__ import annotations

from pathlib import Path
from time import monotonic

import click

from station.cli.context import config_option, now_utc, settings_of
from station.cli.ends import tidy_when_terminated
from station.contract.errors import SettingsError
from station.printing import printable, size
from station.settings import Settings, leads_into
from station.upkeep import Backup, back_up, backup_name, remove_surplus


@click.command("backup")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write to this file, and leave the others alone (default: a new file in backup.folder).",
)
@config_option
def command(output: Path | None, config: Path | None) -> None:
    """Copy the database while the station runs, and read the copy back before it counts as one.

    In backup.folder the newest backup.keep copies stay. Models are no part of it: they are files beside the database.

    \b
    Example:
      station backup --config my-station/station.toml
      station backup -o /media/usb/station.db
    """
    tidy_when_terminated()
    settings = settings_of(config)
    made = verified_backup(settings, output or settings.backup.folder / backup_name(settings.database.path, now_utc()))
    click.echo(printable(f"{made.path}: {size(made.size)} in {made.seconds:.1f} s, verified"))
    if not output:
        for path in remove_surplus(made.path, settings.database.path, settings.backup.keep, now_utc()):
            click.echo(printable(f"removed {path}: backup.keep = {settings.backup.keep}"))


def verified_backup(settings: Settings, target: Path) -> Backup:
    """A copy at `target`, which may lie anywhere but where the camera saves."""
    if leads_into(target, settings.camera.folder):
        raise SettingsError(f"{target} lies in the camera folder, where the station never writes; name another place")
    spare = settings.limits.min_free_bytes  # without which a station that runs would stop
    made = back_up(settings.database.path, target, spare_bytes=spare, clock=now_utc, monotonic=monotonic)
    if made.unnoted:
        click.echo(printable(f"the database does not know of this copy: {made.unnoted}"), err=True)
    return made
