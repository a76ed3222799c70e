"""TABLE of encoders: a backbone is a row, name -> how to build it, which maps the decoder taps, where its weights lie.

keras.applications where it has them. Each network holds its own normalisation as first layer: RGB 0..255 goes in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from station.contract.errors import StationError

IMAGENET = "imagenet"
NO_WEIGHTS = "none"


class WeightsError(StationError):
    """Pretrained weights that are missing or do not fit."""


@dataclass(frozen=True, slots=True)
class Backbone:
    """One encoder. `build(image)` returns the maps at strides 1, 2, 4, ... (stride 1 is the normalised picture)."""

    name: str
    build: Callable[[Any], list[Any]]
    stride: int
    decoder: tuple[int, ...]  # filters per decoder stage, deepest first, one per halving
    imagenet_file: str | None = None
    imagenet_source: str | None = None


def _scaled(image: Any) -> Any:
    from keras import layers

    return layers.Rescaling(1 / 127.5, offset=-1.0, name="normalise")(image)


def _unet(image: Any) -> list[Any]:
    """Plain U-Net encoder, batch normalisation before each convolution and dropout at depth, as in the paper."""
    from keras import layers

    x = _scaled(image)
    maps = [x]
    for depth, filters in enumerate((16, 32, 64, 128, 256)):
        if depth:
            x = layers.MaxPooling2D(name=f"enc{depth}_pool")(x)
        for part in (1, 2):
            x = layers.BatchNormalization(name=f"enc{depth}_bn{part}")(x)
            x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"enc{depth}_conv{part}")(x)
        if depth >= 3:
            x = layers.Dropout(0.2, name=f"enc{depth}_drop")(x)
        maps = [*maps, x] if depth else [x]
    return maps


def _mobilenet_v2(image: Any) -> list[Any]:
    import keras

    normalised = _scaled(image)
    encoder = keras.applications.MobileNetV2(include_top=False, weights=None, input_tensor=normalised)
    taps = [f"block_{n}_expand_relu" for n in (1, 3, 6, 13)] + ["out_relu"]
    return [normalised, *(encoder.get_layer(tap).output for tap in taps)]


_KERAS_MOBILENETS = "keras.applications (storage.googleapis.com/tensorflow/keras-applications)"

BACKBONES = {
    row.name: row
    for row in (
        Backbone("unet", _unet, stride=16, decoder=(128, 64, 32, 16)),
        Backbone(
            "mobilenet_v2",
            _mobilenet_v2,
            stride=32,
            decoder=(192, 96, 64, 32, 16),
            imagenet_file="MobileNetV2_notop.weights.h5",
            imagenet_source=_KERAS_MOBILENETS,
        ),
    )
}


def backbone(name: str) -> Backbone:
    """The row of that name; an unknown name is answered with the known ones."""
    if name not in BACKBONES:
        raise WeightsError(f"there is no backbone '{name}'; known: {', '.join(BACKBONES)}")
    return BACKBONES[name]


def weights_file(row: Backbone, weights: str, weights_dir: Path | None) -> Path | None:
    """The file to load for `--weights imagenet | none | FILE`; None for random values.

    Raises WeightsError naming the missing file, where it comes from and where to put it.
    """
    if weights == NO_WEIGHTS:
        return None
    if row.imagenet_file is None:
        raise WeightsError(f"the backbone '{row.name}' has no pretrained encoder; use --weights none")
    if weights != IMAGENET:
        path = Path(weights)
        if not path.is_file():
            raise WeightsError(f"the weights file {path} does not exist")
        return path
    path = (weights_dir or Path("weights")) / row.imagenet_file
    if not path.is_file():
        raise WeightsError(
            f"the ImageNet weights of '{row.name}' are missing: put {row.imagenet_file} (from {row.imagenet_source}, "
            f"saved without its top by Keras 3) into {path.parent}, name its folder with --weights-dir, "
            "or train from random values with --weights none"
        )
    return path
