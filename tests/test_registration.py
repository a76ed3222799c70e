"""Two windows of one painted smear are the same place, two smears are not; and what is known of the shared fields."""

from __future__ import annotations

import csv
from dataclasses import replace
from functools import cache
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import LONG

from station.contract.imaging import RGB
from station.contract.registration import Overlap, Trace, fingerprint, shared_area, trace
from station.demo.smear import SmearRecipe, paint

WIDTH, HEIGHT = 640, 480
SMEAR = SmearRecipe(width=2 * WIDTH, height=2 * HEIGHT, cell_diameter_px=60.0, wbc=8, seed=3)

# All pairs of bccd's training fields that share a tenth or more, of 30,876. Each was looked at; README of the set names
# some of them. The second numbers of the later rows are the fields that were photographed again, in reverse order.
SAME_PLACE = {
    *((19, 20), (37, 38), (40, 41), (44, 45), (107, 108), (147, 148), (160, 161), (165, 193), (166, 193)),
    *((223, 224), (239, 240), (242, 248), (242, 249), (243, 250), (244, 247), (248, 249), (255, 256), (276, 277)),
    *((204, 276), (204, 277), (205, 276), (206, 278), (207, 279), (223, 263), (223, 264), (224, 264), (225, 262)),
    *((225, 264), (226, 261), (227, 260), (228, 259), (229, 258), (230, 257), (231, 255), (231, 256), (232, 255)),
    *((233, 254), (236, 253), (237, 252)),
}


@cache
def smear(seed: int) -> RGB:
    return paint(replace(SMEAR, seed=seed)).image


def taken(image: RGB, seed: int, light: float = 1.0) -> RGB:
    """As a camera gives it: its noise, another brightness, and what JPEG makes of it."""
    noise = np.random.default_rng(seed).normal(0, 3, image.shape)
    seen = np.clip(image * light + noise, 0, 255).astype(np.uint8)
    jpeg = cv2.imencode(".jpg", seen[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 80))[1]
    return np.ascontiguousarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR)[..., ::-1])


def window(x: int, y: int, seed: int = 3) -> RGB:
    return smear(seed)[y : y + HEIGHT, x : x + WIDTH]


def compared(earlier: RGB, later: RGB) -> Overlap | None:
    return shared_area(trace(fingerprint(earlier)), trace(fingerprint(later)))


@pytest.mark.parametrize(("x", "y"), [(0, 0), (200, 0), (-170, 130), (301, -211), (-250, -240), (-7, 330), (480, 100)])
@pytest.mark.parametrize("light", [0.9, 1.1])
def test_two_windows_of_one_smear_are_found_where_they_lie(x: int, y: int, light: float) -> None:
    left, top = max(0, -x), max(0, -y)
    found = compared(taken(window(left, top), 1), taken(window(left + x, top + y), 2, light))
    assert found is not None
    assert (found.shift_x, found.shift_y) == (pytest.approx(x, abs=2), pytest.approx(y, abs=2))
    assert found.shared == pytest.approx((1 - abs(x) / WIDTH) * (1 - abs(y) / HEIGHT), abs=0.01)


def test_the_same_place_photographed_twice_is_shared_as_a_whole_whatever_the_camera_did() -> None:
    dimmed = (taken(window(9, 9), 2) * np.linspace(0.6, 1.0, WIDTH)[:, None]).astype(np.uint8)
    blurred = cv2.GaussianBlur(window(9, 9), (0, 0), 4)
    for again in (taken(window(9, 9), 2), dimmed, np.asarray(blurred, np.uint8)):
        found = compared(taken(window(9, 9), 1), again)
        assert found is not None and found.shared > 0.99 and found.certainty > 0.85


def test_other_smears_and_places_that_share_too_little_are_not_taken_for_one() -> None:
    fields = [window(x, y, seed) for seed in range(3) for x, y in ((0, 0), (600, 0), (0, 460), (600, 460))]
    traces = [trace(fingerprint(taken(field, number))) for number, field in enumerate(fields)]
    assert not [pair for pair in combinations(traces, 2) if shared_area(*pair)]


def test_seen_from_the_other_side_the_shift_is_the_opposite() -> None:
    one, other = window(100, 100), window(300, 180)
    there, back = compared(one, other), compared(other, one)
    assert there is not None and back is not None
    assert (there.shift_x, there.shift_y) == (pytest.approx(-back.shift_x, abs=1), pytest.approx(-back.shift_y, abs=1))


