"""Where an encoder's weights come from: the table, the missing file, the random file, the other network's file."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import LONG, SHARED
from unets import answered, every_backbone, noise

from trainer.backbones import BACKBONES, WeightsError, backbone, weights_file
from trainer.pretrained import copy_from_hub, encoder, fetch, hub_name

WEIGHTS = SHARED / "weights"
MOBILENET_V2 = WEIGHTS / "MobileNetV2_notop.weights.h5"
needs_weights = pytest.mark.skipif(
    not MOBILENET_V2.is_file(), reason=f"the ImageNet weights are not in {WEIGHTS} (WBC_SHARED names another place)"
)
needs_hub = pytest.mark.skipif(
    find_spec("keras_hub") is None, reason="keras-hub is not installed; it is the extra 'pretrained' (3 GB)"
)
WITH_IMAGENET = [name for name, row in BACKBONES.items() if row.imagenet_file]
BASIC_BLOCKS = {"resnet18": [2, 2, 2, 2], "resnet34": [3, 4, 6, 3]}


def shaken(network: Any, seed: int = 0) -> Any:
    """The network with every vector moved from where its initialiser put it; variances stay above 0."""
    rng = np.random.default_rng(seed)
    moved = [
        rng.uniform(0.5, 1.5, weight.shape).astype(np.float32) if weight.ndim == 1 else weight
        for weight in network.get_weights()
    ]
    network.set_weights(moved)
    return network


@pytest.mark.parametrize("name", WITH_IMAGENET)
def test_missing_imagenet_weights_are_named_with_source_place_and_way_out(name: str, tmp_path: Path) -> None:
    row = backbone(name)
    with pytest.raises(WeightsError) as failure:
        weights_file(row, "imagenet", tmp_path)
    ways_out = ("--weights-dir", "--weights none", f"trainer backbones --fetch {name}")
    for part in (name, row.imagenet_file, row.imagenet_source, str(tmp_path), *ways_out):
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
    with pytest.raises(WeightsError, match="'unet' has no pretrained encoder to fetch"):
        fetch(backbone("unet"), tmp_path)


def test_an_unknown_backbone_is_answered_with_the_known_ones() -> None:
    with pytest.raises(WeightsError, match="no backbone 'vgg'; known: unet, mobilenet, mobilenet_v2"):
        backbone("vgg")


@needs_weights
def test_the_encoder_starts_from_the_weights_of_the_file() -> None:
    import h5py
    import keras

    from trainer.start import Encoder
    from trainer.unet import build

    model, random = build(backbone("mobilenet_v2")), build(backbone("mobilenet_v2"))
    model.set_weights(random.get_weights())
    Encoder("imagenet", WEIGHTS).load_into(model)
    with h5py.File(MOBILENET_V2) as file:
        stored = file["layers"]["conv2d"]["vars"]["0"][:]  # the first convolution
    assert np.array_equal(model.get_layer("Conv1").get_weights()[0], stored)
    images = noise(1, 64, 64, 3)
    deepest = [keras.Model(m.input, m.get_layer("out_relu").output) for m in (model, random)]
    pretrained, untrained = (answered(one, images) for one in deepest)
    assert np.abs(pretrained - untrained).mean() > 0.05
    for layer in random.layers:
        if layer.name.startswith("dec") and layer.weights:
            loaded = model.get_layer(layer.name).get_weights()
            assert all(np.array_equal(a, b) for a, b in zip(loaded, layer.get_weights(), strict=True))


@pytest.mark.parametrize("name", ["resnet50", pytest.param("resnet152", marks=LONG), "vgg16"])
def test_a_network_that_was_trained_on_bgr_answers_alike_for_rgb(tmp_path: Path, name: str) -> None:
    import keras

    from trainer.unet import build, load_encoder

    row = backbone(name)
    keras.utils.set_random_seed(3)
    original = getattr(keras.applications, str(row.application))(
        include_top=False, weights=None, input_shape=(None, None, 3)
    )
    shaken(original).save_weights(tmp_path / "own.weights.h5")
    model = build(row)
    deepest = "block5_conv3" if name == "vgg16" else "conv5_block3_out"
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
@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18"])
def test_weights_that_do_not_fit_are_refused_with_the_file(tmp_path: Path, name: str, content: str) -> None:
    import keras

    from trainer.unet import build, load_encoder

    path = tmp_path / "wrong.weights.h5"
    if content == "garbage":
        path.write_bytes(b"garbage")
    else:
        keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]).save_weights(path)
    with pytest.raises(WeightsError, match=rf"wrong\.weights\.h5 does not hold the weights of '{name}'"):
        load_encoder(build(backbone(name)), backbone(name), path)


@pytest.mark.parametrize("name", ["resnet18", "vgg16"])  # with batch normalisation, and with biases only
def test_random_values_are_no_pretrained_weights(tmp_path: Path, name: str) -> None:
    from trainer.unet import build, load_encoder

    row, path = backbone(name), tmp_path / "published.weights.h5"
    network = encoder(row)
    network.save_weights(path)
    with pytest.raises(WeightsError, match=rf"published\.weights\.h5 holds random values, .* of '{name}'"):
        load_encoder(build(row), row, path)
    shaken(network).save_weights(path)
    load_encoder(build(row), row, path)


def test_layers_of_keras_hub_are_found_by_our_names() -> None:
    assert hub_name("conv1_bn") == "conv1_bn"
    assert hub_name("stage1_block2_conv1") == "stack0_block1_1_conv"
    assert hub_name("stage4_block1_bn0") == "stack3_block0_0_bn"


def hub_network(name: str) -> Any:
    """keras-hub's own network, made offline, with values that no initialiser gives."""
    import keras
    import keras_hub

    keras.utils.set_random_seed(4)
    return shaken(
        keras_hub.models.ResNetBackbone(
            input_conv_filters=[64],
            input_conv_kernel_sizes=[7],
            stackwise_num_filters=[64, 128, 256, 512],
            stackwise_num_blocks=BASIC_BLOCKS[name],
            stackwise_num_strides=[1, 2, 2, 2],
            block_type="basic_block",
            image_shape=(96, 128, 3),
        )
    )


