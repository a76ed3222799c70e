"""A picture through the whole contract, and its scale where nobody told it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from networks import DIAMETER_PX, Disc, colour_network, disc_labels, discs, one_hot, tiny_manifest
from numpy.typing import NDArray

from station.contract.analysis import Analysis, Scale, analyse, finish, prepare
from station.contract.bundle import cell_dice
from station.contract.errors import EngineError, ImageError
from station.contract.imaging import RGB
from station.contract.manifest import NUCLEUS, Manifest, Reference
from station.contract.scale import estimate

MANIFEST = tiny_manifest()
TOLD = Scale(DIAMETER_PX, "told")
THREE: tuple[Disc, ...] = ((60, 60, 30, 17), (105, 70, 30, 16), (200, 110, 28, 15))


def field(height: int, width: int, diameter_px: float, seed: int = 0, most: int = 8) -> list[Disc]:
    """Up to `most` cells of about one size that do not touch."""
    rng = np.random.default_rng(seed)
    cells: list[Disc] = []
    for _ in range(400):
        x, y, radius = rng.uniform(0, width), rng.uniform(0, height), diameter_px / 2 * rng.uniform(0.92, 1.08)
        if len(cells) < most and all(math.hypot(x - c[0], y - c[1]) > 1.15 * diameter_px for c in cells):
            cells.append((x, y, radius, radius * 0.55))
    return cells


def analysed(image: RGB, scale: Scale = TOLD) -> Analysis:
    return analyse(image, scale, MANIFEST, colour_network)


def test_one_picture_in_its_cells_out() -> None:
    result = analysed(discs(180, 240, THREE))
    assert (result.wbc_count, result.scale, result.flags) == (3, TOLD, ())
    assert result.wbc_count == len(result.drawing.measured) == result.drawing.cells.max()
    found = sorted((cell.x, cell.y) for cell in result.drawing.measured)
    assert np.allclose(found, [(60, 60), (105, 70), (200, 110)], atol=2.5)  # touching ones lose a slice to each other
    assert all(cell.confidence > 0.95 for cell in result.drawing.measured)


def test_outlines_and_areas_survive_the_way_through_the_network() -> None:
    cells = [(170.3, 169.2, 75, 45), (420, 180, 70, 40)]
    truth = disc_labels(340, 560, cells)
    drawing = analysed(discs(340, 560, cells), Scale(100, "told")).drawing
    assert cell_dice(drawing.labels, truth) >= 0.995
    assert drawing.measured[0].area_px == pytest.approx(math.pi * 75**2, rel=0.01)
    assert drawing.measured[0].nucleus_area_px == pytest.approx(math.pi * 45**2, rel=0.02)
    assert np.isclose(drawing.measured[0].nc_ratio or 0, 45**2 / (75**2 - 45**2), rtol=0.03)


def test_the_network_is_asked_once_with_a_padded_tile() -> None:
    asked: list[tuple[int, ...]] = []

    def network(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        asked.append((*tiles.shape, tiles.dtype.itemsize))
        return colour_network(tiles)

    analyse(discs(181, 243, THREE), TOLD, MANIFEST, network)
    assert asked == [(1, 128, 176, 3, 1)]


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (2, 3), (17, 900)])
def test_odd_sizes_give_an_empty_result_of_their_size(size: tuple[int, int]) -> None:
    result = analysed(discs(*size))
    assert (result.wbc_count, result.drawing.labels.shape) == (0, size)


def test_a_very_wide_picture_is_counted_to_its_ends() -> None:
    cells = [(x, 50, 30, 17) for x in (40, 3000, 11_950)]
    assert [round(cell.x) for cell in analysed(discs(100, 12_000, cells)).drawing.measured] == [40, 3000, 11_950]


def test_a_picture_that_told_its_scale_itself_is_shown_larger_and_measured_as_before() -> None:
    image = discs(180, 240, THREE)
    told, itself = (prepare(image, Scale(DIAMETER_PX, source), MANIFEST).frame for source in ("told", "estimated"))
    assert itself.network_width / told.network_width == pytest.approx(1 / 0.93, rel=0.01)
    apart = analysed(image, Scale(DIAMETER_PX, "estimated")).drawing.measured
    for one, other in zip(apart, analysed(image).drawing.measured, strict=True):
        assert one.area_px == pytest.approx(other.area_px, rel=0.03) and abs(one.x - other.x) < 1


def test_padding_adds_no_cell() -> None:
    at_the_corner = analysed(discs(181, 243, [(235, 175, 30, 18)]))
    assert at_the_corner.wbc_count == 1
    assert at_the_corner.flags == ("cell-at-edge",)


def test_flags_name_what_makes_a_count_doubtful() -> None:
    inside, cut = discs(180, 240, THREE), discs(180, 240, [(0, 90, 30, 17)])
    assert analysed(inside, Scale(60, "default")).flags == ("scale-unknown",)
    assert analysed(cut, Scale(60, "estimated")).flags == ("cell-at-edge",)
    assert analysed(cut, Scale(60, "default")).flags == ("scale-unknown", "cell-at-edge")
    assert analysed(cut).wbc_count == 1


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("spot", [(0, 0), (-1, -1)], ids=["picture", "padding"])
def test_numbers_that_are_not_finite_are_no_empty_field(number: float, spot: tuple[int, int]) -> None:
    prepared = prepare(discs(181, 243), TOLD, MANIFEST)
    probabilities = colour_network(prepared.tile[None])[0]
    probabilities[(*spot, 1)] = number
    with pytest.raises(EngineError, match="not finite"):
        finish(prepared, probabilities, MANIFEST)


def test_a_batch_gives_what_single_pictures_give() -> None:
    pictures = [discs(180, 240, THREE), discs(180, 240, field(180, 240, 60, seed=4))]
    prepared = [prepare(picture, TOLD, MANIFEST) for picture in pictures]
    answers = colour_network(np.stack([one.tile for one in prepared]))
    for picture, one, answer in zip(pictures, prepared, answers, strict=True):
        assert finish(one, answer, MANIFEST).drawing.measured == analysed(picture).drawing.measured


def test_a_diameter_that_cannot_be_is_refused() -> None:
    with pytest.raises(ImageError, match="tell the true cell diameter"):
        analysed(discs(180, 240), Scale(0.5, "told"))


@pytest.mark.parametrize("diameter_px", [44, 60, 75, 90, 110, 130, 180])
@pytest.mark.parametrize("seed", range(3))
def test_the_diameter_of_a_field_is_estimated(diameter_px: float, seed: int) -> None:
    scale = estimate(discs(480, 640, field(480, 640, diameter_px, seed)), MANIFEST, colour_network)
    assert scale.source == "estimated"
    assert scale.cell_diameter_px == pytest.approx(diameter_px, rel=0.1)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_the_estimate_grows_with_the_picture(times: int) -> None:
    small = discs(240, 320, field(240, 320, 50, seed=1))
    large = np.ascontiguousarray(small.repeat(times, axis=0).repeat(times, axis=1))
    ratio = (
        estimate(large, MANIFEST, colour_network).cell_diameter_px
        / estimate(small, MANIFEST, colour_network).cell_diameter_px
    )
    assert ratio == pytest.approx(times, rel=0.05)


def test_an_estimate_does_not_depend_on_other_pictures() -> None:
    first, second = (discs(240, 320, field(240, 320, px, seed=2)) for px in (40, 90))
    alone = estimate(first, MANIFEST, colour_network)
    assert estimate(second, MANIFEST, colour_network) != alone
    assert estimate(first, MANIFEST, colour_network) == alone


@pytest.mark.parametrize("size", [(240, 320), (1, 1), (10, 2000), (22, 22)])
def test_an_empty_picture_has_the_default_scale_and_says_so(size: tuple[int, int]) -> None:
    scale = estimate(discs(*size), MANIFEST, colour_network)
    assert scale == Scale(DIAMETER_PX, "default")
    assert analysed(discs(*size), scale).flags == ("scale-unknown",)


def test_cells_that_the_network_doubts_give_no_scale() -> None:
    def doubtful(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(0.6 * colour_network(tiles) + 0.4 / 3, np.float32)

    assert estimate(discs(240, 320, field(240, 320, 60)), MANIFEST, doubtful).source == "default"


def test_what_the_model_calls_unsure_tells_no_scale() -> None:
    """Clumps of platelets look like small cells at several sizes, and never quite: one was counted as two cells."""

    def hardly(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(0.8 * colour_network(tiles) + 0.2 / 3, np.float32)

    picture = discs(240, 320, field(240, 320, 60))
    for least, source in ((0.84, "estimated"), (0.88, "default")):
        normal = Reference(stain=9, focus=0, brightness=(0, 1), contrast=0, clipped=1, confidence=least, unclear=1)
        model = MANIFEST.model_copy(update={"reference": normal})
        assert estimate(picture, model, hardly).source == source
        assert estimate(picture, model, colour_network).source == "estimated"


def test_whole_cells_tell_the_scale_and_cut_ones_do_not() -> None:
    cut = [(0, y, 30, 20) for y in (40, 110, 180, 250)]
    whole = [(160, 120, 30, 18), (250, 200, 30, 18)]
    scale = estimate(discs(300, 320, [*cut, *whole]), MANIFEST, colour_network)
    assert scale.cell_diameter_px == pytest.approx(60, rel=0.1)


SHARES = (0.09, 0.125, 0.18, 0.25, 0.36, 0.5, 0.7, 1.0)  # of a picture's height, in which cells are assumed to measure
CAMERA_PX = (480, 640)


def seen_by(
    cells: dict[int, list[Disc]],
) -> tuple[RGB, Manifest, Callable[[NDArray[np.uint8]], NDArray[np.float32]]]:
    """A picture without a cell, a manifest, and a network that makes cells out at some of the assumed sizes only.

    `cells`: number of the assumption, 0 the smallest, 8 the default -> what is found there, camera px.
    """
    default = 62.0
    manifest = MANIFEST.model_copy(
        update={"scale": MANIFEST.scale.model_copy(update={"default_camera_diameter_px": default})}
    )
    asked = iter([*(share * CAMERA_PX[0] for share in SHARES), default])

    def network(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        assumed = next(asked)
        number = 8 if assumed == default else [share * CAMERA_PX[0] for share in SHARES].index(assumed)
        factor = manifest.scale.cell_diameter_px / assumed
        found = [(x * factor, y * factor, r * factor, n * factor) for x, y, r, n in cells.get(number, [])]
        return one_hot(disc_labels(*tiles.shape[1:3], found))[None]

    return discs(*CAMERA_PX), manifest, network


CELL: Disc = (320, 240, 60, 36)


@pytest.mark.parametrize(("seen", "source"), [({2, 3, 4}, "estimated"), ({3, 4}, "default"), ({5}, "default")])
def test_a_cell_is_what_is_found_at_three_assumed_sizes(seen: set[int], source: str) -> None:
    scale = estimate(*seen_by({number: [CELL] for number in seen}))
    assert scale.source == source
    assert source == "default" or scale.cell_diameter_px == pytest.approx(120, rel=0.03)


def test_what_is_found_only_at_sizes_far_from_its_own_is_no_cell() -> None:
    """As a black field, in which a network sees one large cell at all small sizes and none at its own."""
    black: Disc = (320, 240, 130, 90)
    assert estimate(*seen_by({number: [black] for number in (0, 1, 2, 3)})).source == "default"


def test_what_changes_its_size_with_the_assumption_is_no_cell() -> None:
    growing = {number: [(320, 240, 30 * 1.4**step, 18 * 1.4**step)] for step, number in enumerate((1, 2, 3, 4))}
    assert estimate(*seen_by(growing)).source == "default"


def test_what_is_found_most_often_tells_the_scale() -> None:
    platelet: Disc = (100, 100, 20, 14)
    cells = {number: [CELL, *([platelet] * (number < 3))] for number in range(7)}
    assert estimate(*seen_by(cells)).cell_diameter_px == pytest.approx(120, rel=0.03)


def test_where_nothing_lasts_no_size_is_taken_that_finds_cells() -> None:
    """Where the default makes a cell out of nothing, the nearest size that does not is taken."""
    image, manifest, network = seen_by({8: [CELL]})
    scale = estimate(image, manifest, network)
    assert scale == Scale(60.0, "default")
    image, manifest, network = seen_by({3: [CELL]})
    assert estimate(image, manifest, network) == Scale(62.0, "default")


def test_an_estimate_leads_to_the_count() -> None:
    cells = field(480, 640, 100, seed=5, most=6)
    picture = discs(480, 640, cells)
    result = analysed(picture, estimate(picture, MANIFEST, colour_network))
    assert result.wbc_count == len(cells)
    assert (result.drawing.labels == NUCLEUS).any()


def test_a_very_long_picture_has_a_scale_too() -> None:
    scale = estimate(discs(300, 20_000, [(150, 150, 50, 28)]), MANIFEST, colour_network)
    assert scale.source == "estimated" and 85 < scale.cell_diameter_px < 115
