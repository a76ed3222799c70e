"""The scale belongs to the camera: settled once from its first pictures, or told."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

import pytest
from networks import tiny_bundle
from stations import Bench, save

from station import calibration
from station.calibration import CAMERA_ASKED, CAMERA_ESTIMATES, SETTLING_PICTURES, keep_scale
from station.contract.analysis import Scale
from station.contract.errors import EngineError, Unreadable
from station.daemon import run_once
from station.database.records import CAMERA_SCALE
from station.pipeline import Picture, Result
from station.recent import Recent


def test_an_unknown_scale_is_settled_from_the_first_pictures_and_then_kept(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tiny_bundle())
    with closing(bench.store):
        for number in range(SETTLING_PICTURES - 1):  # as a camera delivers them: one after the other
            save(bench, f"{number}.bmp", 1 + number % 3, 68 + number)
            bench.run()
            assert bench.store.fact(CAMERA_SCALE) is None
            assert bench.results[f"{number}.bmp"].analysis.scale.source == "estimated"
        save(bench, "last.bmp", 2, 74)
        bench.run()
        settled = bench.store.fact(CAMERA_SCALE)
        assert isinstance(settled, float) and 65 < settled < 90
        assert bench.said.count(f"scale {settled}") == 1
        save(bench, "later.bmp", 2, 40)
        bench.station = bench.made()
        bench.run()
        assert bench.store.fact(CAMERA_SCALE) == settled
        for name in ("last.bmp", "later.bmp"):
            scale = bench.results[name].analysis.scale
            assert (scale.cell_diameter_px, scale.source) == (settled, "camera")


def test_of_a_backlog_no_more_pictures_are_counted_at_a_passing_scale_than_are_asked(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tiny_bundle())
    with closing(bench.store):
        for number in range(SETTLING_PICTURES + 8):
            save(bench, f"{number:02}.bmp", 0 if number < 3 else 1 + number % 3, 68 + number)
        bench.run()
        sources = [bench.results[f"{number:02}.bmp"].analysis.scale.source for number in range(SETTLING_PICTURES + 8)]
        assert sources == ["estimated"] * SETTLING_PICTURES + ["camera"] * 8
        assert isinstance(bench.store.fact(CAMERA_SCALE), float)


def test_a_picture_tells_its_scale_once_however_often_it_is_tried(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tiny_bundle())
    with closing(bench.store):
        save(bench, "a.bmp", 2)
        good = bench.station.model.current()
        sound = good.engine

        class Failing:
            """Sound while the scale is estimated, and once it has been."""

            name, batch, abreast = "failing", 1, 1

            def __call__(self, tiles):  # type: ignore[no-untyped-def]
                return sound(tiles) * (float("nan") if bench.store.fact(CAMERA_ESTIMATES) else 1.0)

        object.__setattr__(good, "engine", Failing())
        with pytest.raises(EngineError):
            bench.run()
        assert len(bench.store.fact(CAMERA_ESTIMATES)) == 1  # type: ignore[arg-type]
        bench.station = bench.made()
        bench.run()
        assert bench.counts() == {"a.bmp": 2}
        assert len(bench.store.fact(CAMERA_ESTIMATES)) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize("at_hand", [True, False], ids=["in memory", "to be read"])
def test_a_share_that_drops_for_a_moment_spends_no_picture_that_may_tell_the_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_hand: bool
) -> None:
    bench = Bench(tmp_path, tiny_bundle())

    def load(*_told: object) -> Picture:
        raise Unreadable("cannot be read (input/output error)")

    monkeypatch.setattr(calibration, "load", load)
    with closing(bench.store):
        if not at_hand:
            bench.station.intake.recent = Recent(most_bytes=0)
        for number in range(3):
            save(bench, f"{number}.bmp", 1 + number, 68 + number)
        bench.run()
        assert len(bench.store.fact(CAMERA_ASKED) or []) == (3 if at_hand else 0)  # type: ignore[arg-type]
        assert len(bench.store.fact(CAMERA_ESTIMATES) or []) == (3 if at_hand else 0)  # type: ignore[arg-type]


def test_a_stop_while_the_scale_settles_lets_no_picture_tell_it_twice(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tiny_bundle())
    with closing(bench.store):
        for number in range(SETTLING_PICTURES - 5):
            path = save(bench, f"{number:02d}.bmp", 1)
            path.write_bytes(path.read_bytes()[:-3] + bytes([200, 200, number]))
        for _ in range(3):
            for _ in range(2):
                bench.bell.seconds += 5
                bench.station.intake.tick()
            stop = threading.Event()
            bench.done = lambda _result, stop=stop: stop.set()  # type: ignore[method-assign, misc]
            run_once(bench.station, stop, bench.bell)
            bench.restart()
        told = bench.store.fact(CAMERA_ESTIMATES)
        assert isinstance(told, list) and len(told) == SETTLING_PICTURES - 5
        assert bench.store.fact(CAMERA_SCALE) is None


def test_a_death_while_the_scale_settles_lets_all_pictures_tell_it_after_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, tiny_bundle())
    with closing(bench.store):
        for number in range(3):
            save(bench, f"{number}.bmp", 1 + number, 68 + number)
        sound, asked = calibration.estimate, []

        def deadly(*given: object) -> Scale:
            asked.append(given)
            if len(asked) == 2:
                raise SystemExit(137)
            return sound(*given)  # type: ignore[arg-type]

        monkeypatch.setattr(calibration, "estimate", deadly)
        with pytest.raises(SystemExit):
            bench.run()
        bench.restart()
        bench.run()
        told = bench.store.fact(CAMERA_ESTIMATES)
        assert isinstance(told, list) and len(told) == 3
        assert {one.analysis.scale.source for one in bench.results.values()} == {"estimated"}


def test_a_stop_need_not_wait_until_all_pictures_told_their_scale(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tiny_bundle())
    with closing(bench.store):
        for number in range(3):
            save(bench, f"{number}.bmp", 1 + number, 68 + number)
        stop, sound = threading.Event(), bench.station.model.current()
        engine = sound.engine

        class Slow:
            name, batch, abreast = "slow", 1, 1

            def __call__(self, tiles):  # type: ignore[no-untyped-def]
                stop.set()
                return engine(tiles)

        object.__setattr__(sound, "engine", Slow())
        run_once(bench.station, stop, bench.bell)
        assert not bench.results and len(bench.store.fact(CAMERA_ESTIMATES)) == 1  # type: ignore[arg-type]
        bench.restart()
        bench.run()
        told = bench.store.fact(CAMERA_ESTIMATES)
        assert isinstance(told, list) and len(told) == 3 and len(bench.results) == 3


def test_a_scale_that_somebody_keeps_holds_from_the_next_pictures_on(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tiny_bundle(), cell_diameter_px="auto")
    with closing(bench.store):
        bench.store.record_fact(CAMERA_SCALE, 60.0)
        for number in range(40):
            save(bench, f"{number:02d}.bmp", 1, 60 + number / 9)
        told: list[str] = []

        def done(result: Result) -> None:
            told.append(f"{result.analysis.scale.cell_diameter_px:g}")
            if len(told) == 3:
                keep_scale(bench.store, [100.0])

        bench.done = done  # type: ignore[method-assign]
        bench.run()
        assert len(told) == 40 and 3 <= told.count("60") < 24  # what was leased or decoded by then keeps the old one


def test_a_scale_that_somebody_keeps_while_pictures_are_asked_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, tiny_bundle())
    estimate, asked = calibration.estimate, []

    def slow(*told: object) -> Scale:
        asked.append(told)
        if len(asked) == 15:
            keep_scale(bench.store, [100.0] * 5)
        return estimate(*told)  # type: ignore[arg-type]

    monkeypatch.setattr(calibration, "estimate", slow)
    with closing(bench.store):
        for number in range(SETTLING_PICTURES):
            save(bench, f"{number:02}.bmp", 1 + number % 3, 68 + number)
        bench.run()
        assert len(asked) >= 15 and bench.store.fact(CAMERA_SCALE) == 100.0
        assert bench.store.fact(CAMERA_ESTIMATES) == [100.0] * 5
        last = bench.results[f"{SETTLING_PICTURES - 1:02}.bmp"].analysis.scale
        assert (last.cell_diameter_px, last.source) == (100.0, "camera")


def test_fields_without_a_white_cell_settle_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tiny_bundle())
    with closing(bench.store):
        save(bench, "blank.bmp", 0)
        bench.run()
        assert bench.store.fact(CAMERA_SCALE) is None
        assert bench.results["blank.bmp"].analysis.flags == ("scale-unknown",)


@pytest.mark.parametrize(("camera", "diameter"), [({"um_per_px": 0.225}, 60.0), ({"cell_diameter_px": 45.0}, 45.0)])
def test_a_told_scale_is_used_as_it_is(tmp_path: Path, camera: dict[str, float], diameter: float) -> None:
    bench = Bench(tmp_path, tiny_bundle(), **camera)
    with closing(bench.store):
        save(bench, "a.bmp", 1)
        bench.run()
        scale = bench.results["a.bmp"].analysis.scale
        assert (scale.cell_diameter_px, scale.source) == (diameter, "camera")
        assert bench.store.fact(CAMERA_SCALE) is None
