"""The docs cannot lie: every command, option and setting stands in them, and the sample settings are the defaults."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator

import click
import pytest
from conftest import ROOT

import trainer.cli
from station.cli import main as station_main
from station.database.records import STATUSES
from station.engines import ENGINES
from station.exports import FORMATS as EXPORTS
from station.reports import FORMATS
from station.settings import Settings, known_keys
from trainer.backbones import BACKBONES
from trainer.datasets import LAYOUTS
from trainer.losses import LOSSES
from trainer.recipe import shipped

README = (ROOT / "README.md").read_text(encoding="utf-8")
SAMPLE = ROOT / "deploy" / "station.toml"


def _commands(group: click.Group, words: str) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield f"{words} {name}", command
        if isinstance(command, click.Group):
            yield from _commands(command, f"{words} {name}")


COMMANDS = {**dict(_commands(station_main, "station")), **dict(_commands(trainer.cli.main, "trainer"))}


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_stands_in_the_readme_and_has_help_with_an_example(words: str) -> None:
    assert words in README
    help_text = COMMANDS[words].help or ""
    assert "Example:" in help_text
    assert all(option.help for option in COMMANDS[words].params if isinstance(option, click.Option) and option.required)


@pytest.mark.parametrize("word", [*ENGINES, *FORMATS, *EXPORTS, *BACKBONES, *LAYOUTS, *LOSSES, *shipped()])
def test_every_word_of_a_shelf_stands_in_the_readme(word: str) -> None:
    assert f"`{word}`" in README


@pytest.mark.parametrize("key", [f"{section}.{key}" for section, keys in known_keys().items() for key in keys])
def test_every_setting_stands_in_the_readme_and_in_the_sample(key: str) -> None:
    section, name = key.split(".")
    assert f"`{key}`" in README
    assert f"\n{name} = " in SAMPLE.read_text(encoding="utf-8").replace("\n# ", "\n"), f"{key} of [{section}]"


def test_the_sample_shows_the_defaults() -> None:
    told = Settings.model_validate(tomllib.loads(SAMPLE.read_text(encoding="utf-8")))
    least = Settings.model_validate({"camera": {"folder": "camera"}, "database": {"path": "station.db"}})
    assert told == least


def test_the_statuses_are_explained() -> None:
    assert all(f"`{status}`" in README for status in STATUSES)
