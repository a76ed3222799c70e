"""Pictures of flat discs, and a network that knows their three colours: as NumPy, as ONNX, and as a whole bundle."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray

from station.contract.analysis import Scale, analyse
from station.contract.bundle import MODEL_CARD, Bundle, bundle_of, sha256_of
from station.contract.imaging import RGB
from station.contract.manifest import CYTOPLASM, NUCLEUS, Golden, Manifest, NetworkFile, NetworkScale, Provenance
from station.contract.masks import encode

Disc: TypeAlias = tuple[float, float, float, float]  # x, y, radius, radius of the nucleus (0: none), px

DIAMETER_PX = 60.0  # of the cells in the golden pictures, at camera scale
NETWORK_DIAMETER_PX = 40.0
NETWORK_FILE = "network.onnx"
WEIGHTS_FILE = "weights.keras"

# RGB of background, cytoplasm, nucleus. Each pixel goes to the nearest of the three.
COLOURS = np.array([[236, 226, 220], [168, 150, 214], [86, 44, 132]], np.uint8)
_SHARPNESS = 1 / 1000  # probabilities are the softmax of -distance^2 x this
WEIGHTS = (2 * _SHARPNESS * COLOURS.T.astype(np.float64)).astype(np.float32)  # [RGB, class]
BIAS = (-_SHARPNESS * (COLOURS.astype(np.float64) ** 2).sum(axis=1)).astype(np.float32)

GOLDEN_DISCS: tuple[tuple[Disc, ...], ...] = (
    ((60, 60, 30, 17), (105, 70, 30, 16), (200, 110, 28, 15)),
    ((80, 90, 31, 18), (239, 60, 30, 20)),
)
_HEIGHT, _WIDTH = 180, 240


def disc_labels(height: int, width: int, discs: Sequence[Disc]) -> NDArray[np.uint8]:
    """[height, width] 0 background, 1 cytoplasm, 2 nucleus."""
    rows, columns = np.mgrid[:height, :width]
    labels = np.zeros((height, width), np.uint8)
    for x, y, radius, nucleus in discs:
        distance = np.hypot(columns - x, rows - y)
        labels[distance <= radius] = np.maximum(labels[distance <= radius], CYTOPLASM)
        labels[distance < nucleus] = NUCLEUS
    return labels


def discs(height: int, width: int, cells: Sequence[Disc] = ()) -> RGB:
    """A picture [height, width, 3] of round cells."""
    return COLOURS[disc_labels(height, width, cells)]


def one_hot(labels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The probabilities [height, width, 3] of a network that is sure of `labels`."""
    return np.eye(3, dtype=np.float32)[labels]


def noise_tiles(*shape: int) -> NDArray[np.uint8]:
    """[N, H, W, 3] of a shape (N, H, W), the same at every call."""
    return np.random.default_rng(9).integers(0, 256, (*shape, 3), np.uint8)


def png(image: RGB) -> bytes:
    """The file that a camera would save."""
    return encode(np.ascontiguousarray(image[..., ::-1]))


def colour_network(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
    """[N, H, W, 3] RGB -> [N, H, W, 3] probabilities by colour; the same as `tiny_onnx`."""
    logits = tiles.astype(np.float32) @ WEIGHTS + BIAS
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float32)


@cache
def tiny_onnx() -> bytes:
    """`colour_network` as ONNX: `image` uint8 [N, H, W, 3] -> `probabilities` float32, N, H and W free."""
    make, kinds = onnx.helper, onnx.TensorProto
    nodes = [
        make.make_node("Cast", ["image"], ["colours"], to=kinds.FLOAT),
        make.make_node("MatMul", ["colours", "weights"], ["products"]),
        make.make_node("Add", ["products", "bias"], ["logits"]),
        make.make_node("Softmax", ["logits"], ["probabilities"], axis=-1),
    ]
    shape = ["batch", "height", "width", 3]
    graph = make.make_graph(
        nodes,
        "colours",
        [make.make_tensor_value_info("image", kinds.UINT8, shape)],
        [make.make_tensor_value_info("probabilities", kinds.FLOAT, shape)],
        [onnx.numpy_helper.from_array(WEIGHTS, "weights"), onnx.numpy_helper.from_array(BIAS, "bias")],
    )
    network = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(network, full_check=True)
    return bytes(network.SerializeToString())


def tiny_manifest(name: str = "tiny") -> Manifest:
    """A manifest that names no file yet."""
    return Manifest(
        name=name,
        scale=NetworkScale(cell_diameter_px=NETWORK_DIAMETER_PX, stride=16, default_camera_diameter_px=DIAMETER_PX),
        provenance=Provenance(
            backbone="colours",
            loss="none",
            recipe_sha256=sha256_of(b"recipe"),
            data_sha256=sha256_of(b"data"),
            seed=0,
            trained_on=("discs",),
            created_at="2026-01-01T00:00:00+00:00",
            package_version="0.0.0",
        ),
    )


def tiny_bundle(name: str = "tiny", network: bytes | None = None) -> Bundle:
    """A whole bundle with two golden pictures; another `name` makes another model, `network` other ONNX bytes."""
    onnx_bytes = tiny_onnx() if network is None else network
    files = {NETWORK_FILE: onnx_bytes, MODEL_CARD: b"# Colours\n"}
    manifest, golden = tiny_manifest(name), []
    for number, cells in enumerate(GOLDEN_DISCS, start=1):
        entry, made = _golden(f"golden/{number:02d}", discs(_HEIGHT, _WIDTH, cells), manifest)
        golden.append(entry)
        files |= made
    networks = (NetworkFile(file=NETWORK_FILE, precision="float32", sha256=sha256_of(onnx_bytes)),)
    return bundle_of(manifest.model_copy(update={"networks": networks, "golden": tuple(golden)}), files)


def whole_bundle() -> Bundle:
    """One with every kind of member."""
    bundle, weights = tiny_bundle(), b"weights to train on from"
    entry = NetworkFile(file=WEIGHTS_FILE, precision="float16", sha256=sha256_of(weights))
    manifest = bundle.manifest.model_copy(update={"weights": entry})
    return bundle_of(manifest, dict(bundle.files) | {WEIGHTS_FILE: weights})


def _golden(stem: str, image: RGB, manifest: Manifest) -> tuple[Golden, dict[str, bytes]]:
    drawing = analyse(image, Scale(DIAMETER_PX, "told"), manifest, colour_network).drawing
    made = {
        f"{stem}.png": png(image),
        f"{stem}.labels.png": encode(drawing.labels),
        f"{stem}.cells.png": encode(drawing.cells),
    }
    picture, labels, cells = made
    hashes = {file: sha256_of(data) for file, data in made.items()}
    count = len(drawing.measured)
    entry = Golden(
        image=picture, labels=labels, cells=cells, wbc_count=count, cell_diameter_px=DIAMETER_PX, sha256=hashes
    )
    return entry, made
