"""The whole way: pictures come into a folder, counts come out of the database, whatever else lies in that folder."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import Command

from station.demo.camera import encode_bmp, write_in_pieces
from station.demo.smear import SmearRecipe, paint

LONGEST_SECONDS = 180


def test_pictures_that_arrive_slowly_are_counted_once_and_as_segment_counts_them(
    home: Path, station: Command, pictures: dict[str, bytes]
) -> None:
    _set(home, settle_seconds=0.4, rescan_seconds=2)
    with _running(home):
        for name, data in pictures.items():
            write_in_pieces(home / "camera" / name, data, pieces=4, pause=lambda: time.sleep(0.02))
        _wait_until(lambda: _done(home) == len(pictures))
    rows = _rows(home, "select path, wbc_count, status from image_results")
    assert sorted(Path(path).name for path, _, _ in rows) == sorted(pictures)
    lines = station("segment", home / "camera", "--format", "jsonl", "--cell-diameter", 120).stdout.splitlines()
    told = {one["path"]: one["wbc_count"] for one in map(json.loads, lines)}
    assert {path: count for path, count, _ in rows} == told


@pytest.fixture(params=["painted", "photographed"])
def pictures(request: pytest.FixtureRequest) -> dict[str, bytes]:
    if request.param == "painted":
        recipes = (SmearRecipe(width=640, height=480, wbc=wbc, seed=wbc) for wbc in range(4))
        return {f"painted {recipe.seed}.bmp": encode_bmp(paint(recipe).image) for recipe in recipes}
    data: Path = request.getfixturevalue("photographs")
    chosen = [*sorted((data / "bccd/images").iterdir())[:12], *sorted((data / "allidb2/images").iterdir())[:4]]
    return {path.name: path.read_bytes() for path in chosen}


BAD = {
    "empty.bmp": "is empty",
    "cut.bmp": "is shorter than its header says",
    "cut.jpg": "has no end yet",
    "text.bmp": "is text, not a picture",
    "huge.png": "20000 x 20000 pixels, 400.0 megapixels, more than limits.max_megapixels",
    "locked.bmp": "cannot be read",
}


@pytest.fixture
def mixed(home: Path) -> Path:
    """A camera folder with each kind of bad file, a directory that is named like a picture, and good ones."""
    folder, good = home / "camera", paint(SmearRecipe(width=320, height=240, wbc=1, seed=5)).image
    jpeg = cv2.imencode(".jpg", good)[1].tobytes()
    (folder / "empty.bmp").touch()
    (folder / "cut.bmp").write_bytes(encode_bmp(good)[:-1000])
    (folder / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (folder / "text.bmp").write_text("Patient: see the other folder\n")
    (folder / "huge.png").write_bytes(cv2.imencode(".png", np.zeros((20_000, 20_000), np.uint8))[1].tobytes())
    (folder / "locked.bmp").symlink_to("/proc/self/mem")  # nobody may read its first byte, not even root
    (folder / "x.bmp").mkdir()
    (folder / "a good.bmp").write_bytes(encode_bmp(good))
    (folder / "z good.bmp").write_bytes(encode_bmp(np.full((240, 320, 3), 230, np.uint8)))
    return folder


def test_run_once_counts_the_good_files_and_lists_the_others_with_their_reasons(
    mixed: Path, home: Path, station: Command
) -> None:
    _set(home, settle_seconds=0.1)
    ran = station("run", "--once", "--config", home / "station.toml")
    assert (ran.returncode, ran.stderr) == (1, "")
    for name, reason in BAD.items():
        assert any(name in line and reason in line for line in ran.stdout.splitlines()), (name, ran.stdout)
    rows = _rows(home, "select path, status, wbc_count from image_results")
    assert {Path(path).name for path, status, _ in rows if status != "done"} == BAD.keys()
    assert {Path(p).name: count for p, status, count in rows if status == "done"} == {"a good.bmp": 1, "z good.bmp": 0}


def test_segment_gives_each_file_its_count_or_its_reason(mixed: Path, station: Command) -> None:
    told = station("segment", mixed, "--format", "jsonl", "--cell-diameter", 120)
    found = {Path(one["path"]).name: one for one in map(json.loads, told.stdout.splitlines())}
    assert told.returncode == 1
    assert found.keys() == BAD.keys() | {"a good.bmp", "z good.bmp", "x.bmp"}
    for name, reason in (BAD | {"x.bmp": "is a directory"}).items():
        assert name in found[name]["error"] and reason in found[name]["error"]
        assert found[name]["error"] in told.stderr
    assert (found["a good.bmp"]["wbc_count"], found["z good.bmp"]["wbc_count"]) == (1, 0)


def test_a_killed_station_goes_on_where_it_was(home: Path, station: Command) -> None:
    _set(home, settle_seconds=0.1)
    for seed in range(6):
        field = paint(SmearRecipe(width=320, height=240, wbc=seed % 3, seed=seed))
        (home / "camera" / f"{seed}.bmp").write_bytes(encode_bmp(field.image))
    for _ in range(3):
        with _running(home, signal.SIGKILL):
            before = _done(home)
            _wait_until(lambda before=before: _done(home) > before or _done(home) == 6)
    assert station("run", "--once", "--config", home / "station.toml").returncode == 0
    assert _rows(home, "select count(*), count(distinct image_id) from analyses") == [(6, 6)]


def test_a_picture_that_ends_in_black_is_counted_by_one_pass(home: Path, station: Command) -> None:
    """Rows of zeros at the end of a BMP, its top, look like a file that is still being filled: it needs its time."""
    _set(home, settle_seconds=0.2)
    image = paint(SmearRecipe(width=320, height=240, wbc=1, seed=5)).image
    image[:4] = 0
    (home / "camera" / "a.bmp").write_bytes(encode_bmp(image))
    ran = station("run", "--once", "--config", home / "station.toml")
    assert (ran.returncode, _done(home)) == (0, 1)


def test_half_a_copy_that_was_superseded_leaves_nothing_to_do(home: Path, station: Command) -> None:
    path = home / "camera" / "a.bmp"
    for wbc in (1, 2):  # the second time in place
        path.touch()
        with path.open("r+b") as file:
            file.write(encode_bmp(paint(SmearRecipe(width=320, height=240, wbc=wbc, seed=wbc)).image))
        told = station("run", "--once", "--config", home / "station.toml")
        assert told.returncode == 0 and "superseded" not in told.stdout, told.stdout
    assert _rows(home, "select status, reason from image_results order by ingested_at") == [
        ("quarantined", "superseded"),
        ("done", None),
    ]
    told = json.loads(station("status", "--json", "--config", home / "station.toml").stdout)
    assert {status for status, count in told["counts"].items() if count} == {"done"} and told["open"] == []


def test_an_unmounted_share_is_no_success(home: Path, station: Command) -> None:
    _set(home, settle_seconds=0.1)
    (home / "camera").rename(home / "away")
    (home / "camera").mkdir()
    (home / "camera" / "NOT MOUNTED.txt").touch()
    ran = station("run", "--once", "--config", home / "station.toml")
    assert (ran.returncode, "is another folder, and empty; is the share mounted?" in ran.stdout) == (1, True)
    status = station("status", "--config", home / "station.toml").stdout
    assert "degraded: " in status and "is the share mounted?" in status


def test_only_one_station_runs_on_a_database(home: Path, station: Command) -> None:
    with _running(home) as first:
        second = station("run", "--once", "--config", home / "station.toml")
    assert second.returncode == 1
    assert f"another station runs on this database already (process {first.pid}" in second.stderr


def test_two_settings_are_enough(tmp_path: Path, station: Command) -> None:
    (tmp_path / "camera").mkdir()
    (tmp_path / "my.toml").write_text('[camera]\nfolder = "camera"\n[database]\npath = "station.db"\n')
    ran = station("run", "--once", "--config", tmp_path / "my.toml")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert station("status", "--config", tmp_path / "my.toml").stdout.startswith("no pictures yet\nmodel: starter")


@contextmanager
def _running(home: Path, end: signal.Signals = signal.SIGTERM) -> Iterator[subprocess.Popen[bytes]]:
    """A `station run` at work, ended by a signal."""
    line = [sys.executable, "-m", "station.cli", "run", "--config", str(home / "station.toml")]
    ready, theirs = _notify_socket(home)
    with subprocess.Popen(line, env=os.environ | {"NOTIFY_SOCKET": theirs}) as process:
        try:
            assert ready() == "READY=1"
            yield process
        finally:
            process.send_signal(end)
            assert process.wait(30) == (0 if end == signal.SIGTERM else -end)


def _notify_socket(home: Path):  # type: ignore[no-untyped-def]
    import socket

    address = str(home / "notify")
    Path(address).unlink(missing_ok=True)
    ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ear.bind(address)
    ear.settimeout(60)
    return lambda: ear.recv(200).decode(), address


def _set(home: Path, **camera: float) -> None:
    path = home / "station.toml"
    lines = "\n".join(f"{key} = {value}" for key, value in camera.items())
    path.write_text(path.read_text().replace("[camera]\n", f"[camera]\n{lines}\n"))


def _rows(home: Path, query: str) -> list[tuple]:  # type: ignore[type-arg]
    with closing(sqlite3.connect(f"file:{home / 'station.db'}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()


def _done(home: Path) -> int:
    return int(_rows(home, "select count(*) from image_results where status = 'done'")[0][0])


def _wait_until(true) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + LONGEST_SECONDS
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)
