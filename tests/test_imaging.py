"""Camera scale and network scale, and the way back."""

from __future__ import annotations

import tracemalloc

import cv2
import numpy as np
import pytest
from networks import COLOURS, discs
from numpy.typing import NDArray

from station.contract.errors import ImageError
from station.contract.imaging import (
    MAX_NETWORK_MEGAPIXELS,
    Frame,
    distances,
    frame_for,
    to_camera_scale,
    to_network_scale,
    without_padding,
)
from station.contract.manifest import NetworkScale

SCALE = NetworkScale(cell_diameter_px=64)
ODD_SIZES = [(1, 1), (1, 4000), (4000, 1), (3, 2), (31, 33), (97, 1201), (768, 1024)]

# OpenCV 4 interpolates in steps of 1/32 px, OpenCV 5 exactly.
STEP = 1 / 32 + 1e-4


def network_map(height: int, width: int) -> NDArray[np.float32]:
    return np.random.default_rng(3).random((height, width, 3), np.float32)


def frame_between(camera: tuple[int, int], network: tuple[int, int]) -> Frame:
    return Frame(*camera, *network, *network)


def test_cells_keep_the_size_that_the_network_knows() -> None:
    frame = frame_for(768, 1024, 120, SCALE)
    assert (frame.network_height, frame.network_width) == (410, 546)
    assert (frame.padded_height, frame.padded_width) == (416, 576)
    assert frame.factors == pytest.approx((64 / 120, 64 / 120), rel=2e-3)


@pytest.mark.parametrize("size", ODD_SIZES)
@pytest.mark.parametrize("diameter_px", [40, 64, 120, 5000])
@pytest.mark.parametrize("stride", [1, 32])
def test_any_size_fits_the_stride(size: tuple[int, int], diameter_px: float, stride: int) -> None:
    scale = NetworkScale(cell_diameter_px=64, stride=stride)
    frame = frame_for(*size, diameter_px, scale)
    assert frame.padded_height % stride == frame.padded_width % stride == 0
    assert 0 <= frame.padded_height - frame.network_height < stride
    assert 0 <= frame.padded_width - frame.network_width < stride
    tile = to_network_scale(np.zeros((*size, 3), np.uint8), frame)
    assert (tile.shape, tile.dtype) == ((frame.padded_height, frame.padded_width, 3), np.uint8)


def test_enlarging_beyond_reason_is_refused_with_the_way_out() -> None:
    with pytest.raises(
        ImageError, match=r"4 px its 1024 x 768 px become 16384 x 12288 px .* tell the true cell diameter"
    ):
        frame_for(768, 1024, 4, SCALE)


def test_the_limit_is_the_number_of_pixels_of_the_network() -> None:
    side = int((MAX_NETWORK_MEGAPIXELS * 1e6) ** 0.5)
    assert frame_for(side, side, 64, SCALE).network_height == side
    with pytest.raises(ImageError):
        frame_for(side + 2, side + 2, 64, SCALE)


