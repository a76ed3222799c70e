"""The loop in one process: real pictures, real network, real database; the clock is passed in."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from networks import DIAMETER_PX, tiny_bundle
from stations import Bench, save
from stores import rows

from station import daemon
from station.bell import Bell as LiveBell
from station.contract.bundle import write_bundle
from station.contract.errors import BundleError, EngineError
from station.daemon import run
from station.intake import TickResult
from station.pipeline import Result
from station.recent import Recent
from station.registry import install


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, tiny_bundle("first"), cell_diameter_px=DIAMETER_PX)
    with closing(made.store):
        yield made


@pytest.fixture
def reading_again(bench: Bench) -> None:
    """As of pictures that were taken in long ago, or by a station that was stopped then."""
    bench.station.intake.recent = Recent(most_bytes=0)


def when_leased(bench: Bench, act: Callable[[], object]) -> None:
    """Let something happen whenever pictures were handed out and nothing of them was read yet."""
    lease = bench.store.lease

    def leasing(worker: str, most: int, **more: bool):  # type: ignore[no-untyped-def]
        leases = lease(worker, most, **more)
        if leases:
            act()
        return leases

    bench.store.lease = leasing  # type: ignore[method-assign]


def test_what_was_taken_in_a_moment_ago_is_not_read_again(bench: Bench) -> None:
    """So a picture that is taken away meanwhile is counted all the same."""
    path = save(bench, "a.bmp", 1)
    when_leased(bench, path.unlink)
    bench.run()
    assert bench.counts() == {"a.bmp": 1}


def test_of_many_recent_pictures_the_oldest_are_forgotten() -> None:
    recent, image = Recent(most_bytes=300), np.zeros((10, 10, 1), np.uint8)
    for number in range(5):
        recent.keep(str(number), image + number)
    assert [recent.take(str(number)) is None for number in range(5)] == [True, True, False, False, False]
    assert recent.take("4") is None  # once is enough
    recent.keep("large", np.zeros((20, 20, 1), np.uint8))
    assert recent.take("large") is None


def test_progress_is_told_after_each_picture_and_readiness_once(bench: Bench) -> None:
    save(bench, "a.bmp", 1)
    save(bench, "b.bmp", 2)
    bench.run()
    assert bench.counts() == {"a.bmp": 1, "b.bmp": 2}
    assert bench.said[0] == "READY=1" and bench.said.count("READY=1") == 1
    assert bench.said.count("WATCHDOG=1") >= 2


def test_a_backlog_is_taken_in_beside_the_network(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not first, while the network waits: the ninth file, too many for one look, comes in before eight are counted."""
    for number in range(40):
        path = save(bench, f"{number:02d}.bmp", number % 3)
        path.write_bytes(path.read_bytes()[:-3] + bytes([200, 200, number]))  # no two alike
    counted: list[int] = []

    def tick(result: TickResult) -> None:
        counted.extend([len(bench.results)] * len(result.taken))

    monkeypatch.setattr(bench, "tick", tick)
    bench.run()
    assert bench.counts() == {f"{number:02d}.bmp": number % 3 for number in range(40)}
    assert len(counted) == 40 and counted[8] < 8
    ahead = [number - done for number, done in enumerate(counted, start=1)]
    assert max(ahead) <= 8 + 4 + 8  # what waits, what is under way, what is just taken in


def test_a_picture_that_was_tried_before_need_not_wait_for_the_end_of_a_backlog(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "_PASS", 8)
    save(bench, "tried.bmp", 2)
    bench.bell.seconds += 5
    bench.station.intake.tick()
    bench.bell.seconds += 5
    bench.station.intake.tick()
    assert len(bench.store.lease("dies", 1)) == 1 and bench.store.release_leases() == 1
    for number in range(20):
        path = save(bench, f"{number:02d}.bmp", number % 3)
        path.write_bytes(path.read_bytes()[:-3] + bytes([200, 200, number]))
    bench.bell.seconds += 5
    bench.station.intake.tick()
    bench.bell.seconds += 5
    while bench.station.intake.take(99).taken:
        pass
    assert bench.store.counts_by_status()["queued"] == 21
    stop = threading.Event()
    done = bench.done

    def count(result: Result) -> None:
        done(result)
        if len(bench.results) == 21:
            stop.set()

    monkeypatch.setattr(bench, "done", count)
    run(bench.station, stop, bench.bell)
    assert list(bench.results).index("tried.bmp") == 8


