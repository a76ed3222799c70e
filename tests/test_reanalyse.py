"""`station reanalyse`: another model counts the same days again, beside what was there and what runs."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from click.testing import CliRunner, Result
from conftest import Command
from networks import discs, png, tiny_bundle
from numpy.typing import NDArray
from stations import START, Bench
from stores import analysis, rows

from station.cli import main
from station.contract.bundle import MANIFEST, Bundle, bundle_of
from station.contract.corrections import RemoveCell, Withdraw
from station.contract.errors import DatabaseError, EngineError
from station.database.lock import RunLock
from station.database.records import CAMERA_SCALE, AnalysisRecord, FileStamp, NewImage
from station.database.review_records import Slide
from station.database.store import Store
from station.engines import Engine
from station.reanalysis import plan, reanalyse
from station.registry import Loaded, load_active
from station.reports import summarise
from station.reviewing import correct, masks_of, state_of

LARGE, SMALL = (60, 60, 30, 17), (160, 110, 15, 9)  # a small one is a quarter of a cell
DAYS = ("--from", "2026-11-23", "--to", "2026-11-23")


def strict() -> Bundle:
    """A model that takes nothing small for a cell; on its golden pictures it counts as the other one does."""
    bundle = tiny_bundle("strict")
    how = bundle.manifest.separation.model_copy(update={"min_area": 0.5})
    files = {name: data for name, data in bundle.files.items() if name != MANIFEST}
    return bundle_of(bundle.manifest.model_copy(update={"separation": how}), files)


class Room(Bench):
    """A station that counted three pictures of two slides."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, tiny_bundle(), cell_diameter_px=60.0)
        self.root = root
        for number, cells in enumerate(((LARGE, SMALL), (LARGE,), (SMALL, LARGE)), start=1):
            path = self.path(number)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(png(discs(180, 240 + number, cells)))
            os.utime(path, (START.timestamp() - 60, START.timestamp() - 60))
        self.run()
        (root / "station.toml").write_text(
            f'[camera]\nfolder = "{self.folder}"\ncell_diameter_px = 60.0\n[database]\npath = "{self.store.path}"\n'
            '[engine]\nname = "onnxruntime"\n'
        )

    def path(self, number: int) -> Path:
        return self.folder / ("S-A" if number == 1 else "S-B") / f"{number}.png"

    def call(self, *more: object) -> Result:
        told = ["reanalyse", *DAYS, *map(str, more), "--config", str(self.root / "station.toml")]
        found = CliRunner().invoke(main, told)
        assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
        return found

    def told(self) -> list[tuple[int | None, int | None, str | None]]:
        """(automatic, reviewed, model) by image."""
        found = self.store.results_between(START - timedelta(days=1), START + timedelta(days=1))
        return [(one.wbc_count, one.wbc_count_reviewed, one.model) for one in found]

    def analyses(self) -> list[tuple[object, ...]]:
        return rows(self.store.path, "SELECT * FROM analyses ORDER BY id")


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    made = Room(tmp_path)
    yield made
    made.station.model.close()
    made.store.close()


def test_the_new_result_counts_and_the_old_one_stays(room: Room) -> None:
    before, masks = room.analyses(), [room.store.masks(number) for number in (1, 2, 3)]
    assert room.told() == [(2, None, "tiny"), (1, None, "tiny"), (2, None, "tiny")]
    room.install(strict())
    told = room.call()
    assert told.exit_code == 0, told.output
    assert told.output == "3 pictures analysed again by strict: 5 -> 3 white cells found, another number in 2\n"
    assert room.told() == [(1, None, "strict"), (1, None, "strict"), (1, None, "strict")]
    assert room.analyses()[:3] == before and len(room.analyses()) == 6
    assert [room.store.masks(number) for number in (1, 2, 3)] == masks
    for number in (1, 2, 3):
        state = state_of(room.store, number)
        assert sorted({*masks_of(state)[1].ravel().tolist()} - {0}) == [cell.cell_id for cell in state.cells]


def test_a_second_time_there_is_nothing_to_do(room: Room) -> None:
    assert room.call().output.endswith("3 pictures counted by it already\n")
    room.install(strict())
    room.call()
    before = room.analyses()
    assert room.call().output.endswith("3 pictures counted by it already\n")
    assert room.analyses() == before


