"""One exam for every backbone of the table, and the weights that an encoder starts from."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import SHARED
from numpy.typing import NDArray

from trainer.backbones import BACKBONES, WeightsError, backbone, weights_file
from trainer.cli import main
from trainer.recipe import Recipe
from trainer.runs import RunRecord

WEIGHTS = SHARED / "weights"
MOBILENET_V2 = WEIGHTS / "MobileNetV2_notop.weights.h5"
needs_weights = pytest.mark.skipif(
    not MOBILENET_V2.is_file(), reason=f"the ImageNet weights are not in {WEIGHTS} (WBC_SHARED names another place)"
)
WITH_IMAGENET = [name for name, row in BACKBONES.items() if row.imagenet_file]
every_backbone = pytest.mark.parametrize("name", BACKBONES)

# RGB mean and deviation, 0..255, with which each family of encoders was trained on ImageNet.
_CAFFE = (np.array([123.68, 116.779, 103.939]), np.ones(3))
_TORCH = (255 * np.array([0.485, 0.456, 0.406]), 255 * np.array([0.229, 0.224, 0.225]))
NORMALISED = dict.fromkeys(("resnet50", "vgg16", "vgg19"), _CAFFE)
NORMALISED |= dict.fromkeys(("resnet18", "resnet34"), _TORCH)

Models = Callable[[str], Any]


@pytest.fixture(scope="module")
def fresh() -> Models:
    """Fresh models by the name of their backbone; each is built once and must be left as it is."""
    import keras

    from trainer.unet import build

    kept: dict[str, Any] = {}

    def model(name: str) -> Any:
        if name not in kept:
            keras.utils.set_random_seed(0)
            kept[name] = build(backbone(name))
        return kept[name]

    return model


def noise(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.float32)


def answered(model: Any, images: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(model(images, training=False))


def record_of(name: str) -> RunRecord:
    return RunRecord(
        run_id="run",
        recipe=Recipe(name="x", backbone=name),
        seed=0,
        weights="none",
        data_sha256="0" * 64,
        sources={},
        created_at="2026-11-24T00:00:00+00:00",
        package_version="0",
    )


@every_backbone
def test_pictures_of_any_size_give_probabilities_of_the_same_size(fresh: Models, name: str) -> None:
    model, stride = fresh(name), BACKBONES[name].stride
    assert model.name == name
    assert model.input_shape == (None, None, None, 3)
    for batch, height, width in ((1, stride, stride), (2, 2 * stride, 5 * stride), (1, 96, 64)):
        answer = answered(model, noise(batch, height, width, 3))
        assert (answer.shape, answer.dtype) == ((batch, height, width, 3), np.float32)
        assert answer.sum(axis=-1) == pytest.approx(np.ones((batch, height, width)), abs=1e-5)
        assert answer.min() >= 0


@every_backbone
def test_the_normalisation_lies_inside(fresh: Models, name: str) -> None:
    import keras

    model = fresh(name)
    normalised = keras.Model(model.input, model.get_layer("normalise").output)
    ends = np.stack([np.full((32, 32, 3), value, np.float32) for value in (0, 127.5, 255)])
    mean, deviation = NORMALISED.get(name, (np.full(3, 127.5), np.full(3, 127.5)))
    assert np.asarray(normalised(ends)) == pytest.approx((ends - mean) / deviation, abs=1e-4)
    takes = {layer.name: layer.input if isinstance(layer.input, list) else [layer.input] for layer in model.layers}
    seeing = [layer for layer, inputs in takes.items() if any(one is model.input for one in inputs)]
    assert seeing == ["normalise"]  # no other layer sees 0..255


@every_backbone
def test_the_encoder_is_tapped_at_every_halving(name: str) -> None:
    import keras

    row = backbone(name)
    image = keras.Input((128, 192, 3))
    taps = row.build(image)
    sizes = [tuple(tap.shape[1:3]) for tap in taps]
    assert sizes == [(128 >> depth, 192 >> depth) for depth in range(len(taps))]
    assert 2 ** (len(taps) - 1) == row.stride
    assert len(row.decoder) == len(taps) - 1


@every_backbone
def test_every_pixel_of_the_picture_can_matter(fresh: Models, name: str) -> None:
    """Nothing is cut off: a change at a corner or in the middle is seen there."""
    images = np.repeat(noise(1, 96, 96, 3), 4, axis=0)
    places = [(0, 0), (95, 95), (48, 40)]
    for index, (y, x) in enumerate(places, start=1):
        images[index, y, x] = 255 - images[index, y, x]
    answer = answered(fresh(name), images)
    for index, (y, x) in enumerate(places, start=1):
        assert np.abs(answer[index, y, x] - answer[0, y, x]).max() > 1e-6


@every_backbone
def test_the_encoder_is_told_from_the_decoder(fresh: Models, name: str) -> None:
    from trainer.unet import batch_normalisations, encoder_layers

    model = fresh(name)
    encoder = {layer.name for layer in encoder_layers(model)}
    assert {"image", "normalise"} <= encoder
    rest = {layer.name for layer in model.layers} - encoder
    assert {"logits", "probabilities"} <= rest
    assert all(own.startswith("dec") for own in rest - {"logits", "probabilities"})
    assert len(batch_normalisations(model)) >= 2 * len(BACKBONES[name].decoder)


@every_backbone
def test_a_few_steps_lower_the_loss(name: str) -> None:
    import keras

    from trainer.losses import loss
    from trainer.unet import build

    keras.utils.set_random_seed(0)
    model = build(backbone(name))
    labels = np.zeros((2, 64, 64), np.intp)
    labels[:, 10:50, 10:50], labels[:, 20:40, 20:40] = 1, 2
    images = np.array([[250, 240, 245], [150, 170, 220], [120, 40, 140]], np.float32)[labels] + noise(2, 64, 64, 3) / 16
    model.compile(keras.optimizers.Adam(1e-3), loss("cross_entropy+dice"), run_eagerly=True)
    truth = np.eye(3, dtype=np.float32)[labels]
    losses = []
    for _ in range(8):
        model.reset_metrics()
        losses.append(float(model.train_on_batch(images, truth)))
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.75 * losses[0]


@pytest.mark.xdist_group("export")  # one at a time: each takes up to eight gigabytes
@every_backbone
def test_the_export_is_the_same_network(name: str) -> None:
    """In a process of its own: a conversion holds several copies of the weights, and TensorFlow keeps what it took."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as alone:
        alone.submit(export_alone, name).result()


