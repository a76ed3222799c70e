"""The page of a day: its numbers are those of the JSON twin, it asks nobody for anything, and no name does harm."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import LONG
from painted_days import MORNING, NIGHT, Day, small

from station.baseline import keep, measure
from station.cli import main
from station.contract.corrections import Accept, Flag, RejectImage, RemoveCell
from station.contract.decoding import decode
from station.database.records import NewImage
from station.database.store import Store
from station.demo.smear import SmearRecipe
from station.printing import printable
from station.reports import Summary, bounds, render, summarise
from station.reports.axes import time_ticks
from station.reports.charts import WIDE, Charts
from station.reports.day import detailed
from station.reports.intervals import limits, share
from station.reviewing import correct
from station.watching import stamp_of

BERLIN = ZoneInfo("Europe/Berlin")
DAY = date(2026, 11, 23)
VOID = {"meta", "img", "br", "path", "rect", "circle", "polyline"}


class Page(HTMLParser):
    """What is in a page; fails where a tag is closed that is not open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.open = text, []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @cached_property
    def said(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words)).replace("\u00a0", " ")

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.elements if found == tag]


@pytest.fixture
def day(tmp_path: Path) -> Iterator[Day]:
    made = Day(tmp_path)
    yield made
    made.store.close()


def summed(day: Day, *, names: bool = False) -> Summary:
    return detailed(day.store, DAY, DAY, day.settings, NIGHT, names=names)


def with_baseline(day: Day, model: str = "m") -> None:
    """Of 21 pictures of the 16th to the 18th."""
    day.usual(each=7, model=model, quality={"focus": 1.0})
    first, last = date(2026, 11, 16), date(2026, 11, 18)
    keep(day.store, measure(day.store.fields_between(*bounds(first, last, BERLIN)), first, last, NIGHT))


def page(day: Day, *, names: bool = False) -> Page:
    return Page(render(summed(day, names=names), "html"))


def twin(day: Day, *, names: bool = False) -> dict:
    return json.loads(render(summed(day, names=names), "json"))


def filled(day: Day) -> None:
    """Two slides with corrections to come, one picture for review, one quarantined, one waiting, a gone file."""
    for number, cells in enumerate((2, 3, 0, 1)):
        at = MORNING + timedelta(minutes=25 * number)
        flags = ("cell-at-edge", "review") if number == 1 else ()
        day.picture(small(cells)[0], at, slide=f"S-{number % 2}", flags=flags, quality={"focus": 1.0 - 0.1 * number})
    day.picture(small(2)[0], MORNING + timedelta(hours=3), file=False, confidence=(0.3, 0.4))
    for status, name in (("waiting", "half.bmp"), ("quarantined", "text.bmp")):
        path = day.folder / name
        path.write_bytes(b"BM")
        os.utime(path, (MORNING.timestamp(), MORNING.timestamp()))
        stamp = stamp_of(path.stat())
        if status == "waiting":
            day.store.note_waiting(str(path), stamp, "is shorter than its header says", "S-1")
        else:
            day.store.quarantine_file(str(path), stamp, "is text, not a picture", "S-1", next_look_at=NIGHT)


def at(document: object, place: str) -> object:
    """What stands at a place such as `day.slides.0.images`."""
    for step in place.split("."):
        document = document[int(step)] if isinstance(document, list) else document[step]  # type: ignore[index]
    return document


def pictures(shown: Page) -> list[np.ndarray]:
    """The pixels of all tiles."""
    sources = [str(image["src"]) for image in shown.all("img")]
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    return [decode(base64.b64decode(source.partition(",")[2])) for source in sources]


# Numbers


def test_every_number_of_the_page_is_that_of_the_json_twin_and_the_totals_are_those_of_the_table(day: Day) -> None:
    with_baseline(day)
    filled(day)
    shown, told = page(day), twin(day)
    figures = shown.all("data")
    assert len(figures) > 50
    for figure in figures:
        assert str(at(told, str(figure["data-place"]))) == figure["value"], figure
    assert (told["images_counted"], told["wbc_count"], told["day"]["waiting"], told["day"]["quarantined"]) == (
        5,
        8,
        1,
        1,
    )
    assert f"5 pictures counted, 8 white cells ({told['wbc_count_inside']} not cut" in render(summed(day), "table")
    assert "Pictures counted5 White cells8" in shown.said


