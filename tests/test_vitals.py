"""A full disk and a clock that is set, beside a whole station; and where a database may lie."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from networks import discs, tiny_bundle
from stations import START, Bench

from station.cli.run import Lines
from station.commission import check_database_place, silence
from station.contract.errors import SettingsError
from station.daemon import run, run_once
from station.database.records import CLOCK_TROUBLE
from station.demo.camera import encode_bmp
from station.places import FileSystem
from station.vitals import Clocks, Disk, awake_or_not


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, tiny_bundle(), cell_diameter_px=48.0)
    with closing(made.store):
        yield made


def save(bench: Bench, name: str, shade: int) -> None:
    field = discs(96, 128, [(48, 64, 24, 13)])
    field[0, 0] = shade
    (bench.folder / name).write_bytes(encode_bmp(field))


def test_on_a_full_disk_nothing_is_taken_and_all_is_counted_once_there_is_room(bench: Bench) -> None:
    save(bench, "a.bmp", 1)
    bench.run()
    bench.free_bytes = 5_000_000
    save(bench, "b.bmp", 2)
    bench.said.clear()
    assert bench.run() is None
    assert bench.counts() == {"a.bmp": 1}
    assert "only 5 MB are free, limits.min_free_mb = 200" in bench.said[0] and bench.said[1:] == ["WATCHDOG=1"]
    bench.free_bytes = 10**12
    bench.run()
    assert bench.counts() == {"a.bmp": 1, "b.bmp": 1}


class _Stop(threading.Event):
    """Set after so many passes; room comes back half-way."""

    def __init__(self, bench: Bench, passes: int) -> None:
        super().__init__()
        self.bench, self.left = bench, passes

    def is_set(self) -> bool:
        self.left -= 1
        if self.left == 20:
            self.bench.free_bytes = 10**12
        return self.left < 0


def test_a_running_station_waits_for_room_and_goes_on_by_itself(bench: Bench) -> None:
    bench.free_bytes = 0
    save(bench, "a.bmp", 1)
    run(bench.station, _Stop(bench, 40), bench.bell)
    assert bench.counts() == {"a.bmp": 1}


def test_a_disk_that_does_not_answer_is_told(tmp_path: Path) -> None:
    def broken(_folder: Path) -> int:
        raise OSError(5, "Input/output error")

    assert "its disk does not answer (input/output error)" in str(Disk(tmp_path / "s.db", 1, broken).problem())


def test_the_disk_is_that_to_which_a_link_leads(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    (tmp_path / "here" / "s.db").symlink_to(tmp_path / "there" / "s.db")
    free = {tmp_path / "here": 10**12, tmp_path / "there": 5}
    assert f"{tmp_path / 'there'}: only 0 MB are free" in str(
        Disk(tmp_path / "here" / "s.db", 1e6, free.__getitem__).problem()
    )


def test_the_log_tells_once_that_the_disk_is_full_and_once_that_it_is_not() -> None:
    said: list[str] = []
    lines = Lines(said.append)
    for problem in (None, "only 5 MB", "only 4 MB", None, None):
        lines.disk(problem)
    assert said == ["degraded: only 5 MB", "there is room on the disk of the database again"]


@pytest.mark.parametrize(("by", "words"), [(120, "jumped forward by 120 min"), (-90, "jumped back by 90 min")])
def test_a_clock_that_is_set_is_told_and_remembered(bench: Bench, by: int, words: str) -> None:
    bench.run()
    assert bench.store.fact(CLOCK_TROUBLE) is None
    bench.wall_clock_set_by = timedelta(minutes=by)
    bench.run()
    assert words in str(bench.store.fact(CLOCK_TROUBLE))
    assert sum(words in line for line in bench.said) == 1
    assert run_once(bench.station, threading.Event(), bench.bell) is not None


def test_a_machine_that_slept_has_not_set_its_clock() -> None:
    wall, awake, all_along = [START], [0.0], [0.0]
    clocks = {name: Clocks(lambda: wall[0], lambda own=own: own[0]) for name, own in (("a", awake), ("b", all_along))}
    wall[0] += timedelta(hours=10, seconds=5)
    awake[0] += 5
    all_along[0] += 36_005
    assert clocks["a"].jump() == timedelta(hours=10) and clocks["b"].jump() is None
    before, monotonic = awake_or_not(), time.monotonic()
    assert before >= monotonic - 1 and awake_or_not() >= before


SHARE = FileSystem("cifs", network=True, fuse=False, read_only=False, source="//pc/leica")
LOCAL = FileSystem("ext4", network=False, fuse=False, read_only=False, source="/dev/sda1")


def test_a_database_on_a_share_is_refused_and_a_camera_folder_there_is_polled() -> None:
    with pytest.raises(SettingsError, match=r"lies on a network share \(cifs //pc/leica\).*a local disk"):
        check_database_place(Path("station.db"), SHARE)
    check_database_place(Path("station.db"), LOCAL)
    assert silence(SHARE) == "lies on cifs (//pc/leica), where no events ring"
    assert silence(LOCAL) is None


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_stats"), reason="only glibc has heaps for threads")
def test_many_threads_share_few_heaps() -> None:
    """By what the C library prints of its heaps, in a process of its own."""
    code = """
import ctypes, sys, threading
from station.vitals import share_heaps
if sys.argv[1] == "shared":
    share_heaps()
libc, all_there = ctypes.CDLL(None), threading.Barrier(7)
def hold():
    libc.malloc(100_000)
    all_there.wait()
threads = [threading.Thread(target=hold) for _ in range(6)]
for thread in threads:
    thread.start()
all_there.wait()
libc.malloc_stats()
"""
    heaps = {}
    for how in ("shared", "apart"):
        run = subprocess.run([sys.executable, "-c", code, how], capture_output=True, text=True, check=True)
        heaps[how] = run.stderr.count("Arena ")
    assert heaps["shared"] <= 2 < heaps["apart"]