def test_pictures_counted_before_the_scale_was_settled_are_due(tmp_path: Path) -> None:
    """A station that does not know its camera yet counts at a guess; later all stand at one scale."""
    bench = Bench(tmp_path, tiny_bundle())
    for number, cells in enumerate(((), (LARGE,)), start=1):
        path = bench.folder / f"{number}.png"
        path.write_bytes(png(discs(180, 240 + number, cells)))
        os.utime(path, (START.timestamp() - 60, START.timestamp() - 60))
    bench.run()
    day = START - timedelta(days=1), START + timedelta(days=1)
    assert len(plan(bench.store, bench.settings, *day).due) == 0
    bench.store.record_fact(CAMERA_SCALE, 70.0)
    planned = plan(bench.store, bench.settings, *day)
    assert (len(planned.due), planned.done) == (2, 0)
    assert len(list(reanalyse(bench.store, bench.settings, planned))) == 2
    assert {one.cell_diameter_px for one in bench.store.results_between(*day)} == {70.0}
    assert len(plan(bench.store, bench.settings, *day).due) == 0
    with closing(sqlite3.connect(bench.store.path)) as connection, connection:  # guessed, and by chance as settled
        connection.execute("UPDATE analyses SET cell_diameter_source = 'estimated' WHERE image_id = 2")
    planned = plan(bench.store, bench.settings, *day)
    assert [one.image_id for one in planned.due] == [2]
    assert len(list(reanalyse(bench.store, bench.settings, planned))) == 1
    assert len(plan(bench.store, bench.settings, *day).due) == 0


def test_one_that_was_cut_off_goes_on_where_it_was(room: Room) -> None:
    room.install(strict())
    day = START - timedelta(hours=9), START + timedelta(hours=15)
    work = reanalyse(room.store, room.settings, plan(room.store, room.settings, *day))
    assert next(work).now == 1
    work.close()  # type: ignore[attr-defined]
    assert [model for *_, model in room.told()] == ["strict", "tiny", "tiny"]
    assert [one.image_id for one in plan(room.store, room.settings, *day).due] == [2, 3]
    assert room.call().exit_code == 0 and len(room.analyses()) == 6


def test_after_a_rollback_the_old_model_counts_again(room: Room) -> None:
    room.install(strict())
    room.call()
    room.store.rollback_model()
    assert room.call().exit_code == 0
    assert room.told() == [(2, None, "tiny"), (1, None, "tiny"), (2, None, "tiny")]
    assert room.call().output.endswith("3 pictures counted by it already\n") and len(room.analyses()) == 9
    room.store.activate_model(2)
    assert room.call().exit_code == 0 and room.told()[0] == (1, None, "strict")
    assert len(room.analyses()) == 12


def test_a_corrected_picture_keeps_its_corrected_count(room: Room) -> None:
    correct(room.store, 1, RemoveCell(1), "Ada")
    expected = masks_of(state_of(room.store, 1))
    room.install(strict())
    again = room.call()
    assert again.exit_code == 0 and again.output.endswith("\n1 picture of these keeps the count that a person gave\n")
    assert room.told()[0] == (2, 1, "tiny")  # and not what strict found: 1
    state = state_of(room.store, 1)
    counts = [(line.wbc_count, line.model) for line in room.store.review_lines(Slide("S-A"))]
    assert counts == [(2, "tiny")] and len(room.store.history(1).analyses) == 2  # type: ignore[union-attr]
    day = summarise(room.store, START.date(), START.date(), ZoneInfo("UTC"))
    assert [line.model for line in day.images] == ["tiny", "strict", "strict"]  # whose cells count
    assert [line.model for line in room.store.review_lines(Slide("S-A"))] == ["tiny"]
    assert state.changed and all((a == b).all() for a, b in zip(masks_of(state), expected, strict=True))
    correct(room.store, 1, Withdraw(), "Ada")
    assert state_of(room.store, 1).wbc_count == 1 and not state_of(room.store, 1).changed
    assert room.told()[0] == (1, None, "strict")