def test_the_json_keeps_the_keys_it_had(day: Day) -> None:
    filled(day)
    plain = json.loads(render(summarise(day.store, DAY, DAY, BERLIN), "json"))
    assert "day" not in plain
    assert {name: value for name, value in twin(day).items() if name != "day"} == plain
    assert {"from", "to", "images_counted", "images_open", "wbc_count", "wbc_count_inside", "slides"} <= set(plain)


def test_corrected_counts_count_and_the_page_says_how_many_were_changed(day: Day) -> None:
    filled(day)  # 2, 3, 0, 1 and 2 cells; the second is marked
    for image_id, correction in ((2, RemoveCell(cell_id=1)), (1, Accept()), (5, RejectImage())):
        assert correct(day.store, image_id, correction, "A. Meier").refusal is None
    told, shown = twin(day), page(day)
    assert (told["wbc_count"], told["wbc_count_automatic"], told["images_review_open"]) == (5, 8, 0)
    assert sum(slide["wbc_count"] for slide in told["day"]["slides"]) == 5
    assert [dot["wbc_count"] for dot in told["day"]["dots"]] == [2, 2, 0, 1]  # a rejected picture is no field
    assert "Persons looked at 3 pictures, changed cells of 1 and rejected 1;" in shown.said
    assert "Without corrections there would be 8 white cells" in shown.said
    assert "2 (automatic 3)" in shown.said
    assert 5 not in {tile["image_id"] for tile in told["day"]["sheet"]["cells"]}
    assert told["wbc_count_inside"] == sum(day.store.reviewed(number).wbc_count_inside for number in range(1, 6))
    assert told["day"]["cut_by_border"]["of"] == told["wbc_count"]
    lines = csv.DictReader(io.StringIO(render(summed(day), "csv")))
    columns = [(line["wbc_count"], line["count"]) for line in lines if line["status"] == "done"]
    assert columns == [("2", "2"), ("3", "2"), ("0", "0"), ("1", "1"), ("2", "0")]  # those of `count` make the total
    assert [image["count"] for image in told["images"] if image["status"] == "done"] == [2, 2, 0, 1, 0]
    table = render(summed(day), "table")
    assert f"5 pictures counted, 5 white cells ({told['wbc_count_inside']} not cut" in table
    assert "persons looked at 3 pictures, changed cells of 1, rejected 1: without that 8 white cells" in table


def test_what_is_marked_for_review_is_shown_as_a_share_with_its_interval(day: Day) -> None:
    filled(day)
    told, shown = twin(day)["day"], page(day)
    assert (told["for_review"]["part"], told["for_review"]["of"]) == (1, 5)
    assert "1 of 5: 20.0 % (95 % interval 3.6 % to 62.4 %); 1 of them still wait for a look" in shown.said
    assert [tile["image_id"] for tile in told["sheet"]["fields"]] == [2]
    correct(day.store, 1, Flag(), "A. Meier")  # a person's mark is one, too
    told, shown = twin(day)["day"], page(day)
    assert (told["for_review"]["part"], told["for_review"]["of"]) == (2, 5)
    assert "interval 11.8 % to 76.9 %); 2 of them still wait for a look" in shown.said
    assert [slide["for_review"] for slide in told["slides"]] == [1, 1]


@pytest.mark.parametrize(
    ("part", "of", "low", "high"), [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0)]
)
def test_intervals_are_wilsons(part: int, of: int, low: float, high: float) -> None:
    """The three of Brown, Cai and DasGupta's (2001) formula, worked out by hand."""
    found = share(part, of)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))
    assert share(0, 0).share is None


def test_limits_after_a_long_baseline_are_three_standard_errors_away() -> None:
    assert limits(10.0, 2.0, 10**9, 4) == (pytest.approx(7.0, abs=1e-4), pytest.approx(13.0, abs=1e-4))


@pytest.mark.parametrize("known", [20, 60, 500])
@pytest.mark.parametrize("count", [1, 5, 50, 500])
def test_while_nothing_changes_hardly_a_mean_is_outside(known: int, count: int) -> None:
    """However short the baseline is beside the day: 0.27 % are asked for, where plain 3 sigma give up to 56 %."""
    rng, days = np.random.default_rng([known, count]), 4000
    baselines, means = rng.normal(100, 10, (days, known)), rng.normal(100, 10 / np.sqrt(count), days)
    outside = 0
    for before, mean in zip(baselines, means, strict=True):
        between = limits(before.mean(), before.std(ddof=1), known, count)
        assert between is not None
        outside += not between[0] <= mean <= between[1]
    assert 0 < outside < 0.006 * days


