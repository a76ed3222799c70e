"""The paper's way through the contract and the command: whole pictures stretched, cells measured at camera scale."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import Command
from networks import Disc, colour_network, disc_labels, discs, png, tiny_bundle, tiny_manifest
from numpy.typing import NDArray
from pydantic import ValidationError

from station.contract.analysis import Analysis, Scale, analyse
from station.contract.bundle import bundle_of, cell_dice, write_bundle
from station.contract.imaging import RGB, frame_for, network_diameter, resized, to_network_scale
from station.contract.manifest import CYTOPLASM, NUCLEUS, NetworkScale
from station.contract.scale import estimate

STRETCH = NetworkScale(cell_diameter_px=40, stride=32, default_camera_diameter_px=60, policy="stretch")
MANIFEST = tiny_manifest().model_copy(update={"scale": STRETCH})
ODD_SIZES = [(1, 1), (1, 3000), (3000, 1), (31, 33), (90, 120), (480, 640), (640, 480), (256, 256), (1200, 200)]

# Fields of both orientations, larger and smaller than the network's square, with a cell at the right and lower border.
FIELDS: list[tuple[tuple[int, int], float, list[Disc]]] = [
    ((480, 640), 100, [(120, 130, 50, 28), (420, 300, 46, 25), (639, 240, 50, 30), (300, 479, 50, 30)]),
    ((640, 480), 100, [(120, 130, 50, 28), (300, 420, 46, 25), (479, 240, 50, 30)]),
    ((300, 900), 90, [(100, 150, 45, 25), (700, 200, 44, 24)]),
    ((110, 150), 50, [(40, 50, 25, 14), (110, 60, 24, 13)]),
]


def analysed(image: RGB, diameter_px: float) -> Analysis:
    return analyse(image, Scale(diameter_px, "told"), MANIFEST, colour_network)


@pytest.mark.parametrize("size", ODD_SIZES)
@pytest.mark.parametrize("diameter_px", [4, 60, 2000])
def test_any_picture_becomes_the_square_whatever_its_cells_measure(size: tuple[int, int], diameter_px: float) -> None:
    frame = frame_for(*size, diameter_px, STRETCH)
    assert (frame.network_height, frame.network_width, frame.padded_height, frame.padded_width) == (256,) * 4
    assert frame.factors == (256 / size[0], 256 / size[1])
    tile = to_network_scale(np.zeros((*size, 3), np.uint8), frame)
    assert (tile.shape, tile.dtype) == ((256, 256, 3), np.uint8)


def test_a_square_that_would_need_padding_is_refused() -> None:
    with pytest.raises(ValidationError, match="stretch_px = 250 is not a multiple of the stride 32"):
        NetworkScale(cell_diameter_px=64, policy="stretch", stretch_px=250)
    assert NetworkScale(cell_diameter_px=64, stretch_px=250).policy == "cells"


def test_a_scale_that_was_written_before_is_the_one_by_cells() -> None:
    old = '{"cell_diameter_px": 64.0, "stride": 32, "default_camera_diameter_px": 120.0, "cell_diameter_um": 13.5}'
    assert NetworkScale.model_validate_json(old) == NetworkScale(cell_diameter_px=64, policy="cells")


@pytest.mark.parametrize("size", [(1024, 100), (1024, 256), (1024, 512)])
@pytest.mark.parametrize("turned", [False, True])
def test_the_axis_that_shrinks_is_averaged_even_where_the_other_grows(size: tuple[int, int], turned: bool) -> None:
    stripes = np.zeros((*size, 3), np.uint8)
    stripes[::4] = 200
    picture = np.ascontiguousarray(stripes.transpose(1, 0, 2)) if turned else stripes
    small = resized(picture, frame_for(*picture.shape[:2], 60, STRETCH))
    assert small.shape == (256, 256, 3)
    assert (small == 50).all()


def test_a_stretched_cell_keeps_the_area_of_its_disc() -> None:
    labels = disc_labels(480, 640, [(320, 240, 50, 0)])
    frame = frame_for(480, 640, 100, STRETCH)
    area = resized((labels == CYTOPLASM).astype(np.float32)[..., None], frame).sum()
    assert network_diameter(100, frame, STRETCH) == pytest.approx(2 * math.sqrt(area / math.pi), rel=0.02)
    by_cells = STRETCH.model_copy(update={"policy": "cells"})
    assert network_diameter(100, frame_for(480, 640, 100, by_cells), by_cells) == 40


@pytest.mark.parametrize(("size", "diameter_px", "cells"), FIELDS)
def test_places_and_areas_are_right_at_camera_scale(
    size: tuple[int, int], diameter_px: float, cells: list[Disc]
) -> None:
    drawing = analysed(discs(*size, cells), diameter_px).drawing
    assert drawing.labels.shape == size
    assert cell_dice(drawing.labels, disc_labels(*size, cells)) > 0.985
    assert len(drawing.measured) == len(cells)
    for x, y, radius, nucleus in cells:
        own = disc_labels(*size, [(x, y, radius, nucleus)])
        rows, columns = np.nonzero(own)
        cell = min(drawing.measured, key=lambda one: math.hypot(one.x - columns.mean(), one.y - rows.mean()))
        assert (cell.x, cell.y) == pytest.approx((columns.mean(), rows.mean()), abs=1)
        assert cell.area_px == pytest.approx(len(rows), rel=0.03)
        assert cell.nucleus_area_px == pytest.approx(np.count_nonzero(own == NUCLEUS), rel=0.05)
        assert cell.touches_edge == (x + radius >= size[1] - 1 or y + radius >= size[0] - 1)


@pytest.mark.parametrize("size", [(480, 640), (640, 480), (400, 900), (900, 400)])
@pytest.mark.parametrize("angle", range(0, 180, 30))
def test_touching_cells_are_told_apart_and_single_ones_left_whole(size: tuple[int, int], angle: float) -> None:
    x, y = size[1] / 2, size[0] / 2
    across, down = 46 * math.cos(math.radians(angle)), 46 * math.sin(math.radians(angle))
    pair: list[Disc] = [(x - across, y - down, 50, 28), (x + across, y + down, 50, 28)]
    assert analysed(discs(*size, pair), 100).wbc_count == 2
    assert analysed(discs(*size, [(x, y, 50, 28)]), 100).wbc_count == 1


@pytest.mark.parametrize(("told_px", "count"), [(90.0, 2), (300.0, 1)])
def test_what_is_too_small_for_a_cell_depends_on_the_diameter_that_was_told(told_px: float, count: int) -> None:
    image = discs(900, 1024, [(300, 400, 150, 80), (800, 400, 45, 25)])
    assert analysed(image, told_px).wbc_count == count


@pytest.mark.parametrize(("size", "diameter_px", "cells"), FIELDS)
def test_the_cells_that_are_found_tell_the_diameter(
    size: tuple[int, int], diameter_px: float, cells: list[Disc]
) -> None:
    scale = estimate(discs(*size, cells), MANIFEST, colour_network)
    assert scale.source == "estimated"
    assert scale.cell_diameter_px == pytest.approx(diameter_px, rel=0.05)


def test_the_network_is_asked_once_for_an_estimate() -> None:
    asked: list[tuple[int, ...]] = []

    def network(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        asked.append(tiles.shape)
        return colour_network(tiles)

    assert estimate(discs(480, 640, [(300, 240, 50, 28)]), MANIFEST, network).source == "estimated"
    assert asked == [(1, 256, 256, 3)]


def test_a_picture_without_a_cell_has_the_default_diameter_and_says_so() -> None:
    scale = estimate(discs(480, 640), MANIFEST, colour_network)
    assert scale == Scale(60, "default")
    assert analyse(discs(480, 640), scale, MANIFEST, colour_network).flags == ("scale-unknown",)


def test_the_command_counts_with_a_stretching_bundle(tmp_path: Path, station: Command) -> None:
    bundle = tiny_bundle("stretching")
    manifest = bundle.manifest.model_copy(update={"scale": STRETCH, "golden": ()})
    write_bundle(tmp_path / "stretching.zip", bundle_of(manifest, bundle.files))
    for number, (size, _, cells) in enumerate(FIELDS[:2]):
        (tmp_path / f"{number}.png").write_bytes(png(discs(*size, cells)))
    options = ("--model", tmp_path / "stretching.zip", "--format", "jsonl", "--masks", tmp_path / "masks")
    result = station("segment", tmp_path / "0.png", tmp_path / "1.png", "--cell-diameter", 100, *options)
    assert result.returncode == 0, result.stderr
    for number, line in enumerate(result.stdout.splitlines()):
        size, _, cells = FIELDS[number]
        told = json.loads(line)
        assert (told["wbc_count"], told["cell_diameter_source"]) == (len(cells), "told")
        first = min(told["cells"], key=lambda cell: abs(cell["x"] - cells[0][0]) + abs(cell["y"] - cells[0][1]))
        assert (first["x"], first["y"]) == pytest.approx(cells[0][:2], abs=1)
        assert first["area_px"] == pytest.approx(math.pi * cells[0][2] ** 2, rel=0.03)
        mask = cv2.imread(str(tmp_path / "masks" / f"{number}.labels.png"), cv2.IMREAD_UNCHANGED)
        assert mask is not None and mask.shape == size


def test_a_bundle_without_a_policy_is_written_as_stations_before_the_policies_know_it() -> None:
    cells, stretch = NetworkScale(cell_diameter_px=64), NetworkScale(cell_diameter_px=64, policy="stretch")
    assert not {"policy", "stretch_px"} & cells.model_dump().keys()
    assert {"policy", "stretch_px"} <= stretch.model_dump().keys()
    for scale in (cells, stretch):
        assert NetworkScale.model_validate_json(scale.model_dump_json()) == scale
