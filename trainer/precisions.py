"""A network in other precisions, each an ONNX file of its own: float16 for TensorRT, int8 for processors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from station.contract.analysis import Network, Scale, prepare
from station.contract.bundle import LEAST_INT8_DICE, Bundle, GoldenResult, bundle_of, prove, sha256_of
from station.contract.errors import BundleError, EngineError, StationError
from station.contract.imaging import RGB
from station.contract.manifest import NetworkFile
from station.demo.smear import paint, random_recipe
from station.engines import REFERENCE, open_engine
from trainer.runs import temporary_folder

Precision: TypeAlias = Literal["int8", "float16"]
# A bundle with one network more, that network on this machine, and how the golden pictures came out on it.
Added: TypeAlias = tuple[Bundle, Network, tuple[GoldenResult, ...]]

# How many of the first convolutions an int8 network keeps in float32: as few as its golden pictures allow.
FLOAT_CONVOLUTIONS: Final = (3, 6, 12, 24)
# Ranges from photographs came to the same whole-cell Dice within 0.0003, and painted fields are always there.
CALIBRATION_SEED, CALIBRATION_FIELDS = 1, 16
_CHANNELS_AT_ONCE = 4  # ONNX Runtime's fast int8 convolutions take their input channels in fours
_LAST_TO_FIRST = [0, 2, 3, 1]  # [N, 3, H, W] -> [N, H, W, 3]


class PrecisionError(StationError):
    """A network that cannot be had in a precision."""


def with_int8(bundle: Bundle) -> Added:
    """With the int8 network that keeps the fewest convolutions in float32 of those that pass the golden gate.

    Raises PrecisionError where none does.
    """
    fields = painted_fields(CALIBRATION_SEED, CALIBRATION_FIELDS)
    tiles = [prepare(image, scale, bundle.manifest).tile for image, scale in fields]
    refusal: StationError | None = None
    for kept in FLOAT_CONVOLUTIONS:
        try:
            made = with_network(bundle, "int8", to_int8(bundle.network("float32"), tiles, kept))
            engine = open_engine(made, REFERENCE, "int8")
            return made, engine, prove(made, engine, least_cell_dice=LEAST_INT8_DICE)
        except (BundleError, EngineError, PrecisionError) as cause:
            refusal = refusal or cause
    raise PrecisionError(f"int8 is not for this network: {refusal}; export it without --int8") from refusal


def with_float16(bundle: Bundle) -> Added:
    """With the float16 network, proved on the processor; what a GPU makes of it, a station proves before it serves.

    Raises PrecisionError where it does not reproduce the golden pictures.
    """
    half, rounded = to_float16(bundle.network("float32")), rounded_to_float16(bundle.network("float32"))
    loaded, engine = (open_engine(with_network(bundle, "float32", network), REFERENCE) for network in (half, rounded))
    try:
        prove(bundle, loaded)
        return with_network(bundle, "float16", half), engine, prove(bundle, engine)
    except (BundleError, EngineError) as cause:
        raise PrecisionError(f"float16 is not for this network: {cause}; export it without --float16") from cause


ADDING: Final[Mapping[Precision, Callable[[Bundle], Added]]] = {"int8": with_int8, "float16": with_float16}


def with_network(bundle: Bundle, precision: Precision | Literal["float32"], onnx_bytes: bytes) -> Bundle:
    """The bundle with this network, in the place of one that it held in the same precision."""
    entry = NetworkFile(file=f"network.{precision}.onnx", precision=precision, sha256=sha256_of(onnx_bytes))
    gone = {network.file for network in bundle.manifest.networks if network.precision == precision}
    files = {file: data for file, data in bundle.files.items() if file not in gone} | {entry.file: onnx_bytes}
    others = [network for network in bundle.manifest.networks if network.precision != precision]
    return bundle_of(bundle.manifest.model_copy(update={"networks": (*others, entry)}), files)


def painted_fields(seed: int, count: int) -> Iterator[tuple[RGB, Scale]]:
    """Fields as a training mixes them in, each with its scale."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        recipe = random_recipe(rng, width=640, height=480, cell_diameter_px=float(rng.uniform(80, 130)))
        yield paint(recipe).image, Scale(recipe.cell_diameter_px, "told")


