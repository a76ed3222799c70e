"""One exam for every backbone of the table: it learns, its ONNX is the same network, the station counts with it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from conftest import LONG, Command
from networks import COLOURS, disc_labels, png
from unets import noise, record_of

from station.contract.analysis import Scale, analyse
from station.contract.bundle import cell_dice, read_bundle, write_bundle
from station.contract.imaging import RGB
from station.contract.masks import decode_mask
from station.engines import open_engine
from trainer.backbones import BACKBONES, backbone
from trainer.conversion import to_onnx, with_float16_weights
from trainer.export import MAX_DIFFERENCE, ExportError, one_network, parity
from trainer.fit import reestimate_statistics
from trainer.validation import keras_network

DIAMETER_PX = 64.0
LABELS = disc_labels(96, 96, [(48, 48, 28, 16)])
STEPS = 8
# Minutes are spent on these alone; a relative of each, built by the same code, is taught in every run.
RELATIVES = ("mobilenet", "resnet34", "resnet50", "resnet152", "vgg19")


@pytest.mark.parametrize("name", [pytest.param(name, marks=LONG if name in RELATIVES else ()) for name in BACKBONES])
def test_it_learns_and_the_station_counts_with_what_was_exported(name: str, tmp_path: Path, station: Command) -> None:
    """In one test, since a network is taught once for all of it."""
    row, picture = backbone(name), cell_picture()
    model, losses = taught(name, picture)
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.75 * losses[0]

    data = to_onnx(model)
    check_graph(onnx.load_from_string(data), len(row.decoder))
    manifest = record_of(name).manifest("candidate", (), row.stride)
    write_bundle(tmp_path / "model.zip", one_network(manifest, data))
    bundle = read_bundle(tmp_path / "model.zip")
    assert parity(open_engine(bundle, "onnxruntime"), keras_network(model), row.stride) <= MAX_DIFFERENCE == 1e-4

    expected = analyse(picture, Scale(DIAMETER_PX, "told"), manifest, keras_network(model))
    (tmp_path / "field.png").write_bytes(png(picture))
    options = ("--cell-diameter", DIAMETER_PX, "--format", "jsonl", "--masks", tmp_path)
    told = station("segment", tmp_path / "field.png", "--model", tmp_path / "model.zip", *options)
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["wbc_count"] == expected.wbc_count >= 1
    labels = decode_mask((tmp_path / "field.labels.png").read_bytes()).astype(np.uint8)
    assert cell_dice(labels, expected.drawing.labels) > 0.999


def cell_picture() -> RGB:
    """One round cell under noise, [96, 96, 3]."""
    return np.rint(0.9 * COLOURS[LABELS] + noise(*LABELS.shape, 3) / 16).astype(np.uint8)


def taught(name: str, picture: RGB) -> tuple[Any, list[float]]:
    """A U-Net after a few steps on one picture, with statistics as a training leaves them, and its losses."""
    import keras

    from trainer.losses import loss
    from trainer.unet import batch_normalisations, build

    keras.utils.set_random_seed(0)
    model, images = build(backbone(name)), picture[None].astype(np.float32)
    model.compile(keras.optimizers.Adam(1e-3), loss("cross_entropy+dice"), run_eagerly=True)
    truth = np.eye(3, dtype=np.float32)[LABELS][None]
    losses = []
    for _ in range(STEPS):
        model.reset_metrics()
        losses.append(float(model.train_on_batch(images, truth)))
    for layer in batch_normalisations(model):
        layer.momentum = 0.2
    reestimate_statistics(model, [images] * 4)
    alone = build(backbone(name))  # without the optimizer, which holds the weights twice again
    alone.set_weights(model.get_weights())
    return alone, losses


def check_graph(network: onnx.ModelProto, halvings: int) -> None:
    """`image` uint8 [N, H, W, 3] -> `probabilities` float32, N, H, W free; plain nodes, constant Resize scales."""
    ((source,), (sink,)) = network.graph.input, network.graph.output
    assert (source.name, sink.name) == ("image", "probabilities")
    assert (source.type.tensor_type.elem_type, sink.type.tensor_type.elem_type) == (2, 1)
    for end in (source, sink):
        dims = end.type.tensor_type.shape.dim
        assert all(dim.dim_param and not dim.dim_value for dim in list(dims)[:3])
        assert dims[3].dim_value == 3
    assert [one.version for one in network.opset_import if not one.domain] == [17]
    kinds, constants = Counter(node.op_type for node in network.graph.node), {c.name for c in network.graph.initializer}
    assert (kinds["Resize"], kinds["Concat"], kinds["Transpose"]) == (halvings, halvings, 2)
    assert not kinds.keys() & {"BatchNormalization", "Shape", "Reshape", "Tile", "Gather", "Sqrt", "Identity"}
    for node in network.graph.node:
        if node.op_type == "Resize":
            assert {attribute.name: attribute.s for attribute in node.attribute}["mode"] == b"linear"
            assert node.input[2] in constants


@pytest.fixture(scope="module")
def plain() -> Any:
    import keras

    from trainer.unet import build

    keras.utils.set_random_seed(1)
    return build(backbone("unet"))


def engine_of(data: bytes) -> Any:
    return open_engine(one_network(record_of("unet").manifest("candidate", (), 16), data), "onnxruntime")


def test_a_network_whose_last_bias_was_moved_is_told_apart(plain: Any) -> None:
    engine = engine_of(to_onnx(plain))
    kernel, bias = plain.get_layer("logits").get_weights()
    plain.get_layer("logits").set_weights([kernel, bias + np.array([0.01, 0, 0], np.float32)])
    with pytest.raises(ExportError, match=r"differs from Keras by .*e-"):
        parity(engine, keras_network(plain), 16)
    plain.get_layer("logits").set_weights([kernel, bias])


def test_a_network_that_answers_nan_has_no_parity() -> None:
    with pytest.raises(ExportError, match="differs from Keras by nan"):
        parity(lambda tiles: tiles * np.float32(np.nan), lambda tiles: tiles.astype(np.float32), 32)


def test_a_frozen_encoder_is_converted_with_its_own_weights(plain: Any) -> None:
    """Freezing moves variables from one list of Keras' to another."""
    from trainer.unet import encoder_layers

    for layer in encoder_layers(plain):
        layer.trainable = False
    assert parity(engine_of(to_onnx(plain)), keras_network(plain), 16) <= MAX_DIFFERENCE
    for layer in encoder_layers(plain):
        layer.trainable = True


def test_weights_stored_as_float16_halve_the_file(plain: Any) -> None:
    exact = to_onnx(plain)
    stored = with_float16_weights(exact)
    assert len(stored) < 0.52 * len(exact)
    tiles = noise(1, 64, 96, 3).astype(np.uint8)
    assert engine_of(stored)(tiles) == pytest.approx(engine_of(exact)(tiles), abs=5e-3)
