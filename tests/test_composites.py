"""Composed fields: what they are made of, and that their truth is exact."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
from composing import DIAMETER_PX, PLASMA, SET, disc_cutout, flat_ground, in_light, put_discs, put_sample
from networks import Disc, disc_labels
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from station.contract.manifest import CYTOPLASM, NUCLEUS
from station.demo.smear import SmearRecipe, paint
from trainer.composites import MOST_CELLS, Composite, compose
from trainer.cutouts import Cutout, Ground, cutouts, grounds, stock, tone_of, without_cells
from trainer.datasets.samples import DataError, Sample

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


def cell_at(x: float, y: float, radius: float = 60, nucleus: float = 36) -> Disc:
    return x, y, radius, nucleus


def found(folder: Path, cells: Sequence[Disc], wbc_count: int | None = None) -> list[Cutout]:
    labels = disc_labels(320, 400, cells)
    return list(cutouts([put_sample(folder, "a", in_light(labels), labels, wbc_count)], {SET: DIAMETER_PX}))


def test_a_cutout_is_one_cell_with_ground_around_it(tmp_path: Path) -> None:
    both = found(tmp_path, [cell_at(100, 100), cell_at(300, 200, 50)])
    assert len({cell.id for cell in both}) == 2
    for cell, diameter in zip(both, (120, 100), strict=True):
        assert 2 * math.sqrt((cell.labels > 0).sum() / math.pi) == pytest.approx(diameter, rel=0.02)
        assert cell.image.shape[:2] == cell.labels.shape
        assert not cell.labels[[0, -1]].any() and not cell.labels[:, [0, -1]].any()
        assert cell.tone == pytest.approx(PLASMA, abs=4)
        assert (cell.dataset, cell.typical_px) == (SET, DIAMETER_PX)


@pytest.mark.parametrize(
    ("cells", "wbc_count"),
    [
        ([cell_at(30, 100)], None),  # cut by the border
        ([cell_at(100, 120), cell_at(235, 120), (167.5, 120, 12, 0)], None),  # joined by the mask
        ([cell_at(200, 160, 25, 15)], None),  # debris
        ([cell_at(200, 160, nucleus=0)], None),  # no nucleus
        ([cell_at(200, 160, 110, 66)], None),  # several cells in one outline
        ([cell_at(200, 160)], 2),  # the data set says that it is two
    ],
)
def test_what_is_not_surely_one_whole_cell_is_left_out(
    tmp_path: Path, cells: list[Disc], wbc_count: int | None
) -> None:
    assert found(tmp_path, cells, wbc_count) == []
    assert len(found(tmp_path, [cell_at(200, 160)], 1)) == 1


def test_the_tone_is_that_of_empty_ground_whatever_covers_the_rest() -> None:
    image = np.full((100, 100, 3), (230, 225, 210), np.uint8)
    image[:40] = (200, 150, 150)  # red cells
    image[60:80] = 20  # a nucleus
    labels = np.zeros((100, 100), np.uint8)
    labels[60:80] = NUCLEUS
    assert tone_of(image, labels) == pytest.approx((230, 225, 210), abs=4)


def test_covered_cells_are_gone_and_all_else_is_as_it_was() -> None:
    labels = disc_labels(320, 480, [cell_at(90, 100), cell_at(390, 210, 50)])
    image = in_light(labels)
    image[:, 200:260] = (205, 160, 160)  # red matter between them
    hidden = without_cells(image, labels, DIAMETER_PX)
    assert hidden is not None
    assert hidden.min() >= 150  # neither cytoplasm nor nucleus is left
    far = cv2.dilate(labels, np.ones((31, 31), np.uint8)) == 0  # 0.12 cell diameters around them, and a pixel
    assert np.array_equal(hidden[far], image[far])
    assert (image[labels > 0].min(axis=1) < 153).all()


@pytest.mark.parametrize("cells", [[cell_at(160, 120, 100)], [cell_at(70, 90), cell_at(230, 120), cell_at(150, 170)]])
def test_a_picture_without_room_for_a_cover_is_no_ground(cells: list[Disc]) -> None:
    labels = disc_labels(240, 320, cells)
    assert without_cells(in_light(labels), labels, DIAMETER_PX) is None


def ground_of(folder: Path, mark: Callable[[NDArray[np.uint8]], None]) -> Ground:
    """The one ground that comes of a picture with a cell, after something was drawn into it."""
    labels = disc_labels(320, 400, [cell_at(110, 160)])
    image = in_light(labels)
    mark(image)
    (made,) = grounds([put_sample(folder, "a", image, labels)], {SET: DIAMETER_PX})
    return made


def stained(rows: slice, columns: slice, colour: tuple[int, int, int]) -> Callable[[NDArray[np.uint8]], None]:
    def mark(image: NDArray[np.uint8]) -> None:
        image[rows, columns] = colour

    return mark


@pytest.mark.parametrize(
    ("rows", "columns", "shape"),
    [
        (slice(0, 7), slice(300, 320), (313, 400)),
        (slice(310, 320), slice(300, 320), (310, 400)),
        (slice(40, 60), slice(0, 5), (320, 395)),
        (slice(40, 60), slice(391, 400), (320, 391)),
        (slice(40, 60), slice(300, 320), (320, 400)),  # whole, in the middle: what belongs to a ground
        (slice(0, 90), slice(300, 320), (288, 400)),  # no more than a tenth
    ],
)
def test_violet_matter_that_the_border_cuts_is_trimmed_away(
    tmp_path: Path, rows: slice, columns: slice, shape: tuple[int, int]
) -> None:
    made = ground_of(tmp_path, stained(rows, columns, VIOLET))
    assert made.image.shape[:2] == shape
    assert made.tone == pytest.approx(PLASMA, abs=4)


def test_red_cells_at_the_border_stay(tmp_path: Path) -> None:
    made = ground_of(tmp_path, stained(slice(0, 20), slice(300, 340), (205, 160, 160)))
    assert made.image.shape[:2] == (320, 400)


def test_grounds_hold_no_cell(painted: Sequence[Sample]) -> None:
    free = list(grounds(painted, {SET: 100.0}))
    assert free
    assert not any(shows_a_nucleus(ground.image) for ground in free)


def test_pictures_of_which_nothing_can_be_composed_are_refused(tmp_path: Path) -> None:
    labels = disc_labels(200, 200, [cell_at(100, 100)])
    crop = put_sample(tmp_path, "a", in_light(labels), labels)
    assert len(list(cutouts([crop], {SET: DIAMETER_PX}))) == 1
    with pytest.raises(DataError, match="no field can be composed of these pictures: that takes a whole single"):
        stock([crop], {SET: DIAMETER_PX})
    cells, free = stock([crop, *put_discs(tmp_path / "more")], {SET: DIAMETER_PX})
    assert (len(cells), len(free)) == (3, 2)
