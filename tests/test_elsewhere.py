"""Held-out pictures as other cameras show them: what a training with `held_out_elsewhere` chooses by."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from composing import SET, put_discs, put_sample
from networks import COLOURS, DIAMETER_PX, disc_labels, discs
from numpy.typing import NDArray
from unets import record_of

from trainer.datasets.samples import Sample, cell_diameters
from trainer.elsewhere import COMPOSED, composed, elsewhere
from trainer.fit import prepare
from trainer.recipe import Augmentation, Recipe
from trainer.runs import RunFolder

CELLS = [(60.0, 60.0, 30.0, 17.0), (170.0, 100.0, 30.0, 16.0)]
STILL = Augmentation(gamma=(1, 1), gain=(1, 1), offset=0, saturation=(1, 1), hue_degrees=0, blur_share=0, noise_share=0)


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    return put_sample(tmp_path, "a", discs(160, 240, CELLS), disc_labels(160, 240, CELLS))


def seen(sample: Sample, augment: Augmentation, network_px: float = 64.0) -> NDArray[np.uint8]:
    recipe = Recipe(name="x", augment=augment, cell_diameter_px=network_px)
    (other,) = elsewhere([sample], {sample.dataset: DIAMETER_PX}, recipe)
    image, labels = other.read()
    assert np.array_equal(labels, sample.read_truth()) and image.dtype == np.uint8
    return image


def test_only_the_colours_change_and_always_alike(sample: Sample) -> None:
    first = seen(sample, Augmentation())
    assert np.abs(first.astype(int) - sample.read()[0]).mean() > 2
    assert np.array_equal(first, seen(sample, Augmentation()))
    assert np.abs(seen(sample, STILL).astype(int) - sample.read()[0]).max() <= 1


def test_focus_is_lost_at_the_scale_of_the_network(sample: Sample) -> None:
    blurred = STILL.model_copy(update={"blur_share": 1.0, "blur_sigma_px": 1.2})
    sharp, soft = (
        cv2.Laplacian(seen(sample, blurred, px)[..., 1], cv2.CV_64F).var() for px in (4 * DIAMETER_PX, DIAMETER_PX / 4)
    )
    assert soft < 0.5 * sharp


def test_fields_of_held_out_cells_are_of_the_networks_scale_and_always_the_same(tmp_path: Path) -> None:
    samples = put_discs(tmp_path)
    recipe = Recipe(name="x", held_out_composed=6, composed_size=(0.9, 1.1), cell_diameter_px=48.0)
    made, again = (list(composed(samples, {SET: 120.0}, recipe)) for _ in range(2))
    assert len(made) == 6 and {one.dataset for one in made} == {COMPOSED}
    for one, other in zip(made, again, strict=True):
        image, labels = one.read()
        assert np.array_equal(image, other.read()[0]) and image.shape[:2] == labels.shape
    assert max(one.wbc_count or 0 for one in made) > 3
    whole = [px for one in made for px in cell_diameters(one.read()[1])]
    assert np.median(whole) == pytest.approx(48.0, rel=0.15)
    assert list(composed(samples, {SET: 120.0}, Recipe(name="x"))) == []


def test_a_training_chooses_by_composed_fields_where_its_recipe_says_so(tmp_path: Path) -> None:
    recipe = Recipe(name="x", backbone="unet", held_out=0.5, painted_fields=0, held_out_composed=3)
    record = record_of("unet").model_copy(update={"recipe": recipe})
    session = prepare(put_discs(tmp_path, 4), {SET: 120.0}, record, RunFolder(tmp_path / "run"))
    assert [one.dataset for one in session.held_out] == [SET, SET, COMPOSED, COMPOSED, COMPOSED]
    assert session.diameters[COMPOSED] == recipe.cell_diameter_px


@pytest.mark.parametrize(("asked", "names"), [(False, {SET}), (True, {SET, f"{SET} elsewhere"})])
def test_a_training_chooses_by_both_where_its_recipe_says_so(tmp_path: Path, asked: bool, names: set[str]) -> None:
    labels = disc_labels(96, 96, CELLS[:1])
    samples = [put_sample(tmp_path, str(number), COLOURS[labels], labels) for number in range(4)]
    recipe = Recipe(name="x", backbone="unet", held_out=0.5, painted_fields=0, held_out_elsewhere=asked)
    record = record_of("unet").model_copy(update={"recipe": recipe})
    session = prepare(samples, {SET: DIAMETER_PX}, record, RunFolder(tmp_path / "run"))
    assert {one.dataset for one in session.held_out} == names <= session.diameters.keys()
    assert len(session.held_out) == 2 * len(names)
