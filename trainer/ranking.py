"""From outcomes to rankings: means and deviations over folds, the Pareto front, and the choice.

Every figure of one outcome is the mean over its data sets, so that a large set does not drown a small one. Networks
are compared on the exams that most of them sat, and on the latencies of one machine. Networks that started at ImageNet
weights and networks that started at random values stand in rankings of their own: the weights would decide, not the
encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal, TypeAlias

from station.contract.errors import StationError
from trainer.backbones import IMAGENET, NO_WEIGHTS
from trainer.evaluate import REGIONS, CountScore, ImageScore, by_dataset, count_score, pooled, region_score
from trainer.ledger import Division, Speed
from trainer.task import Outcome

On = Literal["speed", "accuracy"]
Exam: TypeAlias = tuple[int, int]  # (fold, seed)

METRICS = ("precision", "sensitivity", "specificity", "dice", "iou")


class RankingError(StationError):
    """A ledger that does not allow a choice."""


@dataclass(frozen=True, slots=True)
class Figure:
    """Mean and sample standard deviation over `count` folds; no deviation where there is one of them.

    The seeds of a fold are averaged first: they share its test pictures.
    """

    mean: float
    deviation: float | None
    count: int
    division: Division = "groups"

    @property
    def standard_error(self) -> float | None:
        """Of the mean, as if the folds were independent; they share training pictures, so it is on the small side.

        None where folds are whole data sets: a few laboratories, each of its own kind, are no sample.
        """
        return None if self.deviation is None or self.division == "sets" else self.deviation / self.count**0.5


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
    milliseconds: float | None  # per picture on the newest machine's engine, where measured
    exams: frozenset[Exam]  # the trainings that the figures are from
    is_complete: bool  # whether those are all that the networks are compared on

    @property
    def name(self) -> str:
        return f"{self.backbone}, {self.loss}, start {self.start}"


def standings(
    outcomes: Iterable[Outcome],
    speeds: Mapping[str, Speed],
    dataset: str | None = None,
    division: Division = "groups",
) -> list[Standing]:
    """One line per network, the best score first; `dataset` limits the figures to the pictures of one set.

    `speeds`: the oldest first; those of another machine than the last count as not measured. A network none of whose
    test parts holds a picture of that set is left out.
    """
    by_network: dict[tuple[str, str, str], list[Outcome]] = {}
    for outcome in outcomes:
        task = outcome.task
        by_network.setdefault((task.backbone, task.loss, task.start), []).append(outcome)
    shared = shared_exams(frozenset(map(_exam, own)) for own in by_network.values())
    timed = of_newest_machine(speeds)
    candidates = (_sat(own, shared) for own in by_network.values())
    made = [
        _standing(own, shared, timed.get(own[0].task.backbone), dataset, division)
        for own in candidates
        if any(scores_of(outcome, dataset) for outcome in own)
    ]
    return sorted(made, key=lambda standing: (-standing.score.mean, standing.name))


def shared_exams(sat: Iterable[frozenset[Exam]]) -> frozenset[Exam]:
    """The largest set of exams that more than half of the networks sat, all of it; of equal ones what more sat.

    So neither does one training more throw all rivals out, nor one that is missing shorten everybody's figures.
    Empty where most networks have no exam in common.
    """
    each = list(sat)
    common: set[frozenset[Exam]] = set()
    for exams in set(each):
        common |= {exams, *(exams & other for other in common)}
    support = {exams: sum(exams <= own for own in each) for exams in common}
    by_most = [exams for exams, count in support.items() if 2 * count > len(each)]
    return max(by_most, key=lambda exams: (len(exams), support[exams], sorted(exams)), default=frozenset())


def of_newest_machine(speeds: Mapping[str, Speed]) -> dict[str, Speed]:
    """The measurements that may be compared: those of the machine of the last one."""
    machines = [speed.machine for speed in speeds.values()]
    return {name: speed for name, speed in speeds.items() if speed.machine == machines[-1]}


def complete(candidates: Sequence[Standing]) -> list[Standing]:
    """Those that sat every exam that most of them share: others were tested on fewer pictures, or easier ones."""
    return [standing for standing in candidates if standing.is_complete]


def rankings(candidates: Sequence[Standing]) -> dict[str, list[Standing]]:
    """start -> its complete networks, the best first; ImageNet before random values; no start without a network."""
    ranked: dict[str, list[Standing]] = {}
    for standing in sorted(complete(candidates), key=lambda s: (start_order(s.start), -s.score.mean, s.name)):
        ranked.setdefault(standing.start, []).append(standing)
    return ranked


def start_order(start: str) -> int:
    """Where a start comes in a list: ImageNet, then random values."""
    return (IMAGENET, NO_WEIGHTS).index(start)


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
    able = _able(candidates)
    best = max(able, key=lambda s: s.score.mean)
    if on == "accuracy":
        return best, f"{best.name} has the best score, {_words(best)}, of {_networks(able)}"
    near = [s for s in able if s.score.mean >= best.score.mean - _error(best)]
    timed = [s for s in near if s.milliseconds is not None]
    if not timed:
        raise RankingError("no latency was measured: run `trainer compare` to its end, or pick --on accuracy")
    chosen = min(timed, key=lambda s: (s.milliseconds, -s.score.mean))
    return chosen, _reason(chosen, best, near, able)


def _able(candidates: Sequence[Standing]) -> list[Standing]:
    """The complete ones; one alone only where no other was compared."""
    if not candidates:
        raise RankingError("the ledger holds no finished training of this comparison: run `trainer compare` first")
    able = complete(candidates)
    if len(able) < min(2, len(candidates)):
        raise RankingError(
            f"of {len(candidates)} networks no two were tested on the same folds, as far as most share any: "
            "run `trainer compare` to its end"
        )
    return able


def _error(best: Standing) -> float:
    if best.score.division == "sets":
        raise RankingError(
            "each fold is a whole data set, and a few laboratories give no standard error to go by: pick --on accuracy"
        )
    if best.score.standard_error is None:
        raise RankingError("one fold gives no standard error: compare with more --folds, or pick --on accuracy")
    return best.score.standard_error


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
    if len(able) == 1:
        return "1 network, the only one of the comparison"
    mixed = len({standing.start for standing in able}) > 1
    return f"{len(able)} networks" + (" with and without ImageNet weights" if mixed else "")


def _pace(standing: Standing) -> str:
    return f"{standing.milliseconds:.0f} ms a picture"


def _words(standing: Standing) -> str:
    score = standing.score
    return f"{score.mean:.4f}" if score.deviation is None else f"{score.mean:.4f} ± {score.deviation:.4f}"


def _exam(outcome: Outcome) -> Exam:
    return outcome.task.fold, outcome.task.seed


def _sat(own: Sequence[Outcome], shared: frozenset[Exam]) -> list[Outcome]:
    """What a network's figures are from: the shared exams, else all it has, which is shown and not ranked."""
    return [outcome for outcome in own if _exam(outcome) in shared] or list(own)


