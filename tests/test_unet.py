"""One exam for every backbone of the table: shapes, strides, normalisation. Learning and export: test_conversion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from unets import answered, every_backbone, noise

from trainer.backbones import BACKBONES, backbone

# RGB mean and deviation, 0..255, with which each family of encoders was trained on ImageNet.
_CAFFE = (np.array([123.68, 116.779, 103.939]), np.ones(3))
_TORCH = (255 * np.array([0.485, 0.456, 0.406]), 255 * np.array([0.229, 0.224, 0.225]))
NORMALISED = dict.fromkeys(("resnet50", "resnet152", "vgg16", "vgg19"), _CAFFE)
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