@pytest.mark.parametrize(("sd", "known"), [(0.0, 1), (0.0, 30), (1e-12, 30)])
def test_a_spread_that_nobody_knows_gives_no_limits(sd: float, known: int) -> None:
    assert limits(0.31, sd, known, 3) is None


def test_progress_is_shown_where_a_target_is_set(tmp_path: Path) -> None:
    for target in (0, 4):
        (tmp_path / str(target)).mkdir()
        made = Day(tmp_path / str(target), target=target)
        for number, cells in enumerate((2, 3, 2)):
            made.picture(small(cells)[0], MORNING, slide=f"S-{min(number, 1)}")
        said = page(made, names=True).said
        made.store.close()
        assert ("Progress" in said) == bool(target)
        assert ("2 of 4 white cells" in said and "5 of 4 white cells, reached" in said) == bool(target)


def test_reasons_of_quarantine_are_counted(day: Day) -> None:
    filled(day)
    assert twin(day)["day"]["quarantined_by_reason"] == [{"word": "is text, not a picture", "images": 1}]
    assert "is text, not a picture" in page(day).said


def test_a_day_without_pictures_and_one_without_quality_make_a_page(day: Day) -> None:
    assert "No picture of these days is counted." in page(day).said
    day.picture(small(0)[0], MORNING)
    shown = page(day)
    assert "Pictures counted1 White cells0" in shown.said
    assert not any("Focus" in word for word in shown.words)


def test_the_hour_that_a_changed_clock_repeats_is_two_hours(day: Day) -> None:
    """On 25 October 2026 the Berlin clock shows 02:30 twice."""
    night = date(2026, 10, 25)
    start = bounds(night, night, BERLIN)[0].astimezone(UTC)
    for hours in (2.5, 3.5):
        day.picture(small(1)[0], start + timedelta(hours=hours), file=False)
    summary = detailed(day.store, night, night, day.settings, NIGHT)
    (cells, *_) = json.loads(render(summary, "json"))["day"]["control"]
    assert [point["start"] for point in cells["points"]] == ["2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00"]
    Page(render(summary, "html"))


def test_pictures_of_the_repeated_hour_stand_in_the_order_in_which_they_were_taken(day: Day) -> None:
    night = date(2026, 10, 25)
    start = bounds(night, night, BERLIN)[0].astimezone(UTC)
    for minutes in (60 + 110, 2 * 60 + 70):  # 02:50 by the first turn of the clock, 02:10 by the second
        day.picture(small(1)[0], start + timedelta(minutes=minutes), file=False)
    summary = detailed(day.store, night, night, day.settings, NIGHT)
    assert summary.detail is not None
    assert [f"{dot.at:%H:%M %Z}" for dot in summary.detail.dots] == ["02:50 CEST", "02:10 CET"]
    Page(render(summary, "html"))


@pytest.mark.parametrize(
    "day_of, hours, words",
    [
        (date(2026, 3, 29), (0, 8), ["00:00", "01:00", "03:00", "04:00", "05:00", "06:00", "07:00", "08:00"]),
        (date(2026, 10, 25), (1, 5), ["01:00", "02:00", "03:00", "04:00", "05:00"]),
    ],
)
def test_the_hours_along_an_axis_are_those_that_the_clock_showed(
    day_of: date, hours: tuple[int, int], words: list[str]
) -> None:
    start, end = (datetime(day_of.year, day_of.month, day_of.day, hour, tzinfo=BERLIN) for hour in hours)
    shown = time_ticks(start, end)
    assert [word for _, word in shown] == words
    assert len({at.timestamp() for at, _ in shown}) == len(words)


@pytest.mark.parametrize("of, hours", [(date(2026, 3, 29), 23), (date(2026, 10, 24), 24), (date(2026, 10, 25), 25)])
def test_the_dots_of_a_day_lie_within_its_axis(day: Day, of: date, hours: int) -> None:
    start = bounds(of, of, BERLIN)[0].astimezone(UTC)
    for hour in (0.5, hours - 0.1):
        day.picture(small(1)[0], start + timedelta(hours=hour), file=False)
    detail = detailed(day.store, of - timedelta(days=40), of, day.settings, NIGHT).detail
    assert detail is not None and detail.period == "day"
    chart = Charts(detail.period).dots(detail.dots)
    (dots,) = re.findall(r'<path class="dots" d="([^"]*)"', chart)
    places = [float(place) for place in re.findall(r"M([0-9.]+),", dots)]
    left, right = 44, WIDE[0] - 22
    assert left < places[0] and places[-1] == pytest.approx(left + (right - left) * (1 - 0.1 / hours), abs=0.2)


