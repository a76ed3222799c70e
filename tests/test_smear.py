from __future__ import annotations

import dataclasses
from itertools import pairwise

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from station.demo.smear import SmearField, SmearRecipe, demo_fields, paint, random_recipe

SMALL = SmearRecipe(width=320, height=240, cell_diameter_px=56, wbc=4, touching_pairs=1, seed=5)


def small(**changes: object) -> SmearField:
    return paint(dataclasses.replace(SMALL, **changes))  # type: ignore[arg-type]


def touching(instances: NDArray[np.uint16]) -> set[tuple[int, int]]:
    """Pairs of ids that share a pixel edge."""
    pairs: set[tuple[int, int]] = set()
    for near, far in ((instances[1:], instances[:-1]), (instances[:, 1:], instances[:, :-1])):
        meet = (near != far) & (near > 0) & (far > 0)
        pairs |= {(min(p), max(p)) for p in zip(near[meet].tolist(), far[meet].tolist(), strict=True)}
    return pairs


def check_truth(field: SmearField) -> None:
    assert np.array_equal(field.labels > 0, field.instances > 0)
    assert set(np.unique(field.labels)) <= {0, 1, 2}
    assert set(np.unique(field.instances)) - {0} == set(range(1, field.wbc_count + 1))
    for cell in range(1, field.wbc_count + 1):
        mine = field.instances == cell
        assert (field.labels[mine] == 2).any()
        assert cv2.connectedComponents(mine.astype(np.uint8), connectivity=4)[0] == 2


def diameters(field: SmearField) -> NDArray[np.float64]:
    """Of the cells that the border does not cut, in px."""
    inner = field.instances.copy()
    edge = np.concatenate([inner[0], inner[-1], inner[:, 0], inner[:, -1]])
    inner[np.isin(inner, edge)] = 0
    areas = np.bincount(inner.ravel())[1:]
    return np.asarray(2 * np.sqrt(areas[areas > 0] / np.pi))


def test_the_same_recipe_paints_the_same_field() -> None:
    one, two = paint(SMALL), paint(SMALL)
    assert np.array_equal(one.image, two.image)
    assert np.array_equal(one.labels, two.labels)
    assert np.array_equal(one.instances, two.instances)
    assert one.kinds == two.kinds


def test_another_seed_paints_another_field() -> None:
    assert not np.array_equal(paint(SMALL).instances, small(seed=6).instances)


def test_sizes_and_types() -> None:
    field = paint(SMALL)
    assert (field.image.shape, field.image.dtype) == ((240, 320, 3), np.uint8)
    assert (field.labels.shape, field.labels.dtype) == ((240, 320), np.uint8)
    assert (field.instances.shape, field.instances.dtype) == ((240, 320), np.uint16)


def test_the_truth_is_exact_on_random_fields_of_many_sizes() -> None:
    rng = np.random.default_rng(11)
    counts = []
    sizes = ((192, 192, 64.0), (256, 192, 45.0), (128, 128, 120.0), (161, 203, 30.0))
    for width, height, diameter in sizes * 12:
        recipe = random_recipe(rng, width=width, height=height, cell_diameter_px=diameter)
        field = paint(recipe)
        check_truth(field)
        assert field.image.shape == (height, width, 3)
        assert field.wbc_count == recipe.wbc
        counts.append(field.wbc_count)
    assert min(counts) == 0
    assert max(counts) == 8


def test_an_empty_field_has_red_cells_but_no_truth() -> None:
    field = small(wbc=0, touching_pairs=0, platelets=0, debris=0)
    assert field.wbc_count == 0
    assert not field.labels.any()
    assert not field.instances.any()
    bare = small(wbc=0, touching_pairs=0, platelets=0, debris=0, red_cells=0)
    changed = np.abs(field.image.astype(int) - bare.image).max(axis=2) > 8
    assert 0.1 < changed.mean() < 0.9