def test_a_few_cells_on_empty_ground_are_no_proof() -> None:
    """Round cells look alike: laid on each other, those of two fields agree by nine tenths."""
    sparse = SmearRecipe(WIDTH, HEIGHT, 48.0, wbc=2, red_cells=0, platelets=0, debris=0)
    traces = [trace(fingerprint(paint(replace(sparse, seed=seed)).image)) for seed in range(8)]
    assert not [pair for pair in combinations(traces, 2) if shared_area(*pair)]


def test_dust_on_the_sensor_is_no_place_of_the_slide() -> None:
    rng = np.random.default_rng(0)
    ground = np.full((HEIGHT, WIDTH, 3), 228.0)
    for x, y in rng.integers(20, 460, (40, 2)):
        cv2.circle(ground, (int(x), int(y)), 10, (217.0, 217.0, 217.0), -1)
    assert compared(taken(ground.astype(np.uint8), 1), taken(ground.astype(np.uint8), 2)) is None


@pytest.mark.parametrize("radius", [380, 500, 560])
@pytest.mark.parametrize("density", [0.0, 0.1, 1.0])
def test_the_black_around_a_round_field_of_view_is_no_place_of_the_slide(radius: int, density: float) -> None:
    rows, columns = np.mgrid[:768, :1024]
    black = np.hypot(rows - 384, columns - 512) > radius
    fields = []
    for seed in range(5):
        image = paint(SmearRecipe(wbc=3, red_cells=density, seed=seed)).image.copy()
        image[black] = 10
        fields.append(trace(fingerprint(taken(image, seed))))
    assert [shared_area(*pair) for pair in combinations(fields, 2)] == [None] * 10


def test_fields_of_unequal_size_are_not_compared() -> None:
    assert compared(window(0, 0), window(0, 0)[:400]) is None


@pytest.mark.parametrize("shape", [(1, 1), (1, 640), (480, 2), (40, 30), (97, 95)])
def test_a_picture_of_any_shape_can_be_compared(shape: tuple[int, int]) -> None:
    compared(window(0, 0)[: shape[0], : shape[1]], window(9, 0)[: shape[0], : shape[1]])


def test_a_small_copy_is_small_and_a_damaged_one_is_like_no_other() -> None:
    copy = fingerprint(window(0, 0))
    assert len(copy.jpeg) < 4000
    damaged = trace(replace(copy, jpeg=b"damaged"))
    assert shared_area(damaged, trace(copy)) is None and shared_area(damaged, damaged) is None


def test_of_the_shared_fields_those_are_found_that_show_the_same_place_and_no_others(photographs: Path) -> None:
    traces = _bccd(photographs, "train")
    near = {pair for pair in combinations(sorted(traces), 2) if pair[1] - pair[0] <= 10}
    found = {pair for pair in near | SAME_PLACE if shared_area(traces[pair[0]], traces[pair[1]])}
    assert found == SAME_PLACE
    assert len(near | SAME_PLACE) > 2000


@LONG
@pytest.mark.parametrize(("role", "pairs", "expected"), [("train", 30_876, SAME_PLACE), ("val", 990, set())])
def test_so_it_is_of_all_pairs(photographs: Path, role: str, pairs: int, expected: set[tuple[int, int]]) -> None:
    traces = _bccd(photographs, role)
    held = list(combinations(sorted(traces), 2))
    found = {pair for pair in held if shared_area(traces[pair[0]], traces[pair[1]])}
    right = len(found & expected)
    print(f"\n{role}: {len(held)} pairs, {len(expected)} overlap, {len(found)} found, {right} of them rightly")
    assert (len(held), found) == (pairs, expected)


def _bccd(photographs: Path, role: str) -> dict[int, Trace]:
    with (photographs / "splits.csv").open(encoding="utf-8") as lines:
        names = [row["image"] for row in csv.DictReader(lines) if (row["dataset"], row["role"]) == ("bccd", role)]
    return {int(name[-9:-4]): _trace(photographs / "bccd" / "images" / name) for name in names}


def _trace(path: Path) -> Trace:
    """Green is in the middle of BGR and RGB alike."""
    return trace(fingerprint(np.asarray(cv2.imread(str(path)), np.uint8)))
