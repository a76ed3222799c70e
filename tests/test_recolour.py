"""One crop as another stain, light or file would have shown it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.color import hed2rgb, rgb2hed

from trainer.recipe import Augmentation
from trainer.recolour import recoloured

PLAIN = Augmentation(gamma=(1, 1), gain=(1, 1), offset=0, saturation=(1, 1), hue_degrees=0, blur_share=0, noise_share=0)


def drawn(image: NDArray[np.uint8], seed: int = 0, **ranges: object) -> NDArray[np.float32]:
    augment = PLAIN.model_copy(update=ranges)
    return recoloured(image, augment, np.random.default_rng(seed))


def smear() -> NDArray[np.uint8]:
    """[120, 120, 3] nucleus in a cell on a field with fine grain, so that a file has something to lose."""
    image = np.full((120, 120, 3), (236, 226, 220), np.uint8)
    cv2.circle(image, (60, 60), 40, (168, 150, 214), -1)
    cv2.circle(image, (64, 66), 22, (86, 44, 132), -1)
    grain = np.random.default_rng(5).integers(-9, 10, (120, 120, 1))
    return np.clip(image.astype(np.int64) + grain, 0, 255).astype(np.uint8)


def stained() -> NDArray[np.uint8]:
    """[40, 40, 3] all mixtures of the three stains in which none is negative, each thick enough to be measured."""
    amounts = np.random.default_rng(3).uniform(0.02, 0.08, (40, 40, 3))
    return np.asarray(np.rint(hed2rgb(amounts) * 255), np.uint8)


def test_nothing_drawn_nothing_changed() -> None:
    assert drawn(smear()) == pytest.approx(smear().astype(np.float32), abs=0.01)


LOG_ADJUST = -np.log(1e-6)  # scikit-image gives its stains in this unit


def test_each_stain_is_scaled_by_one_factor_and_shifted_by_one_amount() -> None:
    """Held against the deconvolution of scikit-image, which knows nothing of this module's matrices."""
    before, lines = rgb2hed(stained()).reshape(-1, 3), np.zeros((40, 3, 2))
    for seed in range(40):
        after = rgb2hed(drawn(stained(), seed, stain_scale=0.2, stain_shift=0.05) / 255.0).reshape(-1, 3)
        for stain in range(3):
            lines[seed, stain] = np.polyfit(before[:, stain], after[:, stain], 1)
            assert np.abs(after[:, stain] - np.polyval(lines[seed, stain], before[:, stain])).max() < 0.005
    for drawn_values, most in ((lines[..., 0] - 1, 0.2), (lines[..., 1] * LOG_ADJUST, 0.05)):
        assert np.abs(drawn_values).max(axis=0) == pytest.approx(np.full(3, most), rel=0.15)
        assert np.abs(np.corrcoef(drawn_values.T) - np.eye(3)).max() < 0.5


def test_stain_that_is_only_scaled_leaves_unstained_glass_white() -> None:
    glass = np.full((8, 8, 3), 255, np.uint8)
    assert drawn(glass, stain_scale=0.5) == pytest.approx(np.full((8, 8, 3), 255.0), abs=0.1)
    assert drawn(glass, 1, stain_shift=0.2) != pytest.approx(np.full((8, 8, 3), 255.0), abs=2)


@pytest.mark.parametrize("value", [0, 255])
def test_the_darkest_and_the_brightest_stay_within_their_range(value: int) -> None:
    for seed in range(20):
        x = drawn(np.full((4, 4, 3), value, np.uint8), seed, stain_scale=0.9, stain_shift=0.9)
        assert np.isfinite(x).all() and x.min() >= 0 and x.max() <= 255


def test_a_file_loses_the_more_the_lower_its_quality() -> None:
    lost = [np.abs(drawn(smear(), jpeg_share=1.0, jpeg_quality=(q, q)) - smear()).mean() for q in (100, 90, 60, 30)]
    assert (np.diff(lost) > 0.1).all()
    assert lost[0] < 1.5


@pytest.mark.parametrize("colour", [(200, 40, 60), (40, 200, 60), (40, 60, 200)])
def test_a_file_keeps_the_order_of_the_channels(colour: tuple[int, int, int]) -> None:
    flat = np.full((32, 32, 3), colour, np.uint8)
    assert drawn(flat, jpeg_share=1.0, jpeg_quality=(90, 90)) == pytest.approx(flat.astype(np.float32), abs=3)


def test_files_are_as_frequent_as_the_recipe_says() -> None:
    plain = smear().astype(np.float32)
    kept = [np.allclose(drawn(smear(), seed, jpeg_share=0.3), plain, atol=0.01) for seed in range(200)]
    assert sum(kept) / 200 == pytest.approx(0.7, abs=0.1)


def test_qualities_are_drawn_from_the_range_of_the_recipe() -> None:
    known = {drawn(smear(), jpeg_share=1.0, jpeg_quality=(q, q)).tobytes(): q for q in range(30, 36)}
    found = {known[drawn(smear(), seed, jpeg_share=1.0, jpeg_quality=(30, 35)).tobytes()] for seed in range(60)}
    assert found == {30, 31, 32, 33, 34, 35}


def test_the_same_draw_gives_the_same_crop() -> None:
    ranges = {"stain_scale": 0.2, "stain_shift": 0.05, "jpeg_share": 0.5, "noise_share": 0.5, "blur_share": 0.5}
    for seed in range(5):
        assert np.array_equal(drawn(smear(), seed, **ranges), drawn(smear(), seed, **ranges))
    assert not np.array_equal(drawn(smear(), 0, **ranges), drawn(smear(), 1, **ranges))
