"""Real plans by TensorRT for RTX, which builds without a GPU; and the builder as a process of its own.

What these plans compute is not seen here: they can only be loaded on a GPU. `WBC_ALL_ENGINES=1` (`make engines`) builds
them for all nine encoders.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from networks import tiny_bundle, tiny_onnx
from unets import every_backbone, record_of

from station.contract.bundle import Bundle, bundle_of, read_bundle, sha256_of, write_bundle
from station.contract.errors import EngineError
from station.contract.manifest import NetworkFile
from station.engines import Option, problem
from station.engines.tensorrt.builder import Build, start_build, started
from station.engines.tensorrt.building import serialized_plan
from station.engines.tensorrt.cuda import Gpu
from station.engines.tensorrt.library import Library, load_library
from station.engines.tensorrt.orders import build, order_for
from station.engines.tensorrt.plans import read_plan
from station.engines.tensorrt.shapes import profiles_for
from station.registry import starter_path

pytest.importorskip("tensorrt_rtx")
if importlib.util.find_spec("tensorrt"):
    pytest.skip("the full TensorRT is installed, which builds nothing without a GPU", allow_module_level=True)

GPU = Gpu("NVIDIA RTX A2000", "8.6", 12 << 30)
MIB = 1 << 20
TARGETS = 32  # the byte of a plan of RTX that says which GPUs it is for, as RTX 1.7 writes it
# The real builder, in a process that believes to have a GPU.
PRETENDING = (
    "from recorders import pretend_gpu; pretend_gpu();"
    "import sys; from station.engines.tensorrt.builder import main; sys.exit(main(sys.argv[1:]))"
)


@pytest.fixture(scope="module")
def library() -> Library:
    return load_library()


@pytest.fixture(scope="module")
def starter() -> Bundle:
    return read_bundle(starter_path())


def to_half(network: bytes) -> bytes:
    """The network in float16, its ends as they were; weights that are stored as float16 are widened before."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = onnx.load_from_string(network)
    stored = {weight.name: weight for weight in model.graph.initializer}
    for node in [node for node in model.graph.node if node.op_type == "Cast" and node.input[0] in stored]:
        wide = onnx.numpy_helper.to_array(stored[node.input[0]]).astype(np.float32)
        stored[node.input[0]].CopyFrom(onnx.numpy_helper.from_array(wide, node.output[0]))
        model.graph.node.remove(node)
    return bytes(convert_float_to_float16(model, keep_io_types=True).SerializeToString())


def plan_of(bundle: Bundle, precision: str, library: Library) -> bytes:
    return build(order_for(bundle, precision, library, GPU), None)


def with_half(bundle: Bundle) -> Bundle:
    half = to_half(bundle.network("float32"))
    entry = NetworkFile(file="network.fp16.onnx", precision="float16", sha256=sha256_of(half))
    manifest = bundle.manifest.model_copy(update={"networks": (*bundle.manifest.networks, entry)})
    return bundle_of(manifest, {**bundle.files, entry.file: half})


def check_both_plans(bundle: Bundle, library: Library) -> None:
    """A plan holds its weights: in float16 it is about half as large."""
    whole = plan_of(bundle, "float32", library)
    half = plan_of(with_half(bundle), "float16", library)
    kernels = sum(
        int(np.prod(weight.dims)) for weight in onnx.load_from_string(bundle.network("float32")).graph.initializer
    )
    assert 4 * kernels < len(whole) < 4 * kernels + 12e6
    assert 2 * kernels < len(half) < 0.75 * len(whole)


def test_this_machine_can_or_says_why_not() -> None:
    told = problem(Option("tensorrt", "float32"))
    assert told is None or "NVIDIA" in told


def test_the_starter_becomes_a_plan_in_both_precisions(starter: Bundle, library: Library) -> None:
    check_both_plans(starter, library)


