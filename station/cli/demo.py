"""`station demo`: the main job from end to end, with a simulated camera."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from station.bell import Bell
from station.cli.context import models_folder, now_utc, progress, reading, show, writing
from station.cli.run import Lines, station_for
from station.commission import commission
from station.contract.errors import StationError
from station.contract.overlay import overlay_png
from station.daemon import run
from station.database.lock import RunLock
from station.demo.camera import shoot
from station.demo.smear import demo_fields
from station.pipeline import Failure, Result
from station.reports import render, summarise
from station.settings import Settings, read_settings

_SETTINGS = """\
[camera]
folder = "camera"
cell_diameter_px = 120
settle_seconds = 0.5
rescan_seconds = 5.0

[database]
path = "station.db"
"""
_PIECES, _PAUSE_SECONDS = 8, 0.04
_PATIENCE_SECONDS = 120.0


@click.command("demo")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path("demo-output"))
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Other fields for other seeds.")
def command(folder: Path, seed: int) -> None:
    """Let a simulated LEICA camera fill FOLDER/camera with painted smear fields while a real station counts them.

    Ends with the day's report, the counts beside the painted truth, and a folder of overlays.

    \b
    Example:
      station demo --seed 3
    """
    day = folder / f"day-{now_utc():%Y%m%d-%H%M%S}"
    settings = _written(day / "station.toml")
    started = time.monotonic()
    truth, counted = _play(settings, day, seed)
    _show(settings, day, truth, counted)
    exact = sum(counted.get(path) == cells for path, cells in truth.items())
    seconds = time.monotonic() - started
    click.echo(f"{exact} of {len(truth)} fields counted exactly in {seconds:.0f} s")
    click.echo(f"pictures with contours: {day / 'overlays'}")
    click.echo(f"more of it: station reconcile --list --config {day / 'station.toml'}; also status, doctor, explain 8")
    sys.exit(0 if exact >= len(truth) - 1 else 1)


def _written(path: Path) -> Settings:
    path.parent.mkdir(parents=True)
    path.write_text(_SETTINGS, encoding="utf-8")
    return read_settings(path)


class _Watcher(Lines):
    """Notes counts, draws overlays and ends the demo when the camera's last picture is counted."""

    def __init__(self, overlays: Path, console: Console) -> None:
        super().__init__(lambda line: console.print(line, highlight=False, soft_wrap=True))
        self.overlays = overlays
        self.counted: dict[Path, int] = {}
        self.expected: int | None = None
        self.stop = threading.Event()

    def done(self, result: Result) -> None:
        self.counted[result.path] = result.analysis.wbc_count
        path = self.overlays / f"{result.path.stem}.png"
        path.write_bytes(overlay_png(result.image, result.analysis.drawing))
        super().done(result)
        self.end_if_complete()

    def failed(self, failure: Failure) -> None:
        super().failed(failure)
        self.stop.set()

    def end_if_complete(self) -> None:
        if self.expected is not None and len(self.counted) >= self.expected:
            self.stop.set()


def _play(settings: Settings, day: Path, seed: int) -> tuple[dict[Path, int], dict[Path, int]]:
    """({path: painted cells}, {path: counted cells}) after the camera's last field."""
    console, bell = Console(markup=False), Bell()
    for folder in (settings.camera.folder / "slide-1", day / "overlays"):
        folder.mkdir(parents=True)
    watcher = _Watcher(day / "overlays", console)
    truth: dict[Path, int] = {}
    with (
        progress(console) as bar,
        RunLock(settings.database.path, clock=now_utc, command="demo"),
        writing(settings, create=True) as store,
    ):
        commission(store, settings, models_folder(settings), step=watcher.trying)
        task = bar.add_task("camera", total=len(demo_fields(seed)))

        def camera() -> None:
            fields = demo_fields(seed)
            for path, field in shoot(
                settings.camera.folder / "slide-1", fields, pieces=_PIECES, pause=lambda: time.sleep(_PAUSE_SECONDS)
            ):
                truth[path.absolute()] = field.wbc_count
                bar.advance(task)
            watcher.expected = len(fields)
            watcher.end_if_complete()

        photographer = threading.Thread(target=camera, name="camera", daemon=True)
        alarm = threading.Timer(_PATIENCE_SECONDS, watcher.stop.set)
        station = station_for(settings, store, bell, watcher)
        photographer.start()
        alarm.start()
        try:
            run(station, watcher.stop, bell.event)
        finally:
            alarm.cancel()
            station.intake.close()
            station.model.close()
    if not truth:
        raise StationError("the simulated camera wrote nothing")
    return truth, watcher.counted


def _show(settings: Settings, day: Path, truth: Mapping[Path, int], counted: Mapping[Path, int]) -> None:
    today = now_utc().astimezone(settings.report.zone).date()
    with reading(settings) as store:
        text = render(summarise(store, today, today, settings.report.zone, names=True), "table")
    (day / "report.txt").write_text(text, encoding="utf-8")
    click.echo(text, nl=False)
    table = Table("picture", "painted", "counted", "")
    for path, cells in truth.items():
        found = counted.get(path)
        table.add_row(
            path.name, str(cells), "-" if found is None else str(found), "exact" if found == cells else "WRONG"
        )
    show(table)
