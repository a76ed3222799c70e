"""What a network costs, held against counts made by hand and against a published one."""

from __future__ import annotations

import pytest

from trainer.cost import Cost, convolutions, operations


def test_operations_are_counted_by_hand() -> None:
    first = ((3, 3, 3, 16), 128, 128)  # 432 weights at 16384 pixels
    depthwise = ((3, 3, 16, 1), 64, 64)  # 144 at 4096
    pointwise = ((1, 1, 16, 8), 64, 64)  # 128 at 4096
    assert operations([first]) == 2 * 432 * 16384 == 14_155_776
    assert operations([first, depthwise, pointwise]) == 14_155_776 + 1_179_648 + 1_048_576
    assert operations([]) == 0


def test_every_convolution_of_a_network_is_found() -> None:
    import keras
    from keras import layers

    image = keras.Input((64, 48, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same")(image)
    x = layers.DepthwiseConv2D(3)(layers.BatchNormalization()(x))
    x = layers.UpSampling2D()(layers.Conv2D(4, 1, use_bias=False)(x))
    found = convolutions(keras.Model(image, x))
    assert found == [((3, 3, 3, 8), 32, 24), ((3, 3, 8, 1), 30, 22), ((1, 1, 8, 4), 30, 22)]


def test_vgg16_has_the_operations_that_are_published_for_it() -> None:
    """15.3 thousand million products in its convolutions at 224 px (Canziani et al. 2016 give 15.5 with the top)."""
    import keras

    network = keras.applications.VGG16(include_top=False, weights=None, input_shape=(224, 224, 3))
    assert operations(convolutions(network)) == 2 * 15_346_630_656


def test_a_network_file_takes_two_bytes_for_a_parameter() -> None:
    assert Cost(6_452_643, 0).megabytes == pytest.approx(12.905, abs=1e-3)
