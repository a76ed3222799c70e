"""What many tests share: the real photographs, a station of one's own, and the commands as a user calls them."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import warm
from stores import Clock

from station.commission import remember_folder
from station.database.store import Store

ROOT = Path(__file__).parent.parent
if "PYTEST_XDIST_WORKER" in os.environ:  # as many workers as cores: more threads would only wait for each other
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
SHARED = Path(os.environ.get("WBC_SHARED", ROOT.parent / "shared"))

LONG = pytest.mark.skipif(os.environ.get("WBC_SOAK") != "1", reason="takes minutes; `make soak` runs it")


@pytest.fixture(scope="session")
def photographs() -> Path:
    """The folder of the real training pictures."""
    if not (SHARED / "data" / "splits.csv").is_file():
        pytest.skip(f"the real pictures are not at {SHARED} (WBC_SHARED names another place)")
    return SHARED / "data"


Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def station() -> Command:
    """Calls `station` in a process of its own, as a user would, and gives exit code and output."""

    def call(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return warm.call([*map(str, arguments)], cwd)

    return call


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory, station: Command) -> Path:
    """The folder of a fresh station, which nobody changes."""
    folder = tmp_path_factory.mktemp("fresh") / "home"
    made = station("init", folder, "--cell-diameter", 120, "--engine", "onnxruntime")
    assert made.returncode == 0, made.stderr
    return folder


@pytest.fixture
def home(tmp_path: Path, fresh: Path) -> Path:
    """A fresh station whose cells measure 120 px: a copy, for `station init` takes seconds to prove the model."""
    folder = tmp_path / "home"
    shutil.copytree(fresh, folder)
    with closing(sqlite3.connect(folder / "station.db")) as database, database:
        database.execute("UPDATE models SET path = replace(path, ?, ?)", (str(fresh), str(folder)))
    with closing(Store.open(folder / "station.db", clock=Clock())) as store:
        remember_folder(store, folder / "camera")
    return folder


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "station.db"


@pytest.fixture
def store(database: Path, clock: Clock) -> Iterator[Store]:
    with closing(Store.open(database, clock=clock, create=True)) as opened:
        yield opened
