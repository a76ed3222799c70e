"""What a network costs: parameters, operations, size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

from trainer.backbones import Backbone
from trainer.unet import build

COSTED_SIZE = 256  # px
Convolution: TypeAlias = tuple[Sequence[int], int, int]  # shape of the kernel, height and width of the output


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a whole U-Net, encoder and decoder."""

    parameters: int
    operations: int  # of one picture of 256 x 256 px

    @property
    def megabytes(self) -> float:
        """Size of the network file, whose weights are kept as float16."""
        return 2 * self.parameters / 1e6


def cost_of(row: Backbone) -> Cost:
    """Builds the network once, with random values."""
    model = build(row, COSTED_SIZE)
    return Cost(model.count_params(), operations(convolutions(model)))


def operations(layers: Iterable[Convolution]) -> int:
    """Floating-point operations of convolutions on one picture: two, a product and a sum, for every weight of the
    kernel at every pixel of the output.

    A kernel is [height, width, in, out], of a depthwise convolution [height, width, in, multiplier]; both are counted
    alike. Not counted, since they are hundredths: biases, batch normalisation (folded into the kernels at export),
    activations, pooling, upsampling.
    """
    return sum(2 * prod(kernel) * height * width for kernel, height, width in layers)


def convolutions(model: Any) -> list[Convolution]:
    """Every convolution of a Keras model of fixed input size."""
    import keras

    kinds = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
    found = [layer for layer in model.layers if isinstance(layer, kinds)]
    return [(tuple(layer.kernel.shape), *layer.output.shape[1:3]) for layer in found]
