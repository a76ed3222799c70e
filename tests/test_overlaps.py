"""Windows of one painted slide, counted by a whole station: no cell counts twice in a slide's second total."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from time import thread_time
from zoneinfo import ZoneInfo

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import LONG
from networks import COLOURS, DIAMETER_PX, disc_labels, tiny_bundle
from stations import START, Bench
from stores import DAY, analysis, new, remove, rows

from station.cli import main
from station.contract.corrections import RejectImage, RemoveCell
from station.contract.imaging import RGB
from station.database.overlap_records import Registered, SmallCopy, StoredOverlap
from station.database.records import SUPERSEDED
from station.database.store import Store
from station.demo.camera import encode_bmp
from station.demo.smear import SmearRecipe, paint
from station.overlaps import Overlaps
from station.reports import FORMATS, Summary, render, summarise
from station.reports.day import detailed
from station.reviewing import correct
from station.settings import Settings

WIDTH, HEIGHT = 640, 480
WINDOWS = {"a": (0, 0), "b": (210, 90), "c": (320, 240)}  # left, top of what each field shows; each shares with each


def middles(seed: int) -> list[tuple[float, float]]:
    """Of a slide's white cells, px of the whole slide."""
    rng = np.random.default_rng(seed)
    places = [(80 + 160 * across, 80 + 140 * down) for across in range(6) for down in range(5)]
    return [(x + rng.uniform(-30, 30), y + rng.uniform(-30, 30)) for x, y in places]


@cache
def smear(seed: int) -> RGB:
    """A slide of twice the area of a field: white cells apart from each other, red ones anywhere."""
    rng, moved = np.random.default_rng([seed, 1]), middles(seed)
    labels = disc_labels(720, 960, [(x, y, DIAMETER_PX / 2, DIAMETER_PX / 4) for x, y in moved])
    image = np.full((720, 960, 3), COLOURS[0])
    for x, y in rng.integers(0, 960, (220, 2)):
        cv2.circle(image, (int(x), int(y)), 18, (225, 195, 195), -1)
    return np.where(labels[..., None] > 0, COLOURS[labels], image).astype(np.uint8)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, tiny_bundle(), cell_diameter_px=DIAMETER_PX)
    with closing(made.store):
        yield made


def take(bench: Bench, name: str, minute: int, slide: str = "S-1", seed: int = 1) -> Path:
    """A field of a slide, captured so many minutes before the station begins."""
    x, y = WINDOWS[name[0]]
    path = bench.folder / slide / f"{name}.bmp"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(encode_bmp(smear(seed)[y : y + HEIGHT, x : x + WIDTH]))
    moment = (START - timedelta(minutes=60 - minute)).timestamp()
    os.utime(path, (moment, moment))
    return path


def overlapping(bench: Bench) -> set[tuple[str, str]]:
    """(later, earlier) by the names of their files."""
    names = {result.image_id: name.removesuffix(".bmp") for name, result in bench.stored().items()}
    pairs = rows(bench.store.path, "SELECT image_id, earlier_id FROM overlap_results")
    return {(names[later], names[earlier]) for later, earlier in pairs}  # type: ignore[index]


def flagged(bench: Bench) -> set[str]:
    return {name.removesuffix(".bmp") for name, result in bench.stored().items() if "overlaps" in result.flags}


def summary(bench: Bench) -> Summary:
    return summarise(bench.store, START.date(), START.date(), ZoneInfo("UTC"), names=True)


def full(bench: Bench, settings: Settings) -> Summary:
    return detailed(bench.store, START.date(), START.date(), settings, bench.utc(), names=True)


def seen_before(bench: Bench, name: str, *earlier: str) -> int:
    """The cells of a field that earlier ones count too, by where the windows and the painted cells truly lie."""
    return len(counted(bench, name) & set().union(*(counted(bench, one) for one in earlier)))


def counted(bench: Bench, name: str, seed: int = 1) -> set[int]:
    """Which of the slide's painted cells a field counts: to each counted one the nearest."""
    left, top = WINDOWS[name[0]]
    image_id = bench.stored()[f"{name}.bmp"].image_id
    cells = rows(bench.store.path, f"SELECT x, y FROM cell_results WHERE image_id = {image_id}")
    painted = np.array(middles(seed))
    found = [int(np.hypot(*(painted - (x + left, y + top)).T).argmin()) for x, y in cells]  # type: ignore[operator]
    assert len(set(found)) == len(found)
    return set(found)