def test_a_newly_activated_model_counts_from_the_next_picture_on(bench: Bench, tmp_path: Path) -> None:
    save(bench, "a.bmp", 1)
    bench.run()
    bundle = tiny_bundle()
    write_bundle(tmp_path / "tiny.zip", bundle)
    model, _ = install(tmp_path / "tiny.zip", bench.store, tmp_path / "models", bench.settings.engine)
    bench.store.activate_model(model.model_id)
    save(bench, "b.bmp", 2)
    bench.run()
    models = {name: result.model for name, result in bench.stored().items()}
    assert models == {"a.bmp": "first", "b.bmp": bundle.manifest.name}


@pytest.mark.usefixtures("reading_again")
def test_a_picture_that_is_replaced_before_its_turn_is_not_counted_as_the_other(bench: Bench) -> None:
    path = save(bench, "a.bmp", 1)
    when_leased(bench, lambda: bench.results or save(bench, path.name, 2))
    bench.run()
    assert any("was replaced before it could be analysed" in line for line in bench.said)
    assert bench.results["a.bmp"].analysis.wbc_count == 2
    assert bench.store.counts_by_status() == {"waiting": 0, "queued": 0, "leased": 0, "done": 1, "quarantined": 0}
    assert rows(bench.store.path, "SELECT status, reason FROM images ORDER BY id") == [
        ("quarantined", "superseded"),
        ("done", None),
    ]


@pytest.mark.usefixtures("reading_again")
def test_a_share_that_drops_during_the_work_is_no_picture_s_fault(bench: Bench) -> None:
    for wbc in (1, 2, 3):
        save(bench, f"{wbc}.bmp", wbc)
    lease, away = bench.store.lease, bench.folder.with_name("away")

    def dropped_meanwhile(worker: str, most: int, **more: bool):  # type: ignore[no-untyped-def]
        leases = lease(worker, most, **more)
        if leases and not away.exists():
            bench.folder.rename(away)
        return leases

    bench.store.lease = dropped_meanwhile  # type: ignore[method-assign]
    last = bench.run()
    assert last is not None and last.gone
    assert bench.store.counts_by_status() == {"waiting": 0, "queued": 3, "leased": 0, "done": 0, "quarantined": 0}
    away.rename(bench.folder)
    bench.store.lease = lease  # type: ignore[method-assign]
    last = bench.run()
    assert last is not None and not last.gone and not last.moving
    assert bench.counts() == {"1.bmp": 1, "2.bmp": 2, "3.bmp": 3}


@pytest.mark.usefixtures("reading_again")
def test_a_share_that_dropped_while_a_picture_was_read_and_is_back_is_no_picture_s_fault(bench: Bench) -> None:
    for wbc in (1, 2):
        save(bench, f"{wbc}.bmp", wbc)
    bench.station.intake.is_gone = lambda: False  # type: ignore[method-assign]  # as asked a moment too late
    lease, away = bench.store.lease, bench.folder.with_name("away")

    def dropped_for_a_moment(worker: str, most: int, **more: bool):  # type: ignore[no-untyped-def]
        leases = lease(worker, most, **more)
        if leases and leases[0].attempt == 1:
            bench.folder.rename(away)
        elif away.exists():
            away.rename(bench.folder)
        return leases

    bench.store.lease = dropped_for_a_moment  # type: ignore[method-assign]
    bench.run()
    assert bench.counts() == {"1.bmp": 1, "2.bmp": 2}
    assert bench.store.counts_by_status()["quarantined"] == 0