class FailsAtTheSecond:
    """An engine that has no memory for the second picture that it is shown, as often as it is shown."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.name, self.seen = engine, engine.name, list[bytes]()
        self.batch = self.abreast = 1

    def __call__(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        if tiles.tobytes() not in self.seen:
            self.seen.append(tiles.tobytes())
        if self.seen.index(tiles.tobytes()) == 1:
            raise EngineError("no memory")
        return self.engine(tiles)


def test_a_picture_at_which_the_engine_fails_stops_no_other(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.install(strict())

    def opened(*told: Any) -> Loaded:
        model = load_active(*told)
        return replace(model, engine=FailsAtTheSecond(model.engine))

    monkeypatch.setattr("station.reanalysis.load_active", opened)
    told = room.call()
    assert told.exit_code == 1 and told.stdout.startswith("2 pictures analysed again by strict: ")
    assert "not analysed again: image 2 (" in told.stderr and "no memory" in told.stderr
    assert [one[2] for one in room.told()] == ["strict", "tiny", "strict"]


def test_what_was_done_is_told_also_where_an_error_ends_it(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.install(strict())
    add, done = Store.add_analysis, []

    def full(store: Store, record: AnalysisRecord) -> bool:
        if done:
            raise DatabaseError("the database cannot be used (disk is full)")
        done.append(record)
        return add(store, record)

    monkeypatch.setattr(Store, "add_analysis", full)
    told = room.call()
    assert told.exit_code == 1 and told.stdout.startswith("1 picture analysed again by strict: 2 -> 1 white cell")
    assert "disk is full" in told.stderr


def test_a_slide_alone(room: Room) -> None:
    room.install(strict())
    assert room.call("--slide", "S-B").output.startswith("2 pictures analysed again")
    assert {line.model for line in room.store.review_lines(Slide("S-A"))} == {"tiny"}
    assert room.call("--slide", "S-A").output.startswith("1 picture analysed again")
    assert "0 pictures analysed again" in room.call("--slide", "S-A").output
    told = room.call("--slide", "S-C")
    assert told.exit_code == 1 and "no picture of the slide S-C was counted on these days; reports show" in told.stderr


def test_a_picture_that_is_gone_keeps_its_count_and_is_named(room: Room) -> None:
    room.path(2).unlink()
    room.path(3).write_bytes(png(discs(180, 240, ())))
    room.install(strict())
    told = room.call()
    assert told.exit_code == 1 and told.output.startswith("1 picture analysed again")
    assert f"image 2 ({room.path(2)}): cannot be read" in told.stderr
    assert f"image 3 ({room.path(3)}): its file holds another picture now" in told.stderr
    assert room.told() == [(1, None, "strict"), (1, None, "tiny"), (2, None, "tiny")]
    assert rows(room.store.path, "SELECT DISTINCT status FROM images") == [("done",)]


def test_a_picture_that_was_moved_is_found(room: Room) -> None:
    room.path(2).rename(room.path(2).with_name("moved.png"))
    room.run()
    room.install(strict())
    assert room.call().exit_code == 0


def test_pruned_masks_are_made_anew(room: Room) -> None:
    room.store.remove_masks([1, 2], START + timedelta(days=1))
    assert room.call().output.startswith(
        "2 pictures analysed again by tiny: 3 -> 3 white cells found, another number in 0"
    )
    assert masks_of(state_of(room.store, 1))[0].any()
    assert room.call().output.endswith("3 pictures counted by it already\n")


def test_it_works_beside_a_running_station_and_leaves_the_queue_alone(room: Room, station: Command) -> None:
    room.install(strict())
    room.store.add_image(NewImage("5.png", FileStamp(1, 1, 1), "5", "S-C", START, rung=True))
    room.store.lease("the station", 1)
    before = rows(room.store.path, "SELECT * FROM images")
    with RunLock(room.store.path, clock=room.utc):  # as `station run` holds it
        told = station("reanalyse", *DAYS, "--config", room.root / "station.toml")
    assert told.returncode == 0 and told.stdout.startswith("3 pictures analysed again"), told.stderr
    assert rows(room.store.path, "SELECT * FROM images") == before


def test_only_one_works_at_a_time(room: Room) -> None:
    with RunLock(room.store.path, clock=room.utc, work="reanalyse"):
        told = room.call()
        assert told.exit_code == 1 and "another `station reanalyse` works on this database already" in told.stderr


def test_what_is_removed_meanwhile_is_not_written(room: Room) -> None:
    record = replace(record_like(room.store), image_id=99)
    assert not room.store.add_analysis(record)
    assert not room.store.add_analysis(record_like(room.store))  # the same once more
    assert len(room.analyses()) == 3


def record_like(store: Store) -> AnalysisRecord:
    """The newest analysis of the first image, as it was saved."""
    history = store.history(1)
    assert history is not None
    found = history.analyses[-1]
    names = ("model_sha256", "settings_sha256", "cell_diameter_px", "cell_diameter_source")
    return analysis(1, **{name: getattr(found, name) for name in names})


def test_wrong_days_are_wrong_usage() -> None:
    for wrong in (("2026-11-24", "2026-11-23"), ("1066-10-14", "1066-10-14")):
        told = CliRunner().invoke(main, ["reanalyse", "--from", wrong[0], "--to", wrong[1]])
        assert told.exit_code == 2
