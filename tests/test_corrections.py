"""What a correction makes of masks: pure functions on real small ones."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from networks import COLOURS, disc_labels
from numpy.typing import NDArray

from station.contract.corrections import (
    KINDS,
    Accept,
    AddCell,
    Edit,
    Flag,
    MergeCells,
    RejectImage,
    RemoveCell,
    Repaint,
    SplitCell,
    Stroke,
    Withdraw,
    correction_of,
    detail_of,
    kind_of,
    words_of,
)
from station.contract.errors import CorrectionError
from station.contract.redraw import apply, changed_cells
from station.demo.smear import SmearRecipe, paint

H, W, DIAMETER = 120, 200, 40.0
APART = ((40, 40, 20, 10), (120, 60, 20, 10))  # two cells, 1 and 2
TOUCHING = ((40, 60, 20, 10), (76, 60, 20, 10))  # two that the network joined to cell 1


def masks(*discs: tuple[float, float, float, float], joined: bool = False) -> tuple[Any, Any]:
    cells = np.zeros((H, W), np.uint16)
    for number, disc in enumerate(discs, start=1):
        cells[disc_labels(H, W, [disc]) > 0] = 1 if joined else number
    return disc_labels(H, W, discs), cells


def picture(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    noise = np.random.default_rng(3).normal(0, 3, (*labels.shape, 3))
    return np.clip(COLOURS[labels] + noise, 0, 255).astype(np.uint8)


def after(before: tuple[Any, Any], *edits: Edit, image: Any = None) -> tuple[Any, Any]:
    for edit in edits:
        kept = before[0].copy(), before[1].copy()
        result = apply(*before, edit, image, DIAMETER)
        assert all(np.array_equal(one, other) for one, other in zip(before, kept, strict=True)), "input was changed"
        before = result
    return before


def ids(cells: NDArray[np.uint16]) -> list[int]:
    return [int(one) for one in np.unique(cells) if one]


def refused(before: tuple[Any, Any], edit: Edit, words: str) -> None:
    with pytest.raises(CorrectionError, match=words):
        apply(*before, edit, None, DIAMETER)


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


# Adding


def test_a_cell_is_added_as_a_disc_in_a_disc_where_there_is_no_picture() -> None:
    labels, cells = after(masks(*APART), AddCell(170, 30))
    assert ids(cells) == [1, 2, 3]
    assert dice(cells == 3, disc_labels(H, W, [(170, 30, 20, 0)]) > 0) > 0.98
    assert 0.4 < np.count_nonzero(labels[cells == 3] == 2) / np.count_nonzero(cells == 3) < 0.6
    _, large = after(masks(*APART), AddCell(170, 30, 60))
    assert np.count_nonzero(large == 3) > 1.5 * np.count_nonzero(cells == 3)


def test_a_cell_is_outlined_by_its_colour_where_there_is_a_picture() -> None:
    truth = disc_labels(H, W, [*APART, (165, 85, 17, 11)])
    image = picture(truth)
    labels, cells = after(masks(*APART), AddCell(168, 88), image=image)  # beside its middle, with another diameter
    mine = disc_labels(H, W, [(165, 85, 17, 11)])
    assert dice(cells == 3, mine > 0) > 0.97
    assert dice((cells == 3) & (labels == 2), mine == 2) > 0.95
    _, disc = after(masks(*APART), AddCell(168, 88))
    assert dice(disc == 3, mine > 0) < 0.9
    assert np.array_equal(after(masks(*APART), AddCell(168, 88), image=image)[1], cells)  # the same again


def test_a_painted_cell_is_outlined_among_red_cells() -> None:
    field = paint(SmearRecipe(width=480, height=360, cell_diameter_px=60, wbc=3, seed=2))
    for missed in ids(field.instances):
        own = field.instances == missed
        if own[0].any() or own[-1].any() or own[:, 0].any() or own[:, -1].any():
            continue
        labels, cells = np.where(own, 0, field.labels), np.where(own, 0, field.instances)
        y, x = np.argwhere(own).mean(axis=0)
        _, found = apply(labels, cells, AddCell(x, y), field.image, 60)
        assert dice(found == int(found.max()), own) > 0.85


def test_where_colours_tell_nothing_the_cell_is_a_disc() -> None:
    blank = np.full((H, W, 3), 230, np.uint8)
    assert np.array_equal(
        after(masks(*APART), AddCell(170, 30), image=blank)[1], after(masks(*APART), AddCell(170, 30))[1]
    )


def test_an_added_cell_leaves_others_their_pixels_and_is_one_piece() -> None:
    before = masks(*APART)
    _, cells = after(before, AddCell(66, 40))  # beside cell 1, whose border it would reach over
    assert np.array_equal(cells == 1, before[1] == 1) and ids(cells) == [1, 2, 3]
    bar = np.zeros((H, W), np.uint16)
    bar[:, 100:104] = 1
    _, cells = after(((bar > 0).astype(np.uint8), bar), AddCell(95, 60))
    assert not (cells[:, 104:] == 2).any()
    _, cells = after(masks(), AddCell(0, 119.9))
    assert ids(cells) == [1] and cells[119, 0] == 1


def test_a_cell_is_not_added_outside_the_picture_or_within_another() -> None:
    for x, y in ((-0.1, 5), (W, 5), (5, H), (5, -1e4)):
        refused(masks(*APART), AddCell(x, y), f"outside the picture of {W} x {H} px")
    refused(masks(*APART), AddCell(41, 42), r"there is cell 1 already at \(41, 42\)")
    with pytest.raises(CorrectionError, match="other measures"):
        apply(*masks(*APART), AddCell(170, 30), np.zeros((5, 5, 3), np.uint8), DIAMETER)


# Removing, splitting, merging


def test_a_removed_cell_takes_its_pixels_along_and_its_number_is_not_used_again() -> None:
    before = masks(*APART)
    labels, cells = after(before, RemoveCell(2))
    assert ids(cells) == [1] and np.array_equal(cells == 1, before[1] == 1)
    refused((labels, cells), RemoveCell(2), "there is no cell 2 in this image, or no longer")
    _, again = apply(labels, cells, AddCell(120, 60), None, DIAMETER, next_id=3)
    assert ids(again) == [1, 3]
    with pytest.raises(CorrectionError, match="used up all 65535 numbers"):
        apply(labels, cells, AddCell(120, 60), None, DIAMETER, next_id=65536)


def test_two_cells_that_were_taken_for_one_are_split_at_the_waist() -> None:
    before = masks(*TOUCHING, joined=True)
    labels, cells = after(before, SplitCell(1, ((36, 58), (80, 63))))
    assert ids(cells) == [1, 2] and np.array_equal(labels, before[0])
    for number, disc in ((1, TOUCHING[0]), (2, TOUCHING[1])):
        assert dice(cells == number, disc_labels(H, W, [disc]) > 0) > 0.97


def test_points_anywhere_in_two_nuclei_part_the_cells_that_were_painted() -> None:
    """People click into cells, not on their middles: no part is a sliver, and nearly all are the cells."""
    rng, alike = np.random.default_rng(0), []
    for seed in range(6):
        field = paint(SmearRecipe(480, 360, 80.0, wbc=2, touching_pairs=1, seed=seed))
        truth, labels = np.asarray(field.instances), np.asarray(field.labels)
        joined = (truth > 0).astype(np.uint16)
        for _ in range(6):
            places = [rng.choice(np.argwhere((truth == cell) & (labels == 2))) for cell in (1, 2)]
            points = tuple((float(column), float(row)) for row, column in places)
            _, cells = apply(labels, joined, SplitCell(1, points), None, 80.0)
            parts = [cells == cells[tuple(place)] for place in places]
            assert min(part.sum() for part in parts) > 0.2 * (truth > 0).sum()
            alike.append(min(dice(part, truth == cell) for part, cell in zip(parts, (1, 2), strict=True)))
    assert np.mean(np.array(alike) > 0.85) > 0.9


def test_every_part_keeps_its_point_however_near_they_lie() -> None:
    points = ((40.0, 60.0), (41.0, 60.0), (40.0, 61.0), (59.9, 60.9))
    _, cells = after(masks(*TOUCHING, joined=True), SplitCell(1, points))
    assert [int(cells[int(y), int(x)]) for x, y in points] == [1, 2, 3, 4]


def test_a_split_without_a_point_in_each_cell_is_refused() -> None:
    before = masks(*TOUCHING, joined=True)
    refused(before, SplitCell(1, ((40, 60), (5, 5))), r"\(5, 5\) does not lie in cell 1")
    refused(before, SplitCell(1, ((40.1, 60), (40.2, 60))), "on one pixel")
    refused(before, SplitCell(7, ((40, 60), (76, 60))), "there is no cell 7")
    refused(before, SplitCell(1, ((40, 60), (5000, 60))), "outside the picture")


def test_parts_of_a_cell_are_merged_under_the_lowest_number_and_nothing_is_filled() -> None:
    before = masks((40, 60, 20, 10), (85, 60, 21, 10))  # 4 px of background between them
    assert ids(before[1][60:61, 61:64]) == []
    labels, cells = after(before, MergeCells((2, 1, 2)))
    assert ids(cells) == [1] and np.array_equal(labels, before[0])
    assert np.array_equal(cells > 0, before[1] > 0)


def test_cells_that_do_not_touch_are_not_one() -> None:
    refused(masks((40, 60, 20, 10), (87, 60, 20, 10)), MergeCells((1, 2)), "cells 1, 2 lie more than 4 px apart")
    chain = masks((30, 60, 15, 5), (61, 60, 15, 5), (92, 60, 15, 5))
    assert ids(after(chain, MergeCells((1, 3, 2)))[1]) == [1]
    refused(chain, MergeCells((1, 3)), "apart")
    refused(chain, MergeCells((1, 1)), "one cell alone")
    refused(chain, MergeCells((1, 9)), "there is no cell 9")


# Painting


def line(value: int, cell_id: int | None, *points: tuple[float, float], radius: float = 3) -> Stroke:
    return Stroke(points, radius, value, cell_id)


def test_paint_turns_pixels_of_its_cell_and_stops_where_another_begins() -> None:
    before = masks(*APART)
    labels, cells = after(before, Repaint((line(2, 1, (40, 40), (120, 60)),)))
    assert labels[44, 57] == 2 and cells[50, 80] == 1
    assert np.array_equal(cells == 2, before[1] == 2) and np.array_equal(labels[cells == 2], before[0][cells == 2])
    assert np.array_equal(labels[50 - 10 : 50 + 10, 80] > 0, cells[50 - 10 : 50 + 10, 80] > 0)
    assert 6 <= np.count_nonzero(cells[:, 80] == 1) <= 9  # as thick as the brush


def test_an_eraser_takes_from_its_cell_alone_and_without_one_from_all() -> None:
    before = masks(*APART)
    across = ((10, 45), (190, 55))
    _, one = after(before, Repaint((line(0, 2, *across),)))
    assert np.array_equal(one == 1, before[1] == 1) and (one == 2).sum() < (before[1] == 2).sum()
    _, both = after(before, Repaint((line(0, None, *across),)))
    assert all((both == number).sum() < (before[1] == number).sum() for number in (1, 2))
    _, gone = after(before, Repaint((line(0, None, (40, 40), radius=25),)))
    assert ids(gone) == [2]


def test_strokes_without_a_cell_make_one_new_one() -> None:
    strokes = (line(1, None, (170, 30), radius=12), line(2, None, (170, 30), radius=5), line(1, 1, (40, 62)))
    labels, cells = after(masks(*APART), Repaint(strokes))
    assert ids(cells) == [1, 2, 3]
    assert labels[30, 170] == 2 and labels[30, 180] == 1 and cells[30, 180] == 3
    assert abs(np.count_nonzero(cells == 3) / (np.pi * 12**2) - 1) < 0.1


def test_strokes_that_change_nothing_or_name_no_cell_are_refused() -> None:
    refused(masks(*APART), Repaint((line(1, None, (-500, -500)),)), "change nothing")
    refused(masks(*APART), Repaint((line(0, None, (5, 5)),)), "change nothing")
    refused(masks(*APART), Repaint((line(1, 9, (5, 5)),)), "there is no cell 9")
    _, cells = after(masks(), Repaint((line(1, None, (-9e4, 50), (9e4, 50)),)))  # far out, and through the picture
    assert (cells[50] == 1).all() and not cells[60].any()


# What holds for all


def test_accepting_and_rejecting_leave_the_masks() -> None:
    before = masks(*APART)
    for edit in (Accept(), RejectImage()):
        assert all(np.array_equal(*pair) for pair in zip(after(before, edit), before, strict=True))


def _chance(rng: np.random.Generator, cells: NDArray[np.uint16]) -> Edit:
    known = ids(cells) or [1]
    some = tuple(int(one) for one in rng.choice(known, 2))
    places = [(float(x), float(y)) for x, y in rng.uniform((-5, -5), (W + 5, H + 5), (3, 2))]
    own = np.argwhere(cells == some[0])
    inside = [tuple(map(float, one[::-1])) for one in rng.permutation(own)[:3]] if len(own) > 2 else places
    choices: list[Edit] = [
        AddCell(*places[0], float(rng.uniform(4, 60))),
        AddCell(*places[0]),
        RemoveCell(some[0]),
        SplitCell(some[0], tuple(inside)),  # type: ignore[arg-type]
        MergeCells(some),
        Repaint(
            tuple(
                Stroke(tuple(places), float(rng.uniform(0, 9)), int(rng.integers(3)), pick)  # type: ignore[arg-type]
                for pick in (some[0], None)
            )
        ),
    ]
    return choices[int(rng.integers(len(choices)))]


@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_done_masks_agree_and_cells_that_stay_keep_their_numbers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    now, next_id, made = masks(*APART, (70, 95, 15, 8)), 4, 0
    image = picture(now[0]) if seed % 3 == 0 else None
    for _ in range(40):
        try:
            new = apply(*now, _chance(rng, now[1]), image, DIAMETER, next_id=next_id)
        except CorrectionError:
            continue
        made += 1
        labels, cells = new
        assert (labels.dtype, cells.dtype, labels.shape) == (np.uint8, np.uint16, (H, W))
        assert np.array_equal(labels > 0, cells > 0) and int(labels.max(initial=0)) <= 2
        fresh = set(ids(cells)) - set(ids(now[1]))
        assert all(number >= next_id for number in fresh)
        touched, left = changed_cells(now, new, ())
        for number in set(ids(now[1])) - touched:
            assert np.array_equal(cells == number, now[1] == number)
        assert {cell.id for cell in left} == touched & set(ids(cells)) >= fresh
        assert all(cell.area_px == np.count_nonzero(cells == cell.id) for cell in left)
        next_id = max([next_id, *(number + 1 for number in fresh)])
        now = new
    assert made > 10


def test_a_cell_that_a_diaphragm_cuts_stays_cut_and_one_that_leaves_the_border_does_not() -> None:
    labels = np.zeros((40, 60), np.uint8)
    labels[10:20, 10:20], labels[30:40, 30:40] = 1, 1
    cells = np.zeros((40, 60), np.uint16)
    cells[10:20, 10:20], cells[30:40, 30:40] = 1, 2
    less = (labels.copy(), cells.copy())
    for mask in less:
        mask[10] = mask[39] = 0
    touched, left = changed_cells((labels, cells), less, cut=(1, 2))
    assert touched == {1, 2} and [(cell.id, cell.touches_edge) for cell in left] == [(1, True), (2, False)]


EXAMPLES = (
    AddCell(1.5, 2, 40),
    RemoveCell(7),
    SplitCell(7, ((1, 2), (3, 4))),
    MergeCells((1, 2)),
    Repaint((Stroke(((1, 2), (3, 4)), 2.5, 2, None), Stroke(((1, 2),), 2.5, 0, 4))),
    RejectImage(),
    Accept(),
    Flag(),
    Withdraw(),
)


def test_every_correction_goes_through_json_and_comes_back() -> None:
    assert {type(one) for one in EXAMPLES} == set(KINDS.values())
    for one in EXAMPLES:
        assert correction_of(kind_of(one), json.loads(json.dumps(detail_of(one)))) == one


@pytest.mark.parametrize(
    ("kind", "detail"),
    [
        ("bleach", {}),
        ("add", {}),
        ("add", {"x": "a", "y": 1}),
        ("add", {"x": float("nan"), "y": 1}),
        ("add", {"x": 1, "y": float("inf")}),
        ("add", {"x": 1, "y": 1, "diameter_px": 1e9}),
        ("add", {"x": 1, "y": 1, "who": "else"}),
        ("add", {"x": 1, "y": 1, "a b": 1}),
        ("remove", {"cell_id": 0}),
        ("remove", {"cell_id": 70000}),
        ("split", {"cell_id": 1, "points": [[1, 2]]}),
        ("split", {"cell_id": 1, "points": [[1, 2], [1]]}),
        ("merge", {"cell_ids": [1]}),
        ("repaint", {"strokes": []}),
        ("repaint", {"strokes": [{"points": [[1, 1]], "radius_px": 1, "value": 3, "cell_id": 1}]}),
        ("repaint", {"strokes": [{"points": [[1, 1]], "radius_px": -1, "value": 1, "cell_id": 1}]}),
        ("accept", {"x": 1}),
    ],
)
def test_what_is_no_correction_is_refused_in_words(kind: str, detail: dict[str, Any]) -> None:
    with pytest.raises(CorrectionError, match=rf"there is no correction '{kind}'|'{kind}' cannot be made: "):
        correction_of(kind, detail)


def test_corrections_are_told_in_words() -> None:
    told = [words_of(kind_of(one), detail_of(one)) for one in EXAMPLES[:-1]]
    assert told == [
        "added a cell at (1.5, 2)",
        "removed cell 7",
        "split cell 7 into 2",
        "merged cells 1, 2",
        "repainted with 2 strokes of the brush",
        "rejected the image",
        "looked at it and found it right",
        "marked it for a second look",
    ]
    assert words_of("withdraw", {"number": 3}) == "took correction 3 back"
