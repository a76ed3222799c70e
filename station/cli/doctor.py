"""`station doctor`: what on this machine would keep a station from counting well."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from station.cli.context import config_option, engines, now_utc, reading, settings_of, show
from station.contract.errors import DatabaseError
from station.database.records import CLOCK_TROUBLE, ENGINE_TROUBLE, EngineTrial
from station.doctor.examination import Troubles, examine, examine_unopened
from station.doctor.finding import Finding
from station.doctor.machine import Machine, this_machine
from station.printing import printable
from station.selection import choose
from station.settings import Settings


@click.command("doctor")
@config_option
@click.option("--json", "as_json", is_flag=True, help="For programs: a list of check, verdict, sentence, advice.")
@click.option("--thorough", is_flag=True, help="Hold the indexes of the database against its tables too.")
def command(config: Path | None, as_json: bool, thorough: bool) -> None:
    """Look the station over: camera folder, events, database, disk, backup, clock, open files, model, engines.

    Each finding is good, a warning or a fault, with what to do; the exit code is 1 if there is a fault. Nothing is
    changed. Ask as the user that the station runs as: rights are those of who asks.

    \b
    Example:
      station doctor --config my-station/station.toml
      station doctor --thorough --json
    """
    settings = settings_of(config)
    machine = this_machine(settings, now_utc())
    try:
        findings, trials = _examined(settings, machine, thorough=thorough)
    except DatabaseError as failure:
        findings, trials = list(examine_unopened(settings, machine, str(failure))), ()
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings]))
    else:
        _print(findings)
        if trials:
            show(engines(trials, choose(trials, settings.engine)))
    sys.exit(1 if any(finding.verdict == "fault" for finding in findings) else 0)


def _examined(
    settings: Settings, machine: Machine, *, thorough: bool
) -> tuple[Sequence[Finding], Sequence[EngineTrial]]:
    with reading(settings) as store:
        engine, clock = (str(fact) if fact else None for fact in map(store.fact, (ENGINE_TROUBLE, CLOCK_TROUBLE)))
        findings = list(examine(store, settings, machine, Troubles(engine, clock), thorough=thorough))
        model = store.active_model()
        return findings, store.trials(model.sha256) if model else ()


def _print(findings: Sequence[Finding]) -> None:
    for finding in findings:
        click.echo(printable(f"{finding.verdict}: {finding.sentence}"))
        if finding.advice:
            click.echo(printable(f"    {finding.advice}"))