# The baseline


def test_drift_leaves_the_limits_and_is_said(day: Day) -> None:
    with_baseline(day)
    for number in range(12):
        recipe, when = small(2, 1, 3)[number % 3], MORNING + timedelta(minutes=10 * number)
        day.picture(recipe, when, file=False, areas=1.0 if number < 6 else 1.5, quality={"focus": 1.0})
    told, said = twin(day)["day"], page(day).said
    area = next(one for one in told["control"] if one["quantity"] == "area_px")
    assert [point["outside"] for point in area["points"]] == [False, True]
    assert "1 of 2 hours outside" in said and "Compared with the baseline of 2026-11-16 to 2026-11-18" in said
    assert told["distributions"][0]["baseline_quantiles"] is not None


def test_another_models_baseline_is_named_and_not_compared_with(day: Day) -> None:
    with_baseline(day, "o")
    filled(day)
    told = twin(day)["day"]
    assert told["baseline"].startswith("Not compared: the baseline of 2026-11-16 to 2026-11-18")
    assert all(one["mean"] is None for one in told["control"])
    assert all(one["baseline_quantiles"] is None for one in told["distributions"])
    assert "is of another model than these pictures" in page(day).said


def test_after_a_change_of_model_the_limits_stand_where_they_hold(day: Day) -> None:
    with_baseline(day)
    for number in range(18):
        recipe, when = small(2, 1, 3)[number % 3], MORNING + timedelta(minutes=10 * number)
        day.picture(recipe, when, file=False, model="m" if number < 10 else "n", quality={"focus": 1.0})
    told, shown = twin(day)["day"], page(day)
    area = next(one for one in told["control"] if one["quantity"] == "area_px")
    assert [point["low"] is not None for point in area["points"]] == [True, False, False]  # the change is at 9:40
    assert "8 of 18 pictures are by model n (nnnnnnnn), another model than that of the baseline of" in shown.said
    assert "of 1 hour outside" in shown.said and len([c for c in shown.all("circle") if c["class"] == "alone"]) > 2
    assert all(one["baseline_quantiles"] is None for one in told["distributions"])


def test_without_a_baseline_the_page_says_how_to_set_one(day: Day) -> None:
    filled(day)
    assert "No baseline is set" in page(day).said


# Pictures


def test_the_least_certain_cells_come_first_with_contours_on_their_pixels(day: Day) -> None:
    day.picture(small(2)[0], MORNING, confidence=(0.8, 0.9))
    day.picture(small(3)[0], MORNING, confidence=(0.2, 0.3), flags=("review",))
    told, tiles = twin(day)["day"]["sheet"], pictures(page(day))
    confidences = [tile["confidence"] for tile in told["cells"]]
    assert confidences == sorted(confidences) and [tile["image_id"] for tile in told["cells"]] == [2, 2, 2, 1, 1]
    assert len(tiles) == 6
    for tile in tiles:  # green lines, which no stain is
        red, green, blue = tile.astype(int).transpose(2, 0, 1)
        assert ((green > red + 25) & (green > blue + 10)).sum() > 20


def test_only_pictures_that_wait_for_a_look_are_shown_for_review(day: Day) -> None:
    for _ in range(3):
        day.picture(small(1)[0], MORNING, flags=("review",))
    day.picture(small(1)[0], MORNING)
    assert correct(day.store, 2, Accept(), "A. Meier").refusal is None
    sheet, shown = twin(day)["day"]["sheet"], page(day).said
    assert [tile["image_id"] for tile in sheet["fields"]] == [1, 3] and sheet["fields_for_review"] == 2
    assert "2 of 2 that are marked and that nobody looked at yet" in shown
    for image_id in (1, 3):
        correct(day.store, image_id, RejectImage(), "A. Meier")
    assert (
        twin(day)["day"]["sheet"]["fields"] == [] and "Somebody looked at every one that is marked." in page(day).said
    )


def test_one_bad_picture_does_not_fill_the_sheet_and_the_sheet_ends(day: Day) -> None:
    for _ in range(13):
        day.picture(SmearRecipe(300, 220, 30.0, wbc=6, seed=3), MORNING, confidence=(0.1, 0.5))
    sheet = twin(day)["day"]["sheet"]
    shown = [tile["image_id"] for tile in sheet["cells"]]
    assert (len(shown), sheet["cells_in_all"]) == (48, 78)
    assert max(shown.count(number) for number in shown) == 4


