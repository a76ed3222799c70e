"""From a run to a bundle: ONNX held against Keras, golden pictures with their expected results, one archive."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from station.contract.analysis import Network, Scale, analyse
from station.contract.bundle import MODEL_CARD, bundle_of, prove, sha256_of, write_bundle
from station.contract.cells import encode
from station.contract.errors import StationError
from station.contract.imaging import RGB
from station.contract.manifest import Golden, Manifest, NetworkFile
from station.demo.smear import demo_fields, paint
from station.engines import open_engine
from trainer.backbones import backbone
from trainer.card import model_card
from trainer.fit import keras_network
from trainer.runs import RunFolder, RunRecord
from trainer.unet import build

OPSET = 17
EXPORT_SIZE = 256
PARITY_SIZES = ((256, 256), (192, 320), (416, 544))
MAX_DIFFERENCE = 1e-4
REFERENCE = "onnxruntime"
NETWORK_FILE, WEIGHTS_FILE = "network.onnx", "weights.keras"
GOLDEN_SEED, GOLDEN_FIELDS, GOLDEN_DIAMETER_PX = 7, (0, 3, 6), 120.0


class ExportError(StationError):
    """A network that is not the same after conversion."""


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What the gates saw."""

    max_difference: float
    golden_counts: tuple[int, ...]
    megabytes: float

    def __str__(self) -> str:
        return (
            f"{self.megabytes:.1f} MB, ONNX differs from Keras by at most {self.max_difference:.1e}, "
            f"golden counts {', '.join(map(str, self.golden_counts))}"
        )


def export_run(folder: RunFolder, output: Path, name: str) -> ExportReport:
    """Write the bundle of a run.

    Weights are rounded to float16 first (half the size); Keras and ONNX are compared after it, so nothing changes behind
    the gate. Raises ExportError where the ONNX network differs by more than 1e-4 anywhere.
    """
    record = folder.load()
    model = rounded_model(record, folder.weights)
    onnx_bytes = to_onnx(model, record)
    weights = float16_weights(model, record)
    difference = parity(onnx_bytes, keras_network(model), backbone(record.recipe.backbone).stride)
    network = NetworkFile(file=NETWORK_FILE, precision="float32", sha256=sha256_of(onnx_bytes))
    manifest = record.manifest(name, (network,), backbone(record.recipe.backbone).stride).model_copy(
        update={"weights": NetworkFile(file=WEIGHTS_FILE, precision="float16", sha256=sha256_of(weights))}
    )
    files = {NETWORK_FILE: onnx_bytes, WEIGHTS_FILE: weights}
    manifest, golden = with_golden(manifest, files, painted_golden())
    files |= golden | {MODEL_CARD: model_card(record, manifest).encode()}
    bundle = bundle_of(manifest, files)
    prove(bundle, open_engine(bundle, REFERENCE))
    write_bundle(output, bundle)
    counts = tuple(one.wbc_count for one in manifest.golden)
    return ExportReport(difference, counts, output.stat().st_size / 1e6)


def rounded_model(record: RunRecord, weights: Path) -> Any:
    """The run's best model with every weight rounded to float16 and widened again."""
    model = build(backbone(record.recipe.backbone))
    model.load_weights(weights)
    model.set_weights([w.astype(np.float16).astype(np.float32) for w in model.get_weights()])
    return model


def to_onnx(model: Any, record: RunRecord) -> bytes:
    """ONNX: `image` uint8 [N, H, W, 3], free N, H, W -> `probabilities` float32; weights stored as float16.

    Bilinear upsampling only converts at a fixed size; its Resize scales are constants, so the sizes are freed afterwards
    and the parity gate runs at several.
    """
    import keras
    import onnx
    import onnxslim

    fixed = build(backbone(record.recipe.backbone), EXPORT_SIZE)
    fixed.set_weights(model.get_weights())
    signature = [keras.InputSpec(shape=(None, EXPORT_SIZE, EXPORT_SIZE, 3), dtype="float32", name="image")]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        fixed.export(path, format="onnx", opset_version=OPSET, verbose=False, input_signature=signature)
        network = onnxslim.slim(onnx.load(path))
    _with_plain_ends(network)
    _with_float16_weights(network)
    onnx.checker.check_model(network, full_check=True)
    return bytes(network.SerializeToString())


