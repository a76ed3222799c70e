"""The day's report: real rows in a real database, every format from the same summary."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from station.commission import PSEUDONYM_SALT
from station.contract.corrections import RejectImage
from station.contract.errors import StationError
from station.database.backup import contents
from station.database.records import AnalysisRecord, FileStamp, NewImage, StoredCell
from station.database.store import Store
from station.days import REACH, in_reach
from station.reports import FORMATS, pseudonym, render, summarise
from station.reviewing import correct

BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 3, 29, 12, 0, tzinfo=BERLIN)
CELL = StoredCell(1, 10.0, 10.0, 5, 5, 11, 11, 100, 40, 60, 0.6667, touches_edge=False, confidence=0.9)


class Day:
    """A database that is filled picture by picture."""

    def __init__(self, path: Path) -> None:
        self.now = NOON.astimezone(UTC)
        self.store = Store.open(path, clock=lambda: self.now, create=True)
        self.store.record_fact(PSEUDONYM_SALT, "salt")
        self.model_sha256 = "a" * 64

    def image(self, captured_at: datetime, cells: int | None = 1, path: str = "/camera/S-1/{}.bmp") -> None:
        number = self.store.counts_by_status()["done"] + self.store.counts_by_status()["queued"]
        path = path.format(number)
        stamp = FileStamp(100, number, number)
        slide = Path(path).parent.name
        self.store.add_image(NewImage(path, stamp, f"{number:064x}", slide, captured_at, rung=True))
        if cells is not None:
            (lease,) = self.store.lease("test", 1)
            analysis = _analysis(lease.image_id, cells)
            self.store.save_analysis(replace(analysis, model_sha256=self.model_sha256))


def _analysis(image_id: int, cells: int) -> AnalysisRecord:
    """The first cell is cut by the border."""
    drawn = tuple(replace(CELL, cell_id=number + 1, touches_edge=number == 0) for number in range(cells))
    return AnalysisRecord(
        image_id=image_id,
        model_sha256="a" * 64,
        model="starter",
        engine="onnxruntime",
        settings_sha256="b" * 64,
        package_version="0.1.0",
        cell_diameter_px=120.0,
        cell_diameter_source="camera",
        flags=("cell-at-edge",) if cells else (),
        seconds={"total": 0.2},
        cells=drawn,
        labels_png=b"labels",
        cells_png=b"cells",
        width=640,
        height=480,
    )


@pytest.fixture
def day(tmp_path: Path) -> Iterator[Day]:
    made = Day(tmp_path / "station.db")
    with closing(made.store):
        yield made


@pytest.mark.parametrize(("local_day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25)])
def test_every_image_is_in_exactly_one_local_day_also_when_the_clock_is_changed(
    day: Day, local_day: date, hours: int
) -> None:
    midnight = datetime.combine(local_day, datetime.min.time(), tzinfo=BERLIN).astimezone(UTC)
    for quarter in range(-4, 4 * 27):
        day.image(midnight + timedelta(minutes=15 * quarter))
    around = [local_day + timedelta(days=offset) for offset in (-1, 0, 1)]
    counts = [len(summarise(day.store, one, one, BERLIN).images) for one in around]
    assert counts == [4, 4 * hours, 4 * (27 - hours)]


def test_counts_are_summed_by_slide_with_and_without_cells_at_the_edge(day: Day) -> None:
    for cells, slide in ((3, "S-1"), (0, "S-1"), (2, "S-2")):
        day.image(NOON, cells, f"/camera/{slide}/{{}}.bmp")
    day.image(NOON, None)
    summary = summarise(day.store, NOON.date(), NOON.date(), BERLIN, names=True)
    assert (summary.wbc_count, summary.wbc_count_inside, len(summary.counted), len(summary.open)) == (5, 3, 3, 1)
    assert summary.slides == (("S-1", 2, 3), ("S-2", 1, 2))
    assert summary.models == ("starter on onnxruntime",)


def test_two_models_of_one_name_are_told_apart(day: Day) -> None:
    day.image(NOON)
    assert summarise(day.store, NOON.date(), NOON.date(), BERLIN).models == ("starter on onnxruntime",)
    day.model_sha256 = "c" * 64
    day.image(NOON)
    summary = summarise(day.store, NOON.date(), NOON.date(), BERLIN)
    assert summary.models == ("starter (aaaaaaaa) on onnxruntime", "starter (cccccccc) on onnxruntime")
    told = json.loads(render(summary, "json"))
    assert [image["model_sha256"] for image in told["images"]] == ["a" * 64, "c" * 64]


def test_a_table_of_several_days_says_of_which_each_picture_is(day: Day) -> None:
    for days in (0, 1):
        day.image(NOON + timedelta(days=days))
    correct(day.store, 2, RejectImage(), "Ada")
    first, last = NOON.date(), NOON.date() + timedelta(days=1)
    text = render(summarise(day.store, first, last, BERLIN), "table")
    assert "  2026-03-29 12:00:00  1 " in text and "  2026-03-30 12:00:00  0 " in text
    assert re.search("  0 +0 +done +rejected, cell-at-edge", text)
    assert "  12:00:00  1 " in render(summarise(day.store, first, first, BERLIN), "table")


def test_pictures_whose_files_are_older_than_1970_are_in_a_report(day: Day) -> None:
    """A clock that was never set, west of Greenwich."""
    zone = ZoneInfo("America/New_York")
    day.image(datetime(1970, 1, 1, tzinfo=UTC))
    assert in_reach(date(1969, 12, 31))
    assert summarise(day.store, date(1969, 12, 31), date(1969, 12, 31), zone).wbc_count == 1
    assert summarise(day.store, *REACH, zone).wbc_count == 1


def test_half_a_copy_that_was_replaced_is_no_picture_of_the_day(day: Day) -> None:
    day.now = (NOON + timedelta(days=1)).astimezone(UTC)
    day.image(NOON)
    day.image(NOON, None)
    with closing(sqlite3.connect(day.store.path)) as connection, connection:
        connection.execute("UPDATE images SET status = 'quarantined', reason = 'superseded' WHERE id = 2")
    summary = summarise(day.store, NOON.date(), NOON.date(), BERLIN)
    assert summary.ingested_on_other_days == 1
    assert [line.status for line in summary.images] == ["done"] and len(summary.open) == 0
    assert [one.images for one in day.store.slides(9)] == [1]
    assert {status: count for status, count in day.store.counts_by_status().items() if count} == {"done": 1}
    assert day.store.arrivals(NOON, 9).images == contents(day.store.path).images == 1


@pytest.mark.parametrize("style", ["table", "html"])
def test_the_hour_that_a_changed_clock_repeats_says_which_it_is(day: Day, style: str) -> None:
    """25 October 2026: three o'clock is two again."""
    for hours in (0, 1, 2):
        day.image(datetime(2026, 10, 25, 0, 30, tzinfo=UTC) + timedelta(hours=hours))
    told = render(summarise(day.store, date(2026, 10, 25), date(2026, 10, 25), BERLIN), style)
    assert re.findall(r"0[23]:30:00(?: CES?T)?", told) == ["02:30:00 CEST", "02:30:00 CET", "03:30:00"]


