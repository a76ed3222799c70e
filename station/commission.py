"""What a station needs before its first picture, made where it is missing: a model, and what it remembers of itself."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from station.contract.bundle import GoldenResult
from station.contract.errors import SettingsError
from station.database.store import Store
from station.engines import Option
from station.intake import FOLDER_IDENTITY
from station.places import FileSystem
from station.registry import install, starter_path, try_again
from station.settings import Settings
from station.watching import FolderGone, demand_known, look, scan

PSEUDONYM_SALT = "pseudonym_salt"


def commission(
    store: Store, settings: Settings, models: Path, *, step: Callable[[Option], None] = lambda _option: None
) -> tuple[GoldenResult, ...] | None:
    """Install the starter model below `models` where none is active; the golden results if that was so.

    Engines are tried where what is known of them does not hold any more; `step` is called before each. Plans of a GPU
    are left to be built. Raises BundleError or EngineError where the starter does not prove itself here, or the active
    model cannot be used.
    """
    if store.fact(PSEUDONYM_SALT) is None:
        store.record_fact(PSEUDONYM_SALT, secrets.token_hex(16))
    # One without pictures may be what lies below a share that is not mounted; the first pictures will tell.
    if store.fact(FOLDER_IDENTITY) is None and holds_pictures(settings.camera.folder):
        remember_folder(store, settings.camera.folder)
    if (active := store.active_model()) is not None:
        try_again(active, store, settings.engine, step=step)
        return None
    model, golden = install(starter_path(), store, models, settings.engine, step=step, build=False)
    store.activate_model(model.model_id)
    return golden


def check_database_place(database: Path, system: FileSystem) -> None:
    """Raise SettingsError where the file system below the database is another machine's."""
    if system.network:
        raise SettingsError(
            f"the database {database} lies on a network share ({system.kind} {system.source}), where SQLite's locks do "
            "not hold and counts get lost; name a folder of a local disk in database.path"
        )


def silence(system: FileSystem) -> str | None:
    """Why no events can be expected of a camera folder on this file system; none if they can."""
    return f"lies on {system.kind} ({system.source}), where no events ring" if system.is_shared else None


def remember_folder(store: Store, folder: Path) -> None:
    """From now on another folder in the place of this one is an alarm."""
    status = folder.stat()
    store.record_fact(FOLDER_IDENTITY, [status.st_dev, status.st_ino])


def folder_problem(store: Store, folder: Path) -> str | None:
    """Why the camera folder is not the one that was set up; none if it is, or if it holds any picture."""
    try:
        status = folder.stat()
        with os.scandir(folder) as entries:
            next(entries, None)
    except OSError as cause:
        return f"{folder} cannot be seen ({(cause.strerror or str(cause)).lower()})"
    if (identity := folder_identity(store)) in (None, (status.st_dev, status.st_ino)):
        return None
    try:
        demand_known(folder, look(folder), identity)
    except FolderGone as gone:
        return f"{folder} {gone.reason}"
    return None


def holds_pictures(folder: Path) -> bool:
    """Whether a picture lies in a folder or below it. Raises FolderGone."""
    return bool(scan(folder))


def folder_identity(store: Store) -> tuple[int, int] | None:
    """(device, inode) of the camera folder when it was set up."""
    identity = store.fact(FOLDER_IDENTITY)
    return (int(identity[0]), int(identity[1])) if isinstance(identity, list) else None
