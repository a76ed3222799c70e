"""A station after years: what its commands and its start cost with many pictures in database and folder."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from crowd import CELLS, LAST_DAY, PER_DAY, fill
from soaking import LONGEST_SECONDS, SOAKING, Home, commissioned, picture, sized, wait_until
from stores import on_connect

from station.bench.alone import memory_mb
from station.cli import report, status
from station.cli.context import now_utc
from station.database.store import Store
from station.watching import scan

PICTURES = sized(10_000, 200_000)
PER_SLIDE = 50
DAY = f"{LAST_DAY:%Y-%m-%d}"

# Promised for 200,000 pictures, on a machine that does nothing else; the small size may run on a busy one.
REPORT_SECONDS, STATUS_SECONDS, START_SECONDS, START_MB = sized((10.0, 5.0, 120.0, 500), (1.0, 0.3, 30.0, 500))
LOOK_SECONDS = sized(10.0, 3.0)  # of a report that looks at each file of the folder besides


@pytest.fixture(scope="module")
def years(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Every file is known to the database, and empty: none may be opened."""
    home = commissioned(tmp_path_factory.mktemp("years") / "home", rescan_seconds=60.0)
    for slide in range(PICTURES // PER_SLIDE):
        folder = home.folder / f"slide-{slide:05d}"
        folder.mkdir()
        for number in range(PER_SLIDE):
            (folder / f"Image_{number:04d}.bmp").touch()
    fill(home.settings.database.path, sorted(scan(home.folder).items()))
    return home


@pytest.fixture(scope="module")
def weeks(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The same days at the end, and few before them."""
    home = commissioned(tmp_path_factory.mktemp("weeks") / "home")
    for number in range(2 * PER_DAY):
        (home.folder / f"Image_{number:04d}.bmp").touch()
    fill(home.settings.database.path, sorted(scan(home.folder).items()))
    return home


def called(command: click.Command, home: Home, *options: str) -> str:
    ended = CliRunner().invoke(command, ["--config", str(home.root / "station.toml"), *options])
    assert ended.exit_code == 0, ended.output
    return ended.output


def steps(call: Callable[[], object]) -> int:
    """How much SQLite works for it, in thousands of its machine's steps: the same on every computer."""
    done = 0

    def count() -> None:
        nonlocal done
        done += 1

    with on_connect(lambda connection: connection.set_progress_handler(count, 1000)):
        call()
    return done


def seconds(call: Callable[[], object]) -> tuple[float, float]:
    """(the first time, the best of five), without the start of the interpreter."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return times[0], min(times)


def tell(what: str) -> None:
    if SOAKING:
        print(f"\n{PICTURES} pictures, {what}", end="")


def test_the_crowd_is_what_the_store_would_have_written(years: Home) -> None:
    cells = years.rows("SELECT count(*) FROM cells")[0][0]
    assert cells == pytest.approx(PICTURES * sum(CELLS) / len(CELLS), rel=0.01)
    assert years.is_sound()
    sizes = "SELECT a.wbc_count, count(c.cell_id) FROM analyses a JOIN cells c ON c.analysis_id = a.id GROUP BY a.id"
    assert years.rows(f"SELECT count(*) FROM ({sizes} HAVING a.wbc_count <> count(c.cell_id))") == [(0,)]
    known = years.rows(
        "SELECT count(*) FROM files JOIN images ON images.id = files.image_id AND images.path = files.path"
    )
    assert known[0][0] >= PICTURES
    assert {row[0] for row in years.rows("SELECT DISTINCT status FROM images")} > {"done", "waiting", "quarantined"}


@pytest.mark.parametrize("style", ["table", "csv", "json"])
def test_a_day_is_reported_at_once(years: Home, style: str) -> None:
    text = called(report.command, years, "--date", DAY, "--format", style)
    mark = '"status": "done"' if style == "json" else "done"
    assert text.count(mark) == PER_DAY - 1 and "pattern" not in text
    first, best = seconds(lambda: called(report.command, years, "--date", DAY, "--format", style))
    tell(f"report of a day as {style}: {first:.2f} s, again {best:.2f} s")
    assert best < (LOOK_SECONDS if style == "json" else REPORT_SECONDS)


def test_a_report_costs_no_more_for_the_years_before(years: Home, weeks: Home) -> None:
    few, many = (steps(lambda home=home: called(report.command, home, "--date", DAY)) for home in (weeks, years))
    assert 0 < many < 1.2 * few + 5


def test_the_status_is_told_at_once(years: Home) -> None:
    first, best = seconds(lambda: called(status.command, years))
    tell(f"status: {first:.2f} s, again {best:.2f} s")
    assert best < STATUS_SECONDS


def test_what_is_open_is_found_without_passing_all_that_is_done(years: Home) -> None:
    with closing(Store.open_reader(years.settings.database.path, clock=now_utc)) as store:
        assert steps(store.open_items) * 1000 < PICTURES / 2
        assert len(store.open_items()) == years.number("waiting") + years.number("queued") + years.number("quarantined")


@pytest.mark.skipif(not SOAKING, reason="seconds that only start the interpreter")
def test_whole_commands_are_quick(years: Home) -> None:
    for words in (("report", "--date", DAY), ("status",)):
        line = [sys.executable, "-m", "station.cli", *words, "--config", str(years.root / "station.toml")]
        began = time.perf_counter()
        subprocess.run(line, check=True, capture_output=True, timeout=LONGEST_SECONDS)
        took = time.perf_counter() - began
        tell(f"{words[0]} with the start of the interpreter: {took:.1f} s")
        assert took < START_SECONDS


def test_status_names_the_few_that_wait_among_thousands_that_are_queued(
    weeks: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(sqlite3.connect(weeks.settings.database.path)) as connection, connection:
        connection.execute(
            "UPDATE images SET status = 'queued' WHERE status = 'done' AND path LIKE ?", (f"{weeks.folder}%",)
        )
    monkeypatch.chdir(tmp_path)
    for name in ("pattern that waits", "pattern of text"):
        Path(name).touch()
    text = called(status.command, weeks)
    assert text.count("queued ") < 60 and "pattern that waits" in text and "is text, not a picture" in text
    assert f"and {weeks.number('queued') - 50} more; --json lists all" in text
    assert called(status.command, weeks, "--json").count('"queued", "reason"') == weeks.number("queued")


def test_a_station_starts_among_known_files_and_counts_the_next_picture(years: Home) -> None:
    fresh = years.folder / "fresh.bmp"
    fresh.write_bytes(picture(1))
    line = [sys.executable, "-m", "station.cli", "run", "--config", str(years.root / "station.toml")]
    began = time.perf_counter()
    with (years.root / "station.log").open("w") as log:
        process = subprocess.Popen(line, stdout=log, stderr=log)
    try:
        wait_until(lambda: f"{fresh}: 1 white cell" in years.log(), years.log)
        took = time.perf_counter() - began
        peak_mb = memory_mb("VmHWM", Path(f"/proc/{process.pid}/status"))
    finally:
        process.terminate()
        _, code, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(code)
    busy = used.ru_utime + used.ru_stime
    assert peak_mb is not None
    tell(f"start to the first count: {took:.1f} s, of the processor {busy:.1f} s, {peak_mb:.0f} MB")
    assert process.returncode == 0, years.log()
    assert took < START_SECONDS
    assert peak_mb < START_MB
