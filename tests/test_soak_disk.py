"""A disk that is full to the last byte: nothing breaks, and everything is counted once there is room."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from networks import tiny_bundle
from soaking import SUFFIXES, Home, commissioned, picture, sha256, sized, wait_until
from stations import Bench
from stores import rows

from station.contract.errors import DatabaseError
from station.settings import Engine

SIZE = "8m"
CHUNK = 4096
ENOUGH = 200_000  # bytes, with which three pictures may be written after all


class Disk:
    """A disk of a few megabytes that others fill, too."""

    def __init__(self, root: Path) -> None:
        self.root, self._filler = root, root / "filler"

    def fill(self, left: int = 0) -> None:
        """To the last byte but `left`."""
        with self._filler.open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(CHUNK))
            except OSError:
                file.truncate(max(0, self._filler.stat().st_size - left))

    def make_room(self) -> None:
        self._filler.unlink(missing_ok=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    root = tmp_path / "disk"
    root.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(root)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    yield Disk(root)
    subprocess.run(["umount", "-l", str(root)], check=True)


def test_a_station_waits_for_room_and_goes_on_by_itself(disk: Disk, tmp_path: Path) -> None:
    home = _home(disk, tmp_path, min_free_mb=1)
    with home.running():
        _save(home, range(5))
        wait_until(lambda: home.number("done") == 5, home.log)
        disk.fill(left=300_000)
        wait_until(lambda: "min_free_mb" in home.log(), home.log)
        _save(home, range(5, 10))
        time.sleep(0.5)  # there is nothing to wait for: it must not try
        assert home.number("done") == 5 and home.is_sound()
        disk.make_room()
        wait_until(lambda: home.number("done") == 10, home.log)
    _check(home, 10)


def test_a_station_whose_disk_is_full_ends_in_words_and_loses_nothing(disk: Disk, tmp_path: Path) -> None:
    """With no room kept, so that SQLite meets the end of the disk: started again as by systemd, until it can go on."""
    home, numbers = _home(disk, tmp_path, min_free_mb=0), count()
    process, pictures, ends = home.start(), 0, 0
    for round_ in range(sized(3, 40)):
        disk.fill(left=CHUNK * (7 * round_ % 40))
        pictures += _save(home, [next(numbers) for _ in range(3)])
        for _ in range(2):
            process, ended = _supervised(home, process)
            ends += ended
        disk.make_room()  # to the last byte, not even a reader finds the room that it needs
        assert home.is_sound()
        while home.number("done") < pictures:
            process, _ = _supervised(home, process)
    process.terminate()
    process.join(60)
    print(f"\nthe disk was full {round_ + 1} times; the station ended by itself {ends} times")
    assert ends and process.exitcode == 0
    assert "make space on its disk" in home.log()
    _check(home, pictures)


@pytest.mark.parametrize("left", range(0, CHUNK * sized(24, 96), CHUNK * sized(4, 1)))
def test_wherever_the_disk_ends_nothing_is_half_written(disk: Disk, left: int) -> None:
    bench = Bench(disk.root, tiny_bundle(), Engine(name="onnxruntime", threads=1), cell_diameter_px=40.0)
    with closing(bench.store):
        for number in range(3):
            (bench.folder / f"{number}.png").write_bytes(picture(number, "png"))
        disk.fill(left)
        try:
            bench.run()
        except DatabaseError as full:
            assert "make space on its disk" in str(full)
        else:
            assert left > ENOUGH
        assert rows(bench.store.path, "PRAGMA integrity_check") == [("ok",)]
        disk.make_room()
        bench.restart()
        bench.run()
        found = {name: (result.sha256, result.status) for name, result in bench.stored().items()}
    assert found == {f"{number}.png": (sha256(picture(number, "png")), "done") for number in range(3)}


def _home(disk: Disk, tmp_path: Path, min_free_mb: float) -> Home:
    """The database alone is on the small disk."""
    return commissioned(disk.root, folder=tmp_path / "camera", min_free_mb=min_free_mb, log=tmp_path / "station.log")


def _save(home: Home, numbers: range | list[int]) -> int:
    for number in numbers:
        suffix = SUFFIXES[number % 4]
        (home.folder / f"{number:03d}.{suffix}").write_bytes(picture(number, suffix))
    return len(numbers)


def _supervised(home: Home, process: BaseProcess) -> tuple[BaseProcess, bool]:
    """A second in the life of a station: the one that runs, or a new one where it ended; whether it did."""
    process.join(1)
    if process.exitcode is None:
        return process, False
    assert process.exitcode == 1, home.log()
    return home.start(), True


def _check(home: Home, pictures: int) -> None:
    truth = {str(path): sha256(path.read_bytes()) for path in home.folder.iterdir()}
    assert len(truth) == pictures and home.is_sound() and home.paths() == truth
    assert home.rows("SELECT status, count(*) FROM image_results GROUP BY status") == [("done", pictures)]
    assert home.rows("SELECT count(*), count(DISTINCT image_id) FROM analyses") == [(pictures, pictures)]
