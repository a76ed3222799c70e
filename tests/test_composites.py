"""Composed fields: what they are made of, and that their truth is exact."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations

import cv2
import numpy as np
import pytest
from composing import DIAMETER_PX, SET, disc_cutout, flat_ground, in_light, put_sample
from networks import disc_labels
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from station.contract.manifest import CYTOPLASM, NUCLEUS
from station.demo.smear import SmearRecipe, paint
from trainer.composites import MOST_CELLS, Composite, Variety, compose
from trainer.cutouts import Cutout, grounds, stock
from trainer.datasets.samples import Sample

PIXEL = 2.0  # tolerance of a length that was rounded to whole px at both ends
VIOLET = (150, 120, 190)


def outline(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """[K, 2] (x, y) of its outermost pixels."""
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.concatenate([line[:, 0] for line in found]).astype(np.float64)


def outlines_of(field: Composite) -> dict[int, NDArray[np.float64]]:
    return {number: outline(mask) for number, mask in cells_of(field)}


def gap(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """px between the nearest pixels of two outlines; 1 where they are neighbours."""
    return float(cdist(one, other).min())


def is_cut(mask: NDArray[np.bool_]) -> bool:
    return bool(mask[[0, -1]].any() or mask[:, [0, -1]].any())


def cells_of(field: Composite) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    return ((number, field.instances == number) for number in range(1, field.wbc_count + 1))


def disc_px(field: Composite) -> float:
    """Area of a whole cell where all are round."""
    return math.pi / 4 * field.cell_diameter_px**2


def covered_by_others(field: Composite, number: int) -> int:
    """How many cells were laid against this one after it."""
    return sum(first == number for first, _ in field.pairs)


@pytest.fixture(scope="module")
def of_discs() -> list[Composite]:
    """Cells and ground that are flat, and seen in different light."""
    cells = [disc_cutout(), disc_cutout((200, 180, 150))]
    return [compose(seed, cells, [flat_ground((225, 230, 235))]) for seed in range(20)]


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    folder, made = tmp_path_factory.mktemp("painted"), []
    for seed in range(5):
        field = paint(SmearRecipe(width=420, height=320, cell_diameter_px=100, wbc=1, lobed=seed % 2, seed=seed))
        made.append(put_sample(folder, str(seed), field.image, field.labels))
    return made


@pytest.fixture(scope="module")
def of_painted(painted: Sequence[Sample]) -> list[Composite]:
    cells, free = stock(painted, {SET: 100.0})
    return [compose(seed, cells, free) for seed in range(8)]


@pytest.fixture(params=["of_discs", "of_painted"])
def fields(request: pytest.FixtureRequest) -> list[Composite]:
    made: list[Composite] = request.getfixturevalue(request.param)
    return made


def test_the_same_seed_composes_the_same_field() -> None:
    parts = [disc_cutout(), disc_cutout((200, 180, 150))], [flat_ground()]
    one, same, other = (compose(seed, *parts) for seed in (5, 5, 6))
    assert all(np.array_equal(getattr(one, key), getattr(same, key)) for key in ("image", "labels", "instances"))
    assert (one.cell_diameter_px, one.pairs, one.lobed) == (same.cell_diameter_px, same.pairs, same.lobed)
    assert one.image.shape != other.image.shape or not np.array_equal(one.image, other.image)


def test_pixels_of_cells_are_those_that_have_an_owner(fields: list[Composite]) -> None:
    for field in fields:
        assert np.array_equal(field.labels > 0, field.instances > 0)
        assert field.image.shape[:2] == field.labels.shape == field.instances.shape
        assert (field.image.dtype, field.labels.dtype, field.instances.dtype) == (np.uint8, np.uint8, np.uint16)


def test_there_are_up_to_fifteen_cells_all_numbered_and_with_a_nucleus(fields: list[Composite]) -> None:
    counts = [field.wbc_count for field in fields]
    assert min(counts) == 0 and 7 < max(counts) <= MOST_CELLS
    for field in fields:
        assert set(np.unique(field.instances)) - {0} == set(range(1, field.wbc_count + 1))
        assert set(np.unique(field.instances[field.labels == NUCLEUS])) == set(range(1, field.wbc_count + 1))


def test_every_cell_is_one_piece(fields: list[Composite]) -> None:
    for field in fields:
        for number, mask in cells_of(field):
            _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
            assert stats[1:, cv2.CC_STAT_AREA].max() > 0.995 * mask.sum(), (field.wbc_count, number)


def discs_of(variety: Variety) -> list[Composite]:
    return [compose(seed, [disc_cutout()], [flat_ground()], variety=variety) for seed in range(12)]


def diameters(field: Composite) -> list[float]:
    """Of cells that are whole and lone, in those of the field."""
    paired = {number for pair in field.pairs for number in pair}
    lone = [mask for number, mask in cells_of(field) if number not in paired and not touches_border(mask)]
    return [2 * float(np.sqrt(mask.sum() / np.pi)) / field.cell_diameter_px for mask in lone]


def touches_border(mask: NDArray[np.bool_]) -> bool:
    return bool(mask[[0, -1]].any() or mask[:, [0, -1]].any())


@pytest.mark.parametrize(("least", "most"), [(1.0, 1.0), (0.5, 0.5), (0.5, 1.2)])
def test_cells_are_of_the_sizes_asked_for(least: float, most: float) -> None:
    found = [one for field in discs_of(Variety(size=(least, most))) for one in diameters(field)]
    assert min(found) == pytest.approx(least, abs=0.1) and max(found) == pytest.approx(most, abs=0.1)
    assert min(found) >= least - 0.02 and max(found) <= most + 0.02 and len(found) > 10


def test_stains_are_of_the_depths_asked_for() -> None:
    """Optical density of the nuclei against the ground, in the green channel."""

    def depth(field: Composite) -> float:
        ground = float(np.median(field.image[field.instances == 0][:, 1]))
        return -float(np.log(np.median(field.image[field.labels == NUCLEUS][:, 1]) / ground))

    both = zip(discs_of(Variety()), discs_of(Variety(density=(0.5, 0.5))), strict=True)
    depths = [(depth(plain), depth(pale)) for plain, pale in both if plain.wbc_count]
    assert len(depths) > 6
    for plain, pale in depths:
        assert pale == pytest.approx(0.5 * plain, rel=0.05)


def test_pale_and_dark_cells_are_mixed_in_one_field() -> None:
    field = max(discs_of(Variety(density=(0.4, 1.0))), key=lambda one: one.wbc_count)
    assert np.std([field.image[mask][:, 1].mean() for _, mask in cells_of(field)]) > 10


@pytest.mark.parametrize("most", [0, 3])
def test_the_number_of_cells_can_be_limited(most: int) -> None:
    made = [compose(seed, [disc_cutout()], [flat_ground()], most_cells=most) for seed in range(8)]
    assert max(field.wbc_count for field in made) == most


def test_ground_without_cells_is_the_ground_and_nothing_else(painted: Sequence[Sample]) -> None:
    plain = compose(1, [disc_cutout()], [flat_ground()], most_cells=0)
    assert not plain.labels.any()
    assert (plain.image == plain.image[0, 0]).all()
    cells, free = stock(painted, {SET: 100.0})
    for seed in range(4):
        field = compose(seed, cells, free, most_cells=0)
        assert (field.wbc_count, field.pairs, field.lobed) == (0, (), ())
        assert not shows_a_nucleus(field.image)


def shows_a_nucleus(image: NDArray[np.uint8]) -> bool:
    """Whether something is dark and violet over a larger patch, as no platelet, precipitate or red cell is."""
    light = cv2.blur(image, (15, 15)).astype(np.float32)
    dark = (light[..., 1] < 0.5 * np.median(image[..., 1])) & (light[..., 2] > 1.2 * light[..., 1])
    return np.count_nonzero(dark) > 100


def test_nuclei_would_be_noticed(painted: Sequence[Sample]) -> None:
    assert all(shows_a_nucleus(sample.read()[0]) for sample in painted)


def test_a_third_of_the_cells_touch_or_overlap_by_a_tenth_at_most(of_discs: list[Composite]) -> None:
    pairs = sum(len(field.pairs) for field in of_discs)
    assert 0.15 < pairs / sum(field.wbc_count for field in of_discs) < 0.45
    overlapping = 0
    for field in of_discs:
        masks, outlines = dict(cells_of(field)), outlines_of(field)
        for first, second in field.pairs:
            if is_cut(masks[first]) or is_cut(masks[second]):
                continue
            assert gap(outlines[first], outlines[second]) <= 1 + PIXEL
            lost = disc_px(field) - masks[first].sum()
            rim = PIXEL * math.pi * field.cell_diameter_px * 0.2  # along the chord of the overlap
            assert lost <= covered_by_others(field, first) * 0.1 * disc_px(field) + rim
            overlapping += lost > 0.02 * disc_px(field)
    assert overlapping > 3


def test_cells_that_are_no_pair_keep_their_gap(fields: list[Composite]) -> None:
    apart = 0
    for field in fields:
        outlines = outlines_of(field)
        for first, second in combinations(outlines, 2):
            if (first, second) not in field.pairs:
                assert gap(outlines[first], outlines[second]) >= 0.08 * field.cell_diameter_px - PIXEL
                apart += 1
    assert apart > 30


def test_a_cell_that_the_border_cuts_shows_at_least_half_of_itself() -> None:
    small = [compose(seed, [disc_cutout(diameter_px=40)], [flat_ground(diameter_px=40)]) for seed in range(30, 80)]
    cut = 0
    for field in small:
        for number, mask in cells_of(field):
            shown = mask.sum() / disc_px(field) + 0.1 * covered_by_others(field, number)
            assert shown > (0.47 if is_cut(mask) else 0.96)
            cut += is_cut(mask) and mask.sum() < 0.9 * disc_px(field)
    assert cut >= 10


def test_cells_have_the_size_that_is_told(of_discs: list[Composite]) -> None:
    told = [field.cell_diameter_px for field in of_discs]
    assert min(told) < 80 and max(told) > 140  # several magnifications
    for field in of_discs:
        alone = [mask for number, mask in cells_of(field) if not is_cut(mask) and not covered_by_others(field, number)]
        for mask in alone:
            assert 2 * math.sqrt(mask.sum() / math.pi) == pytest.approx(field.cell_diameter_px, rel=0.03)


def test_no_cell_is_enlarged_beyond_what_a_focus_makes_of_it() -> None:
    small = disc_cutout(diameter_px=50)
    assert max(compose(seed, [small], [flat_ground()], 0).cell_diameter_px for seed in range(8)) <= 1.6 * 50
    both = [compose(seed, [small, disc_cutout()], [flat_ground()], 0) for seed in range(8)]
    assert max(field.cell_diameter_px for field in both) > 1.6 * 50


def test_the_ground_around_a_cell_has_the_tone_of_the_field(of_discs: list[Composite]) -> None:
    """Both are flat: where no cell is there is one colour, though cells and ground were seen in different light."""
    for field in of_discs:
        beside = cv2.dilate(field.labels, np.ones((9, 9), np.uint8))  # the pixels that mix both
        ground = field.image[beside == 0]
        assert (ground.max(axis=0) - ground.min(axis=0) <= 2).all()


def test_fields_come_in_the_light_of_many_cameras(of_discs: list[Composite]) -> None:
    tones = np.array([np.median(field.image[field.labels == 0][::100], axis=0) for field in of_discs])
    assert (tones.std(axis=0) > 5).all()
    balance = tones[:, 0] / tones[:, 2]
    assert balance.max() / balance.min() > 1.2


@pytest.mark.parametrize(("lobes", "lobed"), [([(0, 0, 34)], False), ([(-22, 0, 16), (22, 8, 16), (0, -24, 14)], True)])
def test_cells_with_a_lobed_nucleus_are_known(lobes: list[tuple[float, float, float]], lobed: bool) -> None:
    plain = disc_cutout()
    labels = np.where(plain.labels, CYTOPLASM, 0).astype(np.uint8)
    for x, y, radius in lobes:
        labels[disc_labels(*labels.shape, [(78 + x, 78 + y, 0, radius)]) > 0] = NUCLEUS
    cell = Cutout(SET, "b", in_light(labels), labels, plain.tone, DIAMETER_PX)
    field = compose(5, [cell], [flat_ground()])
    assert field.wbc_count > 3
    assert field.lobed == (tuple(range(1, field.wbc_count + 1)) if lobed else ())


def test_grounds_hold_no_cell(painted: Sequence[Sample]) -> None:
    free = list(grounds(painted, {SET: 100.0}))
    assert free
    assert not any(shows_a_nucleus(ground.image) for ground in free)