def unet_bundle(name: str) -> Bundle:
    """An untrained U-Net, exported as a trained one would be."""
    from trainer.backbones import backbone
    from trainer.conversion import to_onnx
    from trainer.export import one_network
    from trainer.unet import build as build_unet

    row = backbone(name)
    return one_network(record_of(name).manifest("candidate", (), row.stride), to_onnx(build_unet(row)))


@pytest.mark.parametrize("name", ["mobilenet", "resnet18"])
def test_other_encoders_become_plans(name: str, library: Library) -> None:
    check_both_plans(unet_bundle(name), library)


@pytest.mark.skipif(os.environ.get("WBC_ALL_ENGINES") != "1", reason="`make engines` runs it: all nine take minutes")
@every_backbone
def test_every_encoder_becomes_a_plan(name: str, library: Library) -> None:
    check_both_plans(unet_bundle(name), library)


def test_too_little_workspace_is_a_sentence_with_the_librarys_reason(starter: Bundle, library: Library) -> None:
    profiles = profiles_for(starter.manifest.scale)
    with pytest.raises(EngineError, match=r"no plan could be built with 64 MiB of workspace: .*OutOfMemory"):
        serialized_plan(library, starter.network("float32"), profiles, 64 * MIB)


def test_the_library_tells_how_far_it_is(library: Library) -> None:
    told: list[int] = []
    bundle = tiny_bundle()
    serialized_plan(library, tiny_onnx(), profiles_for(bundle.manifest.scale), 256 * MIB, report=told.append)
    assert told == sorted(set(told)) and told[-1] == 100 and len(told) > 3


