"""What goes wrong with a GPU ends with counted pictures and one line in status: a station on a recording double."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from networks import discs, tiny_bundle
from numpy.typing import NDArray
from recorders import Double, install, renew
from stations import START, Bench

import station.live
from station.cli import main
from station.cli.status import command as status
from station.contract.errors import EngineError
from station.database.records import ENGINE_TROUBLE
from station.demo.camera import encode_bmp
from station.engines import Setup, open_engine
from station.engines.tensorrt.builder import started
from station.engines.tensorrt.runner import Session, Span
from station.reanalysis import plan, reanalyse
from station.replay import replay
from station.settings import Engine
from station.standby import GIVES_UP_AFTER

OUT_OF_MEMORY = "Error Code 2: OutOfMemory (Requested size was 100 bytes.)"


@dataclass
class Gpu:
    """A station on the double; `fault` happens between two of its starts."""

    bench: Bench
    double: Double
    patch: pytest.MonkeyPatch
    config: Path

    @property
    def plan(self) -> Path:
        (plan,) = (self.config.parent / "models" / "plans").glob("*.plan")
        return plan

    def save(self, name: str, width: int = 240) -> Path:
        """A picture with two cells."""
        cells = ((60, 60, 30, 17), (150, 100 + ord(name[0]) % 16, 28, 15))  # no two pictures are the same
        path = self.bench.folder / name
        path.write_bytes(encode_bmp(discs(180, width, cells)))
        return path

    def count(self, name: str, width: int = 240) -> str:
        """The engine that counted such a picture."""
        self.save(name, width)
        self.bench.run()
        result = self.bench.stored()[name]
        assert result.wbc_count == 2
        return result.engine

    def renewed(self) -> None:
        renew(self.patch, self.double)

    def degraded(self) -> list[str]:
        told = CliRunner().invoke(status, ["--config", str(self.config)])
        assert told.exit_code == 0, told.output
        return [line for line in told.output.splitlines() if line.startswith("degraded: ")]

    def engine_line(self) -> str:
        told = CliRunner().invoke(status, ["--config", str(self.config)])
        return next(line for line in told.output.splitlines() if line.startswith("engine: "))


def made(root: Path, patch: pytest.MonkeyPatch, name: str) -> Gpu:
    double = install(patch)
    bench = Bench(root, tiny_bundle(), Engine.model_validate({"name": name, "threads": 1}), cell_diameter_px=60.0)
    config = root / "station.toml"
    config.write_text(
        f'[camera]\nfolder = "{bench.folder}"\ncell_diameter_px = 60\n[database]\npath = "{root / "station.db"}"\n'
        f'[engine]\nname = "{name}"\nthreads = 1\n',
        encoding="utf-8",
    )
    return Gpu(bench, double, patch, config)


@pytest.fixture(params=["auto", "tensorrt"])
def gpu(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    gpu = made(tmp_path, monkeypatch, request.param)
    with closing(gpu.bench.store):
        yield gpu
        gpu.bench.station.model.close()


def truncated(gpu: Gpu) -> None:
    gpu.plan.write_bytes(gpu.plan.read_bytes()[:100])


def of_another_version(gpu: Gpu) -> None:
    gpu.double.record.version = "11.5.0.1"
    gpu.renewed()


def for_another_gpu(gpu: Gpu) -> None:
    gpu.double.record.gpu = "NVIDIA GeForce RTX 5090"
    gpu.renewed()


def library_gone(gpu: Gpu) -> None:
    for name in ("tensorrt", "tensorrt_rtx"):
        gpu.patch.setitem(sys.modules, name, None)


def driver_gone(gpu: Gpu) -> None:
    gpu.double.record.failing["cudaGetDeviceCount"] = 35


def memory_held(gpu: Gpu) -> None:
    gpu.double.record.deserializes = False
    gpu.double.record.reason = OUT_OF_MEMORY


def held_alone(gpu: Gpu) -> None:
    """In exclusive-process mode a second program gets no context, which the library's log says in words of its own."""
    gpu.double.record.failing["cudaStreamCreateWithFlags"] = 46
    gpu.double.record.deserializes = False
    gpu.double.record.reason = "Error Code 1: Cuda Runtime (all CUDA-capable devices are busy or unavailable)"


FAULTS: dict[str, tuple[Callable[[Gpu], None], str]] = {
    "plan truncated": (truncated, "waits for its plan: the model tiny has no plan yet"),
    "plan of another version": (of_another_version, "waits for its plan: the model tiny has no plan yet"),
    "plan for another GPU": (for_another_gpu, "waits for its plan: the model tiny has no plan yet"),
    "library missing": (library_gone, "TensorRT cannot be loaded"),
    "driver missing": (driver_gone, "there is no NVIDIA driver, or it is older"),
    "GPU memory held by another program": (memory_held, "out of GPU memory"),
    "GPU that another program holds alone": (held_alone, "busy or unavailable"),
}


