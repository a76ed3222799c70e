"""One exam for every engine on the shelf, with a network of real ONNX whose answers are known."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
from networks import colour_network, discs, noise_tiles, tiny_bundle, tiny_onnx
from numpy.typing import NDArray

from station.contract.analysis import Scale, analyse
from station.contract.bundle import Bundle, prove, read_bundle
from station.contract.errors import BundleError, EngineError
from station.demo.camera import encode_bmp
from station.demo.smear import SmearRecipe, paint
from station.engines import ENGINES, REFERENCE, Engine, Option, Setup, open_engine, options, problem
from station.naive import onnx_predict
from station.pipeline import Result, analyse_files
from station.registry import starter_path


def changed_onnx(operator: str = "Softmax", opset: int = 17) -> bytes:
    network = onnx.load_from_string(tiny_onnx())
    network.graph.node[-1].op_type = operator
    network.opset_import[0].version = opset
    return bytes(network.SerializeToString())


UNLOADABLE = {
    "empty": b"",
    "text": b"this is no network",
    "cut": tiny_onnx()[:-30],
    "unknown operator": changed_onnx(operator="Sovtmax"),
    "opset of the future": changed_onnx(opset=99),
}


# What this machine can run of what a bundle with one float32 network allows. TensorRT has exams of its own.
EXACT = [option for option in options(tiny_bundle()) if option.precision == "float32" and problem(option) is None]
NAMES = [option.engine for option in EXACT]


@pytest.fixture(scope="module", params=EXACT, ids=str)
def engine(request: pytest.FixtureRequest) -> Engine:
    return open_engine(tiny_bundle(), request.param.engine, request.param.precision)


INT8 = [option for name in ENGINES if "int8" in ENGINES[name] and problem(option := Option(name, "int8")) is None]

LARGE_THEN_SMALL = """
import numpy as np
from station.contract.bundle import read_bundle
from station.engines import Setup, open_engine
from station.registry import starter_path

def megabytes(word):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(word)) // 1024

engine = open_engine(read_bundle(starter_path(), weights=False), *{told}, Setup(threads=2))
for _ in range(engine.abreast):
    engine(np.zeros((1, 256, 256, 3), np.uint8))
