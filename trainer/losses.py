"""TABLE of losses over class probabilities [N, H, W, 3]; truth is one-hot of the same shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from station.contract.errors import StationError

SMOOTH = 1.0  # the paper's 1 in numerator and denominator
FOCUS = 2.0  # the exponent that its authors found best
EPSILON = 1e-7  # as Keras clips in its cross-entropy


class LossError(StationError):
    """A loss that does not exist."""


def cross_entropy(truth: Any, probabilities: Any) -> Any:
    """Mean over all pixels of -log P(true class)."""
    import keras

    return keras.ops.mean(keras.losses.categorical_crossentropy(truth, probabilities))


def dice(truth: Any, probabilities: Any) -> Any:
    """1 - mean soft Dice of nucleus and cytoplasm over the batch: (2 |A.B| + 1) / (|A| + |B| + 1)."""
    from keras import ops

    truth, probabilities = truth[..., 1:], probabilities[..., 1:]
    overlap = ops.sum(truth * probabilities, axis=(0, 1, 2))
    total = ops.sum(truth, axis=(0, 1, 2)) + ops.sum(probabilities, axis=(0, 1, 2))
    return 1.0 - ops.mean((2.0 * overlap + SMOOTH) / (total + SMOOTH))


def cross_entropy_dice(truth: Any, probabilities: Any) -> Any:
    """The sum of the two: cross-entropy steers every pixel, Dice balances the classes."""
    return cross_entropy(truth, probabilities) + dice(truth, probabilities)


def focal(truth: Any, probabilities: Any) -> Any:
    """Mean over all pixels of -(1 - p)^2 log p, p = P(true class) (Lin et al. 2017, eq. 4)."""
    from keras import ops

    p = ops.clip(ops.sum(truth * probabilities, axis=-1), EPSILON, 1.0)
    return ops.mean(-((1.0 - p) ** FOCUS) * ops.log(p))


LOSSES: dict[str, Callable[[Any, Any], Any]] = {
    "cross_entropy": cross_entropy,
    "dice": dice,
    "cross_entropy+dice": cross_entropy_dice,
    "focal": focal,
}


def loss(name: str) -> Callable[[Any, Any], Any]:
    """The loss of that name; an unknown name is answered with the known ones."""
    if name not in LOSSES:
        raise LossError(f"there is no loss '{name}'; known: {', '.join(LOSSES)}")
    return LOSSES[name]
