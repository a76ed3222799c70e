"""Counts on fields with exact truth: by hand, one exam for all separations, and `trainer evaluate --counting`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from composing import SET, colours_in_any_light, disc_cutout, flat_ground, put_discs
from networks import Disc, colour_network, disc_labels, one_hot, tiny_bundle, tiny_manifest
from numpy.typing import NDArray

from station.contract.bundle import write_bundle
from station.contract.cells import draw
from station.contract.imaging import Frame
from station.contract.manifest import NUCLEUS, Separation
from trainer.cli import main
from trainer.composites import Composite, compose
from trainer.counting import FieldScore, counted, field_score, kinds_of_fields, tallies, tally
from trainer.datasets.samples import DataError
from trainer.separations import SEPARATIONS

STATION, NUCLEI, WATERSHED, COMPONENTS = SEPARATIONS
NETWORK_DIAMETER_PX = 48.0


def field(*boxes: tuple[int, int, int]) -> NDArray[np.uint16]:
    """[20, 60] ids: each box (id, first column, last column + 1) is 10 px high."""
    ids = np.zeros((20, 60), np.uint16)
    for number, first, last in boxes:
        ids[5:15, first:last] = number
    return ids


PAIR = field((1, 0, 20), (2, 20, 40))


def test_what_is_found_as_it_is_is_exact_whatever_its_number() -> None:
    for found in (PAIR, field((2, 0, 20), (1, 20, 40))):
        score = field_score(PAIR, found, pairs=[(1, 2)])
        assert score == FieldScore(2, 2, matched=2, iou=2.0, touching=1, merged=0, lobed=0, split=0)
        assert score.error == 0


def test_two_that_are_found_as_one_are_merged() -> None:
    score = field_score(PAIR, field((1, 0, 40)), pairs=[(1, 2)])
    assert (score.counted, score.error, score.matched, score.merged) == (1, -1, 0, 1)  # an IoU of 0.5 is no match


def test_a_cell_that_is_missed_beside_its_neighbour_is_not_merged() -> None:
    score = field_score(PAIR, field((1, 0, 26)), pairs=[(1, 2)])
    assert (score.error, score.matched, score.merged) == (-1, 1, 0)
    assert score.iou == pytest.approx(20 / 26)


@pytest.mark.parametrize(("border", "split"), [(10, 1), (4, 1), (3, 0)])
def test_a_lobed_cell_is_split_where_two_parts_hold_a_fifth_of_it(border: int, split: int) -> None:
    truth, found = field((1, 0, 20)), field((1, 0, border), (2, border, 20))
    score = field_score(truth, found, lobed=[1])
    assert (score.counted, score.lobed, score.split) == (2, 1, split)
    assert score.matched == (1 if border < 10 else 0)


def test_a_lobed_cell_that_touches_another_is_no_lone_one() -> None:
    score = field_score(PAIR, field((1, 0, 10), (2, 10, 20), (3, 20, 40)), pairs=[(1, 2)], lobed=[1])
    assert (score.lobed, score.split, score.touching) == (0, 0, 1)


def test_what_is_found_where_nothing_is_is_false() -> None:
    score = field_score(field(), field((1, 0, 10), (2, 30, 40)))
    assert (score.true, score.counted, score.matched, score.error) == (0, 2, 0, 2)
    assert field_score(field(), field()) == FieldScore(0, 0, 0, 0.0, 0, 0, 0, 0)


def test_the_tally_by_hand() -> None:
    scores = [
        FieldScore(true=4, counted=3, matched=3, iou=2.7, touching=2, merged=1, lobed=3, split=0),
        FieldScore(true=2, counted=3, matched=1, iou=0.9, touching=0, merged=0, lobed=1, split=1),
        FieldScore(true=0, counted=1, matched=0, iou=0.0, touching=0, merged=0, lobed=0, split=0),
        FieldScore(true=0, counted=0, matched=0, iou=0.0, touching=0, merged=0, lobed=0, split=0),
    ]
    made = tally(scores)
    assert (made.fields, made.exact, made.mean_absolute_error, made.bias) == (4, 0.25, 0.75, 0.25)
    assert (made.precision, made.recall) == (pytest.approx(4 / 7), pytest.approx(4 / 6))
    assert made.f1 == pytest.approx(2 * (4 / 7) * (4 / 6) / (4 / 7 + 4 / 6))
    assert made.mean_iou == pytest.approx(0.9)
    assert (made.merged, made.split, made.false_in_empty) == (0.5, 0.25, 50.0)


def test_a_share_of_nothing_is_none_and_a_ratio_without_cells_is_one() -> None:
    empty, lone = FieldScore(0, 0, 0, 0.0, 0, 0, 0, 0), FieldScore(1, 1, 1, 0.8, 0, 0, 0, 0)
    made = tally([empty])
    assert (made.exact, made.precision, made.recall, made.f1, made.mean_iou) == (1, 1, 1, 1, 1)
    assert (made.merged, made.split, made.false_in_empty) == (None, None, 0)
    assert tally([lone]).false_in_empty is None


def with_nuclei(cells: Sequence[Disc], nuclei: Sequence[tuple[float, float, float]]) -> NDArray[np.uint8]:
    labels = disc_labels(130, 200, cells)
    for x, y, radius in nuclei:
        labels[disc_labels(130, 200, [(x, y, 0, radius)]) == NUCLEUS] = NUCLEUS
    return labels


ONE = with_nuclei([(100, 65, 24, 13)], [])
TOUCHING = with_nuclei([(77, 65, 24, 13), (123, 65, 24, 13)], [])
# A waist so slight that no cell would be told apart by it, and yet two maxima of the distance.
LOBED = with_nuclei([(93, 65, 22, 0), (107, 65, 22, 0)], [(84, 65, 8), (116, 65, 8)])
LOBES_NEAR = with_nuclei([(100, 65, 24, 0)], [(91, 65, 8), (109, 65, 8)])  # 2 px of cytoplasm between them
NO_NUCLEUS = with_nuclei([(100, 65, 24, 0)], [])
PLATELET = with_nuclei([(100, 65, 6, 4)], [])
EDGE = with_nuclei([(2, 65, 24, 13)], [])

EXAM = {  # what is seen: how many each separation counts
    "one": (ONE, {STATION: 1, NUCLEI: 1, WATERSHED: 1, COMPONENTS: 1}),
    "touching": (TOUCHING, {STATION: 2, NUCLEI: 2, WATERSHED: 2, COMPONENTS: 1}),
    "lobed": (LOBED, {STATION: 1, NUCLEI: 2, WATERSHED: 2, COMPONENTS: 1}),
    "lobes near": (LOBES_NEAR, {STATION: 1, NUCLEI: 1, WATERSHED: 1, COMPONENTS: 1}),
    "no nucleus": (NO_NUCLEUS, dict.fromkeys(SEPARATIONS, 0)),
    "platelet": (PLATELET, dict.fromkeys(SEPARATIONS, 0)),
    "cut by the border": (EDGE, dict.fromkeys(SEPARATIONS, 1)),
    "nothing": (with_nuclei([], []), dict.fromkeys(SEPARATIONS, 0)),
}


@pytest.mark.parametrize("separation", SEPARATIONS)
@pytest.mark.parametrize("seen", EXAM)
def test_the_separations_differ_in_what_they_are_there_to_show(seen: str, separation: str) -> None:
    labels, counts = EXAM[seen]
    instances = SEPARATIONS[separation](one_hot(labels), NETWORK_DIAMETER_PX, Separation())
    assert len(instances.confidences) == len(instances.boxes) == counts[separation]
    drawing = draw(one_hot(labels), instances, Frame(130, 200, 130, 200, 130, 200))
    assert len(drawing.measured) == counts[separation]
    if counts[separation]:
        assert np.array_equal(drawing.labels, labels)  # no pixel is lost, at whatever place the border is drawn
        assert all(cell.confidence == 1 for cell in drawing.measured)


def test_the_station_s_own_separation_stands_first() -> None:
    assert STATION == "the station's"


@pytest.fixture(scope="module")
def crowded() -> Composite:
    """Six cells of which four pairs touch."""
    made = compose(24, [disc_cutout()], [flat_ground()])
    assert (made.wbc_count, len(made.pairs)) == (6, 4)
    return made


def scores_of(made: Composite) -> dict[tuple[str, str], FieldScore]:
    (scores,) = counted(iter([made]), tiny_manifest(), colours_in_any_light)
    return scores


def test_every_separation_is_told_the_scale_and_the_station_is_asked_without_it_too(crowded: Composite) -> None:
    scores = scores_of(crowded)
    assert list(scores) == [*((name, "told") for name in SEPARATIONS), (STATION, "nothing told")]
    assert all((score.true, score.touching) == (6, 4) for score in scores.values())
    assert scores[STATION, "told"].error == scores[STATION, "nothing told"].error == 0
    assert scores[STATION, "told"].matched == 6
    assert scores[COMPONENTS, "told"].merged >= 3  # of a pair, a pixel of ground may show between both
    assert scores[COMPONENTS, "told"].error < 0


def test_a_wrongly_told_scale_is_the_one_that_is_used(crowded: Composite) -> None:
    scores = scores_of(replace(crowded, cell_diameter_px=4 * crowded.cell_diameter_px))
    assert scores[STATION, "told"].counted < 6 == scores[STATION, "nothing told"].counted


def test_the_kinds_of_fields_are_what_they_are_called(tmp_path: Path) -> None:
    kinds = kinds_of_fields(put_discs(tmp_path), {SET: 120.0})
    assert list(kinds) == [
        "composed",
        "real ground without cells",
        "painted, without cells",
        "painted, one lobed nucleus",
    ]
    fields = {kind: make(24) for kind, make in kinds.items()}
    assert [min(made.wbc_count, 2) for made in fields.values()] == [2, 0, 0, 1]
    assert fields["painted, one lobed nucleus"].lobed == (1,)
    assert not any(fields[kind].labels.any() for kind in kinds if "without" in kind)
    for kind, make in kinds.items():
        assert np.array_equal(make(24).image, fields[kind].image)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "tiny.zip"
    write_bundle(path, tiny_bundle())
    return path


def evaluate(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments)], catch_exceptions=False)


def table_of(output: str, kind: str) -> list[list[str]]:
    """The words of the lines under a title."""
    lines = output.splitlines()
    start = next(number for number, line in enumerate(lines) if line.strip().startswith(f"{kind}:"))
    return [line.split() for line in lines[start + 2 : start + 2 + len(SEPARATIONS) + 1]]


def test_the_command_shows_a_table_for_each_kind_of_field(tmp_path: Path, bundle: Path) -> None:
    samples = put_discs(tmp_path / SET)
    result = evaluate(bundle, tmp_path / SET, "--counting", "--fields", 1, "--seed", 44, "--cell-diameter", 120)
    assert result.exit_code == 0
    kinds = kinds_of_fields(samples, {SET: 120.0})
    for kind in kinds:
        assert f"{kind}: 1 fields" in result.output
    expected = tallies(list(counted(iter([kinds["composed"](44)]), tiny_bundle().manifest, colour_network)))
    for line, own in zip(table_of(result.output, "composed"), expected.values(), strict=True):
        assert f"{own.exact:.1%}" in line and f"{own.f1:.4f}" in line and f"{own.bias:+.3f}" in line
    assert len({own.f1 for own in expected.values()}) > 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--counting", "--untold"), "--counting does not go with --untold"),
        (("--counting", "--against", "other.zip"), "--counting does not go with --against"),
        (("--counting", "--into", "run", "--per-image"), "--counting does not go with --per-image, --into"),
        (("--counting", "--stress"), "--counting does not go with --stress"),
        (("--fields", "3"), "--fields goes with --counting, --stress, --scale"),
        (("--seed", "3"), "--seed goes with --counting, --stress, --scale"),
        (("--counting", "--fields", "0"), "0 is not in the range"),
    ],
)
def test_options_that_do_not_go_together_are_wrong_usage(bundle: Path, options: Sequence[str], sentence: str) -> None:
    result = evaluate(bundle, "nowhere", *options)
    assert result.exit_code == 2
    assert sentence in result.output


def test_pictures_of_which_nothing_can_be_composed_end_the_command_with_a_sentence(
    tmp_path: Path, bundle: Path
) -> None:
    put_discs(tmp_path / SET)
    result = evaluate(bundle, tmp_path / SET, "--counting", "--fields", 1, "--cell-diameter", 400)
    assert result.exit_code == 1
    assert "error: no field can be composed of these pictures" in result.output
    with pytest.raises(DataError):
        kinds_of_fields(put_discs(tmp_path / SET), {SET: 400.0})
