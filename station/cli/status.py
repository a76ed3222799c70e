"""`station status`: what the station knows right now."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

import click
from rich.console import Console
from rich.table import Column, Table

from station.cli.context import config_option, now_utc, reading, settings_of, show
from station.commission import folder_problem
from station.database.lock import holder, is_station
from station.database.records import CAMERA_SCALE, CLOCK_TROUBLE, ENGINE_TROUBLE, Fact, OpenItem
from station.ledger import unsettled
from station.places import free_bytes
from station.printing import plural, printable
from station.selection import choose, gpu_trouble
from station.settings import Camera
from station.vitals import Disk

_MOST_LISTED = 50  # of each status, for a reader


@click.command("status")
@config_option
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def command(config: Path | None, as_json: bool) -> None:
    """Say what is queued, waiting and quarantined, for how long and why, and which model counts on which engine.

    \b
    Example:
      station status --config my-station/station.toml
    """
    settings = settings_of(config)
    with reading(settings) as store:
        with store.at_one_moment() as still:  # else a picture that is counted in between is in neither number
            counts, items = still.counts_by_status(), still.open_items()
            model, scale = still.active_model(), still.fact(CAMERA_SCALE)
            trials = still.trials(model.sha256) if model else ()
            trouble, clock = still.fact(ENGINE_TROUBLE), still.fact(CLOCK_TROUBLE)
        problem = folder_problem(store, settings.camera.folder)
    due = unsettled(items, folder_is_there=problem is None)
    running = holder(settings.database.path)
    full = Disk(settings.database.path, settings.limits.min_free_bytes, free_bytes).problem()
    choice = choose(trials, settings.engine) if trials else None
    trouble = trouble or gpu_trouble(trials, settings.engine)
    still_open = Counter(item.status for item in due)
    shown = {status: count if status == "done" else still_open[status] for status, count in counts.items()}
    if as_json:
        open_items = [
            {"path": i.path, "status": i.status, "reason": i.reason, "since": i.since.isoformat()} for i in due
        ]
        known = {"model": model.name if model else None, "camera_cell_diameter_px": scale, "degraded": problem}
        known |= {"running": running, "cell_diameter": _diameter(settings.camera, scale)}
        known |= {"disk": full, "clock": clock}
        engine = {"engine": str(choice.option) if choice else None, "engine_reason": choice.reason if choice else None}
        click.echo(json.dumps({"counts": shown, "open": open_items} | known | engine | {"engine_trouble": trouble}))
        return
    console = Console(markup=False)
    console.print(", ".join(f"{count} {status}" for status, count in shown.items() if count) or "no pictures yet")
    console.print(f"model: {f'{model.name} ({model.sha256[:12]})' if model else 'none is active'}")
    if choice:
        console.print(f"engine: {choice.option}, {choice.reason}", soft_wrap=True, highlight=False)
    console.print(f"cell diameter: {_diameter(settings.camera, scale)}", highlight=False)
    console.print(_running(running))
    for sentence in filter(None, (problem, full, trouble, clock)):
        console.print(f"degraded: {sentence}", soft_wrap=True)
    if model and not Path(model.path).is_file():
        console.print(f"degraded: the model's file {model.path} is missing; install it again", soft_wrap=True)
    _show(console, items, due)


def _running(holder: str | None) -> str:
    if holder is None:
        return "not running: `station run`, or systemctl start station"
    return f"running: {holder}" if is_station(holder) else f"not running, and may not meanwhile: {holder}"


def _show(console: Console, items: Sequence[OpenItem], due: Sequence[OpenItem]) -> None:
    """What is to be looked at, and of what is over how much there is."""
    if due:
        table = Table("status", Column("picture", overflow="fold"), "for", "reason")
        listed = _longest_of_each(due)
        for item in listed:
            table.add_row(item.status, printable(item.path), _duration(now_utc(), item.since), item.reason or "")
        show(table)
        if len(listed) < len(due):
            console.print(f"and {len(due) - len(listed)} more; --json lists all", highlight=False)
    if over := len(items) - len(due):
        gone = f"{plural(over, 'time')} a file held half a picture, or none, and was replaced or is gone"
        console.print(f"besides, {gone}; --json lists all", highlight=False, soft_wrap=True)


def _longest_of_each(items: Iterable[OpenItem]) -> list[OpenItem]:
    """Some of each status: thousands may be queued, among which the few that wait or are refused would drown."""
    so_far: Counter[str] = Counter()
    listed = []
    for item in items:
        so_far[item.status] += 1
        if so_far[item.status] <= _MOST_LISTED:
            listed.append(item)
    return listed


def _diameter(camera: Camera, settled: Fact) -> str:
    if camera.cell_diameter_px != "auto":
        return f"{camera.cell_diameter_px:g} px, told"
    if camera.um_per_px is not None:
        return f"from um_per_px = {camera.um_per_px:g}"
    return f"{settled} px, settled from the first pictures" if settled else "not settled yet"


def _duration(now: datetime, since: datetime) -> str:
    seconds = max(0, int((now - since).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