def test_ctrl_c_ends_a_build_and_is_no_reason_against_the_gpu(library: Library) -> None:
    """The library swallows what its callbacks raise, and calls the build cancelled."""

    def interrupted(_percent: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        serialized_plan(library, tiny_onnx(), profiles_for(tiny_bundle().manifest.scale), 256 * MIB, report=interrupted)


def test_a_plan_for_a_turing_card_is_for_that_card(starter: Bundle, library: Library) -> None:
    """By default RTX builds for compute capability 8.0 and later, and an older card would refuse every plan."""
    profiles, onnx = profiles_for(starter.manifest.scale), starter.network("float32")
    turing = serialized_plan(library, onnx, profiles, 4096 * MIB, capability="7.5")
    ampere = serialized_plan(library, tiny_onnx(), profiles, 256 * MIB, capability="8.6")
    assert (turing[TARGETS], ampere[TARGETS]) == (0b1, 0b1111110)


@pytest.mark.parametrize("damage", [b"", b"this is no network", tiny_onnx()[:-30]], ids=["empty", "text", "cut"])
def test_a_network_that_cannot_be_loaded_is_one_sentence(library: Library, damage: bytes) -> None:
    with pytest.raises(EngineError, match=r"^tensorrt-rtx [\d.]+ cannot load the model broken: .") as told:
        plan_of(tiny_bundle("broken", damage), "float32", library)
    assert "\n" not in str(told.value)


def test_no_garbage_is_collected_while_the_library_may_hold_its_lock(library: Library) -> None:
    """A builder in the traceback of an earlier failure, collected within a call of the log, waited for ever."""
    seen: list[bool] = []

    class Watched(Library):
        def log(self) -> Any:
            class Watching(type(Library.log(self))):  # type: ignore[misc]
                def log(self, severity: Any, msg: str) -> None:
                    seen.append(gc.isenabled())

            return Watching()

    watched = Watched(library.trt, library.name, library.version)
    plan_of(tiny_bundle(), "float32", watched)
    assert seen and not any(seen) and gc.isenabled()
    with pytest.raises(EngineError):
        plan_of(tiny_bundle("broken", b""), "float32", watched)
    assert not any(seen) and gc.isenabled()


def test_an_unknown_operator_is_named(library: Library) -> None:
    network = onnx.load_from_string(tiny_onnx())
    network.graph.node[-1].op_type = "Sovtmax"
    with pytest.raises(EngineError, match="Sovtmax"):
        plan_of(tiny_bundle("broken", network.SerializeToString()), "float32", library)


def test_a_network_with_other_ends_is_refused(library: Library) -> None:
    network = onnx.load_from_string(tiny_onnx())
    network.graph.input[0].name = network.graph.node[0].input[0] = "pixels"
    with pytest.raises(EngineError, match="has the ends pixels, probabilities, not image and probabilities"):
        plan_of(tiny_bundle(network=network.SerializeToString()), "float32", library)


def pretending(bundle: Path, plans: Path) -> Build:
    os_path = os.pathsep.join((str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")))
    return started(
        ["env", f"PYTHONPATH={os_path}", sys.executable, "-c", PRETENDING, str(bundle), "float32", str(plans)]
    )


def waited(build: Build) -> str:
    build.process.wait(timeout=120)
    return build.poll()


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "tiny.zip", tiny_bundle())
    return tmp_path / "tiny.zip"


def kept(plans: Path, bundle: Bundle, library: Library) -> bytes | None:
    return read_plan(plans, order_for(bundle, "float32", library, GPU).key)


def test_a_process_of_its_own_builds_the_plan(tiny: Path, tmp_path: Path, library: Library) -> None:
    build = pretending(tiny, tmp_path / "plans")
    assert waited(build) == "done" == build.poll()
    assert build.progress() == 100
    assert kept(tmp_path / "plans", tiny_bundle(), library)


def test_two_processes_build_one_plan_once(tiny: Path, tmp_path: Path, library: Library) -> None:
    builds = [pretending(tiny, tmp_path / "plans") for _ in range(2)]
    assert [waited(build) for build in builds] == ["done", "done"]
    assert sorted(build.progress() for build in builds) == [0, 100]  # the second had nothing to do
    assert kept(tmp_path / "plans", tiny_bundle(), library)


def test_a_build_killed_half_way_says_so_and_leaves_no_plan(tmp_path: Path, starter: Bundle, library: Library) -> None:
    build = pretending(starter_path(), tmp_path)
    while build.poll() == "running" and build.progress() == 0:
        os.sched_yield()
    assert build.poll() == "running"
    build.process.kill()
    assert waited(build) == "the build was killed, as the system does when memory runs out"
    assert kept(tmp_path, starter, library) is None
    assert waited(pretending(starter_path(), tmp_path)) == "done"
    assert kept(tmp_path, starter, library)


def test_a_build_that_is_stopped_has_ended(tmp_path: Path) -> None:
    build = pretending(starter_path(), tmp_path)
    build.stop()
    assert build.poll() != "running" and build.process.returncode == -9
    assert list(tmp_path.glob("*.plan")) == []


@pytest.mark.skipif(problem(Option("tensorrt", "float32")) is None, reason="this machine has a GPU")
def test_without_a_gpu_the_reason_is_the_sentence_on_stderr(tiny: Path, tmp_path: Path) -> None:
    told = waited(start_build(tiny, "float32", tmp_path / "plans"))
    assert told == problem(Option("tensorrt", "float32"))
    assert not (tmp_path / "plans").exists()


def test_what_lies_in_the_folder_of_the_station_is_no_module_of_the_builder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "random.py").write_text("raise SystemExit('foreign code ran')")
    monkeypatch.chdir(tmp_path)
    assert "nothing.zip" in waited(start_build(tmp_path / "nothing.zip", "float32", tmp_path / "plans"))


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import sys; sys.exit('the cause')", "the cause"),
        ("import os; os.abort()", "the build ended by SIGABRT"),
        ("import sys; sys.exit(7)", "the build ended with exit code 7"),
        ("print('progress 12')", "done"),
    ],
)
def test_every_end_of_a_build_is_told(code: str, told: str) -> None:
    build = started([sys.executable, "-c", code])
    assert waited(build) == told


def test_wrong_usage_has_its_own_exit_code() -> None:
    line = [sys.executable, "-m", "station.engines.tensorrt.builder", "bundle.zip"]
    done: Any = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 2 and "usage: python -m station.engines.tensorrt.builder" in done.stderr
