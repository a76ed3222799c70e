"""What happens to camera folders: the share drops, events never come, files lie there half. Nothing is lost."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count, islice, product
from pathlib import Path

from networks import tiny_bundle
from soaking import (
    SUFFIXES,
    Pause,
    Writer,
    at_once,
    begun_again,
    commissioned,
    growing,
    picture,
    preallocated,
    renamed,
    sha256,
    sized,
    wait_until,
    with_gaps,
)
from stations import START, Bell, Bench
from stores import rows
from watchdog.events import FileSystemEvent

from station.assembly import Station, assemble
from station.bell import Bell as FolderBell
from station.daemon import run
from station.intake import TickResult
from station.pipeline import Result
from station.settings import Engine

# The share drops


class Share:
    """The camera's own side of its folder: it writes there whatever stands in its place at the station."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.away = folder, folder.with_name("away")
        self._handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)

    def write(self, name: str, data: bytes) -> None:
        file = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, dir_fd=self._handle)
        os.write(file, data)
        os.close(file)

    def drop(self, *, leaving_a_mount_point: bool) -> None:
        self.folder.rename(self.away)
        if leaving_a_mount_point:
            self.folder.mkdir()

    def is_away(self) -> bool:
        return self.away.exists()

    def back(self) -> None:
        self.away.rename(self.folder)  # takes the place of an empty folder, too

    def close(self) -> None:
        os.close(self._handle)


class Shaken(Bench):
    """A station whose share comes and goes at the looks at the folder, and between one picture and the next."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, tiny_bundle(), Engine(name="onnxruntime", threads=1), cell_diameter_px=40.0)
        self.share, self.chance, self.drops = Share(self.folder), random.Random(3), 0
        self.quiet = False

    def tick(self, result: TickResult) -> None:
        self._shake(0.3)

    def done(self, result: Result) -> None:
        super().done(result)
        self._shake(0.3)

    def _shake(self, chance: float) -> None:
        if self.share.is_away():
            if self.quiet or self.chance.random() < 0.5:
                self.share.back()
        elif not self.quiet and self.chance.random() < chance:
            self.share.drop(leaving_a_mount_point=self.chance.random() < 0.5)
            self.drops += 1


def test_a_share_that_comes_and_goes_loses_nothing_and_refuses_nothing(tmp_path: Path) -> None:
    bench, numbers = Shaken(tmp_path), count(1)
    truth: dict[str, str] = {}
    with closing(bench.store), closing(bench.share):
        while bench.drops < sized(10, 200):
            for number in islice(numbers, 3):
                name, data = f"{number:05d}.{SUFFIXES[number % 4]}", picture(number, SUFFIXES[number % 4])
                truth[name] = sha256(data)
                bench.share.write(name, data)
            bench.run()
            assert rows(bench.store.path, _REFUSED) == []
        bench.quiet = True
        for _ in range(3):
            bench.run()
    found = rows(bench.store.path, "SELECT path, sha256, status FROM image_results")
    assert sorted((Path(str(path)).name, str(content), status) for path, content, status in found) == sorted(
        (name, content, "done") for name, content in truth.items()
    )


_REFUSED = "SELECT path, reason FROM image_results WHERE status = 'quarantined'"


def test_a_real_station_goes_on_by_itself_when_its_share_is_back(tmp_path: Path) -> None:
    drops, chance = sized(2, 10), random.Random(7)
    home = commissioned(tmp_path / "home", rescan_seconds=0.5)
    share = Share(home.folder)
    truth = {f"{number:04d}.png": picture(number, "png") for number in range(20 * drops)}

    def save() -> None:
        for name, data in truth.items():
            share.write(name, data)
            time.sleep(0.05)

    with closing(share), home.running():
        camera = threading.Thread(target=save)
        camera.start()
        for number in range(drops):
            time.sleep(chance.uniform(0.1, 1))
            share.drop(leaving_a_mount_point=number % 2 == 0)
            time.sleep(chance.uniform(0.05, 1.5))
            share.back()
        camera.join()
        wait_until(lambda: home.number("done") == len(truth), lambda: home.rows(_REFUSED))
    assert home.paths() == {str(home.folder / name): sha256(data) for name, data in truth.items()}
    assert home.rows("SELECT count(*) FROM image_results") == home.rows("SELECT count(*) FROM analyses")
    assert "quarantined" not in home.log()


# The bell is broken


class DeadBell(FolderBell):
    """It is armed, and no event ever comes."""

    def on_any_event(self, event: FileSystemEvent) -> None: ...


class Deaf(Bench):
    """A station on a folder whose events never ring; it looks for itself every second."""

    def made(self) -> Station:
        self.ears = DeadBell()
        parts = {"clock": self.utc, "monotonic": lambda: self.bell.seconds, "notify": self.said.append}
        return assemble(self.settings, self.store, self, worker="test", bell=self.ears, **parts)  # type: ignore[arg-type]


def test_without_one_event_every_file_is_a_row_within_one_rescan(tmp_path: Path) -> None:
    files = sized(200, 20_000)
    bench = Deaf(tmp_path, tiny_bundle(), Engine(name="onnxruntime", threads=1), cell_diameter_px=40.0)
    with closing(bench.store):
        intake, camera = bench.station.intake, bench.settings.camera
        intake.tick()  # armed, and the next look is a whole rescan away
        for number in range(files):
            (bench.folder / f"{number:05d}.png").write_bytes(picture(number, "png", 48, 48))
        began = bench.bell.seconds
        for _ in range(10 + files // 4):  # passes
            tick = intake.tick()
            if _rows_of(bench) == files:
                break
            bench.bell.seconds += tick.next_due_seconds
        intake.close()
    assert bench.bell.seconds - began <= camera.rescan_seconds + camera.settle_seconds
    assert rows(bench.store.path, "SELECT count(*), sum(rung) FROM files") == [(files, 0)]


def _rows_of(bench: Bench) -> int:
    return sum(bench.store.counts_by_status().values())


def test_files_that_come_while_the_station_stands_still_are_all_found(tmp_path: Path) -> None:
    """In the full size the kernel's queue of 16,384 events overflows meanwhile."""
    files = sized(100, 20_000)
    home = commissioned(tmp_path / "home", rescan_seconds=5)
    (home.folder / "first.png").write_bytes(picture(files, "png"))
    with home.running() as process:
        wait_until(lambda: home.number("done") == 1, home.log)
        with _stopped(process.pid or 0):
            for number in range(files):
                (home.folder / f"{number:05d}.png").write_bytes(picture(number, "png", 48, 48))
        began = time.monotonic()
        wait_until(lambda: home.rows("SELECT count(*) FROM files") == [(files + 1,)], home.log)
        seconds = time.monotonic() - began
    unheard = home.rows("SELECT count(*) FROM files WHERE NOT rung")[0][0]
    print(f"\n{files} files at once: all are rows after {seconds:.0f} s; no event of {unheard} of them")
    assert len(home.paths()) == files + 1
    assert home.number("quarantined") == home.number("waiting") == 0


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


