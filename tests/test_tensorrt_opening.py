"""From a bundle to a running plan: what is kept, what is built, and what is said where neither works."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from networks import colour_network, tiny_bundle
from recorders import CUDA_ERRORS, GPU_NAME, VERSION, Double, install, renew

from station.contract.errors import EngineError, PlanMissing
from station.engines import Engine, Option, Setup, open_engine, problem

TILES = np.random.default_rng(9).integers(0, 256, (1, 32, 48, 3), np.uint8)
TENSORRT = Option("tensorrt", "float32")


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Double:
    return install(monkeypatch)


def opened(plans: Path | None, *, build: bool = True) -> Engine:
    return open_engine(tiny_bundle(), "tensorrt", "float32", Setup(plans=plans, build=build))


def builds(double: Double) -> int:
    return double.record.names().count("build_serialized_network")


def answers(engine: Engine) -> bool:
    return np.array_equal(engine(TILES), colour_network(TILES))


def plan_of(folder: Path) -> Path:
    (plan,) = folder.glob("*.plan")
    return plan


def test_a_plan_is_built_once_and_then_taken_from_its_folder(double: Double, tmp_path: Path) -> None:
    assert answers(opened(tmp_path / "models" / "plans"))
    assert answers(opened(tmp_path / "models" / "plans", build=False))
    assert builds(double) == 1


def test_a_build_tells_how_far_it_is(double: Double, tmp_path: Path) -> None:
    told: list[int] = []
    open_engine(tiny_bundle(), "tensorrt", "float32", Setup(plans=tmp_path, report=told.append))
    assert told == [50, 100]


def test_a_missing_plan_that_must_not_be_built_is_named(double: Double, tmp_path: Path) -> None:
    with pytest.raises(
        PlanMissing, match=f"tiny has no plan yet for {GPU_NAME} and tensorrt {VERSION}; `station model"
    ):
        opened(tmp_path / "plans", build=False)
    with pytest.raises(PlanMissing):
        opened(None, build=False)
    assert builds(double) == 0
    assert not (tmp_path / "plans").exists()


def test_without_a_folder_the_plan_lives_in_memory(double: Double, tmp_path: Path) -> None:
    assert answers(opened(None)) and answers(opened(None))
    assert builds(double) == 2
    assert list(tmp_path.iterdir()) == []


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGE: dict[str, Callable[[Path], None]] = {
    "truncated": lambda plan: plan.write_bytes(plan.read_bytes()[:-1]),
    "flipped byte": flipped,
    "empty": lambda plan: plan.write_bytes(b""),
    "gone": Path.unlink,
    "sidecar missing": lambda plan: plan.with_suffix(".json").unlink(),
    "sidecar empty": lambda plan: plan.with_suffix(".json").write_bytes(b""),
    "sidecar of another version": lambda plan: plan.with_suffix(".json").write_text(
        plan.with_suffix(".json").read_text(encoding="utf-8").replace(VERSION, "10.3.0"), encoding="utf-8"
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_plan_is_deleted_and_built_anew(double: Double, tmp_path: Path, damage: str) -> None:
    opened(tmp_path)
    good = plan_of(tmp_path).read_bytes()
    DAMAGE[damage](plan_of(tmp_path))
    double.record.calls.clear()
    with pytest.raises(PlanMissing):
        opened(tmp_path, build=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "timings"]
    assert "deserialize_cuda_engine" not in double.record.names()  # the library never saw it
    assert answers(opened(tmp_path))
    assert plan_of(tmp_path).read_bytes() == good
    assert builds(double) == 1


@pytest.mark.parametrize("change", [{"version": "10.3.0"}, {"gpu": "NVIDIA GeForce RTX 5090"}], ids=str)
def test_a_plan_of_another_library_or_gpu_is_not_taken_and_replaced(
    double: Double, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: dict[str, str]
) -> None:
    opened(tmp_path)
    old = plan_of(tmp_path)
    vars(double.record).update(change)
    renew(monkeypatch, double)
    with pytest.raises(PlanMissing):
        opened(tmp_path, build=False)
    assert old.exists()  # it may be right again tomorrow, with the other GPU back in its slot
    assert answers(opened(tmp_path))
    assert builds(double) == 2
    assert plan_of(tmp_path).name != old.name


def test_a_foreign_plan_under_the_right_name_is_deleted(
    double: Double, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As after copying a station's folder to another computer and renaming what it asked for."""
    opened(tmp_path)
    mine = plan_of(tmp_path)
    double.record.gpu = "NVIDIA GeForce RTX 5090"
    renew(monkeypatch, double)
    opened(tmp_path / "other")
    foreign = plan_of(tmp_path / "other")
    for ending in (".plan", ".json"):
        mine.with_suffix(ending).replace(foreign.with_suffix(ending))
    with pytest.raises(PlanMissing):
        opened(tmp_path / "other", build=False)
    assert not foreign.exists()


