"""The trainer's commands. The list below is all that `trainer --help` loads: a command's module comes with its call."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import click

from station.contract.errors import StationError

_INTERRUPTED = 130  # 128 + SIGINT, as shells tell it

# name -> what `trainer --help` says of it; the module of that name in this folder holds the command `command`
COMMANDS = {
    "fit": "Train a network on folders of pictures and masks.",
    "compare": "Compare encoders and losses by group k-fold, and go on where it was cut off.",
    "results": "Show the tables of a comparison, and write its page.",
    "pick": "Pick the best network of a comparison, say why, and train it for good.",
    "average": "Average a retrained network with the one that it comes from.",
    "evaluate": "Score a bundle on whole pictures, through the same code as the station.",
    "calibrate": "Measure what is normal for a model, so that a station can flag what is not.",
    "export": "Export a run to a bundle that a station installs.",
    "data": "Check data sets, and bring them into the default layout.",
    "bench": "Measure how fast this machine trains, and whether its device waits for data.",
    "backbones": "List the encoders and whether their ImageNet weights are present.",
}


class Commands(click.Group):
    """Loads a command only when it is called, and turns an expected failure into its sentence and exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = import_module(f"trainer.cli.{cmd_name}").command
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except StationError as failure:
            click.echo(f"error: {failure}", err=True)
            sys.exit(failure.exit_code)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            sys.exit(_INTERRUPTED)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="wbc-station")
def main() -> None:
    """Train, evaluate and export the networks that `station` runs.

    \b
    Example:
      trainer fit my-images -o my-model.zip
      trainer evaluate my-model.zip my-images
      station model install my-model.zip
    """