def hanging_build(bundle: Path, precision: str, plans: Path) -> object:
    return started([sys.executable, "-c", "import signal; signal.pause()"])


def build_in_here(bundle: Path, precision: str, plans: Path) -> object:
    """The double lives in this process, so the plan is built in it; what the station waits for is another one."""
    open_engine(tiny_bundle(), "tensorrt", precision, Setup(plans=plans))
    build = started([sys.executable, "-c", ""])
    build.process.wait()
    return build


@pytest.mark.parametrize("fault", FAULTS)
def test_pictures_are_counted_and_status_says_in_one_line_what_is_wrong(gpu: Gpu, fault: str) -> None:
    assert gpu.count("a.bmp").startswith("tensorrt")
    assert gpu.degraded() == []
    provoke, words = FAULTS[fault]
    gpu.patch.setattr(station.live.LiveModel.__init__, "__kwdefaults__", {"start": hanging_build})
    provoke(gpu)
    gpu.bench.restart()
    assert not gpu.count("b.bmp").startswith("tensorrt")
    lines = [line for line in (*gpu.degraded(), gpu.engine_line()) if words in line]
    assert len(lines) == 1, (gpu.degraded(), gpu.engine_line())
    assert len(gpu.degraded()) <= 1


@pytest.mark.parametrize("fault", ["plan truncated", "plan of another version", "plan for another GPU"])
def test_a_lost_plan_is_built_anew_while_the_station_counts(gpu: Gpu, fault: str) -> None:
    gpu.count("a.bmp")
    gpu.patch.setattr(station.live.LiveModel.__init__, "__kwdefaults__", {"start": build_in_here})
    FAULTS[fault][0](gpu)
    gpu.bench.restart()
    gpu.count("b.bmp")
    assert gpu.count("c.bmp").startswith("tensorrt")
    assert gpu.degraded() == []


@pytest.mark.parametrize("hold", [memory_held, held_alone])
def test_a_gpu_that_was_held_serves_again_after_the_next_start(gpu: Gpu, hold: Callable[[Gpu], None]) -> None:
    gpu.count("a.bmp")
    plan = gpu.plan.read_bytes()
    hold(gpu)
    gpu.bench.restart()
    assert not gpu.count("b.bmp").startswith("tensorrt")
    assert gpu.plan.read_bytes() == plan
    gpu.double.record.deserializes = True
    gpu.double.record.failing.clear()
    gpu.bench.restart()
    assert gpu.count("c.bmp").startswith("tensorrt")
    assert gpu.degraded() == []


def test_a_model_that_was_tried_while_the_gpu_was_full_is_tried_again_when_it_counts(gpu: Gpu) -> None:
    """The engine of the model before it held the memory, and is let go when the new one is taken over."""
    gpu.count("a.bmp")
    gpu.double.record.refusing.add("create_execution_context")
    gpu.double.record.reason = OUT_OF_MEMORY
    gpu.bench.install(tiny_bundle("other"))
    gpu.double.record.refusing.clear()
    assert gpu.count("b.bmp").startswith("tensorrt")
    assert gpu.degraded() == [] and gpu.bench.stored()["b.bmp"].model == "other"


def test_what_was_wrong_with_the_engine_of_the_model_before_is_not_said_of_the_new_one(gpu: Gpu) -> None:
    gpu.count("a.bmp")
    gpu.double.record.refusing.add("execute_async_v3")
    gpu.count("b.bmp")
    assert gpu.degraded()
    gpu.double.record.refusing.clear()
    gpu.bench.install(tiny_bundle("other"))
    assert gpu.count("c.bmp").startswith("tensorrt")
    assert gpu.degraded() == []


def test_memory_that_runs_out_at_work_is_one_line_and_costs_no_picture(gpu: Gpu) -> None:
    gpu.count("a.bmp")
    gpu.double.record.refusing.add("execute_async_v3")
    gpu.double.record.reason = OUT_OF_MEMORY
    assert not gpu.count("b.bmp").startswith("tensorrt")
    (line,) = gpu.degraded()
    assert "OutOfMemory" in line and line.endswith("answered instead")


def test_a_build_that_is_killed_half_way_leaves_the_reference_and_a_line(gpu: Gpu) -> None:
    builds = []

    def start(bundle: Path, precision: str, plans: Path) -> object:
        builds.append(hanging_build(bundle, precision, plans))
        return builds[-1]

    gpu.count("a.bmp")
    gpu.patch.setattr(station.live.LiveModel.__init__, "__kwdefaults__", {"start": start})
    truncated(gpu)
    gpu.bench.restart()
    assert not gpu.count("b.bmp").startswith("tensorrt")
    builds[0].process.send_signal(signal.SIGKILL)
    builds[0].process.wait()
    assert not gpu.count("c.bmp").startswith("tensorrt")
    (line,) = gpu.degraded()
    assert "the build was killed" in line


