"""Means, deviations, rankings, front and choice, against figures worked out by hand."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pytest
from comparisons import outcome, picture, speed, task

from trainer.ranking import RankingError, Standing, choose, complete, pareto, rankings, shared_exams, standings
from trainer.task import Outcome


def trained(
    backbone: str, wrong: Sequence[int], loss: str = "dice", start: str = "none", folds: Sequence[int] | None = None
) -> list[Outcome]:
    """One training per fold, tested on one picture with so many wrong px.

    By hand (see `comparisons.picture`): Dice is 1 - wrong / 9000 of the nucleus, 1 - 2 wrong / 7000 of the cytoplasm
    and 1 - wrong / 16000 of the cell.
    """
    return [
        outcome(task(backbone, loss, start, fold), [picture(pixels)])
        for fold, pixels in zip(folds or itertools.count(1), wrong, strict=False)
    ]


def best_of(*everything: Sequence[Outcome], ms: Mapping[str, float] | None = None) -> list[Standing]:
    """Standings of trainings that are compared with one another."""
    speeds = {backbone: speed(backbone, milliseconds) for backbone, milliseconds in (ms or {}).items()}
    return standings(itertools.chain(*everything), speeds)


def network(
    backbone: str, wrong: Sequence[int], ms: float | None = None, loss: str = "dice", start: str = "none"
) -> Standing:
    speeds = {} if ms is None else {backbone: speed(backbone, ms)}
    (made,) = standings(trained(backbone, wrong, loss, start), speeds)
    return made


def test_a_figure_is_the_mean_over_folds_with_the_sample_deviation() -> None:
    (one,) = standings(trained("unet", (90, 180, 360)), {})
    nucleus = one.regions["nucleus"]["dice"]  # 0.99, 0.98, 0.96
    assert nucleus.mean == pytest.approx(0.976667, abs=1e-6)
    assert nucleus.deviation == pytest.approx(0.015275, abs=1e-6)
    assert nucleus.standard_error == pytest.approx(0.008819, abs=1e-6)
    assert one.regions["cytoplasm"]["iou"].mean == pytest.approx((6820 / 7180 + 6640 / 7360 + 6280 / 7720) / 3)
    assert one.regions["cytoplasm"]["precision"].mean == pytest.approx((6820 + 6640 + 6280) / 21000)
    assert one.regions["cell"]["sensitivity"].mean == pytest.approx((15910 + 15820 + 15640) / 48000)
    assert one.regions["cell"]["specificity"].mean == pytest.approx(1 - (90 + 180 + 360) / 3 / (640 * 480 - 16000))
    scores = [0.5 * (1 - w / 9000) + 0.5 * (1 - w / 16000) for w in (90, 180, 360)]
    assert one.score.mean == pytest.approx(sum(scores) / 3)
    assert (one.epochs.mean, one.best_epoch.mean, one.seconds.mean, one.score.count) == (3, 2, 90, 3)


def test_one_fold_has_a_mean_and_no_deviation() -> None:
    score = network("unet", [90]).score
    assert (score.deviation, score.standard_error, score.count) == (None, None, 1)


def test_data_sets_count_alike_whatever_their_size() -> None:
    many = [picture(900, "large", str(number), counted=3) for number in range(9)]
    (one,) = standings([outcome(task(), [picture(90, "small"), *many])], {})
    assert one.regions["nucleus"]["dice"].mean == pytest.approx((0.99 + 0.90) / 2)
    assert one.count_exact.mean == pytest.approx(0.5)
    assert one.count_mae.mean == pytest.approx(1.0)  # 0 in the small set, 2 in the large one


def test_pixels_of_a_set_are_pooled_before_the_score() -> None:
    (one,) = standings([outcome(task(), [picture(0, name="a"), picture(900, name="b")])], {})
    assert one.regions["nucleus"]["dice"].mean == pytest.approx(1 - 900 / 18000)


def test_the_figures_of_one_set_come_from_its_pictures_alone() -> None:
    outcomes = [
        outcome(task(fold=1), [picture(90, "a"), picture(900, "b")]),
        outcome(task(fold=2), [picture(900, "b")]),  # no picture of a in this test part
        outcome(task("vgg16", fold=1), [picture(900, "b")]),
        outcome(task("vgg16", fold=2), [picture(900, "b")]),
    ]
    (one,) = standings(outcomes, {}, "a")
    assert (one.backbone, one.score.count, len(one.exams)) == ("unet", 1, 2)
    assert one.regions["nucleus"]["dice"].mean == pytest.approx(0.99)


def test_the_seeds_of_a_fold_are_averaged_before_folds_are_counted() -> None:
    """Dice of the nucleus by fold and seed: 0.99 and 0.97, then 0.95 and 0.93; so 0.98 and 0.94 by fold."""
    wrong = {(1, 0): 90, (1, 1): 270, (2, 0): 450, (2, 1): 630}
    (one,) = standings([outcome(task(fold=f, seed=s), [picture(pixels)]) for (f, s), pixels in wrong.items()], {})
    nucleus = one.regions["nucleus"]["dice"]
    assert (nucleus.count, one.epochs.count, len(one.exams)) == (2, 2, 4)
    assert nucleus.mean == pytest.approx(0.96)
    assert nucleus.deviation == pytest.approx(0.04 / 2**0.5)
    assert nucleus.standard_error == pytest.approx(0.02)


def test_a_fold_with_more_seeds_weighs_no_more() -> None:
    wrong = {(1, 0): 90, (1, 1): 90, (1, 2): 90, (2, 0): 450}
    (one,) = standings([outcome(task(fold=f, seed=s), [picture(pixels)]) for (f, s), pixels in wrong.items()], {})
    assert one.regions["nucleus"]["dice"].mean == pytest.approx((0.99 + 0.95) / 2)


def test_one_training_more_throws_no_rival_out_and_counts_for_nothing() -> None:
    more = outcome(task("unet", fold=1, seed=1), [picture(0)])
    found = best_of(trained("unet", (90, 90)), [more], trained("vgg16", (80, 80)))
    assert [one.backbone for one in complete(found)] == ["vgg16", "unet"]
    assert found[1].regions["nucleus"]["dice"].mean == pytest.approx(0.99)
    assert found[1].exams == {(1, 0), (2, 0)}
    assert choose(found, "accuracy")[1].endswith("of 2 networks")


A, B, C, D = (1, 0), (2, 0), (3, 0), (4, 0)


@pytest.mark.parametrize(
    ("sat", "shared"),
    [
        ([], set()),
        ([{A, B}], {A, B}),
        ([{A}, {A, B, C}], {A}),
        ([{A, B, C}, {A, B, C}, {A}], {A, B, C}),
        ([{A, B}, {A, B}, {A}, {A}], {A}),
        ([{A, B}, {A, B}, {A, B}, {A}, {A}], {A, B}),
        ([{A, B, C}, {A, B, D}, {A, C, D}], {A, D}),  # three pairs, each sat by two: the order decides
        ([{A, B}, {C}], set()),
    ],
)
def test_networks_are_compared_on_what_more_than_half_of_them_sat(
    sat: Sequence[set[tuple[int, int]]], shared: set[tuple[int, int]]
) -> None:
    assert shared_exams(map(frozenset, sat)) == shared


def test_rankings_keep_starts_apart_and_leave_out_who_was_not_tested_on_every_fold() -> None:
    everything = [
        *trained("unet", (300, 300)),
        *trained("vgg16", (200, 200)),
        *trained("vgg19", [10]),
        *trained("mobilenet", (100, 100), start="imagenet"),
        *trained("mobilenet_v2", (90, 90), start="imagenet"),
    ]
    found = rankings(standings(everything, {}))
    names = {start: [one.backbone for one in own] for start, own in found.items()}
    assert names == {"imagenet": ["mobilenet_v2", "mobilenet"], "none": ["vgg16", "unet"]}
    assert list(names) == ["imagenet", "none"]


def test_as_many_folds_are_not_the_same_folds() -> None:
    candidates = best_of(trained("unet", (9, 90), folds=(1, 2)), trained("vgg16", (8, 900), folds=(1, 3)))
    assert [(one.backbone, one.exams) for one in complete(candidates)] == [("vgg16", {A}), ("unet", {A})]
    apart = best_of(trained("unet", (9, 9), folds=(1, 2)), trained("vgg16", (9, 9), folds=(3, 4)))
    assert complete(apart) == [] and rankings(apart) == {}
    with pytest.raises(RankingError, match="of 2 networks no two were tested on the same folds"):
        choose(apart, "accuracy")


@pytest.mark.parametrize("seed", range(20))
def test_the_front_holds_exactly_those_that_nobody_beats_in_both(seed: int) -> None:
    random = np.random.default_rng(seed)
    candidates = [
        network(name, [int(random.integers(1, 9)) * 100], float(random.integers(1, 6)) * 10)
        for name in ("unet", "mobilenet", "mobilenet_v2", "resnet18", "resnet34", "resnet50", "vgg16", "vgg19")
    ]
    points = {one.backbone: (one.milliseconds or 0.0, one.score.mean) for one in candidates}
    unbeaten = {
        point
        for point in points.values()
        if not any(o != point and o[0] <= point[0] and o[1] >= point[1] for o in points.values())
    }
    front = [points[one.backbone] for one in pareto(candidates)]
    assert front == sorted(unbeaten)  # one of those that are alike, the fastest first


def test_who_has_no_latency_is_not_on_the_front() -> None:
    assert pareto([network("unet", [1]), network("vgg16", [500], 90)]) == [network("vgg16", [500], 90)]


def test_on_accuracy_the_best_is_chosen_however_slow() -> None:
    chosen, reason = choose([network("unet", (90, 110), 10), network("vgg19", (80, 100), 900)], "accuracy")
    assert chosen.backbone == "vgg19"
    assert reason == "vgg19, dice, start none has the best score, 0.9922 ± 0.0012, of 2 networks"


BEST = (0, 200, 200, 0)


@pytest.mark.parametrize(("wrong", "within"), [(150, True), (157, True), (158, False), (400, False)])
def test_on_speed_a_faster_one_is_chosen_within_one_standard_error(wrong: int, within: bool) -> None:
    """By hand: the scores of BEST are 1, 0.982639, 0.982639, 1: mean 0.991319, deviation 0.010024, error 0.005012.

    A network with w wrong px in each fold scores 1 - w (1/18000 + 1/32000), which is 0.986372 at 157 and 0.986285 at
    158; the border lies at 0.986307.
    """
    chosen, reason = choose([network("vgg19", BEST, 180), network("unet", [wrong] * 4, 40)], "speed")
    assert chosen.backbone == ("unet" if within else "vgg19")
    assert ("the fastest of the 2 within one standard error (0.0050) of" in reason) is within
    assert ("no other comes within one standard error (0.0050) of it" in reason) is not within


def test_the_reason_names_scores_latencies_and_the_best() -> None:
    _, reason = choose([network("vgg19", BEST, 180), network("unet", [150] * 4, 40)], "speed")
    assert reason == (
        "unet, dice, start none scores 0.9870 ± 0.0000, 40 ms a picture: the fastest of the 2 within one standard "
        "error (0.0050) of the best of 2 networks, vgg19, dice, start none with 0.9913 ± 0.0100, 180 ms a picture"
    )


def test_the_best_is_chosen_where_it_is_also_the_fastest() -> None:
    chosen, reason = choose([network("vgg19", BEST, 10), network("unet", [110] * 4, 40)], "speed")
    assert chosen.backbone == "vgg19"
    assert reason.endswith("and with 10 ms a picture is the fastest of the 2 within one standard error (0.0050) of it")


def test_of_one_backbone_the_better_loss_is_chosen() -> None:
    """Both have the latency of their backbone."""
    pair = [network("unet", [150] * 4, 40, "dice"), network("unet", [140] * 4, 40, "cross_entropy")]
    assert choose([network("vgg19", BEST, 180), *pair], "speed")[0].loss == "cross_entropy"


def test_a_choice_among_unequal_starts_and_unmeasured_latencies_says_so() -> None:
    candidates = [
        network("vgg19", BEST),
        network("unet", [150] * 4, 40),
        network("mobilenet", [120] * 4, 30, start="imagenet"),
    ]
    chosen, reason = choose(candidates, "speed")
    assert chosen.backbone == "mobilenet"
    assert "3 networks with and without ImageNet weights" in reason
    assert reason.endswith("the latency of 1 of them was not measured")


@pytest.mark.parametrize(
    ("candidates", "said"),
    [
        ([], "holds no finished training"),
        ([network("unet", [9], 40), network("vgg16", [8], 90)], "one fold gives no standard error"),
        ([network("unet", [9, 8]), network("vgg16", [8, 9])], "no latency was measured"),
    ],
)
def test_what_allows_no_choice_is_refused(candidates: list[Standing], said: str) -> None:
    with pytest.raises(RankingError, match=said):
        choose(candidates, "speed")


@pytest.mark.parametrize("on", ["speed", "accuracy"])
def test_who_sat_fewer_exams_is_never_chosen(on: Literal["speed", "accuracy"]) -> None:
    rivals = [trained("mobilenet", [1]), trained("vgg19", BEST), trained("unet", [900] * 4)]
    chosen, reason = choose(best_of(*rivals, ms={"mobilenet": 1, "vgg19": 180, "unet": 40}), on)
    assert chosen.backbone == "vgg19" and "of 2 networks" in reason


def test_the_only_network_is_chosen_and_called_so() -> None:
    _, reason = choose([network("unet", (90, 110), 10)], "accuracy")
    assert reason.endswith("of 1 network, the only one of the comparison")


def test_where_folds_are_data_sets_there_is_no_standard_error_to_go_by() -> None:
    outcomes = [*trained("vgg19", BEST), *trained("unet", [150] * 4)]
    candidates = standings(outcomes, {"vgg19": speed("vgg19", 180), "unet": speed("unet", 40)}, division="sets")
    assert candidates[0].score.deviation is not None and candidates[0].score.standard_error is None
    with pytest.raises(RankingError, match=r"each fold is a whole data set.*pick --on accuracy"):
        choose(candidates, "speed")
    assert choose(candidates, "accuracy")[0].backbone == "vgg19"


def test_a_latency_of_another_machine_counts_as_not_measured() -> None:
    """The speeds come as the ledger gives them, the oldest first; the slow one was measured last."""
    old = speed("unet", 1).model_copy(update={"machine": "a faster one"})
    outcomes = [*trained("vgg19", BEST), *trained("unet", [150] * 4)]
    candidates = standings(outcomes, {"unet": old, "vgg19": speed("vgg19", 180)})
    assert {one.backbone: one.milliseconds for one in candidates} == {"vgg19": 180, "unet": None}
    assert [one.backbone for one in pareto(candidates)] == ["vgg19"]
    assert choose(candidates, "speed")[0].backbone == "vgg19"