def test_a_plan_that_the_library_refuses_is_deleted_and_built_once_more(double: Double, tmp_path: Path) -> None:
    opened(tmp_path)
    double.record.deserializes = False
    with pytest.raises(EngineError, match="the library refuses the plan: the reason in the log"):
        opened(tmp_path)
    assert builds(double) == 2  # once more, not for ever
    assert double.holds_nothing()
    assert list(tmp_path.glob("*.plan")) == []
    double.record.deserializes = True
    assert answers(opened(tmp_path))


def test_a_refused_plan_that_must_not_be_built_is_deleted_and_missing(double: Double, tmp_path: Path) -> None:
    opened(tmp_path)
    double.record.deserializes = False
    refusal = r"has no plan any more \(the library refuses the plan: the reason in the log\) for NVIDIA"
    with pytest.raises(PlanMissing, match=refusal):
        opened(tmp_path, build=False)
    assert list(tmp_path.glob("*.plan")) == []
    assert builds(double) == 1


def test_a_good_plan_survives_that_another_program_holds_the_memory(double: Double, tmp_path: Path) -> None:
    opened(tmp_path)
    double.record.deserializes = False
    double.record.reason = "[x.cpp::f::1] Error Code 2: OutOfMemory (Requested size was 100 bytes.)"
    with pytest.raises(EngineError, match="out of GPU memory") as told:
        opened(tmp_path, build=False)
    assert not isinstance(told.value, PlanMissing)
    assert plan_of(tmp_path).exists()
    assert builds(double) == 1


def test_a_build_that_fails_says_why_and_leaves_nothing(double: Double, tmp_path: Path) -> None:
    double.record.builds = False
    with pytest.raises(
        EngineError,
        match=rf"^tensorrt {VERSION} cannot load the model tiny: no plan could be built with 3072 MiB of workspace: "
        "the reason in the log$",
    ):
        opened(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_a_folder_that_cannot_be_written_is_named(double: Double, tmp_path: Path) -> None:
    (tmp_path / "plans").write_text("a file where the folder should be", encoding="utf-8")
    with pytest.raises(EngineError, match=r"the plans in .*plans cannot be kept \(File exists\)"):
        opened(tmp_path / "plans")


def test_nothing_is_wrong_where_library_and_gpu_answer(double: Double) -> None:
    assert problem(TENSORRT) is None


@pytest.mark.parametrize(
    ("code", "words"),
    [(35, "there is no NVIDIA driver, or it is older"), (100, "the driver sees no NVIDIA GPU")],
)
def test_a_missing_driver_or_gpu_is_a_sentence(double: Double, code: int, words: str, tmp_path: Path) -> None:
    double.record.failing["cudaGetDeviceCount"] = code
    told = problem(TENSORRT)
    assert told is not None and words in told and CUDA_ERRORS[code][0] in told
    with pytest.raises(EngineError, match=words):
        opened(tmp_path)


def test_a_driver_that_counts_no_gpu_is_a_sentence(double: Double) -> None:
    double.record.gpus = 0
    assert problem(TENSORRT) == "the driver sees no NVIDIA GPU"


def test_missing_bindings_of_cuda_are_a_sentence(double: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    told = problem(TENSORRT)
    assert told is not None and told.startswith("the CUDA bindings cannot be loaded") and "pip install" in told


def test_a_missing_library_is_a_sentence(double: Double, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    told = problem(TENSORRT)
    assert told is not None
    assert told.startswith("TensorRT cannot be loaded (tensorrt: ") and "tensorrt_rtx: " in told
    assert "pip install 'wbc-station[rtx]'" in told
    with pytest.raises(EngineError, match="TensorRT cannot be loaded"):
        opened(tmp_path)


def test_bindings_whose_library_is_missing_give_way_to_rtx(
    double: Double, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Real files: a `tensorrt` whose import ends as that of bindings without libnvinfer does."""
    (tmp_path / "tensorrt.py").write_text("raise OSError('libnvinfer.so.11: cannot open shared object file')\n")
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", sys.modules["tensorrt"])
    monkeypatch.delitem(sys.modules, "tensorrt")
    monkeypatch.syspath_prepend(tmp_path)
    assert opened(None).name == f"tensorrt-rtx {VERSION} float32"
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    assert "libnvinfer.so.11: cannot open" in str(problem(TENSORRT))


def test_a_folder_called_tensorrt_is_not_the_library(
    double: Double, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "tensorrt").mkdir()
    monkeypatch.delitem(sys.modules, "tensorrt")
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    monkeypatch.syspath_prepend(tmp_path)
    assert "tensorrt: what is installed under this name is not TensorRT" in str(problem(TENSORRT))


def test_the_package_loads_no_library_by_itself() -> None:
    code = "import sys, station.engines.tensorrt, station.engines.tensorrt.builder; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"tensorrt", "tensorrt_rtx", "cuda", "onnxruntime", "onnx"}