def test_why_the_library_refuses_a_plan_right_after_its_build_is_told(gpu: Gpu) -> None:
    def start(bundle: Path, precision: str, plans: Path) -> object:
        build = build_in_here(bundle, precision, plans)
        gpu.double.record.deserializes = False
        return build

    gpu.count("a.bmp")
    gpu.patch.setattr(station.live.LiveModel.__init__, "__kwdefaults__", {"start": start})
    truncated(gpu)
    gpu.bench.restart()
    gpu.count("b.bmp")
    assert not gpu.count("c.bmp").startswith("tensorrt")
    words = "the library refuses the plan: the reason in the log"
    assert [line for line in (*gpu.degraded(), gpu.engine_line()) if words in line]


def broken_build(bundle: Path, precision: str, plans: Path) -> object:
    build = started([sys.executable, "-c", "import sys; sys.exit('no space left')"])
    build.process.wait()
    return build


@pytest.mark.parametrize("build", [build_in_here, broken_build])
def test_how_a_build_ended_is_told_while_no_picture_comes(gpu: Gpu, build: Callable[..., object]) -> None:
    gpu.count("a.bmp")
    gpu.patch.setattr(station.live.LiveModel.__init__, "__kwdefaults__", {"start": build})
    truncated(gpu)
    gpu.bench.restart()
    gpu.bench.run()
    waits, *after = [one for one in gpu.bench.said if one.startswith("trouble: ")]
    assert "waits for its plan" in waits
    fact = gpu.bench.store.fact(ENGINE_TROUBLE)
    if build is build_in_here:
        assert (fact, after) == (None, [])
    else:
        assert str(fact).endswith("its plan could not be built: no space left") and after == [f"trouble: {fact}"]


def test_the_engine_of_the_old_model_is_let_go_before_that_of_the_new_one_is_opened(gpu: Gpu) -> None:
    gpu.count("a.bmp")
    gpu.bench.install(tiny_bundle("other"))
    gpu.double.record.calls.clear()
    assert gpu.count("b.bmp").startswith("tensorrt")
    names = gpu.double.record.names()
    assert names.count("cudaStreamCreateWithFlags") == names.count("cudaStreamDestroy") == 1
    assert names.index("cudaStreamDestroy") < names.index("deserialize_cuda_engine")


def test_a_gpu_that_is_given_up_holds_no_memory(gpu: Gpu) -> None:
    gpu.count("a.bmp")
    gpu.double.record.refusing.add("execute_async_v3")
    for name in "bcdef"[:GIVES_UP_AFTER]:
        assert not gpu.double.holds_nothing()
        assert not gpu.count(f"{name}.bmp").startswith("tensorrt")
    assert gpu.double.holds_nothing()


def test_pictures_too_large_for_the_plan_are_counted_by_another_engine_and_are_no_trouble(gpu: Gpu) -> None:
    gpu.count("a.bmp")
    for name in "bcdef"[: GIVES_UP_AFTER + 1]:
        assert not gpu.count(f"{name}.bmp", width=2400).startswith("tensorrt")  # 1600 px at network scale
    assert gpu.count("g.bmp").startswith("tensorrt")
    assert gpu.degraded() == []


# Commands beside the station


def is_of_work(tiles: NDArray[np.uint8]) -> bool:
    """Golden pictures are not so wide, and the large tiles that an engine is proved on are wider."""
    return 200 < tiles.shape[2] < 900


def wide_tiles_fail(session: Session, tiles: NDArray[np.uint8], span: Span) -> NDArray[np.float32]:
    if is_of_work(tiles):
        raise EngineError("an illegal memory access was encountered")
    return INFER(session, tiles, span)


def wide_tiles_are_not_finite(session: Session, tiles: NDArray[np.uint8], span: Span) -> NDArray[np.float32]:
    return INFER(session, tiles, span) * (np.float32(np.nan) if is_of_work(tiles) else np.float32(1))


INFER = Session.infer

WORK_FAULTS: dict[str, tuple[Callable[[Gpu], None], str]] = {
    "GPU memory held by the running station": (memory_held, "out of GPU memory"),
    "plan lost": (truncated, "waits for its plan"),
    "a call that fails": (lambda gpu: gpu.patch.setattr(Session, "infer", wide_tiles_fail), "illegal memory access"),
    "numbers that are none": (
        lambda gpu: gpu.patch.setattr(Session, "infer", wide_tiles_are_not_finite),
        "numbers that are not finite",
    ),
}