def parity(onnx_bytes: bytes, reference: Network, stride: int) -> float:
    """Largest difference between ONNX Runtime and Keras over random and smooth pictures of several sizes, 0..1."""
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx_bytes, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    worst = 0.0
    for height, width in PARITY_SIZES:
        if height % stride or width % stride:
            raise ExportError(f"a parity picture of {width} x {height} px does not fit the stride {stride}")
        tiles = _parity_tiles(rng, height, width)
        (answer,) = session.run(None, {"image": tiles})
        worst = max(worst, float(np.abs(answer - reference(tiles)).max()))
    if not worst <= MAX_DIFFERENCE:
        raise ExportError(f"the ONNX network differs from Keras by {worst:.2e}, more than {MAX_DIFFERENCE:.0e}")
    return worst


def float16_weights(model: Any, record: RunRecord) -> bytes:
    """`weights.keras`: the same network under float16, half the size; `trainer fit --from` widens it again."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float16")
    try:
        half = build(backbone(record.recipe.backbone))
    finally:
        keras.config.set_dtype_policy(before)
    half.set_weights(model.get_weights())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / WEIGHTS_FILE
        half.save(path)
        return path.read_bytes()


def painted_golden() -> list[tuple[RGB, float]]:
    """(picture, cell diameter px) of the golden fields: painted, so that no photograph travels in the bundle."""
    recipes = demo_fields(GOLDEN_SEED)
    return [(paint(recipes[index]).image, recipes[index].cell_diameter_px) for index in GOLDEN_FIELDS]


def with_golden(
    manifest: Manifest, files: dict[str, bytes], pictures: Sequence[tuple[RGB, float]]
) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest with golden pictures, expected results by the reference engine, and their files."""
    engine = open_engine(bundle_of(manifest, files), REFERENCE)
    golden, made = [], {}
    for number, (image, diameter) in enumerate(pictures, start=1):
        analysis = analyse(image, Scale(diameter, "told"), manifest, engine)
        stem = f"golden/{number:02d}"
        own = {
            f"{stem}.png": encode(np.ascontiguousarray(image[..., ::-1])),
            f"{stem}.labels.png": encode(analysis.drawing.labels),
            f"{stem}.cells.png": encode(analysis.drawing.cells),
        }
        image_name, labels_name, cells_name = own
        golden.append(
            Golden(
                image=image_name,
                labels=labels_name,
                cells=cells_name,
                wbc_count=analysis.wbc_count,
                cell_diameter_px=diameter,
                sha256={file: sha256_of(data) for file, data in own.items()},
            )
        )
        made |= own
    return manifest.model_copy(update={"golden": tuple(golden)}), made


def _parity_tiles(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    ramp = np.linspace(0, 255, height * width * 3).reshape(height, width, 3)
    noise = rng.integers(0, 256, (height, width, 3))
    return np.stack([ramp, noise]).astype(np.uint8)


def _with_plain_ends(network: Any) -> None:
    """Input `image` uint8 behind a Cast, output `probabilities`, N, H and W free; Keras leaves `Identity:0` and fixed sizes."""
    import onnx

    graph = network.graph
    source, sink = graph.input[0], graph.output[0]
    _rename(graph, sink.name, "probabilities")
    for node in graph.node:
        node.input[:] = ["image_float" if name == source.name else name for name in node.input]
    graph.node.insert(0, onnx.helper.make_node("Cast", ["image"], ["image_float"], to=onnx.TensorProto.FLOAT))
    source.name, source.type.tensor_type.elem_type = "image", onnx.TensorProto.UINT8
    sink.name = "probabilities"
    for end in (source, sink):
        for axis, name in enumerate(("batch", "height", "width")):
            end.type.tensor_type.shape.dim[axis].dim_param = name
    del graph.value_info[:]


def _rename(graph: Any, old: str, new: str) -> None:
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]


def _with_float16_weights(network: Any) -> None:
    """Store large weights as float16 behind a Cast; runtimes fold the Cast when they load, so nothing is slower."""
    import onnx

    graph = network.graph
    casts = []
    for weight in graph.initializer:
        if weight.data_type != onnx.TensorProto.FLOAT or int(np.prod(weight.dims)) < 64:
            continue
        name = weight.name
        half = onnx.numpy_helper.to_array(weight).astype(np.float16)
        weight.CopyFrom(onnx.numpy_helper.from_array(half, f"{name}_half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}_half"], [name], to=onnx.TensorProto.FLOAT))
    for cast in reversed(casts):
        graph.node.insert(0, cast)