# Half files


class Stage(Bell):
    """Whenever the station waits, time passes for it and for those who write into its folder."""

    def __init__(self, stop: threading.Event) -> None:
        super().__init__()
        self._stop, self._casts = stop, dict[Path, tuple[float, Writer]]()
        self._stepped = 0.0
        self.is_over: Callable[[], bool] = lambda: False

    def enter(self, path: Path, writer: Writer, at: float) -> None:
        self._casts[path] = (at, writer)

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds += timeout or 0.0
        due = min((due for due, _ in self._casts.values()), default=0.0)
        if due > self.seconds + _DULL and self.seconds > self._stepped + _DULL:
            self.seconds = due - 1.0  # nothing comes of looking a hundred times meanwhile
        for path in [path for path, (due, _) in self._casts.items() if due <= self.seconds]:
            self._step(path)
        if not self._casts and self.is_over():
            self._stop.set()
        return True

    def _step(self, path: Path) -> None:
        self._stepped = self.seconds
        pause = next(self._casts[path][1], None)
        if pause is None:
            del self._casts[path]
        else:
            self._casts[path] = (self.seconds + pause, self._casts[path][1])
        if path.exists():  # the file's own times go with the stage's, not with the machine's
            moment = START.timestamp() + self.seconds
            os.utime(path, (moment, moment))


LONGEST_PLAY = 12 * 3600.0
_DULL = 15.0  # seconds of the play without a step, after which the next one is not waited for


def _play(tmp_path: Path, writers: dict[str, tuple[Writer, bytes]]) -> dict[str, list[tuple[str, str, str]]]:
    """Lets a station and the writers (file name -> writer, final content) play until all final contents are done.

    File name -> (sha256, status, reason) of each row that it ever had.
    """
    stop = threading.Event()
    bench = Bench(tmp_path, tiny_bundle(), Engine(name="onnxruntime", threads=1), cell_diameter_px=40.0)
    bench.bell = stage = Stage(stop)
    bench.station = bench.made()
    for number, (name, (writer, _)) in enumerate(writers.items()):
        stage.enter(bench.folder / name, writer, number * 0.7)
    finals = {sha256(data) for _, data in writers.values()}

    def is_over() -> bool:
        done = rows(bench.store.path, "SELECT sha256 FROM image_results WHERE status = 'done'")
        return finals <= {str(content) for (content,) in done} or stage.seconds > LONGEST_PLAY

    stage.is_over = is_over
    with closing(bench.store):
        run(bench.station, stop, stage)
        bench.run()
    return _lives(bench.store.path)