@dataclass
class Failing:
    """A station whose GPU counted two pictures and fails since; the words for it."""

    gpu: Gpu
    words: str


@pytest.fixture(params=WORK_FAULTS)
def failing(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Failing]:
    """No plan may be built meanwhile."""
    gpu = made(tmp_path, monkeypatch, "auto")
    for name in ("a.bmp", "b.bmp"):
        assert gpu.count(name, width=480).startswith("tensorrt")
    provoke, words = WORK_FAULTS[request.param]
    provoke(gpu)
    gpu.double.record.calls.clear()
    with closing(gpu.bench.store):
        yield Failing(gpu, words)
        gpu.bench.station.model.close()
    assert "build_serialized_network" not in gpu.double.record.names()


def called(gpu: Gpu, *arguments: object) -> Result:
    told = CliRunner().invoke(main, [*map(str, arguments), "--config", str(gpu.config)])
    assert told.exception is None or isinstance(told.exception, SystemExit), told.exception
    assert told.exit_code == 0, told.output
    return told


def test_segment_counts_all_the_same_and_tells_the_trouble_once(failing: Failing) -> None:
    told = called(failing.gpu, "segment", failing.gpu.bench.folder, "--format", "jsonl")
    lines = [json.loads(line) for line in told.stdout.splitlines()]
    assert [line["wbc_count"] for line in lines] == [2, 2]
    assert not any(line["engine"].startswith("tensorrt") for line in lines)
    (line,) = told.stderr.splitlines()
    assert line.startswith("degraded: ") and failing.words in line


def test_calibrate_measures_all_the_same_and_tells_the_trouble_once(failing: Failing) -> None:
    told = called(failing.gpu, "calibrate", failing.gpu.bench.folder)
    assert "2 pictures with a white cell" in told.stdout
    (line,) = told.stderr.splitlines()
    assert line.startswith("degraded: ") and failing.words in line


def test_replay_says_which_engine_answered(failing: Failing) -> None:
    out = called(failing.gpu, "replay", 1)
    (line,) = (line for line in out.stdout.splitlines() if "engine: " in line)
    (trouble,) = out.stderr.splitlines()
    assert trouble.startswith("degraded: ") and failing.words in trouble
    now, _, before = line.partition(", was ")
    assert not now.startswith("  engine: tensorrt") and before.startswith("tensorrt")
    history, told = failing.gpu.bench.store.history(1), list[str]()
    assert history is not None
    replay(history, failing.gpu.bench.store, failing.gpu.bench.settings, trouble=told.append)
    (sentence,) = told
    assert failing.words in sentence


def test_a_reanalysis_goes_on_with_another_engine(failing: Failing) -> None:
    store, told = failing.gpu.bench.store, list[str]()
    store.remove_masks([1, 2], START + timedelta(days=1))
    due = plan(store, failing.gpu.bench.settings, START - timedelta(days=9999), START + timedelta(days=9999))
    again = list(reanalyse(store, failing.gpu.bench.settings, due, trouble=told.append))
    assert [one.now for one in again] == [2, 2]
    assert not any(result.engine.startswith("tensorrt") for result in failing.gpu.bench.stored().values())
    assert told and failing.words in told[0]


def test_reanalyse_tells_the_trouble_once(failing: Failing) -> None:
    failing.gpu.bench.store.remove_masks([1, 2], START + timedelta(days=1))
    days = ("--from", "2020-01-01", "--to", "2030-01-01")
    told = called(failing.gpu, "reanalyse", *days)
    assert told.stdout.startswith("2 pictures analysed again by tiny: 4 -> 4 white cells")
    (line,) = told.stderr.splitlines()
    assert line.startswith("degraded: ") and failing.words in line


def test_the_file_of_an_installed_model_is_counted_by_the_plan_that_lies_beside_it(gpu: Gpu) -> None:
    model = gpu.bench.store.active_model()
    assert model is not None
    picture = gpu.save("a.bmp")
    told = called(gpu, "segment", picture, "--model", model.path, "--engine", "tensorrt", "--format", "jsonl")
    assert json.loads(told.stdout)["engine"].startswith("tensorrt") and not told.stderr


def test_a_bundle_that_is_not_installed_is_counted_without_building_a_plan(gpu: Gpu) -> None:
    bundle = gpu.bench.settings.database.path.with_name("bundle.zip")
    gpu.double.record.calls.clear()
    told = called(gpu, "segment", gpu.save("a.bmp"), "--model", bundle, "--engine", "tensorrt", "--format", "jsonl")
    assert json.loads(told.stdout)["engine"].startswith("onnxruntime")
    assert told.stderr.startswith("degraded: tensorrt float32 waits for its plan: the model tiny has no plan yet")
    assert "build_serialized_network" not in gpu.double.record.names()
