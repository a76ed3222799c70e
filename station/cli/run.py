"""`station run`: the daemon, or one pass."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import click

from station.assembly import Station, Watcher, assemble
from station.bell import Bell
from station.cli.context import config_option, models_folder, now_utc, settings_of, writing
from station.commission import check_database_place, commission, silence
from station.contract.errors import SettingsError
from station.daemon import run, run_once
from station.database.lock import RunLock
from station.database.store import Store
from station.engines import Option
from station.intake import TickResult
from station.journal import say
from station.ledger import unsettled
from station.notify import Notify, notifier
from station.pipeline import Failure, Result
from station.places import is_there, kind_of
from station.printing import printable
from station.settings import Settings
from station.vitals import awake_or_not

_TRIAL_SECONDS = 120  # that an engine may take to open and to prove itself


@click.command("run")
@config_option
@click.option("--once", is_flag=True, help="End when nothing is queued; exit code 1 if anything is not done.")
def command(config: Path | None, once: bool) -> None:
    """Watch the camera folder, and count every complete picture exactly once.

    Runs until it is stopped (Ctrl-C, or systemd). Only one runs on a database. A missing database is made, with the
    starter model in it.

    \b
    Example:
      station run --config my-station/station.toml
      station run --once
    """
    settings = settings_of(config)
    if not (is_there(settings.camera.folder) and settings.camera.folder.is_dir()):
        raise SettingsError(f"the camera folder {settings.camera.folder} does not exist; is the share mounted?")
    check_database_place(settings.database.path, kind_of(settings.database.path))
    stop, bell = threading.Event(), Bell()
    _stop_on_signals(stop)
    with RunLock(settings.database.path, clock=now_utc), writing(settings, create=True) as store:
        lines = Lines(say)
        commission(store, settings, models_folder(settings), step=lines.trying)
        station = station_for(settings, store, bell, lines, stays=not once)
        try:
            if not once:
                say(printable(f"watching {settings.camera.folder}; Ctrl-C or SIGTERM ends it"))
                run(station, stop, bell.event)
                return
            last = run_once(station, stop, bell.event)
        finally:
            station.intake.close()
            station.model.close()
        if last and last.moving:
            click.echo(f"still changing: {last.moving} file{'s' * (last.moving > 1)} in {settings.camera.folder}")
        is_open = _list_open(store, folder_is_there=last is not None and not last.gone)
        sys.exit(1 if is_open or last is None or last.gone or last.moving else 0)


def station_for(settings: Settings, store: Store, bell: Bell, watcher: Watcher, *, stays: bool = True) -> Station:
    """A station of this process, with its line to systemd."""
    return assemble(
        settings,
        store,
        watcher,
        worker=f"pid {os.getpid()}",
        clock=now_utc,
        monotonic=monotonic,
        awake_or_not=awake_or_not,
        stays=stays,
        notify=notifier(),
        bell=bell,
        silent=silence(kind_of(settings.camera.folder)),
    )


def _stop_on_signals(stop: threading.Event) -> None:
    def end(*_: object) -> None:
        stop.set()  # and nothing that the interrupted thread may hold a lock of

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)


def _list_open(store: Store, *, folder_is_there: bool) -> bool:
    items = unsettled(store.open_items(), folder_is_there=folder_is_there)
    for item in items:
        say(printable(f"{item.status}: {item.path}: {item.reason or 'not done yet'}"))
    return bool(items)


class Lines:
    """One plain line per event, for a terminal and for the journal alike."""

    def __init__(self, echo: Callable[[str], None], notify: Notify | None = None) -> None:
        self._print, self._degraded, self._full = echo, "", False
        self._notify = notify or notifier()

    def _echo(self, line: str) -> None:
        self._print(printable(line))

    def tick(self, result: TickResult) -> None:
        for outcome in (*result.vanished, *result.waiting, *result.quarantined):
            self._echo(f"{outcome.became}: {outcome.path}: {outcome.reason}")
        for outcome in result.taken:
            if outcome.reason:
                self._echo(f"{outcome.reason}: {outcome.path} holds a picture that is known already")
        if (result.degraded or "") != self._degraded:
            self._degraded = result.degraded or ""
            self._echo(f"degraded: {self._degraded}" if self._degraded else "the camera folder is seen as before")

    def done(self, result: Result) -> None:
        count = result.analysis.wbc_count
        flags = f" [{', '.join(result.analysis.flags)}]" if result.analysis.flags else ""
        self._echo(
            f"{result.path}: {count} white cell{'' if count == 1 else 's'}, {result.seconds['total']:.2f} s{flags}"
        )

    def failed(self, failure: Failure) -> None:
        self._echo(f"quarantined: {failure}")

    def trouble(self, sentence: str) -> None:
        self._echo(f"degraded: {sentence}")

    def disk(self, problem: str | None) -> None:
        if self._full != (problem is not None):
            self._full = problem is not None
            self._echo(f"degraded: {problem}" if problem else "there is room on the disk of the database again")

    def trying(self, option: Option) -> None:
        """Before the first picture; systemd is asked for patience, since a trial may take a while."""
        self._notify(f"EXTEND_TIMEOUT_USEC={_TRIAL_SECONDS * 1_000_000}")
        self._echo(f"trying the engine {option}")

    def scale(self, diameter_px: float) -> None:
        self._echo(f"the camera's cell diameter was settled at {diameter_px:g} px from its first pictures")