@pytest.mark.parametrize("fate", ["gone", "replaced", "moved", "pruned"])
def test_a_tile_says_what_it_lacks(day: Day, fate: str) -> None:
    number = day.picture(small(1)[0], MORNING, name="one.png")
    path = day.folder / "S-1" / "one.png"
    if fate == "gone":
        path.unlink()
    elif fate == "replaced":
        path.write_bytes(b"another")
    elif fate == "pruned":
        day.store.remove_masks([number], NIGHT)
    else:
        new = path.rename(day.folder / "two.png")
        sha256 = day.store.history(number).sha256  # type: ignore[union-attr]
        day.store.add_image(NewImage(str(new), stamp_of(new.stat()), sha256, "S-1", MORNING, rung=True))  # type: ignore[arg-type]
    problem = {
        "gone": "the file is gone",
        "replaced": "the file holds another picture now",
        "moved": None,
        "pruned": "masks were pruned, no contours",
    }[fate]
    (tile,) = twin(day)["day"]["sheet"]["cells"]
    assert tile["problem"] == problem
    shown = page(day)
    assert len(shown.all("img")) == (fate in ("moved", "pruned"))
    assert problem is None or problem in shown.said


# Completeness


def test_the_page_says_that_nothing_is_missing_or_what_is(day: Day) -> None:
    filled(day)
    assert "No gap. The camera folder holds 6 files: 4 done, 1 quarantined, 1 waiting." in page(day).said
    day.picture(small(5)[0], MORNING - timedelta(days=1), slide="S-1")
    said = page(day).said
    assert "7 files. Pictures of other days, unchanged since they were taken in: 1. The others: 4 done, 1 quar" in said
    (day.folder / "never-seen.png").write_bytes(b"x")
    summary = detailed(day.store, DAY, DAY, day.settings, NIGHT + timedelta(days=9999))
    said = Page(render(summary, "html")).said
    assert "1 gap." in said and "1 unknown: in the folder, never seen by the database" in said


def test_a_folder_out_of_reach_is_said_and_is_no_failure(day: Day) -> None:
    filled(day)
    day.folder.rename(day.root / "elsewhere")
    said = page(day).said
    assert "Unknown. The camera folder could not be read when this page was made: it cannot be listed" in said
    assert str(day.folder) not in said
    day.folder.mkdir()
    assert "is another folder, and empty" in page(day).said


def test_a_folder_of_which_nothing_can_be_seen_is_said_without_a_name(day: Day) -> None:
    link = day.folder / "Mustermann_Erika.bmp"
    link.symlink_to(link)
    for text in (json.dumps(twin(day)), page(day).said):
        assert "Mustermann" not in text and str(day.folder) not in text
    assert "when this page was made: it shows nothing that can be read (too many levels" in page(day).said


