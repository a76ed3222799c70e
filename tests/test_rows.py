"""What goes in and out of the database through its door: files, the queue, results, models, facts."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta, timezone

import pytest
from stores import (
    DAY,
    END,
    HOUR,
    STAMP,
    START,
    Clock,
    analysis,
    cell,
    half_saved,
    leased,
    new,
    on_connect,
    refuse,
    results,
    rows,
    wait,
)

from station.contract.errors import DatabaseError
from station.database.records import ImageResult, KnownFile
from station.database.store import Store

# What the camera folder holds

LIVES = [
    ("add a x, add a x, add b x, add b x", "new known duplicate known", "1 a x queued"),
    ("wait a, add a x", "new", "1 a x queued"),
    ("refuse a, wait a, add a x", "new", "1 a x queued"),
    # A copy that was seen half leaves no row. An id is never used twice: it is the order of arrival.
    ("add a x, wait b, add b x, add c y", "new duplicate new", "1 a x queued, 3 c y queued"),
    # A name that is used again is another image, and the one that was there stays.
    ("add a x, wait a", "new", "1 a x queued, 2 a None waiting"),
    ("add a x, wait a, add a x", "new known", "1 a x queued"),
    # Unless it was the same file, changed in place so soon that it was half a copy.
    ("add a x, add a y, add a x", "new new new", "1 a x queued, 2 a y quarantined"),
    ("add a x, wait a, wait a, add a y", "new new", "1 a x quarantined, 2 a y queued"),
    ("add a x, add b x, wait a, add a y", "new duplicate new", "1 a x queued, 2 a y queued"),
    ("add a x, add b x, add a y, add b z", "new duplicate new new", "1 a x quarantined, 2 a y queued, 3 b z queued"),
    # A limit that was raised lets a refused file in, under its row; one that was lowered takes nothing back.
    ("refuse a, add a x", "new", "1 a x queued"),
    ("add a x, wait b, refuse b", "new", "1 a x queued, 2 b None quarantined"),
    ("refuse a, wait b, add b x", "new", "1 a None quarantined, 2 b x queued"),
    # Each bad file has its row and its reason, also where two are the same.
    ("refuse a, refuse b, add b x, refuse a", "new", "1 a None quarantined, 2 b x queued"),
]


@pytest.mark.parametrize(("steps", "kinds", "images"), LIVES)
def test_a_content_is_one_row_whatever_its_files_went_through(
    store: Store, clock: Clock, steps: str, kinds: str, images: str
) -> None:
    verbs = {"add": lambda store, *words: store.add_image(new(*words)).kind, "wait": wait, "refuse": refuse}
    told = [verbs[verb](store, *words) for verb, *words in map(str.split, steps.split(", "))]
    assert [kind for kind in told if kind] == kinds.split()
    found = [f"{row.image_id} {row.path} {row.sha256} {row.status}" for row in results(store)]
    assert found == images.split(", ")
    clock.after(days=3)
    queued = [(row.image_id, 1) for row in results(store) if row.status == "queued"]
    assert leased(store) == queued  # and nothing that never was a picture


def test_a_file_that_becomes_whole_keeps_its_row(store: Store, clock: Clock) -> None:
    wait(store, "a.bmp")
    clock.after(minutes=11)
    refuse(store, "a.bmp")
    (item,) = store.open_items()
    assert (item.image_id, item.status, item.reason, item.since) == (1, "quarantined", "is text", clock.now)
    clock.after(minutes=11)
    assert store.add_image(new("a.bmp", "whole")).kind == "new"
    (row,) = results(store)
    assert (row.image_id, row.sha256, row.status, row.reason) == (1, "whole", "queued", None)
    assert row.ingested_at == clock.now


def test_files_say_when_to_look_again_whether_events_work_and_what_only_failed(store: Store) -> None:
    store.quarantine_file("a.bmp", STAMP, "is text", "S-17", next_look_at=START + DAY)
    assert store.known_files()["a.bmp"] == KnownFile("a.bmp", STAMP, "quarantined", START + DAY)
    for rung in (True, False):
        store.add_image(new("b.bmp", rung=rung))
    assert rows(store.path, "SELECT path, rung FROM files ORDER BY path") == [("a.bmp", 0), ("b.bmp", 1)]
    store.fail(leased(store)[0][0], "NaN")
    assert store.known_files()["b.bmp"].status == "failed"  # tried again from the queue: its file need not be read
    assert store.add_image(new("b.bmp", "other")).image_id == 3  # and its row is not the next content's


# The queue


def test_fresh_pictures_go_before_retried_ones_which_go_alone(store: Store) -> None:
    for name in "abc":
        store.add_image(new(name))
    assert leased(store, 2) == [(1, 1), (2, 1)]
    store.release_leases()
    store.add_image(new("d"))
    assert [leased(store) for _ in range(4)] == [[(3, 1), (4, 1)], [(1, 2)], [(2, 2)], []]


def test_a_failed_picture_is_tried_after_pauses_that_double_up_to_a_day(store: Store, clock: Clock) -> None:
    store.add_image(new("a.bmp"))
    assert leased(store) == [(1, 1)]
    for attempt, minutes in enumerate((10, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440), 2):
        store.fail(1, "NaN")
        assert [(item.status, item.reason) for item in store.open_items()] == [("quarantined", "NaN")]
        clock.after(minutes=minutes, seconds=-1)
        assert leased(store) == []
        clock.after(seconds=1)
        assert leased(store) == [(1, attempt)]
    store.fail(1, "NaN")
    clock.after(days=-90)  # a clock that was set back does not put off the next time
    assert leased(store) == [(1, 12)]


def test_a_picture_that_kills_the_station_is_put_aside_and_its_neighbours_are_counted(
    store: Store, clock: Clock
) -> None:
    for name in ("a", "deadly", "c"):
        store.add_image(new(name))
    for _ in range(6):  # all three, a, deadly, c, deadly, deadly
        leases = store.lease("w", 8)
        if "deadly" in [lease.paths[0] for lease in leases]:
            store.release_leases()
        else:
            store.save_analysis(analysis(leases[0].image_id))
    assert [row.status for row in results(store)] == ["done", "quarantined", "done"]
    assert [item.reason for item in store.open_items()] == ["the station died 3 times while it was analysed"]
    clock.after(minutes=79)
    assert leased(store) == []
    clock.after(minutes=1)
    assert leased(store) == [(2, 5)]


def test_a_picture_that_could_not_be_tried_goes_back_as_it_was(store: Store) -> None:
    store.add_image(new("a.bmp"))
    assert leased(store) == [(1, 1)]
    store.give_back(1)
    assert leased(store) == [(1, 1)]


def test_failures_are_no_deaths(store: Store, clock: Clock) -> None:
    store.add_image(new("a.bmp"))
    for _ in range(2):
        leased(store)
        store.fail(1, "cannot be read")
        clock.after(days=1)
    leased(store)
    store.release_leases()
    assert [item.status for item in store.open_items()] == ["queued"]


def test_a_lease_names_a_file_that_still_holds_the_content(store: Store) -> None:
    for path, content in (("a.bmp", "x"), ("b.bmp", "x"), ("a.bmp", "y")):
        store.add_image(new(path, content))
    assert [(lease.paths[0], lease.sha256) for lease in store.lease("w", 8)] == [("b.bmp", "x"), ("a.bmp", "y")]


# Results


def test_what_was_saved_is_what_is_read(store: Store) -> None:
    store.add_image(new("a.bmp", "x"))
    store.lease("w", 1)
    store.save_analysis(record := analysis(1))
    image = (1, "a.bmp", "x", "S-17", START, START, "done", None)
    count = (2, 1, None, ("dark",), 120.0, "starter 1", "onnxruntime 1.30 cpu")
    assert results(store) == [ImageResult(*image, *count)]
    assert rows(store.path, "SELECT labels_png, cells_png FROM masks") == [(record.labels_png, record.cells_png)]
    cells = rows(store.path, "SELECT * FROM cell_results")
    assert cells == [(1, k, 10.5, 20.25, 900, 600, 300, 2.0, k - 1, 0.9, "automatic") for k in (1, 2)]
    traced = "model_sha256, settings_sha256, package_version, cell_diameter_source, seconds, width, height"
    trace = ("m1", "s1", "0.1.0", "told", '{"total": 0.5}', 1024, 768)
    assert rows(store.path, f"SELECT {traced} FROM analyses") == [trace]


def _nearly_full(connection: sqlite3.Connection) -> None:
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 2}").fetchone()


@pytest.mark.parametrize(
    ("bad", "prepare", "words"),
    [
        ({"cells": (cell(1), cell(1))}, lambda connection: None, "UNIQUE constraint failed"),
        ({"labels_png": bytes(100_000)}, _nearly_full, "full: make space on its disk"),
    ],
)
def test_an_analysis_that_cannot_be_saved_leaves_nothing(
    store: Store, clock: Clock, bad: dict[str, object], prepare: Callable[[sqlite3.Connection], None], words: str
) -> None:
    store.add_image(new("a.bmp"))
    store.lease("w", 1)
    with on_connect(prepare), closing(Store.open(store.path, clock=clock)) as again:
        with pytest.raises(DatabaseError, match=words):
            again.save_analysis(analysis(1, **bad))
        assert not half_saved(store)
        again.save_analysis(analysis(1))
    assert [(row.status, row.wbc_count) for row in results(store)] == [("done", 2)]


def test_the_same_analysis_is_kept_once_the_newest_counts_and_no_cells_are_a_result(store: Store) -> None:
    store.add_image(new("a.bmp"))
    for record in (analysis(1), analysis(1), analysis(1, model_sha256="m2", model="better", cells=(), flags=())):
        store.save_analysis(record)
    assert [(row.wbc_count, row.model, row.flags) for row in results(store)] == [(0, "better", ())]
    assert rows(store.path, "SELECT * FROM cell_results") == []
    assert rows(store.path, "SELECT model, wbc_count FROM analyses") == [("starter 1", 2), ("better", 0)]


def test_a_day_is_half_open_and_told_in_the_order_of_arrival(store: Store) -> None:
    tick = timedelta(microseconds=1)
    for name, moment in {"late": END - tick, "first": START, "before": START - tick, "after": END}.items():
        store.add_image(new(name, captured_at=moment))
    assert [row.path for row in store.results_between(START, END)] == ["late", "first"]


def test_pictures_taken_in_on_another_day_are_told(store: Store, clock: Clock) -> None:
    for number, captured_at in enumerate((START, START - DAY, START - DAY)):
        store.add_image(new(str(number), captured_at=captured_at))
    clock.after(days=1)
    store.add_image(new("a day late", captured_at=START))
    assert store.ingested_elsewhere(START, END) == (1, 2)
    assert store.ingested_elsewhere(END, END + DAY) == (0, 1)


def test_times_are_text_in_utc_that_sorts_as_time(store: Store) -> None:
    offsets = (timezone(timedelta(hours=hours)) for hours in (2, -11, 14))
    moments = [(START + timedelta(microseconds=k)).astimezone(zone) for k, zone in enumerate(offsets)]
    for number, moment in enumerate(reversed(moments)):
        store.add_image(new(str(number), captured_at=moment))
    stored = [row[0] for row in rows(store.path, "SELECT captured_at FROM images ORDER BY captured_at")]
    assert stored == [f"2026-11-23T09:00:00.00000{k}+00:00" for k in range(3)]
    assert [row.captured_at for row in reversed(results(store))] == moments


def test_every_status_is_counted_and_what_is_open_stands_longest_first(store: Store, clock: Clock) -> None:
    assert store.counts_by_status() == {"waiting": 0, "queued": 0, "leased": 0, "done": 0, "quarantined": 0}
    store.add_image(new("a"))
    store.save_analysis(analysis(1))
    store.add_image(new("b"))
    clock.after(hours=1)
    wait(store, "c")
    clock.after(hours=1)
    store.lease("w", 1)
    wait(store, "c", "is shorter")  # since it waited first
    assert store.counts_by_status() == {"waiting": 1, "queued": 0, "leased": 1, "done": 1, "quarantined": 0}
    found = [(item.path, item.reason, item.since) for item in store.open_items()]
    assert found == [("c", "is shorter", START + HOUR), ("b", None, START + 2 * HOUR)]


# Models and facts


def test_models_are_activated_and_taken_back_like_a_stack(store: Store) -> None:
    assert store.active_model() is None
    names = ("one", "two", "one")  # the same bundle again gives its row, with its file as it is now
    added = [store.add_model(name=n, sha256=n, path=f"{k}.zip", description="") for k, n in enumerate(names)]
    first, second = store.models()
    assert added[1:] == [second, first] and first.path == "2.zip"
    for model in (first, second, second, first):  # the second time in a row changes nothing
        store.activate_model(model.model_id)
    assert store.active_model() == first
    assert [store.rollback_model(), store.rollback_model()] == [second, first]
    with pytest.raises(DatabaseError, match="there is no earlier model to go back to"):
        store.rollback_model()
    assert store.active_model() == first
    with pytest.raises(DatabaseError, match="there is no installed model 9"):
        store.activate_model(9)


def test_a_roll_back_may_lead_further(store: Store) -> None:
    one, two, three = (store.add_model(name=n, sha256=n, path=n, description="") for n in ("one", "two", "three"))
    for model in (one, two, one, three):
        store.activate_model(model.model_id)
    assert store.earlier_models() == (one, two)
    with pytest.raises(DatabaseError, match="there is no earlier model"):
        store.rollback_model(three.model_id)
    assert store.rollback_model(two.model_id) == two == store.active_model()
    assert store.earlier_models() == (one,)


def test_facts_are_remembered_together_where_all_is_as_expected(store: Store) -> None:
    assert store.record_facts({"a": 1, "b": 2}, expected={"a": None, "c": None})
    assert not store.record_facts({"a": 3, "b": 4}, expected={"a": 1, "b": 9})
    assert not store.record_facts({"a": 3}, expected={"a": None})
    assert (store.fact("a"), store.fact("b")) == (1, 2)
    assert store.record_facts({"a": 3}, expected={"a": 1, "b": 2})
    assert store.fact("a") == 3


def test_a_fact_is_remembered_as_it_was_told_last(store: Store) -> None:
    for value in (None, "Europe/Berlin", 7, 120.25, [2049, 2**40], None):
        store.record_fact("name", value)
        assert store.fact("name") == value
    assert store.fact("other") is None
