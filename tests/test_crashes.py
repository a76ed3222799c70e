"""Engines that take the process down: at their opening, at work, and by hanging. OpenVINO stands for any of them."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing, redirect_stderr
from io import StringIO
from pathlib import Path

import pytest
from networks import tiny_bundle
from stations import Bench, save
from stores import Clock

import station.registry
import station.selection
from station.contract.errors import EngineError
from station.crashes import MOST_AT_WORK, Crashes
from station.database.records import ENGINE_TROUBLE, MOST_DEATHS
from station.database.store import Store
from station.engines import Engine, Option, open_engine, problem
from station.engines.openvino import OpenVinoEngine
from station.selection import named
from station.settings import Engine as EngineSettings

DEADLY = Option("openvino", "float32")
ALONE, BOTH = EngineSettings(name="onnxruntime"), EngineSettings(precision="float32", threads=1)
pytestmark = pytest.mark.skipif(problem(DEADLY) is not None, reason=str(problem(DEADLY)))


class Crash(BaseException):
    """Nothing that anybody catches: in its place a process would be gone."""


def crash(*_given: object) -> Engine:
    raise Crash


def opening_crashes(*given: object) -> Engine:
    return crash() if DEADLY.engine in given else open_engine(*given)  # type: ignore[arg-type]


def refusal(bench: Bench) -> str | None:
    model = bench.store.active_model()
    assert model is not None
    (told,) = (one.refusal for one in bench.store.trials(model.sha256) if one.engine == DEADLY.engine)
    return told


def with_engines(bench: Bench, engine: EngineSettings) -> None:
    bench.settings = bench.settings.model_copy(update={"engine": engine})


def test_an_engine_that_crashes_at_its_proof_is_refused_after_a_few_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(station.selection, "open_engine", opening_crashes)
    bench = Bench(tmp_path, tiny_bundle(), ALONE, cell_diameter_px=60.0)
    with closing(bench.store):
        save(bench, "a.bmp", 2)
        with_engines(bench, BOTH)
        for _ in range(MOST_DEATHS):
            with pytest.raises(Crash):
                bench.restart()
        for _ in range(2):
            bench.restart()
            assert str(refusal(bench)).startswith(f"the station died {MOST_DEATHS} times while it was opened")
        bench.run()
        assert bench.counts() == {"a.bmp": 2}


def test_an_engine_that_crashes_at_work_gives_way_and_no_picture_is_put_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, tiny_bundle(), EngineSettings(name="openvino", precision="float32"), cell_diameter_px=60.0)
    with closing(bench.store):
        for number in range(3):
            save(bench, f"{number}.bmp", 1 + number)
        assert bench.station.model.current().engine.name.startswith("openvino")
        monkeypatch.setattr(OpenVinoEngine, "__call__", crash)
        monkeypatch.setattr(station.registry, "prove_engine", lambda *_given: ())
        for _ in range(MOST_AT_WORK):
            bench.station = bench.made()
            with pytest.raises(Crash):
                bench.run()
        bench.station = bench.made()
        bench.run()
        assert bench.counts() == {"0.bmp": 1, "1.bmp": 2, "2.bmp": 3}
        assert refusal(bench) == f"the station died {MOST_AT_WORK} times in a row while it counted"
        assert f"openvino float32 cannot serve: {refusal(bench)}" in str(bench.store.fact(ENGINE_TROUBLE))


def test_deaths_that_follow_upon_counted_pictures_are_no_fault_of_an_engine(tmp_path: Path) -> None:
    with closing(Store.open(tmp_path / "station.db", clock=Clock(), create=True)) as store:
        for _ in range(3 * MOST_AT_WORK):
            crashes = Crashes(store)
            assert not crashes.died_at_work("one")
            crashes.worked("one")
        assert [crashes.died_at_work("one") for _ in range(MOST_AT_WORK)] == [False] * (MOST_AT_WORK - 1) + [True]


def test_another_version_of_an_engine_and_an_installation_get_their_chance(tmp_path: Path) -> None:
    with closing(Store.open(tmp_path / "station.db", clock=Clock(), create=True)) as store:
        for _ in range(MOST_DEATHS):
            with pytest.raises(Crash), Crashes(store).guard(named(DEADLY)):
                crash()
        with pytest.raises(EngineError, match="the station died 3 times"), Crashes(store).guard(named(DEADLY)):
            raise AssertionError("it is not tried")
        with redirect_stderr(StringIO()), Crashes(store).guard("another version"):
            pass
        with Crashes(store).anew(), Crashes(store).guard(named(DEADLY)):
            pass


def test_an_installation_gets_past_an_engine_at_which_installations_die(tmp_path: Path) -> None:
    died = []
    with closing(Store.open(tmp_path / "station.db", clock=Clock(), create=True)) as store:
        for _ in range(MOST_DEATHS):
            died.append(Crashes(store).anew())
            died[-1].__enter__()  # and never left: the process is gone
            with pytest.raises(Crash), Crashes(store).guard(named(DEADLY)):
                crash()
        refused = pytest.raises(EngineError, match="the station died 3 times")
        with Crashes(store).anew(), refused, Crashes(store).guard(named(DEADLY)):
            raise AssertionError("it is not tried")
        with Crashes(store).anew(), Crashes(store).guard(named(DEADLY)):
            pass


HANGS = """
import sys, time
from datetime import UTC, datetime
from pathlib import Path
from station.crashes import Crashes
from station.database.store import Store
store = Store.open(Path(sys.argv[1]), clock=lambda: datetime.now(UTC), create=True)
with Crashes(store, limit_seconds=0.2).guard("slow"):
    time.sleep(600)
"""


def test_an_engine_that_hangs_ends_the_process_which_says_where(tmp_path: Path) -> None:
    path = tmp_path / "station.db"
    ended = subprocess.run([sys.executable, "-c", HANGS, str(path)], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 1 and "Timeout" in ended.stderr and "line 9 in <module>" in ended.stderr
    with closing(Store.open(path, clock=Clock())) as store:
        assert '"opening slow": 1' in str(store.fact("engine_deaths"))
