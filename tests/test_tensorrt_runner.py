"""The engine's order of calls, its buffers and every way to fail, against a recording double of library and CUDA."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
from networks import NETWORK_FILE, colour_network, tiny_bundle, tiny_onnx
from numpy.typing import NDArray
from recorders import GPU_NAME, VERSION, Double, install

from station.contract.bundle import Bundle, bundle_of, prove, sha256_of
from station.contract.errors import EngineError
from station.contract.manifest import NetworkFile
from station.engines import Engine, Setup, TileUnfit, open_engine

GIB = 1 << 30


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Double:
    return install(monkeypatch)


@pytest.fixture
def engine(double: Double) -> Engine:
    """The network of colours; the calls that opened it are forgotten."""
    opened = open_engine(tiny_bundle(), "tensorrt")
    double.record.calls.clear()
    return opened


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(9).integers(0, 256, (*shape, 3), np.uint8)


def half_bundle() -> Bundle:
    """The tiny bundle with a second network that answers in float16."""
    network = onnx.load_from_string(tiny_onnx())
    network.graph.node[-1].output[0] = "wide"
    network.graph.node.append(onnx.helper.make_node("Cast", ["wide"], ["probabilities"], to=onnx.TensorProto.FLOAT16))
    network.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    half, bundle = bytes(network.SerializeToString()), tiny_bundle()
    networks = (*bundle.manifest.networks, NetworkFile(file="half.onnx", precision="float16", sha256=sha256_of(half)))
    manifest = bundle.manifest.model_copy(update={"networks": networks})
    return bundle_of(manifest, {**bundle.files, NETWORK_FILE: tiny_onnx(), "half.onnx": half})


def test_tiles_go_to_the_gpu_and_probabilities_come_back_in_one_order(engine: Engine, double: Double) -> None:
    tiles = noise(2, 32, 48)
    assert np.array_equal(engine(tiles), colour_network(tiles))
    taken, given = tiles.nbytes, tiles.nbytes * 4
    assert double.record.calls == [
        "set_input_shape 2 32 48 3",
        f"cudaMalloc {taken}",
        f"cudaMallocHost {taken}",
        f"cudaMalloc {given}",
        f"cudaMallocHost {given}",
        "set_tensor_address image",
        "set_tensor_address probabilities",
        f"cudaMemcpyAsync HostToDevice {taken}",
        "execute_async_v3",
        f"cudaMemcpyAsync DeviceToHost {given}",
        "cudaStreamSynchronize",
    ]


def test_a_plan_is_opened_in_one_order(double: Double) -> None:
    engine = open_engine(tiny_bundle(), "tensorrt")
    assert double.record.calls == [
        "cudaGetDeviceCount",
        "cudaGetDeviceProperties 0",
        "create_network 2",  # 1 << STRONGLY_TYPED
        f"set_memory_pool_limit WORKSPACE {3 * GIB}",  # half of the GPU's memory
        "clear_flag TF32",
        "create_timing_cache ",
        "build_serialized_network",
        "cudaStreamCreateWithFlags 1",  # first, so that a GPU that lets nobody in is not taken for a bad plan
        "deserialize_cuda_engine",
    ]
    assert engine.batch == 8


def test_a_large_gpu_lends_no_more_than_four_gib_to_a_build(double: Double) -> None:
    double.record.memory_bytes = 80 * GIB
    open_engine(tiny_bundle(), "tensorrt")
    assert f"set_memory_pool_limit WORKSPACE {4 * GIB}" in double.record.calls


def test_memory_is_used_again_and_grows_only_for_larger_batches(engine: Engine, double: Double) -> None:
    for shape in ((2, 32, 48), (1, 16, 16), (2, 48, 32), (2, 32, 48)):
        assert np.array_equal(engine(noise(*shape)), colour_network(noise(*shape)))
    assert double.record.names().count("cudaMalloc") == 2
    double.record.calls.clear()
    assert np.array_equal(engine(noise(3, 64, 64)), colour_network(noise(3, 64, 64)))
    grown = [name for name in double.record.names() if name.startswith(("cudaMalloc", "cudaFree"))]
    assert grown == ["cudaFreeHost", "cudaFree", "cudaMalloc", "cudaMallocHost"] * 2
    assert len(double.cuda.memory) == 4


def test_answers_do_not_change_when_the_engine_runs_again(engine: Engine) -> None:
    first = engine(noise(1, 32, 32))
    kept = first.copy()
    engine(255 - noise(1, 32, 32))
    assert np.array_equal(first, kept)


def test_a_batch_larger_than_the_plan_takes_runs_in_parts(engine: Engine, double: Double) -> None:
    tiles = noise(19, 16, 32)
    assert np.array_equal(engine(tiles), colour_network(tiles))
    shapes = [call for call in double.record.calls if call.startswith("set_input_shape")]
    assert shapes == [f"set_input_shape {n} 16 32 3" for n in (8, 8, 3)]


def test_large_tiles_run_one_by_one_on_their_own_profile(engine: Engine, double: Double) -> None:
    for tiles in (noise(2, 32, 656), noise(1, 32, 640), noise(1, 640, 640)):
        assert np.array_equal(engine(tiles), colour_network(tiles))
    wanted = ("set_optimization_profile_async", "set_input_shape")
    assert [call for call in double.record.calls if call.startswith(wanted)] == [
        "set_optimization_profile_async 1",
        "set_input_shape 1 32 656 3",
        "set_input_shape 1 32 656 3",
        "set_optimization_profile_async 0",
        "set_input_shape 1 32 640 3",
        "set_input_shape 1 640 640 3",
    ]


@pytest.mark.parametrize("shape", [(1, 1552, 32), (1, 32, 1552), (1, 8, 32)])
def test_a_tile_outside_the_plan_is_told_in_words_and_apart_from_what_goes_wrong(
    engine: Engine, double: Double, shape: tuple[int, int, int]
) -> None:
    sides = f"{shape[2]} x {shape[1]} px"
    with pytest.raises(TileUnfit, match=f"built for sides of 16 to 640 px or 16 to 1536 px, not for tiles of {sides}"):
        engine(noise(*shape))
    assert double.record.calls == []
    assert engine(noise(1, 32, 32)).shape == (1, 32, 32, 3)


@pytest.mark.parametrize(
    "tiles",
    [
        np.zeros((32, 32, 3), np.uint8),
        np.zeros((1, 32, 32, 4), np.uint8),
        np.zeros((1, 32, 32, 3), np.float32),
        noise(0, 32, 32),
    ],
    ids=["no batch", "four channels", "floats", "empty"],
)
def test_what_is_no_batch_of_pictures_is_refused(engine: Engine, double: Double, tiles: NDArray[np.uint8]) -> None:
    with pytest.raises(EngineError, match=f"tensorrt {VERSION} float32 failed on a batch of shape .* no batch") as told:
        engine(tiles)
    assert not isinstance(told.value, TileUnfit)
    assert double.record.calls == []


def test_tiles_that_lie_scattered_in_memory_are_read_right(engine: Engine) -> None:
    tiles = noise(1, 32, 64)[:, ::-1, ::2]
    assert np.array_equal(engine(tiles), colour_network(tiles))


def test_half_answers_are_half_the_bytes_and_widened_here(double: Double) -> None:
    engine, tiles = open_engine(half_bundle(), "tensorrt", "float16"), noise(1, 32, 32)
    answers = engine(tiles)
    assert answers.dtype == np.float32
    assert np.array_equal(answers, colour_network(tiles).astype(np.float16).astype(np.float32))
    assert f"cudaMemcpyAsync DeviceToHost {tiles.size * 2}" in double.record.calls
    assert engine.name == f"tensorrt {VERSION} float16"


def test_the_name_tells_library_version_and_precision(engine: Engine) -> None:
    assert engine.name == f"tensorrt {VERSION} float32"
    assert engine.batch == 8


def test_a_bundle_proves_itself_on_the_engine(engine: Engine) -> None:
    assert [(one.wbc_count, one.cell_dice) for one in prove(tiny_bundle(), engine)] == [(3, 1), (2, 1)]


def test_threads_take_turns(engine: Engine, double: Double) -> None:
    pictures = [noise(1, 32, 16 * (1 + n)) for n in range(6)]
    wrong: list[int] = []

    def run(n: int) -> None:
        right = [np.array_equal(engine(pictures[n]), colour_network(pictures[n])) for _ in range(5)]
        wrong.extend([n] * right.count(False))

    threads = [threading.Thread(target=run, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert double.record.names().count("cudaStreamSynchronize") == 30
    order = [name for name in double.record.names() if name in ("set_input_shape", "cudaStreamSynchronize")]
    assert order == ["set_input_shape", "cudaStreamSynchronize"] * 30  # never two at once


def test_everything_is_given_back_in_reverse_when_nobody_holds_the_engine(double: Double) -> None:
    engine = open_engine(tiny_bundle(), "tensorrt")
    engine(noise(1, 32, 32))
    double.record.calls.clear()
    del engine
    gc.collect()
    assert double.holds_nothing()
    assert double.record.names() == ["cudaFreeHost", "cudaFree", "cudaFreeHost", "cudaFree", "cudaStreamDestroy"]


@pytest.mark.parametrize("function", ["cudaMalloc", "cudaMallocHost"])
def test_out_of_gpu_memory_is_said_and_the_next_picture_may_fit(engine: Engine, double: Double, function: str) -> None:
    engine(noise(1, 32, 32))
    double.record.failing[function] = 2
    with pytest.raises(EngineError, match=rf"failed on a batch .*out of GPU memory; .*\({function}: cudaErrorMemory"):
        engine(noise(4, 64, 64))
    assert len(double.cuda.memory) <= 3  # nothing is lost: what the call got is freed or used again
    del double.record.failing[function]
    assert np.array_equal(engine(noise(4, 64, 64)), colour_network(noise(4, 64, 64)))
    engine.close()  # type: ignore[attr-defined]
    assert double.holds_nothing()


@pytest.mark.parametrize("function", ["cudaMemcpyAsync", "cudaStreamSynchronize"])
def test_a_failure_of_cuda_is_named(engine: Engine, double: Double, function: str) -> None:
    double.record.failing[function] = 700
    with pytest.raises(EngineError, match=rf"an illegal memory access was encountered \({function}: cudaErrorIllegal"):
        engine(noise(1, 32, 32))


@pytest.mark.parametrize("call", ["set_input_shape", "set_tensor_address", "execute_async_v3"])
def test_a_refusal_of_the_library_carries_its_reason(engine: Engine, double: Double, call: str) -> None:
    double.record.refusing.add(call)
    with pytest.raises(EngineError, match=r"failed on a batch of shape .*: the plan .*: the reason in the log"):
        engine(noise(1, 32, 32))
    double.record.refusing.clear()
    assert np.array_equal(engine(noise(1, 32, 32)), colour_network(noise(1, 32, 32)))


def test_after_a_failure_nothing_is_on_its_way_any_more(engine: Engine, double: Double) -> None:
    """Else the next tiles would be written over memory that a copy still reads."""
    double.record.refusing.add("execute_async_v3")
    with pytest.raises(EngineError):
        engine(noise(1, 32, 32))
    assert double.record.names()[-1] == "cudaStreamSynchronize"
    assert all(not waiting for waiting in double.cuda.streams.values())


def test_an_answer_of_another_shape_is_refused(engine: Engine, double: Double) -> None:
    double.record.refusing.add("get_tensor_shape")
    with pytest.raises(EngineError, match=r"would answer with the shape \(1, 32, 32, 4\), not \(1, 32, 32, 3\)"):
        engine(noise(1, 32, 32))


def test_an_answer_in_whole_numbers_is_refused(double: Double) -> None:
    double.record.refusing.add("float answers")
    with pytest.raises(EngineError, match=r"answers in .*INT32.*, not in float32 or float16"):
        open_engine(tiny_bundle(), "tensorrt")


def test_no_room_for_a_context_is_an_engine_error(double: Double) -> None:
    double.record.refusing.add("create_execution_context")
    with pytest.raises(EngineError, match="no memory to run the plan in: the reason in the log"):
        open_engine(tiny_bundle(), "tensorrt")
    assert double.holds_nothing()


def test_a_network_with_other_ends_is_refused_when_it_is_built(double: Double) -> None:
    network = onnx.load_from_string(tiny_onnx())
    network.graph.input[0].name = network.graph.node[0].input[0] = "pixels"
    with pytest.raises(EngineError, match="has the ends pixels, probabilities, not image and probabilities"):
        open_engine(tiny_bundle(network=network.SerializeToString()), "tensorrt")


@pytest.mark.parametrize("damage", [b"", b"this is no network", tiny_onnx()[:-30]], ids=["empty", "text", "cut"])
def test_a_network_that_cannot_be_loaded_is_one_sentence(double: Double, damage: bytes) -> None:
    with pytest.raises(EngineError, match=rf"^tensorrt {VERSION} cannot load the model broken: this is no network$"):
        open_engine(tiny_bundle("broken", damage), "tensorrt")


def test_profiles_that_the_network_does_not_take_are_an_engine_error(double: Double) -> None:
    double.record.refusing.add("add_optimization_profile")
    with pytest.raises(EngineError, match=r"does not take tiles of \(1, 16, 16, 3\) to \(8, 640, 640, 3\)"):
        open_engine(tiny_bundle(), "tensorrt")


def test_a_builder_that_the_library_does_not_give_means_no_usable_gpu(double: Double) -> None:
    double.record.refusing.add("Builder")
    with pytest.raises(EngineError, match="no usable GPU or driver answers TensorRT: the reason in the log"):
        open_engine(tiny_bundle(), "tensorrt")


def test_stretched_pictures_have_a_plan_for_their_size_alone(double: Double) -> None:
    bundle = tiny_bundle()
    scale = bundle.manifest.scale.model_copy(update={"policy": "stretch", "stretch_px": 64})
    stretching = Bundle(bundle.manifest.model_copy(update={"scale": scale}), bundle.files, bundle.sha256)
    engine = open_engine(stretching, "tensorrt")
    assert np.array_equal(engine(noise(9, 64, 64)), colour_network(noise(9, 64, 64)))
    with pytest.raises(EngineError, match="built for sides of 64 to 64 px, not for tiles of 80 x 64 px"):
        engine(noise(1, 64, 80))


def test_the_measured_timings_are_kept_for_the_next_build(double: Double, tmp_path: Path) -> None:
    setup = Setup(plans=tmp_path)
    open_engine(half_bundle(), "tensorrt", "float32", setup)
    open_engine(half_bundle(), "tensorrt", "float16", setup)
    given = [call for call in double.record.calls if call.startswith("create_timing_cache")]
    assert given == ["create_timing_cache ", "create_timing_cache timings of kernels"]


def test_timings_that_the_library_refuses_or_that_are_damaged_are_left_out(double: Double, tmp_path: Path) -> None:
    setup = Setup(plans=tmp_path)
    open_engine(half_bundle(), "tensorrt", "float32", setup)
    double.record.refusing.add("set_timing_cache")
    double.record.calls.clear()
    open_engine(half_bundle(), "tensorrt", "float16", setup)
    given = [call for call in double.record.calls if call.startswith("create_timing_cache")]
    assert given == ["create_timing_cache timings of kernels", "create_timing_cache "]

    (tmp_path / "timings").write_bytes((tmp_path / "timings").read_bytes()[:-1])
    double.record.calls.clear()
    open_engine(tiny_bundle(network=half_bundle().network("float16")), "tensorrt", "float32", setup)
    assert "create_timing_cache " in double.record.calls


def test_the_gpu_is_known_by_its_plain_name(double: Double, tmp_path: Path) -> None:
    open_engine(tiny_bundle(), "tensorrt", setup=Setup(plans=tmp_path))
    (sidecar,) = tmp_path.glob("*.json")
    assert f'"gpu": "{GPU_NAME}"' in sidecar.read_text(encoding="utf-8")
