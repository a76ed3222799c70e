"""One exam for every loss of the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from trainer.losses import LOSSES, LossError, loss

TRUTH = np.eye(3, dtype=np.float32)[np.random.default_rng(0).integers(0, 3, (2, 16, 16))]  # [2, 16, 16, 3] one-hot


def mixed(certainty: float) -> NDArray[np.float32]:
    """The truth with probability `certainty`, what is left over shared by the two other classes."""
    return np.asarray(TRUTH * certainty + (1 - TRUTH) * (1 - certainty) / 2, np.float32)


def value(name: str, probabilities: Any, truth: Any = TRUTH, weights: Sequence[float] | None = None) -> float:
    return float(loss(name, weights)(truth, probabilities))


@pytest.mark.parametrize("name", LOSSES)
def test_a_perfect_answer_costs_nothing(name: str) -> None:
    assert value(name, TRUTH) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_a_worse_answer_costs_more(name: str) -> None:
    costs = [value(name, mixed(certainty)) for certainty in (0.95, 0.8, 0.6, 1 / 3, 0.1)]
    assert (np.diff(costs) > 0.005).all()


@pytest.mark.parametrize("name", LOSSES)
def test_each_wrong_class_costs(name: str) -> None:
    for wrong in (0, 1, 2):
        shifted = np.eye(3, dtype=np.float32)[np.full(TRUTH.shape[:3], wrong)]
        assert value(name, shifted * 0.9 + 0.1 / 3) > 0.3


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("labels", [0, 1, 2])
@pytest.mark.parametrize("certainty", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("weights", [None, (0.1, 1.0, 1.9)])
def test_values_and_gradients_stay_finite_at_the_extremes(
    name: str, labels: int, certainty: float, weights: Sequence[float] | None
) -> None:
    import tensorflow as tf

    truth = np.eye(3, dtype=np.float32)[np.full((2, 8, 8), labels)]
    probabilities = tf.Variable(truth * certainty + (1 - truth) * (1 - certainty) / 2)
    with tf.GradientTape() as tape:
        cost = loss(name, weights)(tf.constant(truth), probabilities)
    assert cost.shape == ()
    assert np.isfinite(float(cost))
    assert np.isfinite(tape.gradient(cost, probabilities).numpy()).all()


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_leads_downhill(name: str) -> None:
    import tensorflow as tf

    probabilities = tf.Variable(mixed(0.5))
    with tf.GradientTape() as tape:
        cost = loss(name)(tf.constant(TRUTH), probabilities)
    slope = tape.gradient(cost, probabilities)
    length = float(tf.norm(slope))
    assert length > 0
    assert value(name, probabilities - 0.01 * slope / length) < float(cost)


def test_dice_by_hand() -> None:
    truth = np.eye(3, dtype=np.float32)[np.array([[[0, 1], [2, 2]]])]  # one picture of 2 x 2
    probabilities = np.array([[[[0.5, 0.5, 0.0], [0.2, 0.7, 0.1]], [[0.0, 0.1, 0.9], [0.0, 0.4, 0.6]]]], np.float32)
    cytoplasm = (2 * 0.7 + 1) / (1 + (0.5 + 0.7 + 0.1 + 0.4) + 1)
    nucleus = (2 * (0.9 + 0.6) + 1) / (2 + (0.1 + 0.9 + 0.6) + 1)
    assert value("dice", probabilities, truth) == pytest.approx(1 - (cytoplasm + nucleus) / 2, abs=1e-6)


def test_dice_pools_the_batch_and_leaves_the_background_out() -> None:
    truth = np.zeros((2, 4, 4, 3), np.float32)
    truth[..., 0] = 1
    assert value("dice", truth, truth) == 0  # nothing to find, nothing found: 1 / 1 by the smoothing
    truth[0, 0, 0] = (0, 1, 0)
    missed = np.zeros_like(truth)
    missed[..., 0] = 1
    assert value("dice", missed, truth) == pytest.approx(1 - (1 / 2 + 1) / 2)


def test_cross_entropy_by_hand() -> None:
    truth = np.eye(3, dtype=np.float32)[np.array([[[0, 2]]])]
    probabilities = np.array([[[[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]]], np.float32)
    assert value("cross_entropy", probabilities, truth) == pytest.approx(-(np.log(0.5) + np.log(0.8)) / 2, abs=1e-6)


def test_focal_loss_by_hand_makes_light_of_sure_pixels() -> None:
    truth = np.eye(3, dtype=np.float32)[np.array([[[0, 2]]])]
    probabilities = np.array([[[[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]]], np.float32)
    expected = -(0.5**2 * np.log(0.5) + 0.2**2 * np.log(0.8)) / 2
    assert value("focal", probabilities, truth) == pytest.approx(expected, abs=1e-6)
    assert value("focal", mixed(0.99)) < 0.01 * value("cross_entropy", mixed(0.99))


def test_the_sum_is_the_sum() -> None:
    answer = mixed(0.7)
    assert value("cross_entropy+dice", answer) == pytest.approx(value("cross_entropy", answer) + value("dice", answer))


@pytest.mark.parametrize("name", LOSSES)
def test_equal_weights_are_no_weights(name: str) -> None:
    assert value(name, mixed(0.7), weights=(1, 1, 1)) == pytest.approx(value(name, mixed(0.7)), abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("heavy", [1, 2])
def test_an_error_costs_more_in_a_class_of_more_weight(name: str, heavy: int) -> None:
    weights = [0.5, 0.5, 0.5]
    weights[heavy] = 2.0
    wrong_in = {label: np.where(TRUTH[..., [label]] > 0, mixed(0.5), TRUTH) for label in (1, 2)}
    costs = {label: value(name, probabilities, weights=weights) for label, probabilities in wrong_in.items()}
    assert costs[heavy] > 1.5 * costs[3 - heavy]


ONE_EACH = np.eye(3, dtype=np.float32)[np.array([[[0, 1, 2, 2]]])]  # one picture of 1 x 4
ANSWER = np.array([[[[0.5, 0.25, 0.25], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8], [0.3, 0.3, 0.4]]]], np.float32)


def test_weighted_cross_entropy_by_hand() -> None:
    expected = -(0.5 * np.log(0.5) + 2 * np.log(0.7) + 3 * (np.log(0.8) + np.log(0.4))) / 4
    assert value("cross_entropy", ANSWER, ONE_EACH, (0.5, 2, 3)) == pytest.approx(expected, abs=1e-6)


def test_weighted_focal_loss_by_hand() -> None:
    cytoplasm, nucleus = 0.3**2 * np.log(0.7), 0.2**2 * np.log(0.8) + 0.6**2 * np.log(0.4)
    expected = -(0.5 * 0.5**2 * np.log(0.5) + 2 * cytoplasm + 3 * nucleus) / 4
    assert value("focal", ANSWER, ONE_EACH, (0.5, 2, 3)) == pytest.approx(expected, abs=1e-6)


def test_weighted_dice_by_hand() -> None:
    cytoplasm = (2 * 0.7 + 1) / (1 + (0.25 + 0.7 + 0.1 + 0.3) + 1)
    nucleus = (2 * (0.8 + 0.4) + 1) / (2 + (0.25 + 0.1 + 0.8 + 0.4) + 1)
    expected = 1 - (2 * cytoplasm + 3 * nucleus) / 5
    assert value("dice", ANSWER, ONE_EACH, (0.5, 2, 3)) == pytest.approx(expected, abs=1e-6)
    assert value("dice", ANSWER, ONE_EACH, (99, 2, 3)) == pytest.approx(expected, abs=1e-6)  # the background's: no part


def test_an_unknown_loss_is_answered_with_the_known_ones() -> None:
    with pytest.raises(LossError, match=r"no loss 'huber'; known: cross_entropy, dice, cross_entropy\+dice, focal"):
        loss("huber")
