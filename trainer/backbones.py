"""TABLE of encoders: a backbone is a row, name -> how to build it, which maps the decoder taps, where its weights lie.

keras.applications where it has them, a residual stack of our own where not. Each network holds its own normalisation as
first layer: RGB 0..255 goes in.
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
    """One encoder. `build(image)` returns its maps at strides 1, 2, 4, ... of [N, H, W, 3] RGB 0..255."""

    name: str
    build: Callable[[Any], list[Any]]
    stride: int
    decoder: tuple[int, ...]  # filters per decoder stage, deepest first, one per halving
    application: str | None = None  # the class in keras.applications whose weights fit
    preset: str | None = None  # of keras-hub's ResNetBackbone, whose weights fit our own residual stack
    imagenet_file: str | None = None
    bgr_layer: str | None = None  # a first convolution that was trained on BGR: its kernel is turned when loaded

    @property
    def imagenet_source(self) -> str:
        """Where the file comes from, in words."""
        if self.preset:
            return f"the preset {self.preset} of keras-hub"
        return f"keras.applications.{self.application}, saved without its top"


# The names under which families of encoders know their normalisation; applied to RGB 0..255 inside the network.
_TF, _CAFFE, _TORCH = "tf", "caffe", "torch"
_CAFFE_MEAN = (123.68, 116.779, 103.939)
_TORCH_MEAN, _TORCH_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _normalised(image: Any, family: str) -> Any:
    from keras import layers

    scale, offset = {
        _TF: (1 / 127.5, -1.0),
        _CAFFE: (1.0, [-mean for mean in _CAFFE_MEAN]),
        _TORCH: (
            [1 / (255 * deviation) for deviation in _TORCH_DEVIATION],
            [-mean / deviation for mean, deviation in zip(_TORCH_MEAN, _TORCH_DEVIATION, strict=True)],
        ),
    }[family]
    return layers.Rescaling(scale, offset, name="normalise")(image)


def _unet(image: Any) -> list[Any]:
    """Plain U-Net encoder, batch normalisation before each convolution and dropout at depth, as in the paper."""
    from keras import layers

    x = _normalised(image, _TF)
    maps = []
    for depth, filters in enumerate((16, 32, 64, 128, 256)):
        if depth:
            x = layers.MaxPooling2D(name=f"enc{depth}_pool")(x)
        for part in (1, 2):
            x = layers.BatchNormalization(name=f"enc{depth}_bn{part}")(x)
            x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"enc{depth}_conv{part}")(x)
        if depth >= 3:
            x = layers.Dropout(0.2, name=f"enc{depth}_drop")(x)
        maps.append(x)
    return maps


def _application(name: str, family: str, taps: tuple[str, ...], *, from_stride: int = 2) -> Callable[[Any], list[Any]]:
    """An encoder of keras.applications, tapped at layers of strides `from_stride`, 2 x, 4 x ... of it.

    From stride 2 on, the normalised picture itself is the map at stride 1.
    """

    def build(image: Any) -> list[Any]:
        import keras

        normalised = _normalised(image, family)
        make = getattr(keras.applications, name)
        encoder = make(include_top=False, weights=None, input_tensor=normalised)
        tapped = [encoder.get_layer(tap).output for tap in taps]
        return tapped if from_stride == 1 else [normalised, *tapped]

    return build


def _resnet(blocks: tuple[int, ...]) -> Callable[[Any], list[Any]]:
    """A residual encoder of basic blocks, which keras.applications lacks (He et al. 2016, table 1)."""

    def build(image: Any) -> list[Any]:
        from keras import layers

        normalised = _normalised(image, _TORCH)
        x = layers.ZeroPadding2D(3, name="conv1_pad")(normalised)
        x = layers.Conv2D(64, 7, strides=2, use_bias=False, name="conv1_conv")(x)
        x = layers.BatchNormalization(epsilon=1e-5, name="conv1_bn")(x)
        x = layers.ReLU(name="conv1_relu")(x)
        maps = [normalised, x]
        x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
        x = layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)
        for stage, count in enumerate(blocks):
            for block in range(count):
                halving = stage > 0 and block == 0
                x = _basic_block(x, 64 << stage, 2 if halving else 1, f"stage{stage + 1}_block{block + 1}")
            maps.append(x)
        return maps

    return build


def _basic_block(x: Any, filters: int, stride: int, name: str) -> Any:
    from keras import layers

    shortcut, y = x, x
    for part, step in ((1, stride), (2, 1)):
        y = layers.ZeroPadding2D(1, name=f"{name}_pad{part}")(y)
        y = layers.Conv2D(filters, 3, strides=step, use_bias=False, name=f"{name}_conv{part}")(y)
        y = layers.BatchNormalization(epsilon=1e-5, name=f"{name}_bn{part}")(y)
        if part == 1:
            y = layers.ReLU(name=f"{name}_relu1")(y)
    if stride > 1:
        shortcut = layers.Conv2D(filters, 1, strides=stride, use_bias=False, name=f"{name}_conv0")(x)
        shortcut = layers.BatchNormalization(epsilon=1e-5, name=f"{name}_bn0")(shortcut)
    return layers.ReLU(name=f"{name}_out")(layers.Add(name=f"{name}_add")([shortcut, y]))


def _vgg(convolutions: int) -> tuple[str, ...]:
    return ("block1_conv2", "block2_conv2", *(f"block{depth}_conv{convolutions}" for depth in (3, 4, 5)))


def _resnet_taps(third: int, fourth: int) -> tuple[str, ...]:
    """Of keras.applications, which differ in the number of blocks at strides 8 and 16."""
    return ("conv1_relu", "conv2_block3_out", f"conv3_block{third}_out", f"conv4_block{fourth}_out", "conv5_block3_out")


_LIGHT, _WIDE = (192, 96, 64, 32, 16), (256, 128, 64, 32, 16)

BACKBONES = {
    row.name: row
    for row in (
        Backbone("unet", _unet, stride=16, decoder=(128, 64, 32, 16)),
        Backbone(
            "mobilenet",
            _application("MobileNet", _TF, tuple(f"conv_pw_{n}_relu" for n in (1, 3, 5, 11, 13))),
            stride=32,
            decoder=_LIGHT,
            application="MobileNet",
            imagenet_file="MobileNet_notop.weights.h5",
        ),
        Backbone(
            "mobilenet_v2",
            _application("MobileNetV2", _TF, (*(f"block_{n}_expand_relu" for n in (1, 3, 6, 13)), "out_relu")),
            stride=32,
            decoder=_LIGHT,
            application="MobileNetV2",
            imagenet_file="MobileNetV2_notop.weights.h5",
        ),
        Backbone(
            "resnet18",
            _resnet((2, 2, 2, 2)),
            stride=32,
            decoder=_WIDE,
            preset="resnet_18_imagenet",
            imagenet_file="ResNet18_notop.weights.h5",
        ),
        Backbone(
            "resnet34",
            _resnet((3, 4, 6, 3)),
            stride=32,
            decoder=_WIDE,
            preset="hf://timm/resnet34.a1_in1k",
            imagenet_file="ResNet34_notop.weights.h5",
        ),
        Backbone(
            "resnet50",
            _application("ResNet50", _CAFFE, _resnet_taps(4, 6)),
            stride=32,
            decoder=_WIDE,
            application="ResNet50",
            imagenet_file="ResNet50_notop.weights.h5",
            bgr_layer="conv1_conv",
        ),
        Backbone(
            "resnet152",
            _application("ResNet152", _CAFFE, _resnet_taps(8, 36)),
            stride=32,
            decoder=_WIDE,
            application="ResNet152",
            imagenet_file="ResNet152_notop.weights.h5",
            bgr_layer="conv1_conv",
        ),
        Backbone(
            "vgg16",
            _application("VGG16", _CAFFE, _vgg(3), from_stride=1),
            stride=16,
            decoder=_WIDE[:4],
            application="VGG16",
            imagenet_file="VGG16_notop.weights.h5",
            bgr_layer="block1_conv1",
        ),
        Backbone(
            "vgg19",
            _application("VGG19", _CAFFE, _vgg(4), from_stride=1),
            stride=16,
            decoder=_WIDE[:4],
            application="VGG19",
            imagenet_file="VGG19_notop.weights.h5",
            bgr_layer="block1_conv1",
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
            f"fetched by `trainer backbones --fetch {row.name}` where there is network) into {path.parent}, name its "
            "folder with --weights-dir, or train from random values with --weights none"
        )
    return path
