"""Stations that are hurt in tests: `station run` as a process of its own, pictures that cost little, bad writers."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import cv2
import numpy as np
from networks import NETWORK_DIAMETER_PX, Disc, discs, tiny_bundle

from station.cli import main
from station.cli.context import models_folder, now_utc
from station.commission import commission
from station.contract.bundle import write_bundle
from station.database.store import Store
from station.registry import install
from station.settings import Settings, read_settings

T = TypeVar("T")

SOAKING = os.environ.get("WBC_SOAK") == "1"  # `make soak`: the full sizes
LONGEST_SECONDS = 3600.0 if SOAKING else 180.0
SUFFIXES = ("bmp", "png", "tif", "jpg")

# Each station is a process of its own that is killed for good, but the imports, two seconds of processor time, are
# done once for all of them.
_PROCESSES = get_context("forkserver")
_PROCESSES.set_forkserver_preload(["station.cli.run", "station.engines.onnxruntime", "onnx"])


def sized(small: T, full: T) -> T:
    """The size of a test: a small one always, the full one with WBC_SOAK=1."""
    return full if SOAKING else small


# Pictures


def picture(number: int, suffix: str = "bmp", width: int = 160, height: int = 120) -> bytes:
    """A file of a field of 0 to 3 flat cells; each `number` gives another content."""
    chance = random.Random(number)
    cells: list[Disc] = [
        (chance.uniform(20, width - 20), chance.uniform(20, height - 20), chance.uniform(17, 21), chance.uniform(9, 12))
        for _ in range(number % 4)
    ]
    image = discs(height, width, cells)
    bits = np.frombuffer(number.to_bytes(4, "big"), np.uint8)
    image[-1, :32, 0] -= np.unpackbits(bits)  # one grey level: no pixel becomes another class
    return cv2.imencode(f".{suffix}", np.ascontiguousarray(image[..., ::-1]))[1].tobytes()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# Writers: each step does something to the file and yields the seconds until the next one

Writer: TypeAlias = Iterator[float]
Pause: TypeAlias = Callable[[], float]


def at_once(path: Path, data: bytes, pause: Pause) -> Writer:
    yield 0.0
    path.write_bytes(data)


def renamed(path: Path, data: bytes, pause: Pause) -> Writer:
    """Under a temporary name, then renamed."""
    unfinished = path.with_name(path.name + ".part")
    yield from growing(unfinished, data, pause)
    unfinished.rename(path)


def growing(path: Path, data: bytes, pause: Pause) -> Writer:
    with path.open("xb", buffering=0) as file:
        for piece in _pieces(data):
            file.write(data[piece])
            yield pause()


def preallocated(path: Path, data: bytes, pause: Pause) -> Writer:
    """The full size first, then the content from begin to end."""
    with path.open("xb", buffering=0) as file:
        file.truncate(len(data))
        for piece in _pieces(data):
            yield pause()
            file.seek(piece.start)
            file.write(data[piece])


def with_gaps(path: Path, data: bytes, pause: Pause) -> Writer:
    """Header first, then the other pieces in any order."""
    pieces = _pieces(data)
    first, others = pieces[0], pieces[1:]
    random.Random(len(data)).shuffle(others)
    with path.open("xb", buffering=0) as file:
        for piece in (first, *others):
            file.seek(piece.start)
            file.write(data[piece])
            yield pause()


def begun_again(path: Path, data: bytes, pause: Pause) -> Writer:
    """Three quarters, then nothing, then all."""
    yield from _cut(growing(path, data, pause), 3)
    with path.open("r+b", buffering=0) as file:
        file.truncate(0)
        yield pause()
        for piece in _pieces(data):
            file.write(data[piece])
            yield pause()


def _pieces(data: bytes, number: int = 4) -> list[slice]:
    return [slice(len(data) * index // number, len(data) * (index + 1) // number) for index in range(number)]


def _cut(writer: Writer, steps: int) -> Writer:
    for _ in range(steps):
        yield next(writer)


def in_real_time(writer: Writer) -> None:
    for seconds in writer:
        time.sleep(seconds)


# A station


@dataclass(frozen=True, slots=True)
class Home:
    """A commissioned station; its database is read beside it."""

    root: Path
    settings: Settings
    diary: Path  # all that its processes said

    @property
    def folder(self) -> Path:
        return self.settings.camera.folder

    def start(self, *options: str) -> BaseProcess:
        """`station run`, in a process of its own."""
        line = ["run", "--config", str(self.root / "station.toml"), *options]
        process = _PROCESSES.Process(target=_run, args=(line, self.diary), daemon=True)
        process.start()
        return process

    @contextmanager
    def running(self) -> Iterator[BaseProcess]:
        """A station at work, ended as systemd would end it."""
        process = self.start()
        try:
            yield process
            assert process.is_alive(), self.log()
        finally:
            process.terminate()
            process.join(60)
            process.kill()
        assert process.exitcode == 0, self.log()

    def once(self) -> None:
        """`station run --once`, which ends well."""
        process = self.start("--once")
        process.join(LONGEST_SECONDS)
        assert process.exitcode == 0, self.log()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        place = f"file:{self.settings.database.path}?mode=ro"
        with closing(sqlite3.connect(place, uri=True, timeout=30)) as connection:
            return connection.execute(query).fetchall()

    def number(self, status: str) -> int:
        """Pictures of a status."""
        return int(self.rows(f"SELECT count(*) FROM image_results WHERE status = '{status}'")[0][0])

    def is_sound(self) -> bool:
        return self.rows("PRAGMA integrity_check") == [("ok",)] and not self.rows("PRAGMA foreign_key_check")

    def paths(self) -> dict[str, str]:
        """Every path that was ever seen -> the content that it held."""
        return dict(self.rows("SELECT p.path, sha256 FROM image_paths AS p JOIN image_results USING (image_id)"))

    def counted(self) -> list[tuple[Any, ...]]:
        """(content, status, white cells, those inside, rows of cells, masks) of each analysis.

        Not the masks themselves: pictures are batched as they come, and of two touching cells one pixel between them
        may fall to the other for a network's last bit.
        """
        return self.rows(
            "SELECT i.sha256, i.status, a.wbc_count, a.wbc_count_inside, "
            "(SELECT count(*) FROM cells AS c WHERE c.analysis_id = a.id), "
            "(SELECT count(*) FROM masks AS m WHERE m.analysis_id = a.id) "
            "FROM image_results AS i LEFT JOIN analyses AS a USING (image_id) ORDER BY i.sha256, a.id"
        )

    def log(self) -> str:
        return self.diary.read_text(errors="replace")


def commissioned(
    root: Path, folder: Path | None = None, *, log: Path | None = None, min_free_mb: float = 1, **camera: float
) -> Home:
    """A station with the tiny network and its database in `root`; so are camera folder and log where none is named."""
    root.mkdir(exist_ok=True)
    folder = folder or root / "camera"
    folder.mkdir(exist_ok=True)
    timing = {"settle_seconds": 0.1, "rescan_seconds": 1.0, "cell_diameter_px": NETWORK_DIAMETER_PX} | camera
    lines = (
        *("[camera]", f"folder = {json.dumps(str(folder))}", *(f"{key} = {value}" for key, value in timing.items())),
        *("[database]", 'path = "station.db"', "[limits]", f"min_free_mb = {min_free_mb}"),
        *("[engine]", 'name = "onnxruntime"', "threads = 1", ""),
    )
    (root / "station.toml").write_text("\n".join(lines))
    home = Home(root, read_settings(root / "station.toml"), log or root / "station.log")
    _install(home)
    return home


def _install(home: Home) -> None:
    bundle, models = home.root / "tiny.zip", models_folder(home.settings)
    write_bundle(bundle, tiny_bundle())
    with closing(Store.open(home.settings.database.path, clock=now_utc, create=True)) as store:
        model, _ = install(bundle, store, models, home.settings.engine)
        store.activate_model(model.model_id)
        commission(store, home.settings, models)


def kill(process: BaseProcess) -> None:
    """kill -9, and its end."""
    process.kill()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL, "it had ended before: its log says why"


def wait_until(happened: Callable[[], bool], what: Callable[[], object]) -> None:
    """Look every few milliseconds; `what` says how things stand where it does not happen in time."""
    deadline = time.monotonic() + LONGEST_SECONDS
    while not happened():
        assert time.monotonic() < deadline, f"it did not happen in {LONGEST_SECONDS:.0f} s: {what()}"
        time.sleep(0.02)


def _run(line: list[str], log: Path) -> None:
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    main(line)