def test_pictures_that_came_in_on_another_day_are_named_on_both(day: Day) -> None:
    day.now = (NOON + timedelta(days=1)).astimezone(UTC)
    day.image(NOON)
    first, second = (summarise(day.store, one, one, BERLIN) for one in (NOON.date(), NOON.date() + timedelta(days=1)))
    assert (first.ingested_on_other_days, first.captured_on_other_days) == (1, 0)
    assert (second.ingested_on_other_days, second.captured_on_other_days) == (0, 1)
    assert "1 picture of these days came in on another day" in render(first, "table")
    assert "1 picture that came in was captured on another day" in render(second, "table")


@pytest.mark.parametrize("style", FORMATS)
def test_names_are_pseudonyms_unless_asked_for(day: Day, style: str) -> None:
    day.image(NOON, 1, "/camera/Meier, Anna 1961/Meier.bmp")
    secret, shown = (
        render(summarise(day.store, NOON.date(), NOON.date(), BERLIN, names=names), style) for names in (False, True)
    )
    assert "Meier" not in secret
    assert "Meier.bmp" in shown


def test_no_spreadsheet_takes_a_pseudonym_for_a_number() -> None:
    made = [pseudonym(f"{number}.bmp", "salt") for number in range(2000)]
    assert all(re.fullmatch("[g-v][0-9a-f]{7}", one) for one in made) and len(set(made)) == 2000


def test_json_and_csv_carry_the_same_numbers(day: Day) -> None:
    for cells in (3, 0):
        day.image(NOON, cells)
    day.image(NOON, None)
    summary = summarise(day.store, NOON.date(), NOON.date(), BERLIN)
    told = json.loads(render(summary, "json"))
    lines = list(csv.DictReader(io.StringIO(render(summary, "csv"))))
    assert (told["wbc_count"], told["wbc_count_inside"], told["images_counted"], told["images_open"]) == (3, 2, 2, 1)
    assert [image["wbc_count"] for image in told["images"]] == [3, 0, None]
    assert [line["wbc_count"] for line in lines] == ["3", "0", ""]
    assert [line["captured_at"] for line in lines] == ["2026-03-29 12:00:00+02:00"] * 3


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ('=cmd("x").bmp', '\'=cmd("x").bmp'),
        ("\t=1+1.bmp", "'\\t=1+1.bmp"),
        ("-2+3.bmp", "'-2+3.bmp"),
        ('<script>alert(1)"x,y";.bmp', '<script>alert(1)"x,y";.bmp'),
        ("two\nlines\r\x1b[2J.bmp", "two\\nlines\\r\\x1b[2J.bmp"),
        ("pmb.\u202eexe.bmp", "pmb.\\u202eexe.bmp"),
        ("..", ".."),
        ("名" * 83 + ".bmp", "名" * 83 + ".bmp"),  # 253 bytes
    ],
    ids=range(8),
)
def test_hostile_names_are_one_harmless_cell_and_one_harmless_line(day: Day, name: str, shown: str) -> None:
    day.store.add_image(NewImage(f"/camera/{name}/{name}", FileStamp(1, 1, 1), "0" * 64, name, NOON, rung=True))
    summary = summarise(day.store, NOON.date(), NOON.date(), BERLIN, names=True)
    (line,) = csv.DictReader(io.StringIO(render(summary, "csv")))
    assert (line["name"], line["slide"], line["status"]) == (shown, shown, "queued")
    table = render(summary, "table")
    assert all(one.isprintable() for one in table.splitlines()) and shown.removeprefix("'") in table
    assert json.loads(render(summary, "json"))["images"][0]["status"] == "queued"
    render(summary, "html").encode()


def test_a_day_without_pictures_says_so(day: Day) -> None:
    text = render(summarise(day.store, NOON.date(), NOON.date(), BERLIN), "table")
    assert text.startswith("2026-03-29 (Europe/Berlin): 0 pictures counted, 0 white cells")


def test_an_unknown_format_is_answered_with_the_known_ones(day: Day) -> None:
    with pytest.raises(StationError, match="no report format 'pdf'; known: table, json, csv"):
        render(summarise(day.store, NOON.date(), NOON.date(), BERLIN), "pdf")