def to_float16(onnx_bytes: bytes) -> bytes:
    """The network for a strongly typed TensorRT: `image` uint8 -> `probabilities` float16, both [N, H, W, 3].

    The softmax alone is computed in float32.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    half = convert_float_to_float16(_plain(onnx_bytes))
    _soften_in_float32(half.graph)
    return _checked(half)


def rounded_to_float16(onnx_bytes: bytes) -> bytes:
    """A float32 network that rounds every map to float16, as `to_float16` does on a GPU.

    On a processor ONNX Runtime loads the float16 network itself, but computes in float32 and rounds nothing.
    """
    import onnx

    network = _plain(onnx_bytes)
    *nodes, softmax = network.graph.node
    del network.graph.node[:]
    for node in nodes:
        target, node.output[0] = node.output[0], f"{node.output[0]}_exact"
        network.graph.node.append(node)
        network.graph.node.append(_node("Cast", node.output[0], f"{target}_half", to=onnx.TensorProto.FLOAT16))
        network.graph.node.append(_node("Cast", f"{target}_half", target, to=onnx.TensorProto.FLOAT))
    network.graph.node.append(softmax)
    del network.graph.value_info[:]
    return _checked(network)


def to_int8(onnx_bytes: bytes, tiles: Iterable[RGB], float_convolutions: int) -> bytes:
    """The network in eight bits, the ranges of its maps taken from `tiles` [H, W, 3] at network scale.

    uint8 maps and int8 weights, each output channel with a scale of its own: what processors multiply fastest. The
    first `float_convolutions` stay in float32, and so do logits and softmax: in the first layers weights of one channel
    are hundreds of times those of another, and whatever they lose is lost to all that follows.
    Raises PrecisionError where there are no tiles, or nothing would be left for eight bits.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    with temporary_folder() as folder:
        source, target = folder / "float32.onnx", folder / "int8.onnx"
        network = _plain(onnx_bytes)
        _fill_channels(network.graph)
        quantize_static(
            source,
            target,
            _reader(tiles),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_kept(_with_shapes(network, source).graph, float_convolutions),
        )
        return _checked(_loaded(target.read_bytes()))


def _plain(onnx_bytes: bytes) -> Any:
    """The network with float32 weights, its softmax at the end, and a name for each node."""
    network = _loaded(onnx_bytes)
    _widen(network.graph)
    _turn_before_softmax(network.graph)
    for number, node in enumerate(network.graph.node):
        node.name = node.name or f"node{number}"
    return network


def _widen(graph: Any) -> None:
    """Weights that are stored as float16 behind a Cast become float32 again."""
    import onnx

    stored = {weight.name: weight for weight in graph.initializer}
    for cast in [node for node in graph.node if node.op_type == "Cast" and node.input[0] in stored]:
        wide = onnx.numpy_helper.to_array(stored[cast.input[0]]).astype(np.float32)
        stored[cast.input[0]].CopyFrom(onnx.numpy_helper.from_array(wide, cast.output[0]))
        graph.node.remove(cast)


def _turn_before_softmax(graph: Any) -> None:
    """Channels last, then softmax: over the first of three axes a runtime turns the maps there and back by itself."""
    softmax, turn = graph.node[-2:]
    if (softmax.op_type, turn.op_type) != ("Softmax", "Transpose") or list(turn.attribute[0].ints) != _LAST_TO_FIRST:
        return
    logits, answer = softmax.input[0], turn.output[0]
    del graph.node[-2:]
    graph.node.append(_node("Transpose", logits, "logits_last", perm=_LAST_TO_FIRST))
    graph.node.append(_node("Softmax", "logits_last", answer, axis=-1))


def _soften_in_float32(graph: Any) -> None:
    """The softmax at the end of a float16 network between two Casts."""
    import onnx

    softmax = graph.node[-1]
    if softmax.op_type != "Softmax":
        raise PrecisionError(f"the network ends in {softmax.op_type}, not in a Softmax; export it with this trainer")
    logits, answer = softmax.input[0], softmax.output[0]
    softmax.input[0], softmax.output[0] = "logits_float", "probabilities_float"
    del graph.node[-1], graph.value_info[:]
    graph.node.append(_node("Cast", logits, "logits_float", to=onnx.TensorProto.FLOAT))
    graph.node.append(softmax)
    graph.node.append(_node("Cast", "probabilities_float", answer, to=onnx.TensorProto.FLOAT16))


