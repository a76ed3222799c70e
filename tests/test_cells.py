"""Cells from probabilities: which regions are one cell, what is drawn of them, and what is measured."""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np
import pytest
from networks import Disc, disc_labels, one_hot
from numpy.typing import NDArray

from station.contract.bundle import cell_dice
from station.contract.cells import Drawing, draw, measure
from station.contract.imaging import Frame, frame_for, to_camera_scale
from station.contract.manifest import BACKGROUND, NUCLEUS, NetworkScale, Separation
from station.contract.masks import decode_mask, encode
from station.contract.separation import separate
from station.demo.smear import paint, random_recipe

DIAMETER_PX = 48.0


def camera_is_network(height: int, width: int) -> Frame:
    return Frame(height, width, height, width, height, width)


def drawn(labels: NDArray[np.uint8], diameter_px: float = DIAMETER_PX) -> Drawing:
    """What becomes of a network's sure answer where camera and network have one scale."""
    probabilities = one_hot(labels)
    instances = separate(probabilities, diameter_px, Separation())
    return draw(probabilities, instances, camera_is_network(*labels.shape))


def count(labels: NDArray[np.uint8], diameter_px: float = DIAMETER_PX) -> int:
    return len(drawn(labels, diameter_px).measured)


def check_promises(drawing: Drawing) -> None:
    assert np.array_equal(drawing.labels > 0, drawing.cells > 0)
    assert set(np.unique(drawing.labels)) <= {0, 1, 2}
    assert [cell.id for cell in drawing.measured] == list(range(1, len(drawing.measured) + 1))
    assert set(np.unique(drawing.cells)) - {0} == {cell.id for cell in drawing.measured}


def pair(distance: float, degrees: float, radius: float = 24) -> NDArray[np.uint8]:
    across = distance / 2 * math.cos(math.radians(degrees))
    down = distance / 2 * math.sin(math.radians(degrees))
    return disc_labels(120, 120, [(60 - across, 60 - down, radius, 13), (60 + across, 60 + down, radius, 13)])


