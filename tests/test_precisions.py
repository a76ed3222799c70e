"""Networks in eight bits and in half precision count as the one that they were made of, or are refused."""

from __future__ import annotations

import importlib.util
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from networks import BIAS, WEIGHTS, discs, noise_tiles, tiny_bundle, tiny_onnx
from numpy.typing import NDArray
from unets import record_of

from station.contract.bundle import LEAST_INT8_DICE, MODEL_CARD, Bundle, prove, read_bundle, write_bundle
from station.engines import Option, open_engine, options
from station.engines.tensorrt.building import serialized_plan
from station.engines.tensorrt.library import load_library
from station.engines.tensorrt.shapes import profiles_for
from station.processor import this_processor
from station.registry import starter_path
from trainer.cli import main
from trainer.conversion import with_float16_weights
from trainer.export import with_precisions
from trainer.precisions import (
    ADDING,
    Precision,
    PrecisionError,
    painted_fields,
    rounded_to_float16,
    to_float16,
    to_int8,
    with_float16,
    with_int8,
    with_network,
)

pytestmark = pytest.mark.filterwarnings("ignore:__array__")  # Keras on NumPy 2

CHANNELS = 32
MIB = 1 << 20


def kernel(rows: int, columns: int, *, size: int = 1) -> NDArray[np.float32]:
    """[rows, columns, size, size] of a convolution that hands its channels on, those that there are."""
    made = np.zeros((rows, columns, size, size), np.float32)
    made[:, :, size // 2, size // 2] = np.eye(rows, columns)
    return made


def looking_again(colours: NDArray[np.float32]) -> NDArray[np.float32]:
    """[3, CHANNELS + 3, 3, 3]: half of each colour from the layers before, half from the picture itself."""
    made = np.zeros((3, CHANNELS + 3, 3, 3), np.float32)
    made[:, :3, 1, 1] = made[:, CHANNELS:, 1, 1] = colours / 2
    return made


def convolutions(offset: float = 0.3) -> bytes:
    """`colour_network` as a small U-Net would be stored: convolutions in a row, the picture once more, a softmax.

    `offset` is added to the maps in the middle and taken off again. A small one makes the steps of eight bits others
    than those of the picture; a large one is exact in float32, but too much for fewer bits.
    """
    make, kinds = onnx.helper, onnx.TensorProto
    layers = {
        "first": (kernel(CHANNELS, 3, size=3), 0.0),
        "second": (kernel(CHANNELS, CHANNELS), 0.0),
        "third": (kernel(CHANNELS, CHANNELS), 0.0),
        "up": (kernel(CHANNELS, CHANNELS, size=3), offset),
        "down": (kernel(CHANNELS, CHANNELS), -offset),
    }
    nodes, source = [], "picture"
    weights = {"scale": np.float32(1 / 255), "again": looking_again(np.eye(3, dtype=np.float32))}
    weights |= {"colours": (255 * WEIGHTS.T)[..., None, None], "bias": BIAS}
    for name, (values, shift) in layers.items():
        pads = [values.shape[-1] // 2] * 4
        weights |= {f"{name}_kernel": values, f"{name}_shift": np.full(CHANNELS, shift, np.float32)}
        nodes += [
            make.make_node("Conv", [source, f"{name}_kernel", f"{name}_shift"], [f"{name}_sum"], pads=pads),
            make.make_node("Relu", [f"{name}_sum"], [name]),
        ]
        source = name
    before = [
        make.make_node("Cast", ["image"], ["numbers"], to=kinds.FLOAT),
        make.make_node("Mul", ["numbers", "scale"], ["normalised"]),
        make.make_node("Transpose", ["normalised"], ["picture"], perm=[0, 3, 1, 2]),
    ]
    after = [
        make.make_node("Concat", [source, "picture"], ["skip"], axis=1),
        make.make_node("Conv", ["skip", "again"], ["seen"], pads=[1] * 4),
        make.make_node("Conv", ["seen", "colours", "bias"], ["logits"]),
        make.make_node("Softmax", ["logits"], ["maps"], axis=1),
        make.make_node("Transpose", ["maps"], ["probabilities"], perm=[0, 2, 3, 1]),
    ]
    shape = ["batch", "height", "width", 3]
    graph = make.make_graph(
        [*before, *nodes, *after],
        "convolutions",
        [make.make_tensor_value_info("image", kinds.UINT8, shape)],
        [make.make_tensor_value_info("probabilities", kinds.FLOAT, shape)],
        [onnx.numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    network = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    return with_float16_weights(bytes(network.SerializeToString()))


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return tiny_bundle(network=convolutions())


@pytest.fixture(scope="module")
def spoilt() -> Bundle:
    """One that float32 alone can compute."""
    return tiny_bundle(network=convolutions(offset=3072.0))


@pytest.fixture(scope="module")
def int8(bundle: Bundle) -> Bundle:
    made, _, _ = with_int8(bundle)
    return made


def tiles() -> Iterator[NDArray[np.uint8]]:
    yield discs(96, 128, [(40, 40, 20, 12), (90, 50, 22, 10)])
    yield noise_tiles(1, 64, 64)[0]


def kinds(network: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(network).graph.node]


def quantised(network: bytes) -> list[str]:
    """Names of the weights that are kept in eight bits."""
    weights = onnx.load_from_string(network).graph.initializer
    return [one.name for one in weights if one.data_type == onnx.TensorProto.INT8 and len(one.dims) == 4]


def test_int8_counts_as_float32(bundle: Bundle, int8: Bundle) -> None:
    golden = prove(int8, open_engine(int8, "onnxruntime", "int8"), least_cell_dice=LEAST_INT8_DICE)
    assert [one.wbc_count for one in golden] == [one.wbc_count for one in prove(bundle, open_engine(bundle))]
    assert not np.array_equal(
        *(open_engine(int8, "onnxruntime", p)(noise_tiles(1, 64, 64)) for p in ("int8", "float32"))
    )


def test_float16_counts_as_float32(bundle: Bundle) -> None:
    made, _, golden = with_float16(bundle)
    assert [one.wbc_count for one in golden] == [3, 2] and all(one.cell_dice > 0.999 for one in golden)
    network = onnx.load_from_string(made.network("float16"))
    ends = [end.type.tensor_type.elem_type for end in (network.graph.input[0], network.graph.output[0])]
    assert ends == [onnx.TensorProto.UINT8, onnx.TensorProto.FLOAT16]
    assert made.network("float32") == bundle.network("float32")


def test_only_what_lies_between_the_ends_is_quantised(bundle: Bundle) -> None:
    names = quantised(to_int8(bundle.network("float32"), tiles(), 3))
    assert [name.partition("_")[0] for name in names] == ["up", "down", "again"]
    names = quantised(to_int8(bundle.network("float32"), tiles(), 4))
    assert [name.partition("_")[0] for name in names] == ["down", "again"]


def test_the_picture_that_is_looked_at_again_gets_a_fourth_channel(int8: Bundle) -> None:
    """Kernels that take channels in fours are what makes it fast."""
    weights = {one.name: list(one.dims) for one in onnx.load_from_string(int8.network("int8")).graph.initializer}
    assert weights["again_quantized"] == [3, CHANNELS + 4, 3, 3]


def test_the_softmax_is_over_the_last_axis_and_in_float32(int8: Bundle, bundle: Bundle) -> None:
    assert kinds(bundle.network("float32"))[-2:] == ["Softmax", "Transpose"]
    assert kinds(int8.network("int8"))[-2:] == ["Transpose", "Softmax"]
    assert kinds(to_float16(bundle.network("float32")))[-4:] == ["Transpose", "Cast", "Softmax", "Cast"]


def test_the_same_network_gives_the_same_bytes(bundle: Bundle, int8: Bundle) -> None:
    again, _, _ = with_int8(bundle)
    assert again == int8


def test_the_bundle_gains_the_engines_that_compute_so(bundle: Bundle, int8: Bundle) -> None:
    gained = set(options(int8)) - set(options(bundle))
    assert gained == {Option("onnxruntime", "int8"), Option("openvino", "int8")}
    both, _, _ = with_float16(int8)
    assert set(options(both)) - set(options(int8)) == {Option("tensorrt", "float16")}


def test_it_comes_back_whole_from_a_compact_archive(int8: Bundle, tmp_path: Path) -> None:
    grown = with_network(int8, "float16", noise_tiles(1, 200, 300).tobytes())  # large enough for LZMA
    path = tmp_path / "b.zip"
    write_bundle(path, grown, compact=True)
    assert read_bundle(path) == grown
    with zipfile.ZipFile(path) as archive:
        packed = {entry.filename: entry.compress_type for entry in archive.infolist()}
    assert packed["network.float16.onnx"] == zipfile.ZIP_LZMA
    assert packed["manifest.json"] == packed["network.int8.onnx"] == zipfile.ZIP_DEFLATED
    write_bundle(path, grown)
    with zipfile.ZipFile(path) as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_DEFLATED}


def test_a_network_replaces_the_one_of_its_precision(int8: Bundle) -> None:
    other = with_network(int8, "int8", b"other")
    assert other.network("int8") == b"other" and other.network("float32") == int8.network("float32")
    assert [one.precision for one in other.manifest.networks] == ["float32", "int8"]
    renamed = with_network(tiny_bundle(), "float32", b"other")
    assert renamed.network("float32") == b"other" and "network.onnx" not in renamed.files


@pytest.mark.parametrize("precision", ADDING)
def test_a_network_that_needs_float32_is_refused(spoilt: Bundle, precision: Precision) -> None:
    assert len(prove(spoilt, open_engine(spoilt))) == 2
    with pytest.raises(PrecisionError) as told:
        with_precisions(spoilt, [precision])
    assert str(told.value).startswith(f"{precision} is not for this network: the model tiny does not prove itself here")
    assert str(told.value).endswith(f"; export it without --{precision}") and "\n" not in str(told.value)


def test_what_cannot_be_quantised_is_refused_with_the_reason(bundle: Bundle) -> None:
    with pytest.raises(PrecisionError, match="takes its ranges from pictures, and there are none"):
        to_int8(bundle.network("float32"), [], 3)
    with pytest.raises(PrecisionError, match="has 7 convolutions; with 6 and the last in float32 nothing is left"):
        to_int8(bundle.network("float32"), tiles(), 6)
    with pytest.raises(PrecisionError, match="int8 is not for this network: the network has 0 convolutions"):
        with_int8(tiny_bundle())
    network = onnx.load_from_string(tiny_onnx())
    network.graph.node[-1].op_type = "LogSoftmax"
    with pytest.raises(PrecisionError, match="ends in LogSoftmax, not in a Softmax"):
        to_float16(network.SerializeToString())


@pytest.mark.parametrize("name", ["unet", "resnet18"])
def test_other_encoders_answer_alike_in_every_precision(name: str) -> None:
    """Untrained: one normalises before its convolutions, the other pads by itself and adds."""
    import keras

    from trainer.backbones import backbone
    from trainer.conversion import to_onnx
    from trainer.export import one_network
    from trainer.unet import build

    keras.utils.set_random_seed(5)
    row = backbone(name)
    plain = one_network(record_of(name).manifest("candidate", (), row.stride), to_onnx(build(row)))
    network, tile = plain.network("float32"), discs(128, 160, [(60, 60, 30, 17)])
    expected = open_engine(plain)(tile[None])
    # Without VNNI two products of 8 bits are added in 16, which saturate: the gate judges each model on each machine.
    saturating = 0.02 if this_processor().vnni else 0.1
    for made, most in ((to_int8(network, [tile], 3), saturating), (rounded_to_float16(network), 0.002)):
        answer = open_engine(with_network(plain, "float32", made))(tile[None])
        assert 0 < np.abs(answer - expected).max() < most


def test_painted_fields_are_the_same_every_time_and_others_by_seed() -> None:
    first, again, other = (next(painted_fields(seed, 1)) for seed in (1, 1, 2))
    assert np.array_equal(first[0], again[0]) and first[1] == again[1]
    assert not np.array_equal(first[0], other[0])
    assert 80 <= first[1].cell_diameter_px <= 130 and first[1].source == "told"


def test_half_precision_becomes_a_plan(bundle: Bundle) -> None:
    pytest.importorskip("tensorrt_rtx")
    if importlib.util.find_spec("tensorrt"):
        pytest.skip("the full TensorRT is installed, which builds nothing without a GPU")
    starter = read_bundle(starter_path())
    for one in (bundle, starter):
        half = to_float16(one.network("float32"))
        assert serialized_plan(load_library(), half, profiles_for(one.manifest.scale), 1024 * MIB)


def trainer(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


@pytest.fixture
def written(bundle: Bundle, tmp_path: Path) -> Path:
    write_bundle(tmp_path / "plain.zip", bundle)
    return tmp_path / "plain.zip"


def test_a_bundle_is_extended_by_the_command(written: Path, bundle: Bundle, int8: Bundle, tmp_path: Path) -> None:
    output = tmp_path / "more.zip"
    result = trainer("export", written, "--int8", "--float16", "-o", output)
    assert result.exit_code == 0, result.output
    made = read_bundle(output)
    assert [one.precision for one in made.manifest.networks] == ["float32", "int8", "float16"]
    assert made.network("int8") == int8.network("int8")
    assert made.manifest.golden == bundle.manifest.golden and made.manifest.name == "tiny"
    card = made.files[MODEL_CARD].decode()
    assert card.startswith("# Colours\n") and "| int8 | " in card and "| float16 | " in card
    assert "int8: " in result.output and "24 painted fields" in result.output
    result = trainer("export", output, "--int8", "-o", tmp_path / "again.zip", "--name", "again")
    assert result.exit_code == 0, result.output
    again = read_bundle(tmp_path / "again.zip")
    assert again.manifest.name == "again" and again.files[MODEL_CARD].decode().count("## Other precisions") == 1
