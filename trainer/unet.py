"""The U-Net: an encoder of the table, a light decoder, closed at both ends (RGB 0..255 in, class probabilities out)."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any

from trainer.backbones import Backbone, WeightsError
from trainer.pretrained import encoder, is_untrained

DECODER = "dec"


def build(row: Backbone, size: int | None = None) -> Any:
    """A Keras model: [N, H, W, 3] RGB 0..255 -> [N, H, W, 3] probabilities of background, cytoplasm, nucleus.

    H and W are multiples of `row.stride`. `size` fixes both, as the ONNX export of bilinear upsampling needs.
    Upsampling is bilinear: five plain Resize nodes in ONNX, where nearest becomes chains of Tile and Reshape.
    """
    import keras
    from keras import layers

    image = keras.Input((size, size, 3), dtype="float32", name="image")
    maps = row.build(image)
    x = maps.pop()
    for stage, filters in enumerate(row.decoder):
        x = layers.UpSampling2D(interpolation="bilinear", name=f"{DECODER}{stage}_up")(x)
        x = layers.Concatenate(name=f"{DECODER}{stage}_skip")([x, maps.pop()])
        x = _double_convolution(x, filters, f"{DECODER}{stage}")
    x = layers.Conv2D(3, 1, name="logits")(x)
    probabilities = layers.Softmax(dtype="float32", name="probabilities")(x)
    return keras.Model(image, probabilities, name=row.name)


def load_encoder(model: Any, row: Backbone, path: Path) -> None:
    """Put pretrained weights (Keras 3, without top) into the model's encoder.

    Raises WeightsError if they misfit or are random values.
    """
    donor = encoder(row)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one line for each layer that does not fit, before the error
            donor.load_weights(path)
    except (ValueError, OSError, zipfile.BadZipFile) as cause:
        first_line = str(cause).partition("\n")[0][:200]
        raise WeightsError(f"{path} does not hold the weights of '{row.name}' ({first_line})") from cause
    if is_untrained(donor):
        raise WeightsError(
            f"{path} holds random values, no trained weights of '{row.name}': its statistics and biases are those of a "
            "network that saw no picture; use another file or --weights none"
        )
    for layer in donor.layers:
        if layer.weights:
            kernel, *rest = layer.get_weights()
            turned = kernel[:, :, ::-1] if layer.name == row.bgr_layer else kernel
            model.get_layer(layer.name).set_weights([turned, *rest])


def encoder_layers(model: Any) -> list[Any]:
    """The layers that are frozen at first: all before the decoder."""
    own = ("logits", "probabilities")
    return [layer for layer in model.layers if not layer.name.startswith(DECODER) and layer.name not in own]


def batch_normalisations(model: Any) -> list[Any]:
    """The layers with moving statistics."""
    import keras

    return [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


def _double_convolution(x: Any, filters: int, name: str) -> Any:
    from keras import layers

    for part in (1, 2):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}_conv{part}")(x)
        x = layers.BatchNormalization(name=f"{name}_bn{part}")(x)
        x = layers.ReLU(name=f"{name}_relu{part}")(x)
    return x
