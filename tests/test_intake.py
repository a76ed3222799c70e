"""The camera folder against the real database: real files, fake clocks."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import sqlite3
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from soaking import wait_until
from watchdog.events import DirCreatedEvent, FileModifiedEvent, FileOpenedEvent, FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

import station.bell
from station import intake
from station.bell import Bell
from station.birth import born_ns
from station.database.records import MOST_DEATHS, WATCHED_SINCE, KnownFile
from station.database.store import Store
from station.deaths import Deaths
from station.intake import Intake, TickResult
from station.known import READING_SHARE
from station.lookout import MOST_UNHEARD, POLL_SECONDS
from station.watching import FolderGone, Listing, Settling, look, scan

SETTLE, RESCAN = 5.0, 30.0
START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


_PICTURES = "image_results where status not in ('waiting', 'quarantined')"


class Clock:
    """Seconds that pass only when told to; the wall clock goes with them."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds

    def utc(self) -> datetime:
        return START + timedelta(seconds=self.seconds - 1000)


class Bench:
    """A camera folder, a database, and an intake between them that can be started anew."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "camera"
        self.folder.mkdir()
        self.database = root / "station.db"
        self.clock = Clock()
        self.store = Store.open(self.database, clock=self.clock.utc, create=True)
        self.start()

    def start(self, **options: object) -> Intake:
        self.intake = Intake(
            self.folder,
            self.store,
            settle_seconds=SETTLE,
            max_megapixels=50,
            zone=ZoneInfo("Europe/Berlin"),
            clock=self.clock.utc,
            monotonic=self.clock,
            **{"rescan_seconds": RESCAN, **options},  # type: ignore[arg-type]
        )
        return self.intake

    def after(self, seconds: float) -> TickResult:
        self.clock.seconds += seconds
        return self.intake.tick()

    def settled(self) -> TickResult:
        """See what is new, let it settle, take it."""
        self.after(RESCAN)
        return self.after(SETTLE)

    def images(self) -> dict[str, tuple[str, str, str]]:
        """Path below the folder -> (sha256, slide, captured_at) of all images."""
        with sqlite3.connect(self.database) as connection:
            rows = connection.execute(f"select path, sha256, slide, captured_at from {_PICTURES}").fetchall()
        return {os.path.relpath(path, self.folder): tuple(rest) for path, *rest in rows}

    def hashes(self) -> list[str]:
        with sqlite3.connect(self.database) as connection:
            return sorted(row[0] for row in connection.execute(f"select sha256 from {_PICTURES}"))

    def status(self, name: str) -> str | None:
        known = self.store.known_files().get(str(self.folder / name))
        return known and known.status


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.intake.close()
    made.store.close()


def picture(seed: int = 0, suffix: str = ".bmp") -> bytes:
    pixels = np.random.default_rng(seed).integers(1, 256, (60, 80, 3), np.uint8)
    return cv2.imencode(suffix, pixels)[1].tobytes()


@contextmanager
def opened_in(folder: Path) -> Iterator[list[str]]:
    """The names of the files that are opened in the block, as the kernel reports them."""
    names: list[str] = []
    seen_last = threading.Event()

    class Ears(FileSystemEventHandler):
        def on_opened(self, event: FileSystemEvent) -> None:
            name = Path(str(event.src_path)).name
            seen_last.set() if name == "last" else names.append(name)

    observer = Observer()
    observer.schedule(Ears(), str(folder), event_filter=[FileOpenedEvent])
    observer.start()
    yield names
    (folder / "last").write_bytes(b"")
    assert seen_last.wait(10)
    observer.stop()
    observer.join()


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# A file becomes an image when it is whole, and not before


def test_a_file_is_taken_only_after_it_stood_still_also_at_start(bench: Bench) -> None:
    (bench.folder / "a.bmp").write_bytes(picture())
    first = bench.after(0)
    assert (first.taken, first.moving, first.next_due_seconds) == ((), 1, SETTLE)
    assert bench.after(SETTLE - 0.1).taken == ()
    result = bench.after(0.1)
    assert [outcome.path for outcome in result.taken] == [str(bench.folder / "a.bmp")]
    assert (result.moving, bench.status("a.bmp")) == (0, "queued")
    assert bench.images()["a.bmp"][0] == sha(picture())


@pytest.mark.parametrize("suffix", [".bmp", ".tif", ".jpg", ".png"])
@pytest.mark.parametrize("reserved", [False, True])
@pytest.mark.parametrize("ticks", [1, 3])
def test_a_file_written_in_pieces_is_counted_once_and_whole(
    bench: Bench, suffix: str, reserved: bool, ticks: int
) -> None:
    """Growing, and with its final size set first; with pauses shorter and longer than the settle time."""
    data, path = picture(3, suffix), bench.folder / f"a{suffix}"
    bench.start(rescan_seconds=1)
    if reserved:
        path.write_bytes(bytes(len(data)))
    step = len(data) // 8 + 1
    for at in range(0, len(data), step):
        for _ in range(ticks):
            bench.after(SETTLE - 0.5)
        with path.open("r+b" if path.exists() else "wb") as file:
            file.seek(at)
            file.write(data[at : at + step])
        _touch(path, bench.clock)
    for _ in range(20):
        bench.after(SETTLE)
    assert bench.hashes() == [sha(data)]


def _touch(path: Path, clock: Clock) -> None:
    """Real writes of a test fall into one tick of the file system's clock."""
    moment = int((START.timestamp() + clock.seconds) * 1e9)
    os.utime(path, ns=(moment, moment))


