"""kill -9 at any moment while pictures arrive: each is counted once, and as if nothing had happened."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

from soaking import (
    SUFFIXES,
    Home,
    at_once,
    commissioned,
    growing,
    in_real_time,
    kill,
    picture,
    renamed,
    sha256,
    sized,
    wait_until,
)

from station.assembly import assemble
from station.cli.context import now_utc
from station.cli.run import Lines
from station.daemon import run_once
from station.database.store import Store

KILLS, PICTURES = sized((6, 30), (200, 1000))


def test_a_station_that_is_killed_again_and_again_counts_each_picture_once(tmp_path: Path) -> None:
    chance, began = random.Random(5), time.monotonic()
    home = commissioned(tmp_path / "killed")
    truth = {home.folder / name: data for name, data in _pictures()}
    life = _first_count(home)
    in_work = 0
    with ThreadPoolExecutor(8) as camera:
        saving: list[Future[None]] = []
        for lot in _lots(list(truth), KILLS):
            saving += [camera.submit(in_real_time, _writer(path, truth[path], chance.random())) for path in lot]
            in_work += _killed(home, chance, life)
            assert home.is_sound()
        for saved in saving:
            saved.result()
    with home.running():
        wait_until(lambda: home.number("done") + len(home.rows(_PUT_ASIDE)) > len(truth), lambda: home.rows(_OPEN))
    print(f"\n{KILLS + 1} kills, {in_work} of them with pictures in work, {KILLS + 4} starts, ", end="")
    print(f"{PICTURES} pictures, {len(home.rows(_PUT_ASIDE))} put aside, {time.monotonic() - began:.0f} s")
    _start_a_day_later(home)
    _check(home, {str(path): sha256(data) for path, data in truth.items()})
    undisturbed = commissioned(tmp_path / "undisturbed", folder=home.folder)
    undisturbed.once()
    assert home.counted() == undisturbed.counted()


# A picture that was alone in work at three kills looks as if it had killed the station: its next turn is later.
_PUT_ASIDE = "SELECT path FROM image_results WHERE reason LIKE 'the station died%' AND status = 'quarantined'"
_OPEN = "SELECT path, status, reason FROM image_results WHERE status != 'done'"


def _check(home: Home, truth: dict[str, str]) -> None:
    truth |= {str(home.folder / "first.bmp"): sha256(picture(0))}
    assert home.is_sound()
    assert home.rows(_OPEN) == []
    assert sorted(home.rows("SELECT sha256 FROM image_results")) == sorted((found,) for found in truth.values())
    assert home.rows("SELECT count(*), count(DISTINCT image_id) FROM analyses") == [(len(truth), len(truth))]
    assert home.paths() == truth


def _start_a_day_later(home: Home) -> None:
    def tomorrow() -> datetime:
        return now_utc() + timedelta(days=1)

    with closing(Store.open(home.settings.database.path, clock=tomorrow)) as store:
        clocks = {"clock": tomorrow, "monotonic": time.monotonic}
        station = assemble(home.settings, store, Lines(print), worker="test", notify=lambda _: None, **clocks)  # type: ignore[arg-type]
        run_once(station, threading.Event(), threading.Event())


def _first_count(home: Home) -> float:
    """Seconds from the start of a station to its first count, on this machine as it is now."""
    home.once()  # the first start of all also imports
    (home.folder / "first.bmp").write_bytes(picture(0))
    began, process = time.monotonic(), home.start()
    wait_until(lambda: home.number("done") == 1, home.log)
    kill(process)
    return time.monotonic() - began


def _killed(home: Home, chance: random.Random, life: float) -> bool:
    """One start and its end: at any moment, or every other time soon after a picture came into work."""
    process, began = home.start(), time.monotonic()
    deadline = began + chance.uniform(0, 1.5 * life)
    if chance.random() < 0.5:
        _until_in_work(home, began + 4 * life)
        deadline = time.monotonic() + chance.uniform(0, 0.03)
    time.sleep(max(0.0, deadline - time.monotonic()))
    kill(process)
    return home.number("leased") > 0


def _until_in_work(home: Home, deadline: float) -> None:
    before = home.rows("SELECT sum(attempts) FROM images")
    while time.monotonic() < deadline and home.rows("SELECT sum(attempts) FROM images") == before:
        time.sleep(0.002)


def _pictures() -> Iterator[tuple[str, bytes]]:
    for number in range(1, PICTURES + 1):
        suffix = SUFFIXES[number % len(SUFFIXES)]
        yield f"{number:04d}.{suffix}", picture(number, suffix)


def _lots(paths: list[Path], number: int) -> Iterable[list[Path]]:
    return (paths[first::number] for first in range(number))


def _writer(path: Path, data: bytes, drawn: float) -> Iterator[float]:
    """Half of them slow, with pauses around the time that a file must stand still."""
    kind = at_once if drawn < 0.3 else renamed if drawn < 0.5 else growing
    return kind(path, data, lambda: 0.4 * drawn)