@needs_hub
@pytest.mark.parametrize("name", BASIC_BLOCKS)
def test_our_residual_stack_answers_like_keras_hubs(name: str) -> None:
    """At every stride, to 1e-4 of the largest answer; keras-hub's presets are fed by ImageNet's mean and deviation."""
    import keras

    hub = hub_network(name)
    pyramid = [hub.pyramid_outputs[f"P{level}"] for level in range(2, 6)]
    theirs = keras.Model(hub.input, [hub.get_layer("conv1_relu").output, *pyramid])
    image = keras.Input((None, None, 3))
    ours = keras.Model(image, backbone(name).build(image)[1:])
    copy_from_hub(ours, hub)
    images = noise(2, 96, 128, 3)
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    normalised = ((images / 255 - mean) / deviation).astype(np.float32)
    for own, other in zip(ours(images, training=False), theirs(normalised, training=False), strict=True):
        assert own.shape == other.shape
        assert np.abs(np.asarray(own) - np.asarray(other)).max() <= 1e-4 * np.abs(np.asarray(other)).max()


@needs_hub
def test_a_preset_of_keras_hub_becomes_the_file_that_a_training_starts_from(tmp_path: Path) -> None:
    from trainer.start import Encoder
    from trainer.unet import build

    hub = hub_network("resnet18")
    hub.save_to_preset(tmp_path / "preset")
    row = replace(backbone("resnet18"), preset=str(tmp_path / "preset"))
    path = fetch(row, tmp_path / "weights")
    assert path == tmp_path / "weights" / "ResNet18_notop.weights.h5"
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    model = build(row)
    Encoder("imagenet", tmp_path / "weights").load_into(model)
    theirs, ours = hub.get_layer("stack3_block1_2_bn").get_weights(), model.get_layer("stage4_block2_bn2").get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


@needs_hub
def test_a_preset_of_random_values_is_not_written(tmp_path: Path) -> None:
    import keras_hub

    hub = hub_network("resnet18")
    keras_hub.models.ResNetBackbone.from_config(hub.get_config()).save_to_preset(tmp_path / "preset")
    row = replace(backbone("resnet18"), preset=str(tmp_path / "preset"))
    with pytest.raises(WeightsError, match="gave random values"):
        fetch(row, tmp_path)
    assert not list(tmp_path.glob("*.h5"))


@needs_hub
def test_a_preset_that_cannot_be_fetched_is_named_with_the_way_out(tmp_path: Path) -> None:
    row = replace(backbone("resnet18"), preset=str(tmp_path / "nowhere"))
    with pytest.raises(WeightsError) as failure:
        fetch(row, tmp_path / "weights")
    for part in ("ResNet18_notop.weights.h5 could not be fetched", "nowhere", "put it into", "--fetch resnet18"):
        assert part in str(failure.value)