def test_a_slide_is_totalled_with_and_without_what_an_earlier_field_shows_too(bench: Bench) -> None:
    for minute, name in enumerate("abc"):
        take(bench, name, minute)
    bench.run()
    assert overlapping(bench) == {("b", "a"), ("c", "a"), ("c", "b")}
    assert flagged(bench) == {"b", "c"}
    told, twice = summary(bench), seen_before(bench, "b", "a") + seen_before(bench, "c", "a", "b")
    assert told.wbc_count == sum(count or 0 for count in bench.counts().values())
    assert 10 < twice < told.wbc_count - 10
    assert told.wbc_count_distinct == told.wbc_count - twice
    assert told.distinct == {"S-1": told.wbc_count - twice}


@pytest.mark.parametrize("seed", range(1, 7))
def test_a_cell_that_the_border_of_the_earlier_field_cuts_is_no_second_one(bench: Bench, seed: int) -> None:
    """The earlier field counts it by its nucleus; its middle, which the later one sees, lies outside."""
    for minute, name in enumerate("ab"):
        take(bench, name, minute, seed=seed)
    bench.run()
    assert overlapping(bench) == {("b", "a")}
    assert summary(bench).wbc_count_distinct == len(counted(bench, "a", seed) | counted(bench, "b", seed))


def test_a_picture_that_was_put_aside_and_comes_back_has_the_pairs_of_its_new_moment(bench: Bench) -> None:
    live = take(bench, "a", 0).rename(bench.folder / "S-1" / "live.bmp")
    take(bench, "b", 1)
    bench.run()
    first = bench.stored()["live.bmp"].image_id
    with live.open("r+b") as file:  # changed in place
        file.write(encode_bmp(smear(9)[:HEIGHT, :WIDTH]))
    os.utime(live, ((START - timedelta(minutes=50)).timestamp(),) * 2)
    bench.run()
    told = {result.image_id: result for result in bench.store.results_between(START - DAY, START + DAY)}
    assert (told[first].status, told[first].reason, told[first].wbc_count) == ("quarantined", SUPERSEDED, None)
    totals = summary(bench).wbc_count
    for sum_of in ("SELECT sum(wbc_count) FROM image_results", "SELECT count(*) FROM cell_results"):
        assert rows(bench.store.path, sum_of) == [(totals,)]
    take(bench, "a", 5)  # after b now
    bench.run()
    assert overlapping(bench) == {("a", "b")}
    assert rows(bench.store.path, "SELECT image_id FROM overlaps") == [(first,)]  # and none the other way round
    assert summary(bench).wbc_count - summary(bench).wbc_count_distinct == seen_before(bench, "a", "b")


def test_fields_of_other_slides_and_other_places_are_not_held_against_each_other(bench: Bench) -> None:
    take(bench, "a", 0)
    take(bench, "a2", 1, slide="S-2", seed=2)
    take(bench, "b", 2, slide="S-2")  # the same place as S-1 shows, in a folder of its own
    bench.run()
    assert overlapping(bench) == set() and flagged(bench) == set()
    assert summary(bench).wbc_count_distinct == summary(bench).wbc_count


def test_a_picture_that_is_moved_to_another_slide_takes_no_cells_from_either(bench: Bench) -> None:
    earlier, later = take(bench, "a", 0), take(bench, "b", 1)
    bench.run()
    assert overlapping(bench) == {("b", "a")} and summary(bench).wbc_count_distinct < summary(bench).wbc_count
    (bench.folder / "S-2").mkdir()
    later.rename(bench.folder / "S-2" / "b.bmp")
    bench.run()
    assert overlapping(bench) == flagged(bench) == set()
    told = summary(bench)
    assert told.wbc_count_distinct == told.wbc_count and {slide for slide, *_ in told.slides} == {"S-1", "S-2"}
    earlier.rename(bench.folder / "S-2" / "a.bmp")  # the folder was renamed, picture by picture
    bench.run()
    assert overlapping(bench) == {("b", "a")} and flagged(bench) == {"b"}


def test_a_picture_that_is_moved_to_another_slide_is_held_against_the_fields_there(bench: Bench) -> None:
    for minute, name in ((0, "a"), (2, "c")):
        take(bench, name, minute)
    misfiled = take(bench, "b", 1, slide="S-2")
    bench.run()
    assert overlapping(bench) == {("c", "a")}
    misfiled.rename(bench.folder / "S-1" / "b.bmp")
    bench.restart()  # nothing is remembered but what the database holds
    bench.run()
    assert overlapping(bench) == {("b", "a"), ("c", "a"), ("c", "b")} and flagged(bench) == {"b", "c"}
    twice = seen_before(bench, "b", "a") + seen_before(bench, "c", "a", "b")
    assert summary(bench).wbc_count_distinct == summary(bench).wbc_count - twice


def test_a_picture_that_is_moved_before_it_is_counted_is_compared_once(bench: Bench) -> None:
    take(bench, "a", 0)
    misfiled = take(bench, "b", 1, slide="S-2")
    for _ in range(2):
        bench.bell.seconds += 5
        bench.station.intake.tick()
    assert bench.store.counts_by_status()["queued"] == 2
    misfiled.rename(bench.folder / "S-1" / "b.bmp")
    bench.run()
    assert overlapping(bench) == {("b", "a")}


