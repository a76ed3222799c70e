"""Disturbances: each does what its name says, the truth goes along, and a loss is one against the same pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from composing import (
    DIAMETER_PX,
    SET,
    colours_in_any_light,
    in_light,
    put_discs,
    put_sample,
)
from networks import colour_network, disc_labels, tiny_bundle, tiny_manifest
from numpy.typing import NDArray

from station.contract.bundle import write_bundle
from station.demo.smear import SmearRecipe, paint
from trainer.cli import main
from trainer.composites import Composite
from trainer.datasets.samples import DataError
from trainer.evaluate import ImageScore, score_images, told
from trainer.stress import (
    ALL,
    DISTURBANCES,
    UNDISTURBED,
    Change,
    View,
    as_taken,
    counted_exactly,
    effects,
    outlined,
    words,
)

CODED = np.eye(3, dtype=np.uint8) * 255  # label -> a colour of its own: red, green, blue
STEP = np.repeat(np.array([60, 180], np.uint8), 100)[None, :, None].repeat(40, axis=0).repeat(3, axis=2)


def disturbed(name: str, view: View) -> View:
    made = DISTURBANCES[name](view)
    assert made is not None
    return made


def image_after(name: str, image: NDArray[np.uint8], diameter_px: float = DIAMETER_PX) -> NDArray[np.uint8]:
    return disturbed(name, as_taken(image, np.zeros(image.shape[:2], np.uint8), diameter_px)).image


@pytest.fixture(scope="module")
def smear() -> View:
    """A painted field, a little dark so that nothing saturates."""
    field = paint(SmearRecipe(width=300, height=220, cell_diameter_px=DIAMETER_PX, wbc=1, seed=3))
    return as_taken((field.image * 0.6).astype(np.uint8), field.labels, DIAMETER_PX)


Measure = Callable[[View, View], bool]


def gains(before: View, after: View) -> NDArray[np.float64]:
    """[3] by which red, green and blue rose."""
    return np.asarray(after.image.mean(axis=(0, 1)) / before.image.mean(axis=(0, 1)), np.float64)


def is_spread(factor: float) -> Measure:
    def measure(before: View, after: View) -> bool:
        same = after.image.mean() == pytest.approx(before.image.mean(), abs=0.5)
        return bool(same and after.image.std() == pytest.approx(factor * before.image.std(), rel=0.02))

    return measure


def is_lit(*factors: float) -> Measure:
    return lambda before, after: bool(gains(before, after) == pytest.approx(np.array(factors), rel=0.01))


def is_magnified(factor: float) -> Measure:
    def measure(before: View, after: View) -> bool:
        sides = np.array(after.labels.shape) / np.array(before.labels.shape)
        area = np.count_nonzero(after.labels) / np.count_nonzero(before.labels)
        cells = after.cell_diameter_px == factor * before.cell_diameter_px
        return bool(cells and (sides == factor).all() and area == pytest.approx(factor**2, rel=0.02))

    return measure


def is_blurred(before: View, after: View) -> bool:
    """A step becomes as wide as a Gaussian of 1.5 % of the cell diameter makes it."""
    edge = np.diff(image_after("blur", STEP)[20, :, 0].astype(float))
    places = np.arange(len(edge))
    centre = (edge * places).sum() / edge.sum()
    sigma = math.sqrt((edge * (places - centre) ** 2).sum() / edge.sum())
    return after.image.std() < before.image.std() and sigma == pytest.approx(0.015 * DIAMETER_PX, rel=0.1)


def is_noisy(before: View, after: View) -> bool:
    noise = after.image.astype(float) - before.image
    beside = np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]
    return bool(noise.std() == pytest.approx(8, rel=0.03) and abs(noise.mean()) < 0.1 and abs(beside) < 0.02)


def is_compressed(before: View, after: View) -> bool:
    """The mean of each block of grey is a multiple of 16 / 8, as the table of quality 50 has it."""
    rng = np.random.default_rng(0)
    grey = rng.integers(100, 156, (64, 64, 1), np.uint8).repeat(3, axis=2)
    blocks = image_after("JPEG quality 50", grey)[..., 0].reshape(8, 8, 8, 8).mean(axis=(1, 3))
    off = np.abs(blocks / 2 - np.round(blocks / 2)).max()
    change = np.abs(after.image.astype(float) - before.image).mean()
    return bool(off < 0.06 and 0.3 < change < 6)


def is_turned_square(before: View, after: View) -> bool:
    return np.array_equal(after.image, np.rot90(before.image)) and np.array_equal(after.labels, np.rot90(before.labels))


def is_turned(before: View, after: View) -> bool:
    """A mark beside the middle goes round it by 30 degrees, against the clock; all of the picture is there."""
    marked = np.zeros((200, 300), np.uint8)
    cv2.circle(marked, (249, 99), 12, 2, -1)
    turned = disturbed("rotation by 30 degrees", as_taken(in_light(marked), marked, DIAMETER_PX))
    rows, columns = np.nonzero((turned.labels == 2) & turned.inside)
    right, up = columns.mean() - (turned.labels.shape[1] - 1) / 2, (turned.labels.shape[0] - 1) / 2 - rows.mean()
    angle = math.degrees(math.atan2(up, right))
    whole = after.inside.sum() == pytest.approx(before.inside.sum(), rel=0.01)
    return bool(whole and angle == pytest.approx(30, abs=0.5) and math.hypot(right, up) == pytest.approx(99.5, abs=1))


MEASURES: Mapping[str, Measure] = {
    UNDISTURBED: lambda before, after: after is before,
    "brightness +30 %": is_lit(1.3, 1.3, 1.3),
    "brightness -30 %": is_lit(0.7, 0.7, 0.7),
    "contrast +30 %": is_spread(1.3),
    "contrast -30 %": is_spread(0.7),
    "white balance warm": is_lit(1.12, 1.0, 0.88),
    "white balance cold": is_lit(0.88, 1.0, 1.12),
    "blur": is_blurred,
    "noise": is_noisy,
    "JPEG quality 50": is_compressed,
    "half magnification": is_magnified(0.5),
    "double magnification": is_magnified(2.0),
    "rotation by 90 degrees": is_turned_square,
    "rotation by 30 degrees": is_turned,
}
OF_GEOMETRY = [name for name in DISTURBANCES if "magnification" in name or "rotation" in name]
OF_COLOUR = [name for name in DISTURBANCES if name not in OF_GEOMETRY]


def test_every_disturbance_is_known_to_these_tests_and_none_comes_first() -> None:
    assert list(DISTURBANCES) == list(MEASURES)


@pytest.mark.parametrize("name", DISTURBANCES)
def test_a_disturbance_does_what_its_name_says(name: str, smear: View) -> None:
    assert MEASURES[name](smear, disturbed(name, smear))


@pytest.mark.parametrize("name", DISTURBANCES)
def test_a_disturbance_is_the_same_each_time_and_leaves_the_picture_alone(name: str, smear: View) -> None:
    kept = smear.image.copy()
    one, again = (disturbed(name, smear) for _ in range(2))
    assert np.array_equal(one.image, again.image)
    assert np.array_equal(smear.image, kept)
    assert one.image.dtype == np.uint8
    assert one.image.shape == (*one.labels.shape, 3) == (*one.inside.shape, 3)


@pytest.mark.parametrize("name", OF_COLOUR)
def test_what_changes_colours_leaves_the_truth_alone(name: str, smear: View) -> None:
    made = disturbed(name, smear)
    assert made.labels is smear.labels and made.inside is smear.inside
    assert made.cell_diameter_px == DIAMETER_PX


@pytest.mark.parametrize("name", OF_GEOMETRY)
def test_the_labels_follow_the_picture_exactly(name: str) -> None:
    """The colours of the picture are its labels: they agree wherever two colours do not mix."""
    labels = disc_labels(220, 310, [(80, 70, 60, 34), (250, 160, 60, 30), (300, 30, 60, 36)])
    made = disturbed(name, as_taken(CODED[labels], labels, DIAMETER_PX))
    pure = made.image.max(axis=-1) > 250
    assert pure.mean() > 0.94
    assert np.array_equal(made.image.argmax(axis=-1)[pure], made.labels[pure])
    assert set(np.unique(made.labels)) == {0, 1, 2}


def test_brighter_than_white_is_white() -> None:
    image = np.full((8, 8, 3), 230, np.uint8)
    assert (image_after("brightness +30 %", image) == 255).all()
    assert (image_after("noise", image - image) < 60).all()  # nothing wraps around below black


@pytest.mark.parametrize(("diameter", "stays"), [(120.0, True), (119.0, False)])
def test_cells_are_not_made_smaller_than_sixty_px(diameter: float, stays: bool) -> None:
    view = as_taken(STEP, np.zeros(STEP.shape[:2], np.uint8), diameter)
    assert (DISTURBANCES["half magnification"](view) is not None) is stays
    assert DISTURBANCES["double magnification"](view) is not None


def test_the_undisturbed_line_is_plain_evaluation(tmp_path: Path) -> None:
    samples, diameters = put_discs(tmp_path), {SET: DIAMETER_PX}
    plain = list(score_images(samples, told(diameters), tiny_manifest(), colour_network))
    stressed = list(outlined(samples, diameters, tiny_manifest(), colour_network))
    assert len(plain) == len(stressed) == 2
    for one, own in zip(plain, (scores[UNDISTURBED] for scores in stressed), strict=True):
        assert np.array_equal(one.confusion, own.confusion)
        assert (one.dataset, one.id, one.wbc_count, one.wbc_true) == (own.dataset, own.id, own.wbc_count, own.wbc_true)
        assert one.cell_diameter_px == own.cell_diameter_px
    assert all(list(scores) == list(DISTURBANCES) for scores in stressed)


def test_cells_are_outlined_at_the_diameter_that_the_magnification_makes(tmp_path: Path) -> None:
    (scores,) = outlined(put_discs(tmp_path, 1), {SET: DIAMETER_PX}, tiny_manifest(), colour_network)
    told_px = {name: score.cell_diameter_px for name, score in scores.items()}
    assert (told_px["half magnification"], told_px["double magnification"]) == (60.0, 240.0)
    for name in OF_GEOMETRY:
        wrong = scores[name].confusion.sum() - np.trace(scores[name].confusion)
        assert wrong < 0.01 * scores[name].confusion.sum(), name
        assert scores[name].wbc_count == 1


def test_what_a_mirror_adds_is_not_scored(tmp_path: Path) -> None:
    """Three cells at borders, two of them cut: turned, each meets its own image, and there are others beyond."""
    labels = disc_labels(240, 400, [(10, 120, 60, 36), (200, 175, 60, 36), (390, 60, 60, 36)])
    sample = put_sample(tmp_path, "a", in_light(labels), labels)
    (scores,) = outlined([sample], {SET: DIAMETER_PX}, tiny_manifest(), colour_network)
    turned = scores["rotation by 30 degrees"]
    assert (turned.wbc_count, turned.wbc_true) == (3, 3)
    assert turned.confusion.sum() == pytest.approx(labels.size, rel=0.01)


def test_a_picture_that_cannot_be_brought_to_network_scale_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"0\.png is too large for its cells"):
        list(outlined(put_discs(tmp_path), {SET: 4.0}, tiny_manifest(), colour_network))


def field_of(labels: NDArray[np.uint8], instances: NDArray[np.int32], diameter_px: float) -> Composite:
    return Composite(in_light(labels), labels, instances.astype(np.uint16), diameter_px, (), (), SET)


def test_fields_are_counted_with_nothing_told() -> None:
    labels = disc_labels(110, 150, [(35, 40, 25, 15), (110, 70, 25, 15)])
    _, instances = cv2.connectedComponents(labels)
    wrongly_told = field_of(labels, instances, 400.0)
    (exactly,) = counted_exactly([wrongly_told], tiny_manifest(), colours_in_any_light)
    assert set(exactly) == set(DISTURBANCES)
    assert all(exactly[name] for name in DISTURBANCES if "30 %" not in name)
    one_too_many = field_of(labels[:60, :60], np.minimum(instances[:60, :60], 1) + 2 * np.eye(60, dtype=np.int32), 50.0)
    (exactly,) = counted_exactly([one_too_many], tiny_manifest(), colours_in_any_light)
    assert "half magnification" not in exactly and not any(exactly.values())


def scored(dataset: str, missed: int, nucleus_missed: int = 0) -> ImageScore:
    """A cell of 1000 px, 400 of them nucleus."""
    matrix = [[9000, 0, 0], [missed, 600 - missed, 0], [0, nucleus_missed, 400 - nucleus_missed]]
    return ImageScore(dataset, "a", np.array(matrix), 1, 1, 64.0)


def under(plain: ImageScore, **others: ImageScore) -> dict[str, ImageScore]:
    """All disturbances leave a picture as it is, but the named ones."""
    return dict.fromkeys(DISTURBANCES, plain) | others


def dice(missed: int, of: int) -> float:
    return 2 * (of - missed) / (2 * of - missed)


def test_what_is_lost_is_told_for_each_set_and_for_all_pixels_together() -> None:
    pictures = [
        under(scored("a", 0), blur=scored("a", 100)),
        under(scored("b", 50), blur=scored("b", 50, 40)),
        under(scored("b", 50), blur=scored("b", 50, 40)),
    ]
    found = effects(pictures, [])
    assert list(found) == list(DISTURBANCES)
    blur = found["blur"].dice
    assert list(blur) == [(one, region) for one in ("a", "b", ALL) for region in ("cell", "nucleus")]
    assert (blur["a", "cell"].value, blur["a", "cell"].before) == (pytest.approx(dice(100, 1000)), 1)
    assert blur["b", "cell"].lost == 0
    assert blur["b", "nucleus"].value == pytest.approx(dice(40, 400))
    assert blur[ALL, "cell"].value == pytest.approx(dice(200, 3000))
    assert blur[ALL, "cell"].before == pytest.approx(dice(100, 3000))
    assert blur["a", "nucleus"].lost == 0
    assert found["blur"].exact is None


def test_one_set_alone_is_all() -> None:
    assert list(effects([under(scored("a", 0))], [])["noise"].dice) == [("a", "cell"), ("a", "nucleus")]


def test_a_loss_is_one_against_the_same_pictures_and_fields() -> None:
    """Small cells are found worse; to leave them out at half magnification is no gain."""
    small = under(scored("small", 300))
    del small["half magnification"]
    fields = [dict.fromkeys(DISTURBANCES, True), dict.fromkeys([*DISTURBANCES][:-4], False)]
    found = effects([small, under(scored("large", 10))], fields)
    half = found["half magnification"]
    assert {dataset for dataset, _ in half.dice} == {"large", ALL}
    assert {change.lost for change in half.dice.values()} == {0}
    assert half.dice[ALL, "cell"].value > found[UNDISTURBED].dice[ALL, "cell"].value
    assert (half.exact, half.fields) == (Change(1.0, 1.0, 0.03), 1)
    assert found[UNDISTURBED].exact == Change(0.5, 0.5, 0.03)
    assert not half.is_too_much


@pytest.mark.parametrize(("missed", "too_much"), [(38, False), (41, True)])
def test_more_than_two_hundredths_of_dice_are_too_much(missed: int, too_much: bool) -> None:
    assert dice(38, 1000) > 0.98 > dice(41, 1000)
    found = effects([under(scored("a", 0), blur=scored("a", missed))], [])
    assert found["blur"].is_too_much is too_much
    assert not found["noise"].is_too_much


@pytest.mark.parametrize(("wrong", "too_much"), [(3, False), (4, True)])
def test_more_than_three_points_of_exact_counts_are_too_much(wrong: int, too_much: bool) -> None:
    fields = [dict.fromkeys(DISTURBANCES, True) | {"noise": number >= wrong} for number in range(100)]
    found = effects([under(scored("a", 0))], fields)
    assert found["noise"].is_too_much is too_much
    assert not found["blur"].is_too_much


def test_what_gains_is_no_loss() -> None:
    found = effects(
        [under(scored("a", 100), blur=scored("a", 0))], [dict.fromkeys(DISTURBANCES, False) | {"blur": True}]
    )
    assert found["blur"].dice["a", "cell"].lost < 0
    assert not found["blur"].is_too_much


def test_the_last_sentence_names_what_costs_too_much() -> None:
    plain = scored("a", 0)
    good = effects([under(plain)], [])
    assert words(good) == "No disturbance costs more than 0.02 Dice or 3 points of exact counts."
    bad = effects([under(plain, blur=scored("a", 200), noise=scored("a", 0, 90))], [])
    assert words(bad) == "More than 0.02 Dice or 3 points of exact counts are lost under blur, noise."


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "tiny.zip"
    write_bundle(path, tiny_bundle())
    return path


def evaluate(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments)], catch_exceptions=False)


def test_the_command_shows_a_line_for_each_disturbance_and_ends_well(tmp_path: Path, bundle: Path) -> None:
    samples = put_discs(tmp_path / SET, 1)
    told_px = ("--cell-diameter", 120)
    result = evaluate(bundle, tmp_path / SET, "--stress", "--fields", 1, "--seed", 44, *told_px)
    assert result.exit_code == 0
    title, heads, *lines = [line.strip() for line in result.output.splitlines()]
    assert title == "1 pictures, 1 composed fields"
    assert [word.strip() for word in heads.split("  ") if word] == [
        "disturbance",
        f"{SET}, Dice cell",
        f"{SET}, Dice nucleus",
        "counted exactly",
        "of fields",
    ]
    found = effects(list(outlined(samples, {SET: 120.0}, tiny_manifest(), colour_network)), [])
    assert lines.pop() == words(found)
    for line, (name, effect) in zip(lines, found.items(), strict=True):
        starred, change = line.startswith("*"), effect.dice[SET, "cell"]
        assert line.removeprefix("*").strip().startswith(name)
        assert starred is effect.is_too_much
        beside = "" if name == UNDISTURBED else f" {change.value - change.before:+.4f}"
        assert f"{change.value:.4f}{beside} " in line
    plain = evaluate(bundle, tmp_path / SET, *told_px)
    assert f"{found[UNDISTURBED].dice[SET, 'cell'].value:.4f}" in plain.output
    assert any(effect.is_too_much for effect in found.values())  # the tiny network knows colours alone


def test_some_disturbances_alone_are_held_against_the_same_pictures_without(tmp_path: Path, bundle: Path) -> None:
    put_discs(tmp_path / SET, 1)
    told = (bundle, tmp_path / SET, "--stress", "--fields", 1, "--cell-diameter", 120)
    whole, part = (evaluate(*told, *some) for some in ((), ("--disturbance", "Brightness", "--disturbance", "noise")))
    shown = [line.lstrip("* ").partition("  ")[0] for line in part.output.splitlines()[2:-1]]
    assert shown == [UNDISTURBED, "brightness +30 %", "brightness -30 %", "noise"]
    assert {" ".join(line.split()) for line in part.output.splitlines()[:-1]} <= {
        " ".join(line.split()) for line in whole.output.splitlines()
    }


def test_an_unknown_disturbance_is_an_error_that_names_those_there_are(tmp_path: Path, bundle: Path) -> None:
    put_discs(tmp_path / SET, 1)
    result = evaluate(bundle, tmp_path / SET, "--stress", "--disturbance", "fog")
    assert result.exit_code == 1
    assert "no disturbance 'fog'" in " ".join(result.output.split()) and "noise" in result.output


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--stress", "--untold"), "--stress does not go with --untold"),
        (("--stress", "--into", "run", "--against", "x.zip"), "--stress does not go with --against, --into"),
        (("--counting", "--disturbance", "blur"), "--disturbance goes with --stress"),
    ],
)
def test_options_that_do_not_go_together_are_wrong_usage(bundle: Path, options: Sequence[str], sentence: str) -> None:
    result = evaluate(bundle, "nowhere", *options)
    assert result.exit_code == 2
    assert sentence in result.output


def test_the_help_says_how_many_fields_there_are() -> None:
    assert "300 of --counting, 60 of --stress, 200 of --scale" in " ".join(evaluate("--help").output.split())
