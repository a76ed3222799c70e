"""TABLE of losses over class probabilities [N, H, W, 3]; truth is one-hot of the same shape.

Each takes weights of background, cytoplasm and nucleus, so that rare classes are not drowned; None weighs all alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from station.contract.errors import StationError

SMOOTH = 1.0  # the paper's 1 in numerator and denominator
FOCUS = 2.0  # the exponent that its authors found best
EPSILON = 1e-7  # as Keras clips in its cross-entropy

Weights: TypeAlias = Sequence[float] | None  # of background, cytoplasm, nucleus; each above 0


class LossError(StationError):
    """A loss that does not exist."""


def cross_entropy(truth: Any, probabilities: Any, weights: Weights = None) -> Any:
    """Mean over all pixels of -log P(true class), each times the weight of its true class."""
    import keras

    each = keras.losses.categorical_crossentropy(truth, probabilities)
    return keras.ops.mean(_weighted(each, truth, weights))


def dice(truth: Any, probabilities: Any, weights: Weights = None) -> Any:
    """1 - mean soft Dice of nucleus and cytoplasm over the batch: (2 |A.B| + 1) / (|A| + |B| + 1).

    Their two weights make it a weighted mean; the background's has no part in it.
    """
    from keras import ops

    truth, probabilities = truth[..., 1:], probabilities[..., 1:]
    overlap = ops.sum(truth * probabilities, axis=(0, 1, 2))
    total = ops.sum(truth, axis=(0, 1, 2)) + ops.sum(probabilities, axis=(0, 1, 2))
    each = (2.0 * overlap + SMOOTH) / (total + SMOOTH)
    if weights is None:
        return 1.0 - ops.mean(each)
    share = ops.convert_to_tensor(weights[1:], each.dtype)
    return 1.0 - ops.sum(each * share) / ops.sum(share)


def cross_entropy_dice(truth: Any, probabilities: Any, weights: Weights = None) -> Any:
    """The sum of the two: cross-entropy steers every pixel, Dice balances the classes."""
    return cross_entropy(truth, probabilities, weights) + dice(truth, probabilities, weights)


def focal(truth: Any, probabilities: Any, weights: Weights = None) -> Any:
    """Mean over all pixels of -(1 - p)^2 log p, p = P(true class) (Lin et al. 2017, eq. 4), each times its weight."""
    from keras import ops

    p = ops.clip(ops.sum(truth * probabilities, axis=-1), EPSILON, 1.0)
    return ops.mean(_weighted(-((1.0 - p) ** FOCUS) * ops.log(p), truth, weights))


LOSSES: dict[str, Callable[[Any, Any, Weights], Any]] = {
    "cross_entropy": cross_entropy,
    "dice": dice,
    "cross_entropy+dice": cross_entropy_dice,
    "focal": focal,
}


def loss(name: str, weights: Weights = None) -> Callable[[Any, Any], Any]:
    """The loss of that name under class weights; an unknown name is answered with the known ones."""
    if name not in LOSSES:
        raise LossError(f"there is no loss '{name}'; known: {', '.join(LOSSES)}")
    return lambda truth, probabilities: LOSSES[name](truth, probabilities, weights)


def _weighted(each: Any, truth: Any, weights: Weights) -> Any:
    """[N, H, W] times the weight of the true class of each pixel."""
    from keras import ops

    if weights is None:
        return each
    return each * ops.sum(truth * ops.convert_to_tensor(weights, truth.dtype), axis=-1)