@pytest.mark.parametrize("seed", range(6))
def test_the_asked_pairs_touch_and_all_others_keep_a_gap(seed: int) -> None:
    field = small(width=400, height=300, wbc=5, touching_pairs=2, seed=seed)
    assert touching(field.instances) == {(1, 2), (3, 4)}
    cells = [(field.instances == i).astype(np.uint8) for i in range(1, 6)]
    grown = [cv2.dilate(cell, np.ones((3, 3), np.uint8)) for cell in cells]
    groups = (grown[0] | grown[1], grown[2] | grown[3], grown[4])
    assert not any((a & b).any() for a, b in (*pairwise(groups), (groups[0], groups[2])))


def test_cells_measure_what_the_recipe_asks_for() -> None:
    fields = [small(width=512, height=384, cell_diameter_px=60, wbc=6, seed=seed) for seed in range(6)]
    sizes = np.concatenate([diameters(field) for field in fields]) / 60
    assert np.median(sizes) == pytest.approx(1, abs=0.1)
    assert sizes.min() > 0.73
    assert sizes.max() < 1.32


def test_the_lobed_share_decides_the_kinds() -> None:
    assert set(small(lobed=1.0).kinds) == {"lobed"}
    assert "lobed" not in small(lobed=0.0).kinds


def test_the_picture_shows_what_the_truth_says() -> None:
    field = small(red_cells=0, platelets=0, debris=0)
    grey = cv2.cvtColor(field.image, cv2.COLOR_RGB2GRAY)
    background, cytoplasm, nucleus = (float(grey[field.labels == label].mean()) for label in range(3))
    assert background > cytoplasm + 5 > nucleus + 20


def test_red_cells_never_cover_white_cells() -> None:
    with_red, without = small(red_cells=3.0), small(red_cells=0)
    assert np.array_equal(with_red.instances, without.instances)
    # The rims mix with what lies below them, by their soft edge and the blur of the lens.
    inside = cv2.erode((with_red.instances > 0).astype(np.uint8), np.ones((13, 13), np.uint8)) > 0
    assert np.array_equal(with_red.image[inside], without.image[inside])
    assert (with_red.image[with_red.labels == 0] != without.image[with_red.labels == 0]).any()


def test_more_pairs_than_cells_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot form 3 touching pairs"):
        small(wbc=4, touching_pairs=3)


def test_cells_that_do_not_fit_are_refused_with_the_way_out() -> None:
    with pytest.raises(ValueError, match="8 white cells do not fit into 100x100 px: ask for fewer"):
        small(width=100, height=100, wbc=8, touching_pairs=0)


def test_random_recipes_vary() -> None:
    rng = np.random.default_rng(0)
    recipes = [random_recipe(rng, width=512, height=384, cell_diameter_px=64) for _ in range(100)]
    assert {recipe.wbc for recipe in recipes} == set(range(9))
    assert len({recipe.seed for recipe in recipes}) == 100
    assert any(recipe.touching_pairs for recipe in recipes)


@pytest.fixture(scope="module")
def day() -> list[tuple[SmearRecipe, SmearField]]:
    return [(recipe, paint(recipe)) for recipe in demo_fields(seed=7)]


def test_the_demo_day_has_twelve_fields_of_none_to_eight_cells(
    day: list[tuple[SmearRecipe, SmearField]],
) -> None:
    assert sorted(field.wbc_count for _, field in day) == [0, 1, 2, 2, 3, 3, 4, 4, 5, 6, 7, 8]
    assert len({recipe.seed for recipe, _ in day}) == 12
    for recipe, field in day:
        check_truth(field)
        assert field.image.shape == (recipe.height, recipe.width, 3)
        assert len(touching(field.instances)) == recipe.touching_pairs


def test_the_demo_day_has_pairs_lobed_nuclei_and_cells_at_the_border(
    day: list[tuple[SmearRecipe, SmearField]],
) -> None:
    assert sum(recipe.touching_pairs for recipe, _ in day) >= 4
    assert sum(field.kinds.count("lobed") for _, field in day) >= 8
    assert any(field.instances[0].any() or field.instances[:, 0].any() for _, field in day)


def test_two_demo_days_share_no_field() -> None:
    assert not {recipe.seed for recipe in demo_fields(1)} & {recipe.seed for recipe in demo_fields(2)}
