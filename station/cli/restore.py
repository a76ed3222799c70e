"""`station restore`: a backup in the place of the database."""

from __future__ import annotations

from pathlib import Path

import click

from station.cli.context import config_option, need_somebody, now_utc, settings_of
from station.database.backup import Contents
from station.printing import plural, printable
from station.upkeep import Restored, examine, restore


@click.command("restore")
@click.argument("backup", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--check", is_flag=True, help="Only read the backup and say what it holds; nothing is changed.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_option
def command(backup: Path, check: bool, yes: bool, config: Path | None) -> None:
    """Put BACKUP in the place of the database, which is kept beside it under another name.

    The station must be stopped. Pictures that came in since the backup are taken from the camera folder again. Call it
    as the user who runs the station, to whom the new file must belong.

    \b
    Example:
      station restore backups/station-20261123T023000Z.db --check
      systemctl stop station
      sudo -u wbc-station station restore backups/station-20261123T023000Z.db --config station.toml
    """
    settings = None if check else settings_of(config)  # the drill needs no station
    held = examine(backup)
    click.echo(printable(f"{backup}: whole; {in_words(held)}"))
    if settings is None:
        return
    database = settings.database.path
    if not yes:
        need_somebody()
        click.confirm(printable(f"put it in the place of {database}?"), abort=True)
    _tell(restore(backup, database, clock=now_utc), database)


def in_words(held: Contents) -> str:
    """How many pictures, in which state, from when to when."""
    if held.first is None or held.last is None:
        return "no pictures"
    states = ", ".join(f"{count} {status}" for status, count in held.by_status.items())
    days = f"captured from {held.first:%Y-%m-%d %H:%M} to {held.last:%Y-%m-%d %H:%M} UTC"
    return f"{plural(held.images, 'picture')} ({states}), {days}"


def _tell(done: Restored, database: Path) -> None:
    if done.damage:
        click.echo(printable(f"the database that was there is damaged ({done.damage}); its files were moved aside"))
    if done.kept:
        click.echo(printable(f"kept what was there as {done.kept}"))
    click.echo(printable(f"restored {database}; `station run` goes on from here"))