def export_alone(name: str) -> None:
    import keras
    import onnx

    from station.engines import open_engine
    from trainer.export import MAX_DIFFERENCE, _parity_tiles, one_network, parity, to_onnx
    from trainer.fit import keras_network, reestimate_statistics
    from trainer.unet import batch_normalisations, build

    keras.utils.set_random_seed(1)
    row, record = backbone(name), record_of(name)
    model = build(row)
    for layer in batch_normalisations(model):  # statistics as a training leaves them, so that folding them matters
        layer.momentum = 0.2
    reestimate_statistics(model, [_parity_tiles(np.random.default_rng(seed), 64, 96).astype("f4") for seed in (1, 2)])
    data = to_onnx(model, record)
    engine = open_engine(one_network(record.manifest("candidate", (), row.stride), data), "onnxruntime")
    assert parity(engine, keras_network(model), row.stride) <= MAX_DIFFERENCE == 1e-4
    check_ends(onnx.load_from_string(data))
    with pytest.raises(Exception, match=r"differs from Keras by .*e-"):
        parity(engine, keras_network(shifted(model)), row.stride)


def test_a_network_that_answers_nan_has_no_parity() -> None:
    from trainer.export import ExportError, parity

    with pytest.raises(ExportError, match="differs from Keras by nan"):
        parity(lambda tiles: tiles * np.float32(np.nan), lambda tiles: tiles.astype(np.float32), 32)


def shifted(model: Any) -> Any:
    """The model with its last bias moved by a little."""
    kernel, bias = model.get_layer("logits").get_weights()
    model.get_layer("logits").set_weights([kernel, bias + np.array([0.01, 0, 0], np.float32)])
    return model


def check_ends(network: Any) -> None:
    """Input `image` uint8 [N, H, W, 3] and output `probabilities` float32, with N, H, W free."""
    ((source,), (sink,)) = network.graph.input, network.graph.output
    assert (source.name, sink.name) == ("image", "probabilities")
    assert (source.type.tensor_type.elem_type, sink.type.tensor_type.elem_type) == (2, 1)
    for end in (source, sink):
        dims = end.type.tensor_type.shape.dim
        assert all(dim.dim_param and not dim.dim_value for dim in list(dims)[:3])
        assert dims[3].dim_value == 3


@pytest.mark.parametrize("name", WITH_IMAGENET)
def test_missing_imagenet_weights_are_named_with_source_place_and_way_out(name: str, tmp_path: Path) -> None:
    row = backbone(name)
    with pytest.raises(WeightsError) as failure:
        weights_file(row, "imagenet", tmp_path)
    for part in (name, row.imagenet_file, row.imagenet_source, str(tmp_path), "--weights-dir", "--weights none"):
        assert str(part) in str(failure.value)
    with pytest.raises(WeightsError, match="into weights"):
        weights_file(row, "imagenet", None)
    (tmp_path / str(row.imagenet_file)).touch()
    assert weights_file(row, "imagenet", tmp_path) == tmp_path / str(row.imagenet_file)


@every_backbone
def test_a_start_from_random_values_needs_no_file(name: str) -> None:
    assert weights_file(backbone(name), "none", None) is None