@pytest.mark.parametrize("height, width", [(1, 1_000_000), (1_000_000, 1), (3, 300_000)])
def test_the_limit_holds_for_what_a_narrow_picture_is_padded_to(height: int, width: int) -> None:
    with pytest.raises(ImageError, match="too large for its cells"):
        frame_for(height, width, 64, SCALE)
    assert frame_for(max(1, height // 10), max(1, width // 10), 64, SCALE).padded_height % 32 == 0


def test_the_picture_is_averaged_down_and_keeps_its_colours() -> None:
    picture = discs(240, 320, [(160, 120, 80, 60)])
    frame = frame_for(240, 320, 160, SCALE)
    small = without_padding(to_network_scale(picture, frame).astype(np.float32), frame)
    assert small.shape == (96, 128, 3)
    assert np.array_equal(small[48, 64], COLOURS[2])
    assert np.array_equal(small[3, 3], COLOURS[0])
    assert np.allclose(small.mean(axis=(0, 1)), picture.mean(axis=(0, 1)), atol=0.5)


def test_fine_patterns_are_averaged_not_sampled() -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 200
    small = to_network_scale(stripes, frame_for(256, 256, 256, SCALE))
    assert (small == 100).all()


def test_the_padding_mirrors_the_picture() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8)
    frame = frame_for(40, 50, 64, SCALE)
    tile = to_network_scale(picture, frame)
    assert tile.shape == (64, 64, 3)
    assert np.array_equal(tile[:40, :50], picture)
    assert np.array_equal(tile[40:, :50], picture[:-25:-1])
    assert np.array_equal(tile[:40, 50:], picture[:, :-15:-1])
    assert np.array_equal(without_padding(tile.astype(np.float32), frame), picture)


def test_padding_is_taken_off_without_a_copy() -> None:
    frame = frame_for(40, 50, 64, SCALE)
    padded = network_map(frame.padded_height, frame.padded_width)
    assert np.shares_memory(without_padding(padded, frame), padded)


@pytest.mark.parametrize(
    ("network", "camera"),
    [((64, 80), (160, 200)), ((37, 53), (101, 97)), ((50, 50), (50, 50)), ((1, 1), (7, 9)), ((1, 30), (2, 99))],
)
def test_a_whole_map_is_resampled_as_opencv_resizes(network: tuple[int, int], camera: tuple[int, int]) -> None:
    source, (height, width) = network_map(*network), camera
    resized = cv2.resize(source, (width, height), interpolation=cv2.INTER_LINEAR)
    whole = to_camera_scale(source, frame_between(camera, network), (0, 0, width, height))
    assert (whole.shape, whole.dtype) == ((height, width, 3), np.float32)
    assert np.abs(whole - resized).max() <= STEP


@pytest.mark.parametrize(("network", "camera"), [((64, 80), (160, 200)), ((37, 53), (101, 97))])
@pytest.mark.parametrize("side", [1, 13, 40])
def test_boxes_tile_without_seams(network: tuple[int, int], camera: tuple[int, int], side: int) -> None:
    source, (height, width) = network_map(*network), camera
    frame = frame_between(camera, network)
    tiled = np.zeros((height, width, 3), np.float32)
    for y in range(0, height, side):
        for x in range(0, width, side):
            w, h = min(side, width - x), min(side, height - y)
            tiled[y : y + h, x : x + w] = to_camera_scale(source, frame, (x, y, w, h))
    assert np.abs(tiled - to_camera_scale(source, frame, (0, 0, width, height))).max() <= STEP


def test_a_part_of_a_map_gives_what_the_whole_does() -> None:
    source, frame = network_map(64, 80), frame_between((160, 200), (64, 80))
    box = (70, 50, 60, 40)
    part = to_camera_scale(source[17:40, 25:56], frame, box, origin=(25, 17))
    assert np.abs(part - to_camera_scale(source, frame, box)).max() <= STEP


def test_a_ramp_stays_a_ramp_and_its_ends_go_on() -> None:
    ramp = np.tile(np.arange(20, dtype=np.float32), (4, 1))
    wide = to_camera_scale(ramp, frame_between((8, 80), (4, 20)), (0, 0, 80, 8))
    expected = np.clip((np.arange(80) + 0.5) / 4 - 0.5, 0, 19)
    assert np.abs(wide - expected).max() <= STEP


def test_a_map_of_one_channel_stays_flat() -> None:
    frame = frame_between((20, 30), (10, 15))
    assert to_camera_scale(np.ones((10, 15), np.float32), frame, (3, 4, 5, 6)).shape == (6, 5)


def test_only_the_box_is_ever_made() -> None:
    source = network_map(600, 800)
    frame = frame_between((6000, 8000), (600, 800))
    tracemalloc.start()
    box = to_camera_scale(source, frame, (7000, 5000, 300, 200))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert box.shape == (200, 300, 3)
    assert peak < 3 * box.nbytes


def test_a_very_wide_map_is_carried_to_its_far_end() -> None:
    source = np.zeros((50, 30_000), np.float32)
    source[:, -1000:] = 1
    far = to_camera_scale(source, frame_between((100, 60_000), (50, 30_000)), (57_000, 0, 3000, 100))
    assert np.array_equal(far[50] > 0.5, np.arange(57_000, 60_000) >= 58_000)


def test_distances_are_exact_and_the_same_on_every_call() -> None:
    from scipy.ndimage import distance_transform_edt

    rng = np.random.default_rng(0)
    for height, width in rng.integers(10, 120, (30, 2)):
        noise = cv2.GaussianBlur(rng.normal(size=(height, width)).astype(np.float32), (0, 0), 4.0)
        inside = (noise > 0).astype(np.uint8)
        found = [distances(inside.copy()) for _ in range(30)]
        assert len({one.tobytes() for one in found}) == 1
        assert np.array_equal(found[0], distance_transform_edt(inside).astype(np.float32))


def test_where_everything_is_inside_no_distance_is_infinite() -> None:
    assert (distances(np.ones((5, 7), np.uint8)) == 65_536).all()
