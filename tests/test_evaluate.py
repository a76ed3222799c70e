"""Scores by hand: regions of a small confusion matrix, counts, and what training selects by."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from trainer.datasets.encodings import INDEXED
from trainer.datasets.samples import Sample
from trainer.evaluate import (
    REGIONS,
    ImageScore,
    by_dataset,
    confusion,
    count_score,
    pooled,
    region_score,
    score_images,
    selection_score,
    summary,
    told,
    true_count,
)
from trainer.recipe import Recipe
from trainer.runs import RunRecord

# Rows true, columns predicted: background, cytoplasm, nucleus.
MATRIX = np.array([[70, 4, 1], [3, 10, 2], [0, 2, 8]])
SAMPLE = Sample("set", "a", Path("a.png"), Path("b.png"), "g", INDEXED)


def scored(matrix: object, counted: int = 1, true: int = 1, dataset: str = "set") -> ImageScore:
    return ImageScore(dataset, "a", np.array(matrix, np.int64), counted, true, 64.0)


def discs(*discs: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """[100, 200] labels with discs (x, y, radius, label), painted one over the other."""
    labels = np.zeros((100, 200), np.uint8)
    for x, y, radius, label in discs:
        cv2.circle(labels, (x, y), radius, label, -1)
    return labels


@pytest.mark.parametrize(
    ("region", "hit", "false", "missed", "rest"),
    [
        ("nucleus", 8, 1 + 2, 0 + 2, 70 + 4 + 3 + 10),
        ("cytoplasm", 10, 4 + 2, 3 + 2, 70 + 1 + 0 + 8),
        ("cell", 10 + 2 + 2 + 8, 4 + 1, 3 + 0, 70),
    ],
)
def test_the_scores_of_a_region_by_hand(region: str, hit: int, false: int, missed: int, rest: int) -> None:
    assert hit + false + missed + rest == MATRIX.sum()
    score = region_score(MATRIX, region)
    assert score.precision == pytest.approx(hit / (hit + false))
    assert score.sensitivity == pytest.approx(hit / (hit + missed))
    assert score.specificity == pytest.approx(rest / (rest + false))
    assert score.dice == pytest.approx(2 * hit / (2 * hit + false + missed))
    assert score.iou == pytest.approx(score.dice / (2 - score.dice))


@pytest.mark.parametrize("region", REGIONS)
def test_nothing_to_find_and_nothing_found_is_right(region: str) -> None:
    score = region_score(np.diag([100, 0, 0]), region)
    assert (score.precision, score.sensitivity, score.specificity, score.dice, score.iou) == (1, 1, 1, 1, 1)


@pytest.mark.parametrize("region", REGIONS)
def test_an_empty_truth_with_something_found_scores_nothing(region: str) -> None:
    matrix = np.array([[90, 5, 5], [0, 0, 0], [0, 0, 0]])
    score = region_score(matrix, region)
    assert (score.precision, score.sensitivity, score.dice, score.iou) == (0, 0, 0, 0)
    assert 0 < score.specificity < 1


@pytest.mark.parametrize("region", REGIONS)
def test_an_empty_prediction_with_something_there_scores_nothing(region: str) -> None:
    score = region_score(np.array([[90, 0, 0], [5, 0, 0], [5, 0, 0]]), region)
    assert (score.precision, score.sensitivity, score.specificity, score.dice, score.iou) == (0, 0, 1, 0, 0)


def test_the_confusion_has_the_truth_in_rows() -> None:
    truth = np.array([[0, 1, 2], [2, 2, 1]], np.uint8)
    predicted = np.array([[0, 2, 2], [1, 0, 1]], np.uint8)
    assert confusion(truth, predicted).tolist() == [[1, 0, 0], [0, 1, 1], [1, 1, 1]]


def test_pooled_pixels_weigh_a_large_picture_more_than_the_mean_of_pictures() -> None:
    good, bad = scored([[900, 0, 0], [0, 0, 0], [0, 0, 900]]), scored([[9, 0, 0], [0, 0, 0], [9, 0, 0]])
    mean = np.mean([region_score(one.confusion, "nucleus").dice for one in (good, bad)])
    assert mean == 0.5
    assert region_score(pooled([good, bad]), "nucleus").dice == pytest.approx(2 * 900 / (2 * 900 + 9))


def test_counts_are_scored_by_picture() -> None:
    counts = [(1, 1), (3, 1), (0, 1), (2, 2)]
    score = count_score([scored(MATRIX, counted, true) for counted, true in counts])
    assert (score.images, score.exact) == (4, 0.5)
    assert score.mean_absolute_error == pytest.approx(3 / 4)
    assert score.bias == pytest.approx(1 / 4)


def test_the_true_count_of_the_data_goes_before_the_mask() -> None:
    labels = discs((50, 50, 20, 1), (50, 50, 10, 2), (75, 50, 20, 1), (75, 50, 10, 2))
    assert true_count(SAMPLE, labels) == 1
    told_two = Sample("set", "a", Path("a.png"), Path("b.png"), "g", INDEXED, wbc_count=2)
    assert true_count(told_two, labels) == 2


@pytest.mark.parametrize(
    ("labels", "count"),
    [
        (discs(), 0),
        (discs((50, 50, 20, 1), (50, 50, 10, 2), (150, 50, 20, 1), (150, 50, 10, 2)), 2),
        (discs((50, 50, 25, 1), (42, 50, 7, 2), (60, 50, 7, 2)), 1),  # two lobes of one cell
        (discs((50, 50, 20, 2)), 1),  # no cytoplasm drawn
        (discs((50, 50, 20, 1)), 0),  # no nucleus
        (discs((50, 50, 20, 1), (50, 50, 1, 2)), 0),  # a speck is no nucleus
    ],
)
def test_the_true_count_is_that_of_regions_with_a_nucleus(labels: NDArray[np.uint8], count: int) -> None:
    assert true_count(SAMPLE, labels) == count


def test_the_summary_names_what_a_card_shows() -> None:
    figures = summary([scored(MATRIX, 2, 1), scored(MATRIX)])
    assert figures == {
        "dice_nucleus": round(16 / 21, 4),
        "dice_cytoplasm": round(20 / 31, 4),
        "dice_cell": round(44 / 52, 4),
        "images": 2.0,
        "count_exact": 0.5,
        "count_mae": 0.5,
    }


def test_selection_weighs_data_sets_alike_and_leaves_cytoplasm_out() -> None:
    perfect = scored(np.diag([100, 10, 10]), dataset="few")
    nothing = [scored([[100, 0, 0], [10, 0, 0], [10, 0, 0]], dataset="many") for _ in range(9)]
    assert selection_score([perfect]) == 1
    assert selection_score(nothing) == 0
    assert selection_score([perfect, *nothing]) == 0.5
    swapped = scored([[100, 0, 0], [0, 0, 20], [0, 0, 20]])  # all cytoplasm called nucleus
    assert selection_score([swapped]) == pytest.approx((40 / 60 + 1) / 2, abs=1e-4)
    assert list(by_dataset([*nothing, perfect])) == ["many", "few"]


def test_sets_without_a_cell_choose_no_epoch() -> None:
    """On them a network that finds nothing would be perfect, and one that finds a cell too many worth nothing."""
    good = scored(np.diag([100, 10, 10]), dataset="cells")
    silent, one_false = (
        scored(np.diag([120, 0, 0]), dataset="empty"),
        scored([[119, 1, 0], [0] * 3, [0] * 3], dataset="empty"),
    )
    assert selection_score([good, silent]) == selection_score([good, one_false]) == selection_score([good]) == 1
    assert selection_score([silent]) == 0


def test_pictures_are_scored_at_camera_scale_with_the_told_diameter(tmp_path: Path) -> None:
    labels = discs((60, 50, 30, 1), (60, 50, 16, 2), (150, 50, 30, 1), (150, 50, 16, 2))
    image, mask = tmp_path / "a.png", tmp_path / "m.png"
    cv2.imwrite(str(image), np.repeat(labels[..., None] * 100, 3, axis=2))
    cv2.imwrite(str(mask), labels)
    recipe = Recipe(name="x")
    record = RunRecord(
        run_id="x",
        recipe=recipe,
        seed=0,
        weights="none",
        data_sha256="0" * 64,
        sources={},
        created_at="now",
        package_version="0",
    )
    manifest = record.manifest("x", (), 32)

    def network(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        grey = tiles[..., :1].astype(np.float32) / 100
        return np.asarray(np.clip(1 - np.abs(grey - np.arange(3)), 0, 1), np.float32)

    sample = Sample("set", "a", image, mask, "g", INDEXED)
    (score,) = score_images([sample], told({"set": 60.0}), manifest, network)
    assert score.confusion.sum() == labels.size
    assert (score.wbc_count, score.wbc_true, score.cell_diameter_px) == (2, 2, 60.0)
    assert region_score(score.confusion, "cell").dice > 0.97
    assert region_score(score.confusion, "nucleus").dice > 0.95