def ragged(radius: float, roughness: float, seed: int) -> NDArray[np.uint8]:
    """One cell whose outline wobbles by about `roughness` radii."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:160, :160] - 80
    angle = np.arctan2(rows, columns)
    waves = [rng.normal() / 3 * np.sin(k * angle + rng.uniform(0, 2 * np.pi)) for k in range(3, 12)]
    distance = np.hypot(rows, columns)
    labels = (distance <= radius * (1 + roughness * np.sum(waves, axis=0))).astype(np.uint8)
    labels[distance < radius / 2] = NUCLEUS
    return labels


@pytest.mark.parametrize("distance", range(50, 27, -2))
@pytest.mark.parametrize("degrees", [0, 30, 45, 90])
def test_touching_discs_are_counted_apart(distance: int, degrees: int) -> None:
    drawing = drawn(pair(distance, degrees))
    assert len(drawing.measured) == 2
    check_promises(drawing)
    first, second = (cell.area_px for cell in drawing.measured)
    assert first == pytest.approx(second, rel=0.06)


def test_the_border_between_touching_discs_lies_halfway_and_loses_no_pixel() -> None:
    labels = pair(40, 0)
    drawing = drawn(labels)
    assert np.array_equal(drawing.labels, labels)
    assert (drawing.cells[:, :59][labels[:, :59] > 0] == 1).all()
    assert (drawing.cells[:, 62:][labels[:, 62:] > 0] == 2).all()


def test_discs_that_cover_each_other_are_one_cell() -> None:
    assert count(pair(10, 30)) == 1


@pytest.mark.parametrize("radius", range(10, 72, 4))
def test_a_single_disc_never_splits(radius: int) -> None:
    labels = disc_labels(160, 160, [(80, 80, radius, radius * 0.55)])
    assert count(labels, 2 * radius) == 1
    assert count(labels, DIAMETER_PX) == 1


@pytest.mark.parametrize("radius", [14, 20, 24, 32, 45])
@pytest.mark.parametrize("roughness", [0.05, 0.1, 0.15])
def test_a_single_disc_with_a_ragged_outline_never_splits(radius: int, roughness: float) -> None:
    assert {count(ragged(radius, roughness, seed), 2 * radius) for seed in range(8)} == {1}


def test_a_lobed_nucleus_is_one_cell() -> None:
    lobes = [(49, 60, 0, 8), (65, 50, 0, 8), (65, 70, 0, 8)]
    drawing = drawn(disc_labels(120, 120, [(60, 60, 26, 0), *lobes]))
    (cell,) = drawing.measured
    pieces, _ = cv2.connectedComponents((drawing.labels == NUCLEUS).astype(np.uint8))
    assert pieces == 4
    assert cell.nucleus_area_px == pytest.approx(3 * math.pi * 8**2, rel=0.05)


@pytest.mark.parametrize(
    ("case", "disc"),
    [
        ("without nucleus", (60, 60, 24, 0)),
        ("too little nucleus", (60, 60, 24, 4)),
        ("speck", (60, 60, 7, 5)),
        ("naked small nucleus", (60, 60, 8, 8)),
    ],
)
def test_what_is_no_white_cell_is_dropped_with_its_pixels(case: str, disc: Disc) -> None:
    alone = drawn(disc_labels(120, 220, [disc]))
    assert alone.measured == (), case
    assert not alone.labels.any()
    cell = (160, 60, 24, 13)
    beside = drawn(disc_labels(120, 220, [disc, cell]))
    assert np.array_equal(beside.labels, disc_labels(120, 220, [cell]))
    check_promises(beside)


def test_a_part_without_nucleus_that_touches_a_cell_leaves_only_the_cell() -> None:
    drawing = drawn(disc_labels(120, 120, [(38, 60, 24, 13), (82, 60, 24, 0)]))
    assert len(drawing.measured) == 1
    assert drawing.measured[0].x == pytest.approx(38, abs=1)
    check_promises(drawing)


@pytest.mark.parametrize(("x", "y"), [(0, 60), (119, 60), (60, 0), (60, 119), (2, 3), (117, 116), (23, 60), (60, 96)])
def test_cells_at_the_edge_are_kept_and_flagged(x: float, y: float) -> None:
    (cell,) = drawn(disc_labels(120, 120, [(x, y, 24, 15)])).measured
    assert cell.touches_edge


def test_a_cell_one_pixel_from_the_edge_is_not_flagged() -> None:
    (cell,) = drawn(disc_labels(120, 120, [(25, 60, 24, 13)])).measured
    assert cell.bbox[0] == 1
    assert not cell.touches_edge


def test_what_the_border_cuts_is_counted_where_a_quarter_of_it_is_seen_and_not_where_a_tenth_is() -> None:
    """With the nucleus that belongs to it. A tenth is as much as the border shows of a platelet."""
    for top, seen, counted in ((-12, 0.25, 1), (-17, 0.1, 0)):
        cut = disc_labels(120, 120, [(60, top, 24, 21)])
        assert (cut > 0).sum() / (math.pi * 24**2) == pytest.approx(seen, abs=0.05)
        assert count(cut) == counted


@pytest.mark.parametrize("shape", [(64, 80), (1, 1), (1, 300), (300, 1), (2, 3)])
def test_an_empty_field_gives_no_cell(shape: tuple[int, int]) -> None:
    drawing = drawn(np.zeros(shape, np.uint8))
    assert (drawing.measured, drawing.labels.shape, drawing.cells.shape) == ((), shape, shape)
    assert (drawing.labels.dtype, drawing.cells.dtype) == (np.uint8, np.uint16)
    assert not drawing.labels.any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (64, 80)])
@pytest.mark.parametrize("label", [1, 2])
def test_a_field_of_one_class_keeps_the_promises(shape: tuple[int, int], label: int) -> None:
    drawing = drawn(np.full(shape, label, np.uint8))
    check_promises(drawing)
    assert label == 2 or not drawing.measured


def test_more_than_255_cells_have_their_own_numbers() -> None:
    cells = [(10 + 20 * column, 10 + 20 * row, 8, 5) for row in range(15) for column in range(20)]
    drawing = drawn(disc_labels(300, 400, cells), 16)
    assert len(drawing.measured) == 300
    check_promises(drawing)
    assert np.array_equal(decode_mask(encode(drawing.cells)), drawing.cells)


def test_painted_smears_with_pairs_and_lobed_nuclei_are_counted_right() -> None:
    rng = np.random.default_rng(0)
    fields = [paint(random_recipe(rng, width=320, height=240, cell_diameter_px=56)) for _ in range(20)]
    wrong = 0
    for field in fields:
        drawing = drawn(field.labels, 56)
        check_promises(drawing)
        assert np.array_equal(drawing.labels, field.labels)
        wrong += abs(len(drawing.measured) - field.wbc_count)
    assert sum(field.wbc_count for field in fields) > 60
    assert wrong <= 1  # two touching cells that the border cuts may pass for one


def answer_at(truth: NDArray[np.uint8], factor: float) -> tuple[NDArray[np.float32], Frame]:
    """What a perfect network answers on a picture brought to `factor`."""
    frame = frame_for(*truth.shape, 100, NetworkScale(cell_diameter_px=100 * factor))
    size = (frame.network_width, frame.network_height)
    return cv2.resize(one_hot(truth), size, interpolation=cv2.INTER_AREA), frame


def through_network_scale(truth: NDArray[np.uint8], factor: float) -> Drawing:
    probabilities, frame = answer_at(truth, factor)
    return draw(probabilities, separate(probabilities, 100 * factor, Separation()), frame)


@pytest.mark.parametrize("radius", [45, 50, 61.7])
@pytest.mark.parametrize("shift", [0.0, 0.3, 0.5])
def test_outlines_at_camera_scale_are_finer_than_the_network_scale(radius: float, shift: float) -> None:
    truth = disc_labels(201, 223, [(101 + shift, 99 - shift, radius, radius * 0.55)])
    drawing = through_network_scale(truth, 0.4)
    assert len(drawing.measured) == 1
    assert cell_dice(drawing.labels, truth) >= 0.995
    nucleus, true_nucleus = ((labels == NUCLEUS).astype(np.uint8) for labels in (drawing.labels, truth))
    assert cell_dice(nucleus, true_nucleus) >= 0.993


SLANTED_PAIR: tuple[Disc, ...] = ((100, 100, 50, 28), (180, 150, 50, 28))


def test_touching_cells_meet_at_camera_scale_halfway_and_without_gap() -> None:
    truth = disc_labels(240, 300, SLANTED_PAIR)
    drawing = through_network_scale(truth, 0.4)
    check_promises(drawing)
    assert cell_dice(drawing.labels, truth) >= 0.995
    rows, columns = np.mgrid[:240, :300]
    nearer_to_first = np.hypot(columns - 100, rows - 100) < np.hypot(columns - 180, rows - 150)
    assert set(np.unique(drawing.cells)) == {0, 1, 2}
    assert ((drawing.cells == 1) != nearer_to_first)[drawing.cells > 0].mean() < 0.01


def test_every_pixel_that_the_resampled_network_calls_cell_has_an_owner() -> None:
    truth = disc_labels(240, 300, SLANTED_PAIR)
    probabilities, frame = answer_at(truth, 0.4)
    background = to_camera_scale(probabilities, frame, (0, 0, 300, 240))[..., BACKGROUND]
    instances = separate(probabilities, 40, Separation())
    assert np.array_equal(draw(probabilities, instances, frame).labels > 0, background < 0.5)


def known_mask() -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    labels, cells = np.zeros((20, 30), np.uint8), np.zeros((20, 30), np.uint16)
    labels[4:10, 5:15], cells[4:10, 5:15] = 1, 3
    labels[5:8, 6:10] = 2
    labels[15:20, 20:24], cells[15:20, 20:24] = 2, 700
    return labels, cells


def test_a_known_mask_is_measured_right() -> None:
    first, second = measure(*known_mask())
    assert (first.id, first.x, first.y, first.bbox) == (3, 9.5, 6.5, (5, 4, 10, 6))
    assert (first.area_px, first.nucleus_area_px, first.cytoplasm_area_px) == (60, 12, 48)
    assert (first.nc_ratio, first.touches_edge, first.confidence) == (0.25, False, 1.0)
    assert (second.id, second.bbox, second.area_px, second.touches_edge) == (700, (20, 15, 4, 5), 20, True)


def test_without_cytoplasm_there_is_no_ratio() -> None:
    assert measure(*known_mask())[1].nc_ratio is None
    (cell,) = drawn(disc_labels(120, 120, [(60, 60, 24, 26)])).measured
    assert (cell.nc_ratio, cell.cytoplasm_area_px) == (None, 0)


def test_a_finished_mask_measures_as_it_was_drawn() -> None:
    truth = disc_labels(240, 400, [*SLANTED_PAIR, (390, 60, 50, 30)])
    drawing = through_network_scale(truth, 0.4)
    sure = tuple(dataclasses.replace(cell, confidence=1.0) for cell in drawing.measured)
    assert measure(drawing.labels, drawing.cells) == sure
    assert len(sure) == 3


def test_the_confidence_is_the_mean_probability_of_the_winning_class() -> None:
    labels = disc_labels(120, 120, [(60, 60, 24, 13)])
    doubtful = np.array([[1, 0, 0], [0.1, 0.7, 0.2], [0.05, 0.05, 0.9]], np.float32)[labels]
    instances = separate(doubtful, DIAMETER_PX, Separation())
    (cell,) = draw(doubtful, instances, camera_is_network(120, 120)).measured
    mean = (0.7 * cell.cytoplasm_area_px + 0.9 * cell.nucleus_area_px) / cell.area_px
    assert cell.confidence == pytest.approx(mean, abs=1e-4)


def test_what_is_separated_by_a_threshold_is_drawn_by_it() -> None:
    labels = disc_labels(100, 100, [(50, 50, 24, 14)])
    unsure = np.array([[1, 0, 0], [0.6, 0.4, 0], [0.6, 0, 0.4]], np.float32)[labels]
    found = separate(unsure, DIAMETER_PX, Separation(foreground=0.3))
    assert len(draw(unsure, found, camera_is_network(100, 100)).measured) == 1
