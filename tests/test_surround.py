"""The black beside the specimen: a round field of view, bars; and what is none of it."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from station.contract.analysis import Scale, analyse
from station.contract.bundle import read_bundle
from station.contract.quality import measure_quality
from station.contract.scale import estimate
from station.contract.surround import surround
from station.demo.smear import SmearRecipe, paint
from station.engines import open_engine
from station.registry import starter_path

HEIGHT, WIDTH, CELL_PX = 480, 640, 75.0


def field(wbc: int, seed: int = 3) -> NDArray[np.uint8]:
    recipe = SmearRecipe(width=WIDTH, height=HEIGHT, cell_diameter_px=CELL_PX, wbc=wbc, seed=seed)
    return paint(recipe).image


def from_the_middle() -> NDArray[np.float64]:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.hypot(rows - HEIGHT / 2, columns - WIDTH / 2)


def round_view(image: NDArray[np.uint8], radius: float, level: int = 10, soft: float = 4.0) -> NDArray[np.uint8]:
    seen = np.clip((radius - from_the_middle()) / soft + 0.5, 0, 1)[..., None]
    return (image * seen + level * (1 - seen)).astype(np.uint8)


def barred(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    shown = image.copy()
    shown[:25] = shown[-25:] = 0
    return shown


def test_a_field_that_fills_the_picture_has_none() -> None:
    assert surround(field(3)) is None


def test_the_black_around_a_round_field_is_known_with_its_rim() -> None:
    found = surround(round_view(field(3), 330))
    assert found is not None
    away = from_the_middle()
    assert found[away > 330].all() and not found[away < 330 - 12].any()


def test_what_is_dark_within_the_field_stays() -> None:
    image = round_view(field(3), 330)
    image[200:240, 300:340] = 5  # a speck of dirt
    found = surround(image)
    assert found is not None and not found[200:240, 300:340].any()


def test_ground_that_is_black_is_no_surround() -> None:
    """As fluorescence shows it, or a test that paints cells on nothing."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[100:300, 100:400] = 180
    assert surround(image) is None and surround(np.zeros_like(image)) is None


BLURRED = np.asarray(cv2.GaussianBlur(field(3), (0, 0), 5), np.uint8)


@pytest.mark.parametrize("image", [field(3), BLURRED, field(3) // 4 + 160], ids=["as it is", "blurred", "pale"])
def test_light_and_focus_are_those_of_the_specimen(image: NDArray[np.uint8]) -> None:
    """A sharp black rim hides neither a blurred specimen nor a pale one."""
    likely = np.tile(np.array([0.98, 0.01, 0.01], np.float32), (HEIGHT, WIDTH, 1))
    likely[from_the_middle() < 60] = (0.01, 0.01, 0.98)
    cut = round_view(image, 300, soft=1)
    whole, within = measure_quality(image, likely), measure_quality(cut, likely, surround(cut))
    assert within.focus == pytest.approx(whole.focus, rel=0.15)
    for name in ("brightness", "contrast", "clipped", "colour"):
        assert getattr(within, name) == pytest.approx(getattr(whole, name), abs=0.05), name


def test_a_grid_that_darkens_all_of_the_picture_is_measured_as_it_is() -> None:
    """Its lines hold all corners, and what is left between them is rim."""
    shown = np.full((HEIGHT, WIDTH, 3), 220, np.uint8)
    for line in range(3):
        shown[line::12] = shown[:, line::12] = 0
    shown[-1] = shown[:, -1] = 0
    assert surround(shown) is None
    bundle = read_bundle(starter_path(), weights=False)
    found = analyse(shown, Scale(CELL_PX, "told"), bundle.manifest, open_engine(bundle))
    assert found.quality["brightness"] > 0
    likely = np.tile(np.array([0.98, 0.01, 0.01], np.float32), (HEIGHT, WIDTH, 1))
    assert measure_quality(shown, likely, np.ones((HEIGHT, WIDTH), np.bool_)).focus is None


def test_of_a_slit_nothing_is_said_about_the_focus() -> None:
    shown = field(0)
    shown[:200] = shown[260:] = 0
    likely = np.tile(np.array([0.98, 0.01, 0.01], np.float32), (HEIGHT, WIDTH, 1))
    assert surround(shown) is None  # more of it is black than not
    assert measure_quality(shown, likely, shown.max(axis=2) == 0).focus is None


def test_a_cell_that_the_rim_cuts_is_at_the_edge() -> None:
    bundle = read_bundle(starter_path(), weights=False)
    network, told = open_engine(bundle), Scale(CELL_PX, "told")
    image = field(3, seed=6)
    whole = analyse(image, told, bundle.manifest, network).drawing.measured
    assert [(cell.y < 200, cell.touches_edge) for cell in whole] == [(True, False), (True, False), (False, False)]
    image[: round(whole[0].y) - 12] = 5  # through the first, beside the second
    cut = analyse(image, told, bundle.manifest, network)
    assert [cell.touches_edge for cell in cut.drawing.measured] == [True, False, False]
    assert "cell-at-edge" in cut.flags


@pytest.mark.parametrize("shown", [lambda one: round_view(one, 330), lambda one: round_view(one, 300, 25, 20), barred])
def test_no_cell_is_counted_in_it(shown: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> None:
    bundle = read_bundle(starter_path(), weights=False)
    network = open_engine(bundle)
    for wbc in (0, 3):
        whole = field(wbc)
        cut = shown(whole)
        beside = surround(cut)
        assert beside is not None
        told = Scale(CELL_PX, "told")
        first, second = (analyse(one, told, bundle.manifest, network).drawing for one in (whole, cut))
        assert len(first.measured) == wbc
        within = {int(one) for one in np.unique(first.cells[~beside])} - {0}
        assert len(second.measured) <= len(within)
        assert not (second.labels[beside] > 0).any()
    assert estimate(shown(field(0)), bundle.manifest, network).source == "default"