def _lives(database: Path) -> dict[str, list[tuple[str, str, str]]]:
    query = "SELECT p.path, sha256, status, reason FROM image_paths AS p JOIN image_results USING (image_id)"
    lives: dict[str, list[tuple[str, str, str]]] = {}
    for path, content, status, reason in rows(database, query):
        lives.setdefault(Path(str(path)).name, []).append((str(content), str(status), str(reason)))
    return lives


def _check(lives: dict[str, list[tuple[str, str, str]]], name: str, final: bytes) -> None:
    done = [content for content, status, _ in lives[name] if status == "done"]
    assert done == [sha256(final)], (name, lives[name])
    others = [reason for _, status, reason in lives[name] if status != "done"]
    assert all("superseded" in reason for reason in others), (name, others)


KINDS = (at_once, renamed, growing, preallocated, with_gaps, begun_again)


def test_what_is_written_slowly_is_counted_whole_and_never_half_for_good(tmp_path: Path) -> None:
    """Every way of writing in every format, with pauses shorter and far longer than a file must stand still."""
    truth, writers = {}, {}
    for number, (kind, suffix) in enumerate(product(KINDS * sized(1, 4), SUFFIXES)):
        name, data = f"{kind.__name__} {number:03d}.{suffix}", picture(number, suffix)
        truth[name] = data
        writers[name] = (kind(tmp_path / "camera" / name, data, _pauses(number)), data)
    lives = _play(tmp_path, writers)
    assert lives.keys() == truth.keys()
    for name, data in truth.items():
        _check(lives, name, data)
    assert any(
        len(life) > 1 for name, life in lives.items() if name.startswith("preallocated")
    )  # it was put to the test


def _pauses(seed: int) -> Pause:
    chance = random.Random(seed)
    return lambda: chance.choice((0.1, 0.9, 3.0, 20.0, 20.0, 540.0))


def _header_first(path: Path, data: bytes, pause: float) -> Writer:
    """A BMP of the full size whose pixels come late: until then it is a black picture."""
    with path.open("xb", buffering=0) as file:
        file.write(data[:54])
        file.truncate(len(data))
        yield pause
        file.write(data[54:])
        yield 0.1


def test_two_files_that_are_the_same_while_they_are_half_leave_nothing_behind(tmp_path: Path) -> None:
    folder, truth = tmp_path / "camera", {"a.bmp": picture(1), "b.bmp": picture(2)}
    a, b = (_header_first(folder / name, data, 540.0) for name, data in truth.items())
    lives = _play(tmp_path, {"a.bmp": (a, truth["a.bmp"]), "b.bmp": (_late(b, 300.0), truth["b.bmp"])})
    for name, data in truth.items():
        _check(lives, name, data)


def _late(writer: Writer, seconds: float) -> Writer:
    yield seconds
    yield from writer


def _exchanged(path: Path, first: bytes, second: bytes, pause: float) -> Writer:
    """One whole picture, and later another in the same file."""
    path.write_bytes(first)
    yield pause
    with path.open("r+b", buffering=0) as file:
        file.truncate(0)
        yield 3.0
        file.write(second)
        yield 0.1


def test_a_file_that_is_cut_and_written_anew_within_minutes_counts_once(tmp_path: Path) -> None:
    first, second = picture(1), picture(2)
    lives = _play(tmp_path, {"a.bmp": (_exchanged(tmp_path / "camera/a.bmp", first, second, 300.0), second)})
    assert {(c, s) for c, s, _ in lives["a.bmp"]} == {(sha256(first), "quarantined"), (sha256(second), "done")}
    _check(lives, "a.bmp", second)


def test_a_file_that_is_cut_and_written_anew_much_later_is_another_picture(tmp_path: Path) -> None:
    first, second = picture(1), picture(2)
    lives = _play(tmp_path, {"a.bmp": (_exchanged(tmp_path / "camera/a.bmp", first, second, 1800.0), second)})
    assert {(c, s) for c, s, _ in lives["a.bmp"]} == {(sha256(first), "done"), (sha256(second), "done")}


def test_a_file_that_is_cut_and_written_the_same_again_stays_counted(tmp_path: Path) -> None:
    data = picture(1)
    lives = _play(tmp_path, {"a.bmp": (_exchanged(tmp_path / "camera/a.bmp", data, data, 300.0), data)})
    assert [(c, s) for c, s, _ in lives["a.bmp"]] == [(sha256(data), "done")]
