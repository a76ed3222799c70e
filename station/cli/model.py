"""`station model`: which networks are installed, and which one counts."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from station.cli.context import (
    building,
    config_option,
    engines,
    models_folder,
    progress,
    reading,
    settings_of,
    show,
    trying,
    writing,
)
from station.contract.errors import BundleError
from station.crashes import Crashes
from station.database.records import StoredModel
from station.database.store import Store
from station.registry import install as install_bundle
from station.registry import installed_bundle, roll_back
from station.selection import choose


@click.group("model")
def command() -> None:
    """List, install, activate and roll back models.

    \b
    Example:
      station model install my-model.zip
      station model list
      station model rollback
    """


@command.command("list")
@config_option
def list_models(config: Path | None) -> None:
    """List the installed models; the active one is marked.

    \b
    Example:
      station model list
    """
    with reading(settings_of(config)) as store:
        active, models = store.active_model(), store.models()
    table = Table("", "id", "name", "sha256", "installed", "trained on")
    for model in models:
        mark = "active" if active and active.model_id == model.model_id else ""
        installed = f"{model.installed_at:%Y-%m-%d %H:%M} UTC"
        table.add_row(mark, str(model.model_id), model.name, model.sha256[:12], installed, model.description)
    show(table)


@command.command("install")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--activate/--no-activate", default=True, show_default=True, help="Count with it from the next picture on."
)
@config_option
def install(bundle: Path, activate: bool, config: Path | None) -> None:
    """Prove a BUNDLE on this machine's engines, keep a copy, and activate it.

    Each engine that this machine has is held against the golden pictures and timed; the fastest that reproduces them
    serves. For a GPU a plan is built first, which takes minutes.

    \b
    Example:
      station model install my-model.zip
    """
    settings = settings_of(config)
    with progress(Console(stderr=True)) as bar, writing(settings) as store:
        with Crashes(store).anew():
            model, golden = install_bundle(
                bundle, store, models_folder(settings), settings.engine, step=trying(bar), report=building(bar)
            )
        trials = store.trials(model.sha256)
        if activate:
            store.activate_model(model.model_id)
    click.echo(f"installed {model.name} ({model.sha256[:12]}), proved on {len(golden)} golden pictures")
    choice = choose(trials, settings.engine)
    show(engines(trials, choice))
    click.echo(f"engine: {choice.option}, {choice.reason}")
    click.echo(
        "it counts from the next picture on" if activate else "it is not active; `station model activate` makes it so"
    )


@command.command("activate")
@click.argument("model")
@config_option
def activate(model: str, config: Path | None) -> None:
    """Count with the MODEL (id, name or start of its sha256) from the next picture on.

    \b
    Example:
      station model activate 2
    """
    with writing(settings_of(config)) as store:
        chosen = _find(store, model)
        installed_bundle(chosen)  # a damaged one would count nothing
        store.activate_model(chosen.model_id)
    click.echo(f"active: {chosen.name} ({chosen.sha256[:12]})")


@command.command("rollback")
@config_option
def rollback(config: Path | None) -> None:
    """Go back to the model that was active before; a damaged one is passed over.

    \b
    Example:
      station model rollback
    """
    with writing(settings_of(config)) as store:
        model, passed = roll_back(store)
    for one in passed:
        click.echo(f"passed over: {one.name} ({one.sha256[:12]}): its file is damaged or gone", err=True)
    click.echo(f"active: {model.name} ({model.sha256[:12]})")


@command.command("path")
@click.argument("model", required=False)
@config_option
def path(model: str | None, config: Path | None) -> None:
    """Print the file of the active model, or of MODEL.

    \b
    Example:
      cp "$(station model path)" backup.zip
    """
    with reading(settings_of(config)) as store:
        chosen = _find(store, model) if model else store.active_model()
    if chosen is None:
        raise BundleError("no model is active; `station model install BUNDLE` gives one")
    click.echo(chosen.path)


def _find(store: Store, text: str) -> StoredModel:
    models = store.models()
    found = [m for m in models if text in (str(m.model_id), m.name) or (len(text) >= 6 and m.sha256.startswith(text))]
    if len(found) != 1:
        known = ", ".join(f"{m.model_id} ({m.name})" for m in models) or "none"
        problem = "no installed model is" if not found else "several installed models are"
        raise BundleError(f"{problem} called '{text}'; installed: {known}; name one by its id")
    return found[0]