before = megabytes("VmRSS")
engine(np.zeros((1, 1056, 1056, 3), np.uint8))
print(before, megabytes("VmHWM"), megabytes("VmRSS"))
"""


@pytest.mark.parametrize("option", [Option(REFERENCE, "float32"), *INT8], ids=str)
def test_the_room_that_a_large_picture_took_is_given_back(option: Option) -> None:
    code = LARGE_THEN_SMALL.replace("{told}", repr((option.engine, option.precision)))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, most, after = map(int, done.stdout.split())
    assert after - before < 0.4 * (most - before)


def test_the_reference_is_among_those_that_run_everywhere() -> None:
    assert Option(REFERENCE, "float32") in EXACT


def test_answers_are_the_probabilities_that_the_network_defines(engine: Engine) -> None:
    tiles = noise_tiles(2, 32, 48)
    answers = engine(tiles)
    assert (answers.shape, answers.dtype) == ((2, 32, 48, 3), np.float32)
    assert np.abs(answers - colour_network(tiles)).max() < 1e-5
    assert np.abs(answers.sum(axis=-1) - 1).max() < 1e-5


def test_a_batch_of_two_answers_as_one_by_one(engine: Engine) -> None:
    tiles = noise_tiles(2, 64, 32)
    assert np.abs(engine(tiles) - np.concatenate([engine(tiles[:1]), engine(tiles[1:])])).max() < 1e-6


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 16, 400), (1, 416, 16), (1, 32, 32)])
def test_number_and_size_of_tiles_are_free(engine: Engine, shape: tuple[int, int, int]) -> None:
    tiles = noise_tiles(*shape)
    assert np.abs(engine(tiles) - colour_network(tiles)).max() < 1e-5


def test_tiles_that_lie_scattered_in_memory_are_read_right(engine: Engine) -> None:
    tiles = noise_tiles(1, 40, 60)[:, ::2, ::-1]
    assert np.abs(engine(tiles) - colour_network(tiles)).max() < 1e-5


def test_a_bundle_proves_itself_on_the_engine(engine: Engine) -> None:
    assert [(one.wbc_count, one.cell_dice) for one in prove(tiny_bundle(), engine)] == [(3, 1), (2, 1)]


def test_cells_are_counted_as_on_the_plain_network(engine: Engine) -> None:
    image, scale = discs(180, 240, [(60, 60, 30, 17), (105, 70, 30, 16)]), Scale(60, "told")
    manifest = tiny_bundle().manifest
    on_engine, plain = (analyse(image, scale, manifest, network) for network in (engine, colour_network))
    assert on_engine.wbc_count == 2
    assert np.array_equal(on_engine.drawing.cells, plain.drawing.cells)


def test_the_name_tells_runtime_version_and_precision(engine: Engine) -> None:
    runtime, version, precision = engine.name.split()
    assert runtime in ENGINES
    assert version == metadata.version(runtime).partition("+")[0]
    assert precision == "float32"


@pytest.mark.parametrize(
    "tiles",
    [
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((1, 8, 8, 2), np.uint8),
        np.zeros((1, 8, 8, 4), np.uint8),
        np.zeros((2, 8, 8, 4), np.uint8),
        np.zeros((1, 8, 8, 3), np.float32),
        np.zeros((0, 8, 8, 2), np.uint8),
    ],
    ids=["no batch", "two channels", "four channels", "two of four channels", "floats", "none of two channels"],
)
def test_what_is_no_batch_of_pictures_is_an_engine_error(engine: Engine, tiles: NDArray[np.uint8]) -> None:
    with pytest.raises(EngineError, match=f"{engine.name} failed on a batch of shape"):
        engine(tiles)
    assert engine(noise_tiles(1, 8, 8)).shape == (1, 8, 8, 3)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("threads", [0, 1, 2])
def test_the_number_of_threads_does_not_change_answers(name: str, threads: int) -> None:
    tiles = noise_tiles(1, 64, 64)
    engine = open_engine(tiny_bundle(), name, setup=Setup(threads=threads))
    assert np.abs(engine(tiles) - colour_network(tiles)).max() < 1e-5


# OpenVINO reads an opset that it does not know as the newest that it does; what comes of it meets the golden gate.
@pytest.mark.parametrize(
    ("name", "damage"),
    [pair for pair in product(NAMES, UNLOADABLE) if pair != ("openvino", "opset of the future")],
)
def test_a_network_that_cannot_be_loaded_is_one_sentence(name: str, damage: str) -> None:
    with pytest.raises(EngineError, match=r"cannot load the model broken: "):
        open_engine(tiny_bundle("broken", UNLOADABLE[damage]), name)


def test_an_unknown_engine_is_refused_with_those_that_exist() -> None:
    with pytest.raises(EngineError, match="there is no engine 'abacus'; known: auto, onnxruntime, openvino, tensorrt"):
        open_engine(tiny_bundle(), "abacus")


def test_a_precision_that_an_engine_does_not_know_is_refused_with_those_that_it_does() -> None:
    with pytest.raises(EngineError, match="the engine onnxruntime does not compute in float8; it can in float32, int8"):
        open_engine(tiny_bundle(), REFERENCE, "float8")


def test_a_precision_that_the_bundle_has_no_network_for_is_refused() -> None:
    with pytest.raises(BundleError, match="the model tiny has no int8 network, only float32"):
        open_engine(tiny_bundle(), REFERENCE, "int8")


def test_bfloat16_runs_where_the_processor_has_it_and_says_so_where_not() -> None:
    option = Option("openvino", "bfloat16")
    if (reason := problem(option)) is not None:
        assert "bfloat16" in reason or "not installed" in reason
        return
    engine = open_engine(tiny_bundle(), option.engine, option.precision)
    image, scale = discs(180, 240, [(60, 60, 30, 17), (105, 70, 30, 16)]), Scale(60, "told")
    assert engine.name.endswith("bfloat16")
    assert analyse(image, scale, tiny_bundle().manifest, engine).wbc_count == 2


def test_the_shelf_loads_no_runtime_before_an_engine_is_opened() -> None:
    code = "import json, sys, station.engines; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert "station" in loaded
    assert not loaded & {"onnxruntime", "onnx", "tensorflow", "keras", "tensorrt", "openvino", "torch"}


@pytest.mark.parametrize("name", NAMES)
def test_a_network_with_other_ends_is_refused_when_it_is_opened(name: str) -> None:
    network = onnx.load_from_string(tiny_onnx())
    network.graph.input[0].name = network.graph.node[0].input[0] = "pixels"
    with pytest.raises(EngineError, match="has the ends pixels, probabilities, not image and probabilities"):
        open_engine(tiny_bundle(network=network.SerializeToString()), name)


def test_openvino_takes_the_softmax_of_channels_before_they_become_the_last_axis() -> None:
    """An int8 network is exported the other way round, for the other runtimes."""
    network = onnx.load_from_string(tiny_onnx())
    softmax = network.graph.node.pop()
    turns = ((["logits"], ["maps"], [0, 3, 1, 2]), (["maps"], ["logits_last"], [0, 2, 3, 1]))
    network.graph.node.extend(onnx.helper.make_node("Transpose", *ends, perm=order) for *ends, order in turns)
    network.graph.node.append(onnx.helper.make_node("Softmax", ["logits_last"], list(softmax.output), axis=-1))
    bundle, tiles = tiny_bundle(network=network.SerializeToString()), discs(48, 64, [(30, 20, 15, 8)])[None]
    engine = open_engine(bundle, "openvino")
    assert np.abs(engine(tiles) - open_engine(bundle, REFERENCE)(tiles)).max() < 1e-6
    run = engine._requests.get().get_compiled_model().get_runtime_model()  # type: ignore[attr-defined]
    (softmax,) = [node for node in run.get_ops() if node.get_rt_info()["layerType"].value == "Softmax"]
    assert list(softmax.output(0).get_partial_shape())[1] == 3


@pytest.fixture(scope="module")
def starter() -> Bundle:
    return read_bundle(starter_path())


@pytest.mark.parametrize("option", INT8, ids=str)
def test_pictures_that_are_worked_on_at_once_are_counted_as_one_by_one(
    starter: Bundle, option: Option, tmp_path: Path
) -> None:
    engine = open_engine(starter, option.engine, option.precision, Setup(threads=2))
    fields = [paint(SmearRecipe(320, 240, 60.0, wbc=number % 4, seed=number)).image for number in range(7)]
    for number, field in enumerate(fields):
        (tmp_path / f"{number}.bmp").write_bytes(encode_bmp(field))
    scale = Scale(60.0, "told")
    outcomes = list(analyse_files(sorted(tmp_path.iterdir()), lambda _image: scale, starter.manifest, engine, 50))
    alone = [analyse(field, scale, starter.manifest, engine) for field in fields]
    assert [one.wbc_count for one in alone][:4] == [0, 1, 2, 3]
    for outcome, one in zip(outcomes, alone, strict=True):
        assert isinstance(outcome, Result) and outcome.analysis.drawing.measured == one.drawing.measured


@pytest.mark.skipif(problem(Option("openvino", "int8")) is not None, reason="OpenVINO does not work here")
@pytest.mark.parametrize(
    ("precision", "threads", "abreast"), [("int8", 2, 2), ("int8", 8, 2), ("int8", 1, 1), ("float32", 2, 1)]
)
def test_openvino_halves_the_cores_where_half_of_them_answer_soon(
    starter: Bundle, precision: str, threads: int, abreast: int
) -> None:
    assert open_engine(starter, "openvino", precision, Setup(threads=threads)).abreast == abreast


@pytest.mark.skipif(problem(Option("openvino", "int8")) is not None, reason="OpenVINO does not work here")
def test_a_large_tile_is_answered_as_its_parts_are(starter: Bundle) -> None:
    """By the second compilation; far from the seam the parts see the same pixels."""
    engine = open_engine(starter, "openvino", "int8", Setup(threads=2))
    field = paint(SmearRecipe(1024, 768, 60.0, wbc=8, seed=3)).image[None]
    whole, part = engine(field), engine(field[:, :, :640])
    assert (whole[:, :, :320].argmax(axis=-1) == part[:, :, :320].argmax(axis=-1)).mean() > 0.999


@pytest.mark.skipif(problem(Option("openvino", "int8")) is not None, reason="OpenVINO does not work here")
def test_a_second_compilation_that_answers_otherwise_does_not_serve(starter: Bundle) -> None:
    engine = open_engine(starter, "openvino", "int8", Setup(threads=2))
    sound = engine._compile_for  # type: ignore[attr-defined]
    other = open_engine(starter, "openvino", "float32")._compile_for  # type: ignore[attr-defined]
    large = paint(SmearRecipe(1024, 768, 60.0, wbc=8, seed=3)).image[None]
    engine._compile_for = other  # type: ignore[attr-defined]
    with pytest.raises(EngineError, match="made for all cores it answers otherwise"):
        engine(large)
    engine._compile_for = sound  # type: ignore[attr-defined]
    assert engine(large).shape == (*large.shape[:3], 3)


OPENVINO = [Option("openvino", precision) for precision in ENGINES["openvino"]]


@pytest.mark.parametrize("option", OPENVINO, ids=str)
def test_a_folder_that_an_uninstall_of_openvino_left_behind_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, option: Option
) -> None:
    (tmp_path / "openvino").mkdir()
    monkeypatch.delitem(sys.modules, "openvino", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert "openvino is not OpenVINO, or not all of it" in str(problem(option))
    with pytest.raises(EngineError, match="openvino is not OpenVINO, or not all of it"):
        open_engine(tiny_bundle(), option.engine, "float32")


class DamagedCore:
    """As OpenVINO's, where the plugin for processors is missing or torn."""

    def get_property(self, device: str, name: str) -> object:
        raise RuntimeError('Exception from core.cpp:268:\nCannot load library "libopenvino_intel_cpu_plugin.so"\n')


