"""Champion against challenger: fabricated pictures by hand, the bounds on simulated ones, and `evaluate --against`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from networks import DIAMETER_PX, disc_labels, discs, tiny_bundle, tiny_onnx
from numpy.typing import NDArray
from scipy import stats
from unets import record_of

from station.contract.bundle import write_bundle
from trainer.cli import main
from trainer.duel import CHANCE, DuelError, Verdict, bounds, chance_of, duel, words
from trainer.evaluate import ImageScore, region_score
from trainer.runs import RunFolder

CELL, NUCLEUS = 1000, 400  # px in a picture


def picture(number: int, lost: float, lost_nucleus: float, counted: int = 1) -> ImageScore:
    """A picture with one cell whose Dice are about 1 - lost / 2: so many of its pixels are missed, as shares."""
    rim, core = round(lost * CELL), round(lost_nucleus * NUCLEUS)
    matrix = [[9000, 0, 0], [rim, CELL - NUCLEUS - rim, 0], [0, core, NUCLEUS - core]]
    return ImageScore("set", str(number), np.array(matrix), counted, 1, 64.0)


def pictures(
    lost: Sequence[float], lost_nucleus: Sequence[float] | None = None, miscounted: int = 0
) -> list[ImageScore]:
    nucleus = lost if lost_nucleus is None else lost_nucleus
    pairs = enumerate(zip(lost, nucleus, strict=True))
    return [picture(i, rim, core, counted=2 if i < miscounted else 1) for i, (rim, core) in pairs]


def fought(old: Sequence[ImageScore], new: Sequence[ImageScore], group_of: Mapping[int, str] | None = None) -> Verdict:
    """Without groups, each picture is one of its own."""
    groups = {("set", score.id): (group_of or {}).get(int(score.id), score.id) for score in old}
    return duel(old, new, groups, np.random.default_rng(0))


def around(mean: float, count: int = 45, spread: float = 0.01) -> NDArray[np.float64]:
    """[count] shares of lost pixels whose mean is exact."""
    steps = np.linspace(-spread, spread, count)
    return np.asarray(mean + steps[np.random.default_rng(1).permutation(count)])


OLD = pictures(np.full(45, 0.05))


def test_a_better_model_is_not_worse_and_the_figures_are_said() -> None:
    old, new = pictures(np.full(45, 0.05), miscounted=3), pictures(around(0.02), miscounted=1)
    verdict = fought(old, new)
    assert verdict.ruling == "not worse"
    cell = verdict.changes[0]
    before, after = (np.mean([region_score(one.confusion, "cell").dice for one in scores]) for scores in (old, new))
    assert cell.mean == pytest.approx(after - before)
    assert 0 < cell.low < cell.mean < cell.high
    said = words(verdict, "test pictures")
    assert said.startswith(
        f"On 45 test pictures the new model's mean whole-cell Dice is {cell.mean:.4f} higher (95% sure:"
    )
    assert f"at least {cell.low:.4f} higher" in said
    assert "counts 44 of them exactly, the old one 42. Not worse" in said


def test_a_model_is_not_worse_than_itself() -> None:
    verdict = fought(OLD, OLD)
    assert verdict.ruling == "not worse"
    assert "whole-cell Dice is the same (95% sure: at most 0.0000 lower)" in words(verdict)


def test_a_loss_within_the_margin_is_borne() -> None:
    verdict = fought(OLD, pictures(around(0.055, spread=0.004)))
    assert all(-0.005 < change.low < change.high < 0 for change in verdict.changes)  # surely lower, yet not by much
    assert verdict.ruling == "not worse"


@pytest.mark.parametrize("region", ["whole-cell", "nucleus"])
def test_a_loss_in_either_region_is_worse(region: str) -> None:
    worse, same = around(0.08), np.full(45, 0.05)
    new = pictures(worse, same) if region == "whole-cell" else pictures(same, worse)
    verdict = fought(OLD, new)
    assert verdict.ruling == "worse"
    (loss,) = verdict.losses
    assert loss.startswith(f"its {region} Dice is surely lower, by 0.01")
    assert words(verdict).endswith(f"Worse: {loss}.")


def test_a_loss_that_a_few_pictures_cannot_show_is_left_open() -> None:
    verdict = fought(OLD[:24], pictures(around(0.055, count=24, spread=0.08)))
    assert verdict.ruling == "open"
    change = verdict.changes[0]
    assert (
        f"cannot show a difference of whole-cell Dice smaller than {change.mean - change.low:.4f}" in verdict.doubts[0]
    )
    assert f"a loss of {-change.low:.4f} is not ruled out" in verdict.doubts[0]


def test_eight_pictures_are_too_few_even_where_nothing_changed() -> None:
    verdict = fought(OLD[:8], OLD[:8])
    assert verdict.ruling == "open"
    assert words(verdict).endswith("Too little to tell: 8 pictures are too few, 20 in 5 groups are the least.")
    assert fought(OLD[:20], OLD[:20]).ruling == "not worse"
    assert fought(OLD[:8], pictures(np.full(8, 0.3))).ruling == "worse"  # eight times much worse needs no more


def test_many_pictures_of_few_groups_decide_nothing() -> None:
    for count, ruling in ((4, "open"), (5, "not worse")):
        verdict = fought(OLD, OLD, {i: str(i % count) for i in range(45)})
        assert (verdict.groups, verdict.ruling) == (count, ruling)
    one_slide = fought(OLD, pictures(np.full(45, 0.3)), dict.fromkeys(range(45), "slide"))
    assert one_slide.ruling == "open"
    assert "sure" not in words(one_slide)


def test_pictures_of_one_group_count_as_one_observation() -> None:
    """Six slides, each wholly better or worse: 48 pictures look like a proof, six slides are none."""
    lost = np.repeat([0.02, 0.03, 0.05, 0.05, 0.07, 0.08], 8)
    old, new = pictures(np.full(48, 0.05)), pictures(lost)
    naive = fought(old, new)
    grouped = fought(old, new, {i: str(i // 8) for i in range(48)})
    assert naive.ruling == "not worse"
    assert grouped.ruling == "open"
    assert grouped.changes[0].mean == pytest.approx(naive.changes[0].mean)


def test_counts_are_judged_by_the_pictures_that_changed() -> None:
    lost = np.full(45, 0.05)
    assert fought(OLD, pictures(lost, miscounted=1)).ruling == "not worse"
    open_ = fought(OLD, pictures(lost, miscounted=3))
    assert open_.ruling == "open"
    assert open_.doubts == ("3 pictures fewer are counted exactly, which may be chance",)
    worse = fought(OLD, pictures(lost, miscounted=5))
    assert worse.counts.chance == pytest.approx(0.5**5)
    assert worse.losses == ("its counts are worse, which chance alone does in 3.1% of such tests",)
    one_slide = fought(OLD, pictures(lost, miscounted=5), {i: "slide" if i < 5 else str(i) for i in range(45)})
    assert one_slide.counts.chance == 0.5


@pytest.mark.parametrize("seed", range(20))
def test_the_chance_of_a_loss_of_counts_is_that_of_all_ways_in_which_groups_may_fall(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gains = rng.integers(-4, 5, rng.integers(1, 10))
    ways = [np.dot(signs, gains) <= gains.sum() for signs in product((-1, 1), repeat=len(gains))]
    assert chance_of(gains) == pytest.approx(np.mean(ways))


def test_with_one_picture_a_group_it_is_mcnemars_exact_test() -> None:
    gains = np.array([-1] * 9 + [1] * 3 + [0] * 30)
    assert chance_of(gains) == pytest.approx(stats.binomtest(9, 12, alternative="greater").pvalue)
    assert chance_of(np.zeros(40, int)) == 1.0


def test_a_model_that_counts_more_pictures_is_never_called_worse_for_its_counts() -> None:
    """Forty pictures of one slide won, fifteen of as many others lost."""
    assert chance_of(np.array([40] + [-1] * 15)) >= 0.5
    assert chance_of(np.array([-40] + [1] * 15)) > CHANCE  # nor for one slide that went wrong


def test_the_order_of_the_pictures_is_nothing() -> None:
    new = pictures(around(0.06))
    assert fought(OLD, new) == fought(OLD, new[::-1])


@pytest.mark.parametrize(("old", "new"), [([], []), (OLD, OLD[1:]), (OLD[1:], OLD), (OLD[:2], OLD[1:3])])
def test_other_pictures_are_no_duel(old: Sequence[ImageScore], new: Sequence[ImageScore]) -> None:
    with pytest.raises(DuelError, match="on the same pictures"):
        fought(old, new)


def test_the_bounds_hold_as_often_as_they_say() -> None:
    """Five groups of 1 to 9 like pictures, no true difference: bounds over groups hold, over pictures they do not."""
    rng = np.random.default_rng(3)
    held, held_naively = [], []
    for _ in range(300):
        sizes = rng.integers(1, 10, 5)
        values = np.repeat(rng.normal(0, 1, 5), sizes) + rng.normal(0, 1, sizes.sum())
        sums = np.add.reduceat(values, np.r_[0, np.cumsum(sizes)[:-1]])
        held.append(bounds(sums, sizes, rng))
        held_naively.append(bounds(values, np.ones(len(values)), rng))
    for side in (np.less(held, 0)[:, 0], np.greater(held, 0)[:, 1]):
        assert 0.92 < side.mean() < 0.98  # without the quantiles moved outwards: 0.88
    assert np.less(held_naively, 0)[:, 0].mean() < 0.84


# The door ---------------------------------------------------------------------------------------------------------


def evaluate(*arguments: object) -> Result:
    told = [str(argument) for argument in ("evaluate", *arguments, "--cell-diameter", DIAMETER_PX)]
    return CliRunner().invoke(main, told, env={"COLUMNS": "200"})


def favouring_the_nucleus(bias: float) -> bytes:
    """The network of colours, with pixels between cytoplasm and nucleus, or all of the cytoplasm, called nucleus."""
    network = onnx.load_from_string(tiny_onnx())
    (entry,) = (one for one in network.graph.initializer if one.name == "bias")
    values = onnx.numpy_helper.to_array(entry) + np.array([0, 0, bias], np.float32)
    entry.CopyFrom(onnx.numpy_helper.from_array(values, "bias"))
    return bytes(network.SerializeToString())


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {name: tmp_path_factory.mktemp("models") / f"{name}.zip" for name in ("old", "shifted", "swapped")}
    for name, bias in (("old", 0.0), ("shifted", 2.0), ("swapped", 30.0)):
        write_bundle(made[name], tiny_bundle(name, favouring_the_nucleus(bias)))
    return made


def fields(folder: Path, count: int) -> Path:
    """So many pictures of one disc each."""
    for number in range(count):
        cells = [(60.0 + number, 50.0 + number % 7, 30.0, 15.0 + number % 4)]
        for kind, shown in (("images", discs(120, 160, cells)[..., ::-1]), ("masks", disc_labels(120, 160, cells))):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(folder / kind / f"{number:02d}.png"), np.ascontiguousarray(shown))
    return folder


def test_a_model_that_changes_little_is_offered(bundles: Mapping[str, Path], tmp_path: Path) -> None:
    result = evaluate(bundles["shifted"], fields(tmp_path / "tests", 24), "--against", bundles["old"])
    assert result.exit_code == 0, result.output
    for part in (
        "tests: 24 pictures",
        "old: old",
        "new: shifted",
        "change",
        "nucleus Dice is 0.00",
        "Not worse",
        "counts 24 of",
    ):
        assert part in result.output
    assert result.output.splitlines()[-1] == f"station model install {bundles['shifted']}"


def test_a_worse_model_is_not_offered_and_the_exit_code_says_so(bundles: Mapping[str, Path], tmp_path: Path) -> None:
    folder = fields(tmp_path / "tests", 24)
    result = evaluate(bundles["swapped"], folder, "--against", bundles["old"])
    assert result.exit_code == 1
    last = result.output.splitlines()[-1]
    assert "Worse: its nucleus Dice is surely lower" in last
    assert last.endswith(f"{bundles['swapped']} stays where it is, but should not be installed.")
    assert "station model install" not in result.output
    assert evaluate(bundles["old"], folder, "--against", bundles["swapped"]).exit_code == 0


def test_too_few_pictures_offer_nothing(bundles: Mapping[str, Path], tmp_path: Path) -> None:
    result = evaluate(bundles["shifted"], fields(tmp_path / "tests", 8), "--against", bundles["old"])
    assert result.exit_code == 1
    assert "Too little to tell: 8 pictures are too few" in result.output
    assert "not offered: try both on more pictures" in result.output
    assert "station model install" not in result.output


def test_copies_of_one_picture_are_one_group(bundles: Mapping[str, Path], tmp_path: Path) -> None:
    folder = fields(tmp_path / "tests", 1)
    for kind in ("images", "masks"):
        content = (folder / kind / "00.png").read_bytes()
        for number in range(1, 30):
            (folder / kind / f"{number:02d}.png").write_bytes(content)
    result = evaluate(bundles["old"], folder, "--against", bundles["old"])
    assert result.exit_code == 1
    assert "30 pictures in 1 groups are too few" in result.output


def test_the_verdict_is_noted_in_a_run(bundles: Mapping[str, Path], tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "runs" / "run")
    run.path.mkdir(parents=True)
    run.save(record_of("unet"))
    told = ("--against", bundles["old"], "--into", "run", "--runs", tmp_path / "runs", "--untold")
    assert evaluate(bundles["swapped"], fields(tmp_path / "tests", 24), *told).exit_code == 1
    noted = run.load()
    assert noted.metrics["tests, scale estimated"]["images"] == 24
    assert noted.duel is not None
    assert (noted.duel.ruling, noted.duel.pictures) == ("worse", 24)
    assert noted.duel.against == tiny_bundle("old", favouring_the_nucleus(0.0)).sha256
