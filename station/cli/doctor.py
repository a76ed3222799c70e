"""`station doctor`: what on this machine would keep a station from counting well."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from station.cli.context import config_option, engines, reading, settings_of, show
from station.commission import folder_problem
from station.daemon import ENGINE_TROUBLE
from station.database.store import Store
from station.doctor import Finding, examine_engines, examine_model
from station.printing import printable
from station.selection import choose
from station.settings import Settings


@click.command("doctor")
@config_option
def command(config: Path | None) -> None:
    """Look the station over: the camera folder, the model's file, and every engine that this machine could use.

    Each finding is good, a warning or a fault; the exit code is 1 if there is a fault. Nothing is changed.

    \b
    Example:
      station doctor --config my-station/station.toml
    """
    settings = settings_of(config)
    with reading(settings) as store:
        findings = list(_findings(store, settings))
        active = store.active_model()
        trials = store.trials(active.sha256) if active else ()
    for finding in findings:
        click.echo(printable(f"{finding.verdict}: {finding.sentence}"))
    if trials:
        show(engines(trials, choose(trials, settings.engine)))
    sys.exit(1 if any(finding.verdict == "fault" for finding in findings) else 0)


def _findings(store: Store, settings: Settings) -> Iterator[Finding]:
    problem = folder_problem(store, settings.camera.folder)
    yield Finding("fault", problem) if problem else Finding("good", f"the camera folder {settings.camera.folder}")
    model = store.active_model()
    yield examine_model(model)
    if model is not None:
        trouble = store.fact(ENGINE_TROUBLE)
        yield from examine_engines(store.trials(model.sha256), settings.engine, str(trouble) if trouble else None)
