"""`station prune`: what is older than so many days goes, masks first."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import click

from station.cli.backup import verified_backup
from station.cli.context import config_option, need_somebody, now_utc, reading, settings_of, writing
from station.contract.errors import StationError
from station.database.backup import sizes
from station.database.lock import RunLock
from station.database.store import Store
from station.printing import plural, printable, size
from station.pruning import Plan, plan, prune_images, prune_masks, still_due
from station.settings import Settings
from station.upkeep import backup_name, compact


@click.command("prune")
@click.option("--older-than", type=click.IntRange(1, 36500), required=True, metavar="DAYS", help="Age in days.")
@click.option(
    "--all/--masks",
    "everything",
    help="--masks (default): counts and cells stay. --all: also whole pictures that left the camera folder.",
)
@click.option("--yes", is_flag=True, help="Do not ask before pictures and their counts go.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--vacuum", is_flag=True, help="Make the file smaller afterwards; the station must be stopped.")
@config_option
def command(older_than: int, everything: bool, yes: bool, dry_run: bool, vacuum: bool, config: Path | None) -> None:
    """Remove what is older than DAYS: the masks of analyses made before, with --all also pictures captured before.

    A picture goes with its counts, only if it is counted, and only if no file of it is in the camera folder: that would
    be counted again. A backup that `station backup` never removes is made before. What is freed is used again by new
    pictures; the file itself gets smaller with --vacuum.

    \b
    Example:
      station prune --older-than 365 --dry-run
      station prune --older-than 3650 --all
    """
    settings = settings_of(config)
    database, before = settings.database.path, now_utc() - timedelta(days=older_than)
    folder = settings.camera.folder if everything else None
    if dry_run:
        with reading(settings) as store:
            _tell(plan(store, before, folder, whole_since=_whole_since(settings)))
        return
    with ExitStack() as held:
        if vacuum:
            held.enter_context(RunLock(database, clock=now_utc, command="prune"))
        with writing(settings) as store:
            planned = plan(store, before, folder, whole_since=_whole_since(settings))
            _tell(planned)
            if planned.images:
                _make_sure(len(planned.images), settings, yes=yes)
            free_before = sizes(database).free
            prune_masks(store, planned)
            if planned.images:
                _remove_images(planned, store, settings)
        freed = sizes(database).free - free_before
        if vacuum:
            compact(database)
    found = sizes(database)
    room = f"{size(found.free)} of it free for new pictures"
    click.echo(f"freed {size(max(0, freed))}: the database takes {size(found.in_all)}, {room}")


def _whole_since(settings: Settings) -> float:
    """A file that was written or moved later may still be copied; s since 1970."""
    return now_utc().timestamp() - settings.camera.patience_seconds


def _remove_images(planned: Plan, store: Store, settings: Settings) -> None:
    """The folder is looked at once more: the question, the backup and the masks took their time."""
    due = still_due(planned, store, settings.camera.folder, whole_since=_whole_since(settings))
    gone = prune_images(store, due)
    if gone < len(planned.images):
        click.echo(
            f"pictures that went after all: {gone}; {len(planned.images) - gone} stay, for a file of them came "
            "back, or they were corrected or analysed again meanwhile"
        )


def _tell(planned: Plan) -> None:
    click.echo(f"analyses whose masks go: {len(planned.masks)} ({size(planned.mask_bytes)})")
    if planned.images or planned.still_there:
        click.echo(f"pictures that go with their counts: {len(planned.images)}")
    if planned.still_there:
        click.echo(f"as old, but kept because a file of them is in the camera folder: {planned.still_there}")
    if planned.arriving:
        click.echo(
            f"no picture goes, for {plural(planned.arriving, 'file')} in the camera folder may still be copied, and be "
            "an old one that comes back; ask again when the station has taken them in"
        )


def _make_sure(images: int, settings: Settings, *, yes: bool) -> None:
    """That somebody wants counts to go, and that they can be had back."""
    if not yes:
        need_somebody()
        answer = click.prompt("to remove these pictures and their counts, type how many they are", prompt_suffix=": ")
        if answer.strip() != str(images):
            raise StationError(f"nothing was removed: the answer was not {images}")
    name = backup_name(settings.database.path, now_utc(), "before-prune")
    made = verified_backup(settings, settings.backup.folder / name)
    click.echo(printable(f"backup with all of them: {made.path}, {size(made.size)}, verified; never removed by itself"))