@pytest.mark.parametrize("option", OPENVINO, ids=str)
def test_damaged_plugins_of_openvino_are_a_sentence(monkeypatch: pytest.MonkeyPatch, option: Option) -> None:
    monkeypatch.setitem(sys.modules, "openvino", SimpleNamespace(Core=DamagedCore))  # type: ignore[arg-type]
    assert problem(option) == (
        "OpenVINO does not reach the processor: Exception from core.cpp:268: Cannot load library "
        '"libopenvino_intel_cpu_plugin.so"'
    )


@pytest.mark.parametrize("threads", [0, 2])
def test_the_plain_loop_that_the_station_is_held_against_runs_on_as_many_threads(
    monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    told: list[int] = []

    class Session(onnxruntime.InferenceSession):  # type: ignore[misc]
        def __init__(self, network: bytes, options: onnxruntime.SessionOptions, providers: list[str]) -> None:
            told.append(options.intra_op_num_threads)
            super().__init__(network, options, providers)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    open_engine(tiny_bundle(), REFERENCE, setup=Setup(threads=threads))
    onnx_predict(tiny_onnx(), threads)
    assert told[0] == told[1] > 0


@pytest.mark.parametrize("module", ["station.engines.onnxruntime", "station.naive", "trainer.precisions"])
def test_the_runtime_keeps_nothing_to_send_to_its_maker(tmp_path: Path, module: str) -> None:
    """What it would send lies in the user's cache until it is sent, with a number for the device."""
    (tmp_path / "network.onnx").write_bytes(tiny_onnx())
    home = tmp_path / "home"
    home.mkdir()
    silent = ("CI", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS")
    around = {name: value for name, value in os.environ.items() if name not in silent}
    around |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    code = f"import sys, {module}; import onnxruntime; onnxruntime.InferenceSession(sys.argv[1])"
    line = [sys.executable, "-c", code, str(tmp_path / "network.onnx")]
    told = subprocess.run(line, env=around, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert [path for path in home.rglob("*") if path.is_file()] == []
