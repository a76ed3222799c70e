"""From outcomes to rankings: means and deviations over folds and seeds, the Pareto front, and the choice.

Every figure of one outcome is the mean over its data sets, so that a large set does not drown a small one. Networks
that started at ImageNet weights and networks that started at random values stand in rankings of their own: the weights
would decide, not the encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal, TypeAlias

from station.contract.errors import StationError
from trainer.backbones import IMAGENET, NO_WEIGHTS
from trainer.evaluate import (
    REGIONS,
    CountScore,
    ImageScore,
    RegionScore,
    by_dataset,
    count_score,
    pooled,
    region_score,
)
from trainer.ledger import Speed
from trainer.task import Outcome

On = Literal["speed", "accuracy"]
Exam: TypeAlias = tuple[int, int]  # (fold, seed)

METRICS = ("precision", "sensitivity", "specificity", "dice", "iou")


class RankingError(StationError):
    """A ledger that does not allow a choice."""


@dataclass(frozen=True, slots=True)
class Figure:
    """Mean and sample standard deviation over `count` folds and seeds; no deviation where there is one of them."""

    mean: float
    deviation: float | None
    count: int

    @property
    def standard_error(self) -> float | None:
        """Of the mean, as if the folds were independent; they share training pictures, so it is on the small side."""
        return None if self.deviation is None else self.deviation / self.count**0.5


@dataclass(frozen=True, slots=True)
class Standing:
    """One network of the comparison: a backbone with a loss and a start."""

    backbone: str
    loss: str
    start: str
    score: Figure  # mean of the nucleus' and the whole cell's Dice, 0..1; what the ranking goes by
    regions: Mapping[str, Mapping[str, Figure]]  # region -> precision, sensitivity, specificity, dice, iou
    count_exact: Figure  # share of pictures whose count is right
    count_mae: Figure  # cells per picture
    epochs: Figure
    best_epoch: Figure
    seconds: Figure
    parameters: int
    milliseconds: float | None  # per picture on this machine's engine, where measured
    exams: frozenset[Exam]  # the trainings that the figures are from

    @property
    def name(self) -> str:
        return f"{self.backbone}, {self.loss}, start {self.start}"


def standings(outcomes: Iterable[Outcome], speeds: Mapping[str, Speed], dataset: str | None = None) -> list[Standing]:
    """One line per network, the best score first; `dataset` limits the figures to the pictures of one set.

    A network none of whose test parts holds a picture of that set is left out.
    """
    by_network: dict[tuple[str, str, str], list[Outcome]] = {}
    for outcome in outcomes:
        task = outcome.task
        by_network.setdefault((task.backbone, task.loss, task.start), []).append(outcome)
    made = [_standing(own, speeds, dataset) for own in by_network.values() if any(scores_of(o, dataset) for o in own)]
    return sorted(made, key=lambda standing: (-standing.score.mean, standing.name))


def complete(candidates: Sequence[Standing]) -> list[Standing]:
    """Those that sat every exam that any of them sat: others were tested on fewer pictures, or easier ones."""
    every = frozenset[Exam]().union(*(standing.exams for standing in candidates))
    return [standing for standing in candidates if standing.exams == every]


def rankings(candidates: Sequence[Standing]) -> dict[str, list[Standing]]:
    """start -> its complete networks, the best first; ImageNet before random values; no start without a network."""
    ranked: dict[str, list[Standing]] = {}
    for standing in sorted(complete(candidates), key=lambda s: (start_order(s.start), -s.score.mean, s.name)):
        ranked.setdefault(standing.start, []).append(standing)
    return ranked


def start_order(start: str) -> tuple[int, str]:
    """Where a start comes in a list: ImageNet, files of weights by name, random values."""
    return {IMAGENET: 0, NO_WEIGHTS: 2}.get(start, 1), start


def scores_of(outcome: Outcome, dataset: str | None = None) -> list[ImageScore]:
    """The scored pictures of an outcome, of all sets or of one."""
    scores = [picture.score() for picture in outcome.pictures]
    return [score for score in scores if dataset in (None, score.dataset)]


def pareto(candidates: Sequence[Standing]) -> list[Standing]:
    """Those than which none is both faster and better, the fastest first; unmeasured ones are left out."""
    timed = sorted((s for s in candidates if s.milliseconds is not None), key=lambda s: (s.milliseconds, -s.score.mean))
    front: list[Standing] = []
    for one in timed:
        if not front or one.score.mean > front[-1].score.mean:
            front.append(one)
    return front


def choose(candidates: Sequence[Standing], on: On) -> tuple[Standing, str]:
    """The network to train for good, and why, in words.

    `speed`: the fastest one within one standard error of the best (Breiman et al. 1984, the 1-SE rule).
    Raises RankingError where there is nothing to choose from, or no standard error or no latency to go by.
    """
    if not candidates:
        raise RankingError("the ledger holds no finished training of this comparison: run `trainer compare` first")
    able = complete(candidates)
    if not able:
        raise RankingError("no network was tested on every fold that another was: run `trainer compare` to its end")
    best = max(able, key=lambda s: s.score.mean)
    if on == "accuracy":
        return best, f"{best.name} has the best score, {_words(best)}, of {_networks(able)}"
    error = best.score.standard_error
    if error is None:
        raise RankingError("one fold gives no standard error: compare with more --folds, or pick --on accuracy")
    near = [s for s in able if s.score.mean >= best.score.mean - error]
    timed = [s for s in near if s.milliseconds is not None]
    if not timed:
        raise RankingError("no latency was measured: run `trainer compare` to its end, or pick --on accuracy")
    chosen = min(timed, key=lambda s: (s.milliseconds, -s.score.mean))
    return chosen, _reason(chosen, best, near, able)


def _reason(chosen: Standing, best: Standing, near: Sequence[Standing], able: Sequence[Standing]) -> str:
    margin = f"within one standard error ({best.score.standard_error:.4f}) of"
    if len(near) == 1:
        return f"{best.name} has the best score, {_words(best)}, of {_networks(able)}; no other comes {margin} it"
    unmeasured = sum(s.milliseconds is None for s in near)
    caveat = f"; the latency of {unmeasured} of them was not measured" if unmeasured else ""
    if chosen is best:
        return (
            f"{best.name} has the best score, {_words(best)}, of {_networks(able)}, and with {_pace(best)} is the "
            f"fastest of the {len(near)} {margin} it{caveat}"
        )
    pace = "" if best.milliseconds is None else f", {_pace(best)}"
    return (
        f"{chosen.name} scores {_words(chosen)}, {_pace(chosen)}: the fastest of the {len(near)} {margin} the best of "
        f"{_networks(able)}, {best.name} with {_words(best)}{pace}{caveat}"
    )


def _networks(able: Sequence[Standing]) -> str:
    """How many, and that they had unequal starts where they had: then the weights may have decided."""
    mixed = len({standing.start for standing in able}) > 1
    return f"{len(able)} networks" + (" with and without ImageNet weights" if mixed else "")


def _pace(standing: Standing) -> str:
    return f"{standing.milliseconds:.0f} ms a picture"


def _words(standing: Standing) -> str:
    score = standing.score
    return f"{score.mean:.4f}" if score.deviation is None else f"{score.mean:.4f} ± {score.deviation:.4f}"


def _standing(outcomes: Sequence[Outcome], speeds: Mapping[str, Speed], dataset: str | None) -> Standing:
    """A fold whose test part holds no picture of the set adds nothing to the figures of the set."""
    task = outcomes[0].task
    found = (list(by_dataset(scores_of(outcome, dataset)).values()) for outcome in outcomes)
    pictures = [sets for sets in found if sets]
    speed = speeds.get(task.backbone)
    return Standing(
        backbone=task.backbone,
        loss=task.loss,
        start=task.start,
        score=_figure(map(_score, pictures)),
        regions={region: _region_figures(pictures, region) for region in REGIONS},
        count_exact=_figure(_counts(sets, lambda c: c.exact) for sets in pictures),
        count_mae=_figure(_counts(sets, lambda c: c.mean_absolute_error) for sets in pictures),
        epochs=_figure(float(len(outcome.curve)) for outcome in outcomes),
        best_epoch=_figure(float(outcome.best_epoch) for outcome in outcomes),
        seconds=_figure(outcome.seconds for outcome in outcomes),
        parameters=outcomes[0].parameters,
        milliseconds=speed.milliseconds if speed else None,
        exams=frozenset((outcome.task.fold, outcome.task.seed) for outcome in outcomes),
    )


def _score(sets: Sequence[list[ImageScore]]) -> float:
    """What training selects by (evaluate.selection_score), but not rounded on the way."""
    matrices = [pooled(own) for own in sets]
    return fmean(region_score(matrix, region).dice for matrix in matrices for region in ("nucleus", "cell"))


def _region_figures(pictures: Sequence[Sequence[list[ImageScore]]], region: str) -> dict[str, Figure]:
    per_outcome: list[list[RegionScore]] = [[region_score(pooled(own), region) for own in sets] for sets in pictures]
    return {
        metric: _figure(fmean(getattr(score, metric) for score in scores) for scores in per_outcome)
        for metric in METRICS
    }


def _counts(sets: Sequence[list[ImageScore]], part: Callable[[CountScore], float]) -> float:
    return fmean(part(count_score(own)) for own in sets)


def _figure(values: Iterable[float]) -> Figure:
    listed = list(values)
    return Figure(fmean(listed), stdev(listed) if len(listed) > 1 else None, len(listed))