def _standing(
    outcomes: Sequence[Outcome],
    shared: frozenset[Exam],
    speed: Speed | None,
    dataset: str | None,
    division: Division,
) -> Standing:
    """A fold whose test part holds no picture of the set adds nothing to the figures of the set."""
    task = outcomes[0].task
    found = [(outcome.task.fold, list(by_dataset(scores_of(outcome, dataset)).values())) for outcome in outcomes]
    folds, pictures = zip(*(one for one in found if one[1]), strict=True)
    every = [outcome.task.fold for outcome in outcomes]
    exams = frozenset(map(_exam, outcomes))

    def over(own: Iterable[float], where: Sequence[int] = folds) -> Figure:
        return _figure(where, own, division)

    return Standing(
        backbone=task.backbone,
        loss=task.loss,
        start=task.start,
        score=over(map(_score, pictures)),
        regions={region: {metric: over(_region(pictures, region, metric)) for metric in METRICS} for region in REGIONS},
        count_exact=over(_counts(sets, lambda c: c.exact) for sets in pictures),
        count_mae=over(_counts(sets, lambda c: c.mean_absolute_error) for sets in pictures),
        epochs=over((len(outcome.curve) for outcome in outcomes), every),
        best_epoch=over((outcome.best_epoch for outcome in outcomes), every),
        seconds=over((outcome.seconds for outcome in outcomes), every),
        parameters=outcomes[0].parameters,
        milliseconds=speed.milliseconds if speed else None,
        exams=exams,
        is_complete=exams == shared,
    )


def _score(sets: Sequence[list[ImageScore]]) -> float:
    """What training selects by (evaluate.selection_score), but not rounded on the way."""
    matrices = [pooled(own) for own in sets]
    return fmean(region_score(matrix, region).dice for matrix in matrices for region in ("nucleus", "cell"))


def _region(pictures: Sequence[Sequence[list[ImageScore]]], region: str, metric: str) -> Iterator[float]:
    for sets in pictures:
        yield fmean(getattr(region_score(pooled(own), region), metric) for own in sets)


def _counts(sets: Sequence[list[ImageScore]], part: Callable[[CountScore], float]) -> float:
    return fmean(part(count_score(own)) for own in sets)


def _figure(folds: Sequence[int], values: Iterable[float], division: Division) -> Figure:
    by_fold: dict[int, list[float]] = {}
    for fold, value in zip(folds, values, strict=True):
        by_fold.setdefault(fold, []).append(value)
    means = [fmean(seeds) for seeds in by_fold.values()]
    return Figure(fmean(means), stdev(means) if len(means) > 1 else None, len(means), division)