def test_a_picture_that_is_counted_while_the_report_is_made_is_in_all_of_it_or_in_none(
    day: Day, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(day)
    before = day.store.counts_by_status()["done"]
    reads = ("ingested_elsewhere", "review_lines", "shared_counts", "results_between", "fields_between")

    def beside(name: str) -> None:
        read = getattr(Store, name)

        def slow(store: Store, *arguments: object) -> object:
            if store is not day.store:  # a picture is a read of the day's own store
                day.picture(small(2)[0], MORNING)
            return read(store, *arguments)

        monkeypatch.setattr(Store, name, slow)

    for name in reads[1:]:
        beside(name)
    summary = summed(day)
    told = json.loads(render(summary, "json"))
    assert day.store.counts_by_status()["done"] == before + len(reads) - 1
    assert told["images_counted"] == before and told["day"]["sheet"]["cells_in_all"] == told["wbc_count_automatic"]
    assert sum(slide["wbc_count"] for slide in told["slides"]) == told["wbc_count"]
    Page(render(summary, "html"))


# A page that needs nothing, harms nobody and can be read


def test_it_holds_no_script_and_asks_nobody_for_anything(day: Day) -> None:
    with_baseline(day)
    filled(day)
    shown = page(day, names=True)
    tags = {tag for tag, _ in shown.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "form", "base", "a", "video", "audio"}
    names = {name for _, attributes in shown.elements for name in attributes}
    assert not {name for name in names if name.startswith("on") or name in ("href", "srcset", "action")}
    without_tiles = re.sub(r'"data:image/jpeg;base64,[^"]*"', "", shown.text)
    assert "//" not in without_tiles and "url(" not in without_tiles and "@import" not in without_tiles
    (policy,) = [meta["content"] for meta in shown.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert str(policy).startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:;")


def test_it_is_for_research_and_prints_no_differential(day: Day) -> None:
    filled(day)
    said = page(day).said.lower()
    assert "research use only, no diagnosis" in said
    assert not re.search("differential|neutrophil|lymphocyte|monocyte|eosinophil|basophil|blast", said)


HOSTILE = (
    "<script>alert(1)<script>.png",
    '"><img src=x onerror=alert(1)>.png',
    "two\nlines\r\x1b[31m.png",
    "gnp.\u202eexe.png",
    "{{ 7 * 7 }}{% raw %}.png",
    "&amp;=cmd().png",
    "\u05d0" * 125 + ".png",  # 254 bytes of a script from right to left
)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_text_and_nothing_else(day: Day, name: str) -> None:
    slide = name.replace(".png", "")
    day.picture(small(1)[0], MORNING, name=name, slide=slide, flags=("review",), confidence=(0.1, 0.2))
    shown = page(day, names=True)
    assert {tag for tag, _ in shown.elements}.isdisjoint({"script"})
    assert len(shown.all("img")) == 2  # the tiles
    assert all(one.isprintable() or one in "\n\u00a0" for one in "".join(shown.words))
    assert printable(name) in "".join(shown.words) and printable(slide) in "".join(shown.words)
    secret = page(day)
    assert name not in secret.text and printable(slide) not in "".join(secret.words)
    told = render(summed(day, names=True), "json")
    assert all(one.isprintable() or one == "\n" for one in told)
    assert json.loads(told)["images"][0]["name"] == name


def test_charts_tables_and_pictures_have_words_and_colours_can_be_told_from_the_ground(day: Day) -> None:
    with_baseline(day)
    filled(day)
    shown = page(day)
    drawings = [one for one in shown.all("svg") if one.get("role") == "img"]
    assert len(drawings) >= 6
    ids = [attributes["id"] for _, attributes in shown.elements if "id" in attributes]
    assert len(ids) == len(set(ids)) == 2 * len(drawings)
    assert all(set(str(one["aria-labelledby"]).split()) <= set(map(str, ids)) for one in drawings)
    assert all(one.get("role") == "img" or one.get("aria-hidden") == "true" for one in shown.all("svg"))
    assert len(shown.all("caption")) == len(shown.all("table")) >= 3
    assert all(one.get("scope") in ("col", "row") for one in shown.all("th"))
    assert all(one.get("alt") for one in shown.all("img"))
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", shown.text))
    assert all(_contrast(colours[name], colours["soft"]) >= 4.5 for name in ("ink", "pale", "blue", "red"))


def _contrast(one: str, other: str) -> float:
    """WCAG 2.1: (lighter + 0.05) / (darker + 0.05) of relative luminances."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return float(np.dot((0.2126, 0.7152, 0.0722), linear))

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


# The command


def test_the_command_writes_the_page(day: Day) -> None:
    filled(day)
    config, out = day.root / "station.toml", day.root / "day.html"
    config.write_text('[camera]\nfolder = "camera"\n[database]\npath = "station.db"\n[report]\ntarget_cells = 9\n')
    line = ["report", "--date", "2026-11-23", "--format", "html", "--config", str(config), "-o", str(out)]
    done = CliRunner().invoke(main, line)
    assert (done.exit_code, done.output) == (0, f"wrote {out}\n"), done.output
    assert "of 9 white cells" in Page(out.read_text(encoding="utf-8")).said


@LONG
def test_a_day_of_500_pictures_is_a_small_page_and_soon_made(day: Day) -> None:
    recipes = [SmearRecipe(wbc=cells, seed=cells) for cells in (0, 1, 2, 4, 8)]
    for number in range(500):
        name = f"Image_{number:04d}.{'bmp' if number % 20 == 0 else 'jpg'}"
        flags = ("review",) if number % 20 == 1 else ()
        when = MORNING + timedelta(seconds=60 * number)
        day.picture(
            recipes[number % 5], when, name=name, slide=f"S-{number // 130}", flags=flags, confidence=(0.3, 1.0)
        )
    started = time.perf_counter()
    text = render(summed(day), "html")
    seconds, size = time.perf_counter() - started, len(text.encode())
    print(f"a page of 500 pictures: {size / 1e6:.2f} MB, made in {seconds:.1f} s")
    assert len(Page(text).all("img")) == 60
    assert size < 5e6 and seconds < 10