@pytest.mark.parametrize("order", ["bca", "cab", "cba"])
def test_the_order_of_arrival_changes_nothing(bench: Bench, order: str) -> None:
    """Captured a, b, c; a field that comes late is held against the later ones too."""
    for name in order:
        take(bench, name, "abc".index(name))
        bench.run()
    assert overlapping(bench) == {("b", "a"), ("c", "a"), ("c", "b")}
    assert summary(bench).wbc_count_distinct == summary(bench).wbc_count - seen_before(bench, "b", "a") - seen_before(
        bench, "c", "a", "b"
    )


def test_a_station_that_was_restarted_knows_the_fields_of_before(bench: Bench) -> None:
    take(bench, "a", 0)
    bench.run()
    bench.station = bench.made()
    take(bench, "b", 1)
    bench.run()
    assert overlapping(bench) == {("b", "a")}


def test_only_so_many_fields_are_looked_back_and_none_when_it_is_switched_off(bench: Bench) -> None:
    looking_back(bench, 1)
    for minute, (name, seed) in enumerate((("a", 1), ("a2", 2), ("b", 1), ("c", 1))):
        take(bench, name, minute, seed=seed)
    bench.run()
    assert overlapping(bench) == {("c", "b")}
    looking_back(bench, 0)
    take(bench, "a3", 9)
    bench.run()
    assert overlapping(bench) == {("c", "b")}
    assert rows(bench.store.path, "SELECT count(*) FROM fingerprints") == [(4,)]


def looking_back(bench: Bench, fields: int) -> None:
    limits = bench.settings.limits.model_copy(update={"overlap_fields": fields})
    bench.settings = bench.settings.model_copy(update={"limits": limits})
    bench.station = bench.made()


def test_what_an_earlier_field_does_not_count_is_not_counted_twice(bench: Bench) -> None:
    take(bench, "a", 0)
    take(bench, "b", 1)
    bench.run()
    assert summary(bench).wbc_count_distinct < summary(bench).wbc_count
    first = bench.stored()["a.bmp"].image_id
    correct(bench.store, first, RejectImage(), who="A. Weber")
    assert summary(bench).wbc_count_distinct == summary(bench).wbc_count == bench.counts()["b.bmp"]
    assert flagged(bench) == set()


def test_a_cell_that_only_the_later_field_counts_is_in_the_total_without_those_of_earlier_ones(bench: Bench) -> None:
    """As where the earlier one misses it, or a person took it away there."""
    for minute, name in enumerate("ab"):
        take(bench, name, minute)
    bench.run()
    before, first = summary(bench), bench.stored()["a.bmp"].image_id
    seen = rows(bench.store.path, f"SELECT cell_id, x, y FROM cell_results WHERE image_id = {first}")
    left, top = WINDOWS["b"]
    whole = [cell_id for cell_id, x, y in seen if left + 40 < x < WIDTH - 40 and top + 40 < y < HEIGHT - 40]  # type: ignore[operator]
    correct(bench.store, first, RemoveCell(whole[0]), who="A. Weber")  # type: ignore[arg-type]
    after = summary(bench)
    assert after.wbc_count == before.wbc_count - 1 and after.wbc_count_distinct == before.wbc_count_distinct


def test_a_day_leaves_out_only_what_it_counts_itself(bench: Bench) -> None:
    take(bench, "a", -24 * 60)
    take(bench, "b", 1)
    bench.run()
    assert flagged(bench) == {"b"}
    assert summary(bench).wbc_count_distinct == summary(bench).wbc_count == bench.counts()["b.bmp"]
    both = summarise(bench.store, START.date() - timedelta(days=1), START.date(), ZoneInfo("UTC"))
    assert both.wbc_count_distinct == both.wbc_count - seen_before(bench, "b", "a")


def test_every_format_states_both_totals_where_they_differ(bench: Bench) -> None:
    for minute, name in enumerate("ab"):
        take(bench, name, minute)
    bench.run()
    told = full(bench, bench.settings)
    shown = {style: render(told, style) for style in FORMATS}
    twice = seen_before(bench, "b", "a")
    sentence = f"{twice} white cells are counted in an earlier picture of the slide too: "
    assert sentence + str(told.wbc_count - twice) in shown["table"] and sentence in shown["html"]
    assert _words(shown["table"], "slide") == ["slide", "pictures", "white", "cells", "distinct"]
    assert _words(shown["table"], "S-1") == ["S-1", "2", str(told.wbc_count), str(told.wbc_count - twice)]
    as_json = json.loads(shown["json"])
    assert as_json["wbc_count_distinct"] == told.wbc_count - twice
    assert as_json["slides"][0]["wbc_count_distinct"] == as_json["day"]["slides"][0]["wbc_count_distinct"]
    lines = list(csv.DictReader(io.StringIO(shown["csv"])))
    assert [line["wbc_count_shared"] for line in lines] == ["0", str(twice)]
    assert ">Distinct</th>" in shown["html"]