def test_other_weights_are_a_file_that_must_exist(tmp_path: Path) -> None:
    row, path = backbone("mobilenet_v2"), tmp_path / "own.weights.h5"
    with pytest.raises(WeightsError, match=r"own\.weights\.h5 does not exist"):
        weights_file(row, str(path), None)
    path.touch()
    assert weights_file(row, str(path), None) == path


def test_a_backbone_without_imagenet_weights_says_so(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="'unet' has no pretrained encoder; use --weights none"):
        weights_file(backbone("unet"), "imagenet", tmp_path)


def test_an_unknown_backbone_is_answered_with_the_known_ones() -> None:
    with pytest.raises(WeightsError, match="no backbone 'vgg'; known: unet, mobilenet, mobilenet_v2"):
        backbone("vgg")


def test_the_backbones_are_listed_with_their_weights(tmp_path: Path) -> None:
    def listed() -> str:
        return CliRunner().invoke(main, ["backbones", "--weights-dir", str(tmp_path)], env={"COLUMNS": "200"}).output

    assert all(name in listed() for name in BACKBONES)
    assert "none exist" in listed()
    assert "MobileNetV2_notop.weights.h5 (missing)" in listed()
    (tmp_path / "MobileNetV2_notop.weights.h5").touch()
    assert "MobileNetV2_notop.weights.h5 (here)" in listed()


@needs_weights
def test_the_encoder_starts_from_the_weights_of_the_file(fresh: Models) -> None:
    import h5py
    import keras

    from trainer.start import Encoder
    from trainer.unet import build

    keras.utils.set_random_seed(0)
    model = build(backbone("mobilenet_v2"))
    Encoder("imagenet", WEIGHTS).load_into(model)
    with h5py.File(MOBILENET_V2) as file:
        stored = file["layers"]["conv2d"]["vars"]["0"][:]  # the first convolution
    assert np.array_equal(model.get_layer("Conv1").get_weights()[0], stored)
    random, images = fresh("mobilenet_v2"), noise(1, 64, 64, 3)
    deepest = [keras.Model(m.input, m.get_layer("out_relu").output) for m in (model, random)]
    pretrained, untrained = (answered(one, images) for one in deepest)
    assert np.abs(pretrained - untrained).mean() > 0.05
    for layer in random.layers:
        if layer.name.startswith("dec") and layer.weights:
            loaded = model.get_layer(layer.name).get_weights()
            assert all(np.array_equal(a, b) for a, b in zip(loaded, layer.get_weights(), strict=True))


@pytest.mark.parametrize("name", ["resnet50", "vgg16"])
def test_a_network_that_was_trained_on_bgr_answers_alike_for_rgb(tmp_path: Path, name: str) -> None:
    import keras

    from trainer.unet import build, load_encoder

    row = backbone(name)
    keras.utils.set_random_seed(3)
    original = getattr(keras.applications, str(row.application))(
        include_top=False, weights=None, input_shape=(None, None, 3)
    )
    original.save_weights(tmp_path / "own.weights.h5")
    model, deepest = build(row), {"resnet50": "conv5_block3_out", "vgg16": "block5_conv3"}[name]
    load_encoder(model, row, tmp_path / "own.weights.h5")
    images = noise(1, 64, 64, 3)
    bgr = images[..., ::-1] - np.array([103.939, 116.779, 123.68], np.float32)
    theirs = answered(keras.Model(original.input, original.get_layer(deepest).output), bgr)
    ours = answered(keras.Model(model.input, model.get_layer(deepest).output), images)
    assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-4 * float(np.abs(theirs).max()))


@needs_weights
def test_the_encoder_answers_like_the_network_that_the_file_was_made_for() -> None:
    import keras

    from trainer.unet import build, load_encoder

    row = backbone("mobilenet_v2")
    model = build(row)
    load_encoder(model, row, MOBILENET_V2)
    original = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(None, None, 3))
    original.load_weights(MOBILENET_V2)
    images = noise(1, 96, 96, 3)
    own = answered(keras.Model(model.input, model.get_layer("out_relu").output), images)
    assert own == pytest.approx(answered(original, images / 127.5 - 1), abs=1e-4)


@pytest.mark.filterwarnings("ignore:Skipping", "ignore:__array__")
@pytest.mark.parametrize("content", ["garbage", "another network"])
def test_weights_that_do_not_fit_are_refused_with_the_file(tmp_path: Path, fresh: Models, content: str) -> None:
    import keras

    from trainer.unet import load_encoder

    path = tmp_path / "wrong.weights.h5"
    if content == "garbage":
        path.write_bytes(b"garbage")
    else:
        keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]).save_weights(path)
    with pytest.raises(WeightsError, match=r"wrong\.weights\.h5 does not hold the weights of 'mobilenet_v2'"):
        load_encoder(fresh("mobilenet_v2"), backbone("mobilenet_v2"), path)