def test_a_file_that_changes_between_look_and_opening_settles_anew(bench: Bench) -> None:
    path = bench.folder / "a.bmp"
    path.write_bytes(picture(1))
    bench.after(0)
    path.write_bytes(picture(2) + b"more")
    with opened_in(bench.folder) as opened:
        assert bench.after(SETTLE).taken == ()
    assert opened == []
    path.write_bytes(picture(2))
    assert bench.after(SETTLE).taken == ()
    with opened_in(bench.folder) as opened:
        assert len(bench.after(SETTLE).taken) == 1
    assert opened == ["a.bmp"]
    assert bench.images()["a.bmp"][0] == sha(picture(2))


def test_a_cut_file_waits_without_end_and_is_taken_when_it_is_whole(bench: Bench) -> None:
    path, data = bench.folder / "a.bmp", picture()
    path.write_bytes(data[: len(data) // 2])
    result = bench.settled()
    assert (result.waiting[0].path, result.moving) == (str(path), 0)
    assert "shorter than its header says" in result.waiting[0].reason
    assert bench.status("a.bmp") == "waiting"
    stalled = bench.after(600)
    assert "unchanged for ten minutes and still is shorter" in stalled.quarantined[0].reason
    for _ in range(48):
        assert not bench.after(1795).waiting and not bench.after(SETTLE).waiting
    assert bench.status("a.bmp") == "quarantined"
    path.write_bytes(data)
    assert len(bench.settled().taken) == 1
    assert (bench.status("a.bmp"), bench.images()["a.bmp"][0]) == ("queued", sha(data))


def test_an_empty_file_waits(bench: Bench) -> None:
    (bench.folder / "a.png").touch()
    assert bench.settled().waiting[0].reason == "is empty"


def test_renamed_into_place_is_taken_under_its_final_name(bench: Bench) -> None:
    part = bench.folder / "a.bmp.filepart"
    part.write_bytes(picture())
    assert bench.settled().moving == 0
    part.rename(bench.folder / "a.bmp")
    assert [Path(outcome.path).name for outcome in bench.settled().taken] == ["a.bmp"]


def test_a_file_that_vanishes_while_it_settles_is_forgotten(bench: Bench) -> None:
    (bench.folder / "a.bmp").write_bytes(picture())
    bench.after(0)
    (bench.folder / "a.bmp").unlink()
    result = bench.after(SETTLE)
    assert (result.taken, result.moving, bench.status("a.bmp")) == ((), 0, None)


# What is no picture is a row with its reason, and looked at again


def _png_claiming(width: int, height: int) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def _stack() -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, np.zeros((3, 20, 20), np.uint8), photometric="minisblack")
    return out.getvalue()


REFUSED = {
    "text.bmp": (b"Patient: see the other folder\n", "is text"),
    "huge.png": (_png_claiming(20_000, 20_000), r"limits.max_megapixels = 50"),
    "stack.tif": (_stack(), "holds 3 pages"),
    "project.lif": (b"\x70\0\0\0 anything", "is a Leica .lif container"),
    "caf\udce9.bmp": (picture(), "not valid UTF-8; rename it"),
}


def test_each_odd_file_gets_its_reason_and_stops_nothing(bench: Bench) -> None:
    for name, (data, _) in REFUSED.items():
        (bench.folder / name).write_bytes(data)
    (bench.folder / "good.bmp").write_bytes(picture(1))
    (bench.folder / "x.bmp").mkdir()
    (bench.folder / "x.bmp" / "inside.bmp").write_bytes(picture(2))
    result = bench.settled()
    reasons = {Path(outcome.path).name: outcome.reason for outcome in result.quarantined}
    assert reasons.keys() == REFUSED.keys()
    assert not [name for name, (_, words) in REFUSED.items() if words not in reasons[name]]
    assert bench.images().keys() == {"good.bmp", "x.bmp/inside.bmp"}
    statuses = {known.status for known in bench.store.known_files().values()}
    assert statuses == {"quarantined", "queued"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read every file")
def test_an_unreadable_file_is_quarantined_and_taken_once_it_can_be_read(bench: Bench) -> None:
    path = bench.folder / "a.bmp"
    path.write_bytes(picture())
    path.chmod(0)
    assert bench.settled().quarantined[0].reason == "cannot be read (permission denied)"
    path.chmod(0o644)  # changes neither size nor time: found by looking again
    bench.after(600)
    assert len(bench.after(SETTLE).taken) == 1


def test_a_read_error_is_the_reason_of_that_file_alone(bench: Bench) -> None:
    mem = Path("/proc/self/mem")  # its first byte cannot be read by anyone
    if not mem.exists():
        pytest.skip("needs a file whose reading fails, as Linux has it in /proc")
    (bench.folder / "bad sector.bmp").symlink_to(mem)
    (bench.folder / "good.bmp").write_bytes(picture())
    result = bench.settled()
    assert result.quarantined[0].reason == "cannot be read (input/output error)"
    assert len(result.taken) == 1 and result.degraded is None


def test_a_refused_file_is_left_alone_for_longer_and_longer_but_never_given_up(bench: Bench) -> None:
    (bench.folder / "a.bmp").write_bytes(b"this is text")
    looks = []
    bench.start(files_per_tick=4)
    for minute in range(0, 6 * 24 * 60, 5):
        bench.after(300 - SETTLE)
        if bench.after(SETTLE).quarantined:
            looks.append(minute)
    gaps = np.diff(looks)
    assert list(gaps[:4]) == [15, 25, 45, 85]  # 10, 20, 40, 80 minutes and up to one look every five
    assert gaps.max() <= 24 * 60 + 5 and len(gaps) >= 9


def test_a_clock_that_was_set_back_does_not_put_off_the_next_look(bench: Bench) -> None:
    (bench.folder / "a.bmp").write_bytes(b"this is text")
    assert bench.settled().quarantined
    assert not bench.settled().quarantined
    wall = bench.clock.utc
    bench.clock.utc = lambda: wall() - timedelta(days=90)  # type: ignore[method-assign]
    bench.start()
    assert bench.settled().quarantined


def test_a_refused_file_with_new_content_is_taken(bench: Bench) -> None:
    path = bench.folder / "a.bmp"
    path.write_bytes(b"this is text")
    bench.settled()
    path.write_bytes(picture())
    assert len(bench.settled().taken) == 1
    assert bench.status("a.bmp") == "queued"


# Identity is the content


def test_many_known_files_are_not_read_from_the_database_at_every_look(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    known_files, read_at = bench.store.known_files, list[float]()

    def slowly() -> dict[str, KnownFile]:
        bench.clock.seconds += 4
        read_at.append(bench.clock.seconds)
        return known_files()

    monkeypatch.setattr(bench.store, "known_files", slowly)
    bench.start()
    for number in range(20):
        (bench.folder / f"{number}.bmp").write_bytes(picture(number))
        bench.settled()
        assert len(bench.hashes()) == number + 1
    pauses = [later - earlier for earlier, later in pairwise(read_at)]
    assert len(pauses) >= 2 and min(pauses) >= READING_SHARE * 4


def test_a_known_file_is_not_opened_again_not_even_after_a_restart(bench: Bench) -> None:
    path = bench.folder / "a.bmp"
    path.write_bytes(picture())
    bench.settled()
    bench.start()
    with opened_in(bench.folder) as opened:
        assert [bench.settled() for _ in range(3)][-1].moving == 0
    assert opened == []


def test_the_same_content_under_another_name_is_one_image(bench: Bench) -> None:
    (bench.folder / "a.bmp").write_bytes(picture())
    bench.settled()
    (bench.folder / "copy.bmp").write_bytes(picture())
    result = bench.settled()
    assert result.taken[0].reason != ""
    assert len(bench.images()) == 1 and bench.status("copy.bmp") is not None


def test_a_reused_name_with_the_same_size_and_time_is_another_image(bench: Bench) -> None:
    path, other = bench.folder / "a.bmp", bench.folder / "other.tmp"
    path.write_bytes(picture(1))
    bench.settled()
    status = path.stat()
    other.write_bytes(picture(2))
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)
    assert path.stat().st_size == status.st_size
    assert len(bench.settled().taken) == 1
    assert bench.hashes() == sorted([sha(picture(1)), sha(picture(2))])


def test_a_file_from_a_far_future_is_taken_like_any_other(bench: Bench) -> None:
    """A camera's clock may stand anywhere; nanoseconds since 1970 leave 64 bits in the year 2262."""
    path = bench.folder / "a.bmp"
    path.write_bytes(picture())
    try:
        os.utime(path, (10_413_792_000, 10_413_792_000))  # the year 2300
    except OverflowError:
        pytest.skip("this file system has no year 2300")
    assert len(bench.settled().taken) == 1
    assert bench.settled().moving == 0


def test_the_sub_folder_is_the_slide(bench: Bench) -> None:
    for number, name in enumerate(("a.bmp", "S-17/b.bmp", "2026/S-18/c.BMP")):
        path = bench.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    bench.settled()
    slides = {name: slide for name, (_, slide, _) in bench.images().items()}
    assert slides == {"a.bmp": "camera", "S-17/b.bmp": "S-17", "2026/S-18/c.BMP": "2026/S-18"}


def test_the_time_is_the_cameras_in_its_zone_else_the_files(bench: Bench) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = "2026:07:01 00:30:00"
    Image.new("RGB", (20, 20), (200, 100, 90)).save(bench.folder / "told.jpg", exif=exif)
    plain = bench.folder / "plain.bmp"
    plain.write_bytes(picture())
    os.utime(plain, ns=(0, 1_782_000_000_123_456_789))
    bench.settled()
    times = {name: captured_at for name, (_, _, captured_at) in bench.images().items()}
    assert times["told.jpg"].startswith("2026-06-30T22:30:00")
    assert times["plain.bmp"].startswith(datetime.fromtimestamp(1_782_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S"))


# The folder


def test_a_tick_takes_a_bounded_number_of_files(bench: Bench) -> None:
    for number in range(5):
        (bench.folder / f"{number}.bmp").write_bytes(picture(number))
    bench.start(files_per_tick=2)
    result = bench.settled()
    assert (len(result.taken), result.moving, result.next_due_seconds) == (2, 3, 0)
    assert [len(bench.after(0).taken) for _ in range(3)] == [2, 1, 0]


def test_a_folder_that_is_gone_is_degraded_and_changes_nothing(bench: Bench) -> None:
    """Gone, then an empty directory in its place as below an unmounted share, then back."""
    away = bench.folder.with_name("away")
    (bench.folder / "a.bmp").write_bytes(picture(1))
    bench.settled()
    (bench.folder / "b.bmp").write_bytes(picture(2))
    bench.after(RESCAN)
    bench.folder.rename(away)
    assert "cannot be listed (no such file or directory)" in str(bench.after(RESCAN).degraded)
    bench.folder.mkdir()
    assert "is another folder, and empty" in str(bench.after(RESCAN).degraded)
    assert bench.status("a.bmp") == "queued"
    bench.folder.rmdir()
    away.rename(bench.folder)
    back = bench.after(RESCAN)
    assert (back.degraded, back.moving) == (None, 1)
    assert len(bench.after(SETTLE).taken) == 1
    assert bench.images().keys() == {"a.bmp", "b.bmp"}


def test_the_wrong_empty_folder_is_known_at_start(bench: Bench) -> None:
    bench.start(identity=(1, 2))
    assert "is another folder, and empty" in str(bench.after(0).degraded)
    (bench.folder / "a.bmp").write_bytes(picture())
    assert bench.after(RESCAN).degraded is None
    assert bench.intake.identity == look(bench.folder).identity


def test_scan_passes_over_litter_and_links(tmp_path: Path) -> None:
    wanted = {"a.bmp", "B.TIF", "c.jpeg", "deep/er/d.png", "e.dib", "named.bmp/f.jpg", "g.lif"}
    litter = {
        ".hidden.bmp",
        "._a.bmp",
        "~a.bmp",
        "a.bmp~",
        "a.bmp.part",
        "a.bmp.crdownload",
        "Thumbs.db",
        "n.txt",
    }
    below = {".trash/a.bmp", "@eaDir/a.bmp", "$RECYCLE.BIN/a.bmp"}
    for name in wanted | litter | below:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "nothing.bmp").symlink_to(tmp_path / "missing.bmp")
    os.mkfifo(tmp_path / "pipe.bmp")
    assert {os.path.relpath(path, tmp_path) for path in scan(tmp_path)} == wanted
    with pytest.raises(FolderGone, match="not a directory"):
        scan(tmp_path / "a.bmp")


def test_an_entry_that_cannot_be_seen_hides_no_other(bench: Bench) -> None:
    loop = bench.folder / "loop.bmp"
    loop.symlink_to(loop)
    assert "shows nothing that can be read (" in str(bench.after(RESCAN).degraded)
    (bench.folder / "S-1").mkdir()
    (bench.folder / "S-1" / "loop.bmp").symlink_to(bench.folder / "S-1" / "loop.bmp")
    (bench.folder / "S-1" / "a.bmp").write_bytes(picture(1))
    told = bench.settled()
    assert [Path(one.path).name for one in told.taken] == ["a.bmp"]
    assert not told.gone and str(told.degraded).count("loop.bmp (too many levels of symbolic links)") == 2


@pytest.mark.parametrize("suffix", [".bmp", ".tif"])
def test_a_half_file_that_gets_another_name_leaves_nothing_behind(bench: Bench, suffix: str) -> None:
    """As a program leaves it that writes under a name of a picture, pauses, and renames at the end."""
    half, whole = bench.folder / f"new{suffix}", bench.folder / f"a{suffix}"
    half.write_bytes(picture(1, suffix)[:2000])
    assert len(bench.settled().waiting) == 1
    half.rename(whole)
    whole.write_bytes(picture(1, suffix))
    told = bench.after(RESCAN)
    assert [(Path(one.path).name, one.became) for one in told.vanished] == [(half.name, "vanished")]
    assert len(bench.after(SETTLE).taken) == 1
    assert bench.store.counts_by_status() == {"queued": 1} | dict.fromkeys(
        ("waiting", "leased", "done", "quarantined"), 0
    )
    assert bench.store.known_files().keys() == {str(whole)}


def test_a_half_file_in_a_folder_that_cannot_be_listed_goes_on_waiting(bench: Bench) -> None:
    (bench.folder / "a.bmp").write_bytes(picture(1)[:2000])
    bench.settled()
    (bench.folder / "a.bmp").unlink()
    (bench.folder / "b.bmp").symlink_to(bench.folder / "b.bmp")
    (bench.folder / "S-1").mkdir()
    assert bench.after(RESCAN).vanished == ()
    assert bench.status("a.bmp") == "waiting"


def test_nothing_in_the_folder_is_changed(bench: Bench) -> None:
    for name, data in (("a.bmp", picture()), ("b.bmp", b"text"), ("c.bmp", picture()[:100])):
        (bench.folder / name).write_bytes(data)
    bench.folder.chmod(0o555)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in bench.folder.iterdir()}
    bench.settled()
    bench.after(700)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in bench.folder.iterdir()} == before
    bench.folder.chmod(0o755)


# The bell


def test_the_bell_shortens_the_way_and_is_recorded(bench: Bench) -> None:
    bell = Bell()
    bench.start(bell=bell)
    assert bench.after(0).degraded is None
    (bench.folder / "sub").mkdir()
    assert bell.event.wait(10)
    bench.after(0.5)
    path = bench.folder / "a.bmp"
    part = bench.folder / "a.part"
    part.write_bytes(picture())
    part.rename(path)
    assert bell.event.wait(10)
    assert bench.after(0.5).moving == 1  # long before the next rescan
    assert len(bench.after(SETTLE).taken) == 1
    with sqlite3.connect(bench.database) as connection:
        assert connection.execute("select rung from files").fetchall() == [(1,)]


def test_since_when_a_watch_stands_is_remembered_and_that_none_does(bench: Bench) -> None:
    bell = Bell()
    bench.start(bell=bell)
    bench.after(5)
    armed = bench.clock.utc().isoformat()
    bench.after(RESCAN)
    assert bench.store.fact(WATCHED_SINCE) == armed
    bench.folder.rename(bench.folder.with_name("away"))
    bench.after(RESCAN)
    bench.folder.with_name("away").rename(bench.folder)
    bench.after(RESCAN)
    assert bench.store.fact(WATCHED_SINCE) == bench.clock.utc().isoformat() != armed
    bell.stop()
    bench.start()  # as for a single pass
    bench.after(0)
    assert bench.store.fact(WATCHED_SINCE) is None


def watches() -> int:
    """That this process holds."""
    held = 0
    for told in Path("/proc/self/fdinfo").iterdir():
        with suppress(OSError):
            held += told.read_text().count("inotify wd")
    return held


def test_folders_that_were_archived_are_not_watched_for_ever(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(station.bell, "_MOST_LEFT", 5)
    before, bell = watches(), Bell()
    bench.start(bell=bell)
    bench.after(0)
    alone = watches()
    archive = bench.folder.with_name("archive")
    archive.mkdir()
    folders = [bench.folder / f"day {number}" for number in range(5)]
    for folder in folders:
        folder.mkdir()
    wait_until(lambda: watches() == alone + 5, watches)
    for folder in folders:
        folder.rename(archive / folder.name)
    wait_until(bell.is_worn, watches)
    bench.after(RESCAN)
    assert watches() == alone and not bell.is_worn() and bell.is_alive()
    (bench.folder / "a.bmp").write_bytes(picture())
    assert bell.event.wait(10)
    bell.stop()
    assert watches() == before


def test_reading_does_not_ring_the_bell(bench: Bench) -> None:
    bell = Bell()
    path = bench.folder / "a.bmp"
    path.write_bytes(picture())
    assert bell.arm(bench.folder) is None
    path.read_bytes()
    (bench.folder / "notes.txt").write_text("not a picture")
    (bench.folder / "last.bmp").touch()
    assert bell.event.wait(10)
    bell.stop()
    assert (bell.rang_for(str(path)), bell.rang_for(str(bench.folder / "last.bmp"))) == (False, True)


def test_without_a_bell_every_file_is_found_by_listing_and_the_reason_is_said(tmp_path: Path) -> None:
    assert "cannot be watched (no such file or directory)" in str(Bell().arm(tmp_path / "missing"))


def test_a_folder_that_cannot_be_watched_costs_nothing_each_time(tmp_path: Path) -> None:
    bell, descriptors = Bell(), Path("/proc/self/fd")
    before = len(list(descriptors.iterdir()))
    for _ in range(10):
        assert bell.arm(tmp_path / "missing")
    assert len(list(descriptors.iterdir())) <= before + 1
    assert threading.active_count() < 10


def test_the_bell_follows_the_folder_when_it_is_made_anew(bench: Bench) -> None:
    bell = Bell()
    bench.start(bell=bell)
    bench.after(0)
    bench.folder.rename(bench.folder.with_name("away"))
    bench.folder.mkdir()
    (bench.folder / "a.bmp").write_bytes(picture(1))
    assert bench.after(RESCAN).degraded is None
    bench.after(RESCAN)
    bell.event.clear()
    (bench.folder / "b.bmp").write_bytes(picture(2))
    assert bell.event.wait(10)


# Settling alone


@pytest.fixture
def stamp(tmp_path: Path) -> Callable[[bytes], object]:
    def write(data: bytes) -> object:
        (tmp_path / "s.bmp").write_bytes(data)
        return scan(tmp_path)[str(tmp_path / "s.bmp")]

    return write


def test_settling_counts_from_the_last_change(stamp: Callable[[bytes], object]) -> None:
    settling = Settling(5)
    settling.see({"a": stamp(b"1")}, 0)
    settling.see({"a": stamp(b"12")}, 3)
    assert settling.ready(7.9, 1) == [] and settling.next_ready(7) == 1
    assert settling.ready(8, 1) == ["a"]
    settling.hold("a", 60)
    assert settling.ready(62, 1) == [] and settling.ready(63, 1) == ["a"]
    settling.see({"a": stamp(b"123")}, 70)
    assert settling.ready(75, 1) == ["a"]
    settling.see({}, 80)
    assert len(settling) == 0 and settling.next_ready(80) == float("inf")


def test_a_file_that_gives_fewer_bytes_than_it_has_is_put_aside_and_not_asked_for_without_end(bench: Bench) -> None:
    told = Path("/sys/kernel/mm/transparent_hugepage/enabled")  # said to have a page, gives a line
    if not told.is_file():
        pytest.skip("this kernel shows no such file")
    (bench.folder / "a.bmp").symlink_to(told)
    (outcome,) = bench.settled().quarantined
    assert f"it gives {len(told.read_bytes())} bytes and is said to have {told.stat().st_size}" in outcome.reason
    assert bench.after(0).next_due_seconds > 1 and bench.status("a.bmp") == "quarantined"


# Events that do not ring


def mistrust(result: TickResult) -> bool:
    return "is listed every" in str(result.degraded)


def test_events_that_ring_no_more_are_noticed_and_the_folder_is_polled_until_they_do(bench: Bench) -> None:
    bell = Bell()
    bench.start(bell=bell)
    (bench.folder / "before.bmp").write_bytes(picture(99))  # was there before the watch: it cannot ring
    bench.after(0)
    assert not mistrust(bench.after(SETTLE))
    bell.stop()
    bell.is_alive = lambda: True  # type: ignore[method-assign]  # as a share looks whose server sends no events
    for number in range(MOST_UNHEARD):
        (bench.folder / f"{number}.bmp").write_bytes(picture(number))
    bell.event.clear()
    bench.after(RESCAN)
    polled = bench.after(SETTLE)
    assert mistrust(polled) and len(polled.taken) == MOST_UNHEARD
    (bench.folder / "next.bmp").write_bytes(picture(77))
    assert bench.after(POLL_SECONDS).moving == 1  # long before the next rescan
    bell.on_any_event(FileModifiedEvent(str(bench.folder / "next.bmp")))
    assert not mistrust(bench.after(SETTLE))


def test_a_folder_from_which_no_event_can_come_is_polled_from_the_start(bench: Bench) -> None:
    bench.start(bell=Bell(), silent="lies on a network share (cifs)")
    assert "network share (cifs); it is listed every 5 s" in str(bench.after(0).degraded)
    assert bench.after(0).next_due_seconds <= POLL_SECONDS


def test_a_bell_whose_thread_died_is_hung_up_again(bench: Bench) -> None:
    bell = Bell()
    bench.start(bell=bell)
    bench.after(0)
    bell.stop()
    assert not bell.is_alive()
    bench.after(RESCAN)
    assert bell.is_alive()


# Slides


@pytest.mark.parametrize(
    ("pattern", "path", "slide"),
    [
        (None, "S-17/a.bmp", "S-17"),
        (None, "a.bmp", "camera"),
        (r"^([A-Z]-\d+)_", "S-17_0001.bmp", "S-17"),
        (r"day-\d+/(.+?)_", "day-3/P 4_0001.bmp", "P 4"),
        (r"^([A-Z]-\d+)_", "other/a.bmp", "other"),
    ],
)
def test_the_slide_is_the_folder_or_what_a_pattern_finds(
    bench: Bench, pattern: str | None, path: str, slide: str
) -> None:
    bench.start(slide_pattern=re.compile(pattern) if pattern else None)
    (bench.folder / path).parent.mkdir(exist_ok=True)
    (bench.folder / path).write_bytes(picture())
    bench.settled()
    assert bench.images()[path][1] == slide


def test_a_sub_folder_that_cannot_be_watched_is_listed_often(bench: Bench) -> None:
    """The kernel gives no more watches: of the folder itself one still hears, of what comes into it nothing."""
    bell = Bell()
    bench.start(bell=bell)
    bench.after(0)
    bell.stop()
    bell.is_alive = lambda: True  # type: ignore[method-assign]
    below = bench.folder / "S-1"
    below.mkdir()
    (below / "0.bmp").write_bytes(picture(0))
    bell.on_any_event(DirCreatedEvent(str(below)))
    for number in range(1, MOST_UNHEARD + 2):
        bench.after(0)
        assert len(bench.after(SETTLE).taken) == 1
        (below / f"{number}.bmp").write_bytes(picture(number))
        bench.clock.seconds += RESCAN
    assert f"at least {MOST_UNHEARD} pictures in a row came without an event" in str(bench.after(0).degraded)
    with sqlite3.connect(bench.database) as connection:
        assert [rung for (rung,) in connection.execute("select rung from files order by path")][:3] == [1, 0, 0]


# Half files that could not be told from whole ones


def statuses(bench: Bench) -> dict[str, tuple[str, str | None]]:
    with sqlite3.connect(bench.database) as connection:
        return {h: (s, r) for h, s, r in connection.execute("select sha256, status, reason from image_results")}


def written_in_place(path: Path, data: bytes) -> str:
    with path.open("r+b" if path.exists() else "wb") as file:
        file.truncate(0)
        file.write(data)
    return hashlib.sha256(data).hexdigest()


def test_what_changes_in_place_within_ten_minutes_replaces_the_half_picture(bench: Bench) -> None:
    path = bench.folder / "a.bmp"
    half = written_in_place(path, picture(1))
    bench.settled()
    lease = bench.store.lease("worker", 1)[0]
    whole = written_in_place(path, picture(2))
    assert [outcome.reason for outcome in bench.settled().taken] == [""]
    assert statuses(bench) == {half: ("quarantined", "superseded"), whole: ("queued", None)}
    bench.store.fail(lease.image_id, "its content was replaced before it could be analysed")
    bench.store.give_back(lease.image_id)
    assert statuses(bench)[half] == ("quarantined", "superseded")
    bench.clock.seconds += 10 * 86_400
    assert [lease.sha256 for lease in bench.store.lease("worker", 9)] == [whole]


def test_what_was_superseded_counts_again_when_it_comes_back(bench: Bench) -> None:
    path = bench.folder / "a.bmp"
    first = written_in_place(path, picture(1))
    bench.settled()
    second = written_in_place(path, picture(2))
    bench.settled()
    written_in_place(path, picture(1))
    bench.settled()
    assert {h: status for h, (status, _) in statuses(bench).items()} == {first: "queued", second: "quarantined"}


@pytest.mark.parametrize("how", ["later", "another file", "made anew", "two names"])
def test_other_content_under_a_used_name_is_a_new_picture(bench: Bench, how: str) -> None:
    path = bench.folder / "a.bmp"
    written_in_place(path, picture(1))
    if how == "two names":
        (bench.folder / "b.bmp").write_bytes(picture(1))
    bench.settled()
    if how == "later":
        bench.clock.seconds += 601
    if how == "another file":
        path.rename(bench.folder / "old.part")
    if how == "made anew":
        path.unlink()  # the next file gets its inode on most file systems
    written_in_place(path, picture(2))
    bench.settled()
    assert {status for status, _ in statuses(bench).values()} == {"queued"}


def test_what_changes_in_place_after_it_was_renamed_replaces_the_half_picture_too(bench: Bench) -> None:
    path = bench.folder / "a.part.bmp"
    half = written_in_place(path, picture(1))
    bench.settled()
    path = path.rename(bench.folder / "a.bmp")
    assert [outcome.reason for outcome in bench.settled().taken] == ["moved"]
    whole = written_in_place(path, picture(2))
    bench.settled()
    assert statuses(bench) == {half: ("quarantined", "superseded"), whole: ("queued", None)}


# Files that move


def test_pictures_go_with_the_folder_that_is_renamed(bench: Bench) -> None:
    """A slide that was mistyped is put right, and is one slide with what is taken of it later."""
    (bench.folder / "S-71").mkdir()
    contents = [written_in_place(bench.folder / "S-71" / f"{number}.bmp", picture(number)) for number in (1, 2)]
    bench.settled()
    (bench.folder / "S-71").rename(bench.folder / "S-17")
    written_in_place(bench.folder / "S-17" / "3.bmp", picture(3))
    assert sorted(outcome.reason for outcome in bench.settled().taken) == ["", "moved", "moved"]
    assert {name: slide for name, (_, slide, _) in bench.images().items()} == {
        f"S-17/{number}.bmp": "S-17" for number in (1, 2, 3)
    }
    assert bench.status("S-71/1.bmp") is None and bench.status("S-17/1.bmp") == "queued"
    (bench.folder / "S-17").rename(bench.folder / "S-71")  # and back
    bench.settled()
    assert {slide for _, slide, _ in bench.images().values()} == {"S-71"}
    assert set(contents) <= set(bench.hashes()) and len(bench.hashes()) == 3


@pytest.mark.parametrize(
    "renames", [(("2", "3"), ("1", "2")), (("1", "x"), ("2", "1"), ("x", "2"))], ids=["chain", "swap"]
)
def test_each_picture_goes_with_its_file_where_names_change_hands(
    bench: Bench, renames: tuple[tuple[str, str], ...]
) -> None:
    """Slides that were labelled for each other, put right between two looks."""
    names = {}
    for slide in ("1", "2"):
        (bench.folder / slide).mkdir()
        names[written_in_place(bench.folder / slide / "a.bmp", picture(int(slide)))] = slide
    bench.settled()
    for before, after in renames:
        (bench.folder / before).rename(bench.folder / after)
        names = {content: after if slide == before else slide for content, slide in names.items()}
    for _ in range(2):
        bench.settled()
        found = {content: (path, slide) for path, (content, slide, _) in bench.images().items()}
        assert found == {content: (f"{slide}/a.bmp", slide) for content, slide in names.items()}


def test_a_picture_of_yesterday_is_no_half_copy_because_it_was_renamed(bench: Bench) -> None:
    path = bench.folder / "a.bmp"
    first = written_in_place(path, picture(1))
    bench.settled()
    bench.clock.seconds += 86_400
    path = path.rename(bench.folder / "b.bmp")
    bench.settled()
    second = written_in_place(path, picture(2))
    bench.settled()
    assert statuses(bench) == {first: ("queued", None), second: ("queued", None)}


@pytest.mark.parametrize("how", ["copy", "link", "copy of what is gone"])
def test_a_copy_leaves_a_picture_where_it_was(bench: Bench, how: str) -> None:
    first, second = bench.folder / "S-1" / "a.bmp", bench.folder / "S-2" / "a.bmp"
    for path in (first, second):
        path.parent.mkdir()
    written_in_place(first, picture(1))
    bench.settled()
    if how == "link":
        os.link(first, second)
    else:
        shutil.copy2(first, second)
    if how == "copy of what is gone":
        first.unlink()
    assert [outcome.reason for outcome in bench.settled().taken] == ["duplicate"]
    assert {name: slide for name, (_, slide, _) in bench.images().items()} == {"S-1/a.bmp": "S-1"}


def test_many_files_that_cannot_be_read_do_not_keep_the_others_waiting(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        written_in_place(bench.folder / f"{number:02}.bmp", picture(number))
    written_in_place(bench.folder / "z.bmp", picture(99))
    read = Path.read_bytes

    def refused(path: Path) -> bytes:
        if path.parent == bench.folder and path.name != "z.bmp":
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refused)
    listed: list[Path] = []

    def counted(folder: Path) -> Listing:
        listed.append(folder)
        return look(folder)

    for module in ("station.lookout", "station.intake"):
        monkeypatch.setattr(f"{module}.look", counted, raising=False)
    taken = bench.settled()
    assert len(taken.quarantined) == 20 and len(taken.taken) == 1
    assert len(listed) <= 2  # not once for each of them


def test_a_birth_beyond_what_the_database_holds_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NT counts from 1601: what was never set is told as that, by servers that know no births."""
    path = tmp_path / "a.bmp"
    path.touch()

    class Library:
        @staticmethod
        def statx(_at: int, _path: bytes, _flags: int, _mask: int, status: Any) -> int:
            status._obj.mask, status._obj.birth.seconds = 0x800, -11_644_473_600
            return 0

    monkeypatch.setattr("station.birth.ctypes.CDLL", lambda _name: Library)
    assert born_ns(str(path)) is None


def test_a_birth_tells_files_apart_that_had_one_inode(tmp_path: Path) -> None:
    path = tmp_path / "a.bmp"
    assert born_ns(str(path)) is None
    path.touch()
    first = born_ns(str(path))
    if first is None:
        pytest.skip("this file system does not know when a file was made")
    assert abs(first / 1e9 - path.stat().st_mtime) < 60
    path.write_bytes(b"changed")
    assert born_ns(str(path)) == first
    path.unlink()
    while (second := born_ns(str(path))) in (None, first):  # a tick of the kernel's clock takes milliseconds
        path.unlink(missing_ok=True)
        path.touch()
    assert second > first


# Clocks that do not agree


@pytest.mark.parametrize(
    ("written", "rang", "differs"),
    [(0, True, False), (-600, True, True), (-600, False, False), (600, False, True), (600, True, True)],
    ids=["now", "announced as old", "an old file", "from the future", "announced from the future"],
)
def test_a_camera_whose_clock_is_wrong_is_flagged(bench: Bench, written: int, rang: bool, differs: bool) -> None:
    bell = Bell()
    bench.start(bell=bell)
    path = bench.folder / "a.bmp"
    path.write_bytes(picture())
    told = bench.clock.utc().timestamp() + written
    os.utime(path, (told, told))
    bench.after(RESCAN)
    bell.on_any_event(FileModifiedEvent(str(path))) if rang else bell.stop()
    if not rang:
        bell.rang_for(str(path))
    bench.after(SETTLE)
    assert bench.store.lease("w", 1)[0].clock_differs == differs


def test_a_backlog_that_waits_for_its_turn_does_not_make_the_clocks_differ(bench: Bench) -> None:
    """An event announced it when it was written; that it is taken an hour later is no fault of a clock."""
    bell = Bell()
    bench.start(bell=bell)
    path = bench.folder / "a.bmp"
    path.write_bytes(picture())
    now = bench.clock.utc().timestamp()
    os.utime(path, (now, now))
    bell.on_any_event(FileModifiedEvent(str(path)))
    bench.intake.tick()
    bench.clock.seconds += 3600
    bench.intake.tick()
    assert bench.store.lease("w", 1)[0].clock_differs is False


# Files at which the station dies


def test_a_file_at_whose_reading_the_station_dies_is_put_aside_and_others_get_their_turn(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies in the decoder before anything of the file is in the database; systemd starts it again."""
    (bench.folder / "a.bmp").write_bytes(picture())
    (bench.folder / "b.bmp").write_bytes(picture(1))
    deadly, decode_well = picture(), intake.decode

    def decode(data: bytes, **limits: float) -> object:
        if data == deadly:
            raise SystemExit(139)
        return decode_well(data, **limits)

    monkeypatch.setattr(intake, "decode", decode)
    for _ in range(MOST_DEATHS):
        bench.start(deaths=Deaths(tmp_path / "reading"))
        bench.after(0)
        with pytest.raises(SystemExit):
            bench.after(SETTLE)
    bench.start(deaths=Deaths(tmp_path / "reading"))
    bench.after(0)
    last = bench.after(SETTLE)
    assert [Path(one.path).name for one in last.taken] == ["b.bmp"]
    assert [one.reason for one in last.quarantined] == ["the station died 3 times while it was read"]
    (bench.folder / "a.bmp").write_bytes(picture(2))  # other content is another file
    bench.after(RESCAN)
    assert len(bench.after(SETTLE).taken) == 1


def test_a_file_at_which_the_station_died_is_tried_again_after_pauses_that_grow(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bench.folder / "a.bmp").write_bytes(picture())
    sound, tried = intake.decode, []

    def decode(data: bytes, **limits: float) -> object:
        tried.append(bench.clock.seconds)
        if len(tried) < MOST_DEATHS + 3:
            raise SystemExit(139)
        return sound(data, **limits)

    monkeypatch.setattr(intake, "decode", decode)
    taken: list[str] = []
    for _ in range(200):
        bench.start(deaths=Deaths(tmp_path / "reading"))
        bench.after(0)
        with suppress(SystemExit):
            for _ in range(10):
                taken += [Path(one.path).name for one in bench.after(60).taken]
    pauses = [round((after - before) / 60) for before, after in pairwise(tried[MOST_DEATHS - 1 :])]
    assert taken == ["a.bmp"] and len(tried) == MOST_DEATHS + 3
    assert all(10 <= pause <= 20 for pause in pauses[:1]) and pauses == sorted(pauses) and pauses[-1] >= 40
    assert not (tmp_path / "reading").exists()


def test_a_picture_that_is_no_picture_is_not_deadly(bench: Bench, tmp_path: Path) -> None:
    (bench.folder / "a.bmp").write_bytes(b"BM nothing else")
    bench.start(deaths=Deaths(tmp_path / "reading"))
    bench.after(0)
    bench.after(SETTLE)
    assert not (tmp_path / "reading").exists()


@pytest.mark.parametrize("memory", ["", "{", "[]", '{"a": null}', '{"a": "x"}', "\0\0"])
def test_what_was_left_of_a_memory_of_deaths_ends_no_station(bench: Bench, tmp_path: Path, memory: str) -> None:
    (tmp_path / "reading").write_text(memory)
    (bench.folder / "a.bmp").write_bytes(picture())
    bench.start(deaths=Deaths(tmp_path / "reading"))
    assert len(bench.settled().taken) == 1