def test_where_no_place_was_photographed_twice_nothing_is_said_of_it(bench: Bench) -> None:
    take(bench, "a", 0)
    bench.run()
    told = full(bench, bench.settings)
    assert "distinct" not in render(told, "table") and "Distinct</th>" not in render(told, "html")


def _words(table: str, first: str) -> list[str]:
    return next(line.split() for line in table.splitlines() if line.startswith(f"{first} "))


def test_progress_towards_the_target_counts_no_cell_twice(bench: Bench) -> None:
    for minute, name in enumerate("ab"):
        take(bench, name, minute)
    bench.run()
    report = bench.settings.report.model_copy(update={"target_cells": 100})
    settings = bench.settings.model_copy(update={"report": report})
    told = full(bench, settings)
    assert told.detail is not None
    assert told.detail.slides[0].share == told.wbc_count_distinct / 100 < told.wbc_count / 100


def test_explain_names_the_earlier_field(bench: Bench, tmp_path: Path) -> None:
    for minute, name in enumerate("ab"):
        take(bench, name, minute)
    bench.run()
    config = tmp_path / "station.toml"
    config.write_text('[camera]\nfolder = "camera"\n[database]\npath = "station.db"\n', encoding="utf-8")
    told = CliRunner().invoke(main, ["explain", str(bench.stored()["b.bmp"].image_id), "--config", str(config)])
    assert told.exit_code == 0, told.output
    (line,) = [line for line in told.output.splitlines() if line.startswith("overlaps image")]
    assert line.startswith(f"overlaps image {bench.stored()['a.bmp'].image_id}: 55 % of the field, shifted by (")
    assert line.endswith(f"it counts {seen_before(bench, 'b', 'a')} cells of this one too")


@LONG
def test_to_compare_a_picture_with_twenty_costs_less_than_10_ms_of_one_core(store: Store) -> None:
    field = paint(SmearRecipe(width=1400, height=1000)).image
    rng, seconds = np.random.default_rng(0), []
    overlaps = Overlaps(store, 20)
    for number in range(60):
        x, y = rng.integers(0, 1400 - 1024), rng.integers(0, 1000 - 768)
        image = np.ascontiguousarray(field[y : y + 768, x : x + 1024])
        store.add_image(new(f"/camera/{number}.bmp", captured_at=START + timedelta(minutes=number)))
        (lease,) = store.lease("test", 1)
        began = thread_time()
        registered = overlaps.register(lease.image_id, image)
        seconds.append(thread_time() - began)
        store.save_analysis(analysis(lease.image_id, registered=registered))
    usual, least = (1000 * float(one(seconds[20:])) for one in (np.median, np.min))
    print(f"\n{least:.1f} ms a picture of 1024 x 768 px where nothing disturbs, {usual:.1f} ms in the middle")
    assert registered is not None and len(registered.pairs) == 20
    assert least < 10


def test_small_copies_go_with_the_masks_and_pairs_with_their_pictures(bench: Bench) -> None:
    for minute, name in enumerate("ab"):
        take(bench, name, minute)
    bench.run()
    bench.bell.seconds += 400 * 86400
    ids = [row[0] for row in rows(bench.store.path, "SELECT id FROM analyses")]
    bench.store.remove_masks(ids, bench.utc())  # type: ignore[arg-type]
    assert rows(bench.store.path, "SELECT count(*) FROM fingerprints") == [(0,)]
    assert overlapping(bench) == {("b", "a")}
    remove(bench.store, bench.stored()["a.bmp"].image_id)
    assert rows(bench.store.path, "SELECT count(*) FROM overlaps") == [(0,)]


def test_a_pair_with_a_picture_that_is_pruned_meanwhile_is_none(store: Store) -> None:
    for name in ("old.bmp", "older.bmp", "new.bmp"):
        store.add_image(new(name))
    leased = store.lease("w", 3)
    for lease in leased[:2]:
        store.save_analysis(analysis(lease.image_id))
    pairs = tuple(StoredOverlap(leased[2].image_id, lease.image_id, 5.0, 5.0, 0.5, 1.0) for lease in leased[:2])
    remove(store, leased[0].image_id)
    store.save_analysis(replace(analysis(leased[2].image_id), registered=Registered(SmallCopy(8, b"jpeg"), pairs)))
    assert rows(store.path, "SELECT earlier_id FROM overlaps") == [(leased[1].image_id,)]
    assert store.counts_by_status()["done"] == 2
