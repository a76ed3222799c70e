"""The station's commands. The list below is all that `station --help` loads: a command's module comes with its call."""

from __future__ import annotations

import errno
import sys
from importlib import import_module
from io import TextIOWrapper
from typing import Any

import click

from station.cli.ends import INTERRUPTED, leave_quietly
from station.contract.errors import StationError
from station.journal import say
from station.printing import printable

# name -> what `station --help` says of it; the module of that name in this folder holds the command `command`
COMMANDS = {
    "init": "Make a settings file and a database, and install the starter model.",
    "run": "Watch the camera folder and count every picture.",
    "segment": "Count the white cells of single pictures, without a database.",
    "calibrate": "Measure the apparent cell diameter of a camera from its pictures.",
    "report": "Sum up a day.",
    "baseline": "Keep what the station's first days measured; reports compare with it.",
    "status": "Say what the station knows: queue, waiting and quarantined files, model.",
    "reconcile": "Hold the camera folder against the database: is every picture accounted for?",
    "explain": "Say where an image came from and what made its number.",
    "replay": "Analyse an image again and say whether the result is the same.",
    "correct": "Add, remove, split or merge cells, accept or reject an image; the automatic result stays.",
    "sign": "Put a name under the numbers of a slide or a day.",
    "serve": "Look at images in a browser as they come; correct and sign.",
    "export": "Write counted pictures and cells for the trainer and for other programs.",
    "testset": "Keep slides aside on which models are compared, and from which none learns.",
    "reanalyse": "Count days once more by the active model; older results stay.",
    "doctor": "Look the whole station over, and say what to do.",
    "model": "List, install, activate and roll back models.",
    "backup": "Copy the database, verified, while the station runs.",
    "restore": "Put a backup in the place of the database.",
    "prune": "Remove what is old: masks first, whole pictures only when asked.",
    "bench": "Measure how fast this machine counts, on every engine.",
    "demo": "Let a simulated camera fill a folder and count its painted fields.",
}


class Commands(click.Group):
    """Loads a command only when it is called, and turns an expected failure into its sentence and exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = import_module(f"station.cli.{cmd_name}").command
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except StationError as failure:
            say(f"error: {printable(str(failure))}", err=True)
            sys.exit(failure.exit_code)
        except KeyboardInterrupt:
            say("interrupted", err=True)
            sys.exit(INTERRUPTED)
        except OSError as failure:
            if failure.errno == errno.EPIPE:
                leave_quietly()
            say(f"error: {failure.strerror or failure}: {failure.filename or 'the output'}", err=True)
            sys.exit(1)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="wbc-station")
def main() -> None:
    """Count white blood cells in the smear fields that a camera saves into a folder.

    \b
    Example:
      station init my-station
      station run --config my-station/station.toml
      station report --config my-station/station.toml
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a name that the output cannot encode is escaped
            stream.reconfigure(errors="backslashreplace")