@pytest.mark.usefixtures("reading_again")
@pytest.mark.parametrize("error", [errno.EHOSTDOWN, errno.ESTALE, errno.EACCES], ids=errno.errorcode.get)
def test_a_share_that_answers_with_errors_is_no_picture_s_fault(
    bench: Bench, error: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that goes away in the middle of a pass lets not even names be looked at."""
    for wbc in (1, 2):
        save(bench, f"{wbc}.bmp", wbc)
    lease, stat, read_bytes = bench.store.lease, os.stat, Path.read_bytes
    down = threading.Event()

    def refuse(path: object) -> None:
        if down.is_set() and str(path).startswith(str(bench.folder)):
            raise OSError(error, os.strerror(error), str(path))

    def looked_at(path, *args, **named):  # type: ignore[no-untyped-def]
        refuse(path)
        return stat(path, *args, **named)

    def read(path: Path) -> bytes:
        refuse(path)
        return read_bytes(path)

    def dropped_meanwhile(worker: str, most: int, **more: bool):  # type: ignore[no-untyped-def]
        leases = lease(worker, most, **more)
        if leases:
            down.set()
        return leases

    bench.store.lease = dropped_meanwhile  # type: ignore[method-assign]
    monkeypatch.setattr(os, "stat", looked_at)
    monkeypatch.setattr(Path, "read_bytes", read)
    bench.run()
    assert bench.store.counts_by_status() == {"waiting": 0, "queued": 2, "leased": 0, "done": 0, "quarantined": 0}


def test_a_full_disk_lets_the_station_rest_while_pictures_come(bench: Bench) -> None:
    """Each picture rings the bell, and a bell that is not heard would wake the loop without end."""
    bell = LiveBell()
    stop, waits = threading.Event(), list[bool]()

    class Rest(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(self.is_set())
            bench.free_bytes = 0  # it started well
            if len(waits) == 2:
                self.set()  # a picture comes
            if len(waits) == 4:
                stop.set()
            return True

    bell.event = Rest()
    station = bench.made(bell)
    run(station, stop, bell.event)
    station.intake.close()
    assert waits == [False, False, False, False]


@pytest.mark.usefixtures("reading_again")
def test_a_picture_that_stays_unreadable_is_put_aside(bench: Bench) -> None:
    path = save(bench, "a.bmp", 1)
    bench.bell.seconds += 5
    for _ in range(2):
        bench.station.intake.tick()
        bench.bell.seconds += 2
    path.unlink()
    bench.run()
    assert [(item.status, item.reason) for item in bench.store.open_items()] == [
        ("quarantined", "cannot be read (no such file or directory)")
    ]


def test_a_picture_that_was_moved_while_it_waited_is_counted_where_it_lies(bench: Bench) -> None:
    path = save(bench, "a.bmp", 1)
    for _ in range(2):
        bench.bell.seconds += 2
        bench.station.intake.tick()
    (bench.folder / "S-17").mkdir()
    path.rename(bench.folder / "S-17" / "a.bmp")
    bench.run()
    assert bench.counts() == {"a.bmp": 1}


def test_a_model_file_that_was_exchanged_does_not_count(bench: Bench) -> None:
    model = bench.store.active_model()
    assert model is not None
    write_bundle(Path(model.path), tiny_bundle())
    with pytest.raises(BundleError, match="is not the bundle that proved itself here"):
        bench.run()


def test_an_engine_that_answers_nonsense_stops_the_station_and_loses_nothing(bench: Bench, tmp_path: Path) -> None:
    """NaN is no empty field: the loop ends, systemd starts it again, the picture is still in the queue."""
    save(bench, "a.bmp", 1)
    bench.station = bench.made()
    good = bench.station.model.current()
    sound = good.engine

    class Broken:
        name, batch, abreast = "broken", 1, 1

        def __call__(self, tiles):  # type: ignore[no-untyped-def]
            return sound(tiles) * float("nan")

    object.__setattr__(good, "engine", Broken())
    with pytest.raises(EngineError, match="not finite"):
        bench.run()
    assert bench.store.counts_by_status()["leased"] == 1
    bench.station = bench.made()
    bench.run()
    assert bench.counts() == {"a.bmp": 1}


def test_the_same_analysis_gives_the_same_masks(bench: Bench) -> None:
    path = save(bench, "a.bmp", 2)
    bench.run()
    first = bench.results["a.bmp"]
    bench.station = bench.made()
    (bench.folder / "b.bmp").write_bytes(path.read_bytes() + b"\0")
    bench.run()
    again = bench.results["b.bmp"]
    assert (again.labels_png, again.cells_png) == (first.labels_png, first.cells_png)
