"""ImageNet weights of an encoder: the network that its file is made for, and where such a file is fetched from."""

from __future__ import annotations

import re
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trainer.backbones import Backbone, WeightsError


def encoder(row: Backbone, weights: str | None = None) -> Any:
    """The encoder alone, without top, as its file of weights is saved: random values, or `imagenet` downloaded."""
    import keras

    if row.application:
        make = getattr(keras.applications, row.application)
        return make(include_top=False, weights=weights, input_shape=(224, 224, 3))  # any size gives the same weights
    image = keras.Input((None, None, 3))
    return keras.Model(image, row.build(image)[-1], name=row.name)


def is_untrained(network: Any) -> bool:
    """Whether nothing has ever moved: means 0 and variances 1 everywhere; where there are none, biases 0.

    A file that was published as pretrained once held such random values.
    """
    from keras import layers, ops

    normalisations = [layer for layer in network.layers if isinstance(layer, layers.BatchNormalization)]
    values = [(layer.moving_mean, 0) for layer in normalisations]
    values += [(layer.moving_variance, 1) for layer in normalisations]
    biases = [(layer.bias, 0) for layer in network.layers if getattr(layer, "bias", None) is not None]
    return all((ops.convert_to_numpy(value) == start).all() for value, start in values or biases)


def fetch(row: Backbone, weights_dir: Path) -> Path:
    """Download the encoder's ImageNet weights into `weights_dir`, under the name that `--weights imagenet` looks for.

    Raises WeightsError naming the file, its source and the way out where there is no network, no keras-hub or no room,
    and where what came are random values.
    """
    if row.imagenet_file is None:
        raise WeightsError(f"the backbone '{row.name}' has no pretrained encoder to fetch; use --weights none")
    path = weights_dir / row.imagenet_file
    fetched = _downloaded(row, path)
    if is_untrained(fetched):
        raise WeightsError(f"{row.imagenet_source} gave random values, no trained weights: {path} was not written")
    _save(fetched, path)
    return path


def hub_name(layer: str) -> str:
    """Our layer in keras-hub's ResNetBackbone: stage2_block1_conv0 -> stack1_block0_0_conv; the stem is alike."""
    found = re.fullmatch(r"stage(\d)_block(\d)_(conv|bn)(\d)", layer)
    if not found:
        return layer
    stage, block, kind, part = found.groups()
    return f"stack{int(stage) - 1}_block{int(block) - 1}_{part}_{kind}"


def copy_from_hub(network: Any, hub: Any) -> None:
    """Put the weights of a keras-hub ResNetBackbone of basic blocks into our encoder. Raises ValueError on a misfit."""
    for layer in network.layers:
        if layer.weights:
            layer.set_weights(hub.get_layer(hub_name(layer.name)).get_weights())


def _downloaded(row: Backbone, path: Path) -> Any:
    try:
        return _from_hub(row) if row.preset else encoder(row, "imagenet")
    except Exception as cause:
        # A failed download is an OSError of Kaggle's, a ValueError of Hugging Face's, a bare Exception of Keras'.
        if type(cause) is not Exception and not isinstance(cause, (OSError, ValueError)):
            raise
        first_line = str(cause).partition("\n")[0][:200]
        raise WeightsError(
            f"{path.name} could not be fetched ({first_line}); where there is network, run `trainer backbones --fetch "
            f"{row.name}`, which makes it from {row.imagenet_source}, and put it into {path.parent}"
        ) from cause


def _from_hub(row: Backbone) -> Any:
    if find_spec("keras_hub") is None:
        raise WeightsError(
            f"{row.imagenet_file} is made from {row.imagenet_source}, which is not installed: in a virtual "
            "environment of its own, pip install 'wbc-station[pretrained]' (in a clone: pip install '.[pretrained]')"
        )
    import keras_hub

    network = encoder(row)
    copy_from_hub(network, keras_hub.models.ResNetBackbone.from_preset(row.preset))
    return network


def _save(network: Any, path: Path) -> None:
    """Written beside its name and moved into place, so that nobody loads half of it."""
    part = path.with_name(f"part-{path.name}")  # Keras insists on the ending
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        network.save_weights(part)
        part.replace(path)
    except OSError as cause:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise WeightsError(f"{path} cannot be written ({cause.strerror or cause})") from cause