def _fill_channels(graph: Any) -> None:
    """Bring the picture that the last stage looks at once more from three channels to four, one of them empty.

    The int8 convolution over 32 + 3 channels took a quarter of a MobileNetV2's time; over 32 + 4 it is nearly three
    times as fast.
    """
    import onnx

    for skip, convolution in _picture_skips(graph):
        kernel = next(weight for weight in graph.initializer if weight.name == convolution.input[1])
        values = onnx.numpy_helper.to_array(kernel)
        missing = -values.shape[1] % _CHANNELS_AT_ONCE
        filled = np.pad(values, ((0, 0), (0, missing), (0, 0), (0, 0)))
        kernel.CopyFrom(onnx.numpy_helper.from_array(filled, kernel.name))
        identity = np.eye(3 + missing, 3, dtype=np.float32)[..., None, None]
        graph.initializer.append(onnx.numpy_helper.from_array(identity, f"{skip.name}_identity"))
        fill = _node("Conv", [skip.input[-1], f"{skip.name}_identity"], f"{skip.name}_filled", kernel_shape=[1, 1])
        graph.node.insert(list(graph.node).index(skip), fill)
        skip.input[-1] = fill.output[0]


def _picture_skips(graph: Any) -> Iterator[tuple[Any, Any]]:
    """(Concat that ends in the normalised picture, the only Conv that it feeds)."""
    picture = {"image"}  # what is made of the picture alone, before any convolution
    constants = {weight.name for weight in graph.initializer}
    for node in list(graph.node):
        if node.op_type == "Concat" and node.input[-1] in picture:
            users = [user for user in graph.node if node.output[0] in user.input]
            if [user.op_type for user in users] == ["Conv"]:
                yield node, users[0]
        elif node.op_type != "Conv" and set(node.input) <= picture | constants:
            picture |= set(node.output)


def _with_shapes(network: Any, path: Path) -> Any:
    """The network with shapes, as the quantiser wants it, also written to `path`."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    path.write_bytes(network.SerializeToString())
    quant_pre_process(path, path, skip_symbolic_shape=True)
    return _loaded(path.read_bytes())


def _kept(graph: Any, float_convolutions: int) -> list[str]:
    """Names of the nodes that stay in float32.

    They lie at both ends: of a float32 convolution between int8 ones ONNX Runtime makes an int8 one by itself, with one
    scale for all channels, which is worse than having quantised it.
    """
    nodes = list(graph.node)
    places = [place for place, node in enumerate(nodes) if node.op_type == "Conv" and not _fills(node)]
    if len(places) < float_convolutions + 2:
        raise PrecisionError(
            f"the network has {len(places)} convolutions; with {float_convolutions} and the last in float32 nothing is "
            "left for eight bits"
        )
    ends = [*nodes[: places[float_convolutions]], nodes[places[-1]]]
    return [node.name for node in nodes if node in ends or node.op_type == "Softmax" or _fills(node)]


def _fills(node: Any) -> bool:
    """Whether `_fill_channels` made it."""
    return bool(node.output[0].endswith("_filled"))


def _reader(tiles: Iterable[RGB]) -> Any:
    """`tiles` as the quantiser asks for them: one after the other, then None."""
    from onnxruntime.quantization import CalibrationDataReader

    batches = [{"image": tile[None]} for tile in tiles]
    if not batches:
        raise PrecisionError("an int8 network takes its ranges from pictures, and there are none to take them from")
    left = iter(batches)

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            return next(left, None)

    return Reader()


def _node(kind: str, source: str | list[str], target: str, **attributes: Any) -> Any:
    """A node from one tensor, or from a list of them, to one; called after the latter."""
    import onnx

    sources = [source] if isinstance(source, str) else source
    return onnx.helper.make_node(kind, sources, [target], f"{target}_{kind.lower()}", **attributes)


def _loaded(onnx_bytes: bytes) -> Any:
    import onnx

    return onnx.load_from_string(onnx_bytes)


def _checked(network: Any) -> bytes:
    """The network's bytes, after the checker has read them."""
    import onnx

    data = bytes(network.SerializeToString())
    onnx.checker.check_model(data, full_check=True)
    return data
