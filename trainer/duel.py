"""Champion against challenger: is a new model worse than the old one, on the same pictures?

Pictures are compared in pairs, so that a hard picture is hard for both. Those of one group are not independent, so
whole groups are drawn anew. "Not worse" must be shown: a test that is too small to show it decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from station.contract.errors import StationError
from trainer.evaluate import ImageScore, region_score
from trainer.runs import Ruling

# What may be lost on average, in Dice. The authors of one public set drew a picture twice and agree to 0.970 (nucleus)
# and 0.981 (cell): a quarter of that is no matter for a count.
MARGIN = 0.005
COUNT_MARGIN = 0.01  # share of pictures that may be lost for the exact counts; one picture always may
SURE = 0.95  # of each bound, one-sided
CHANCE = 0.05  # of a loss of counts, below which it is taken for real
# Of 20 pictures that all went well one may conclude, with 95 %, that at most one in seven goes otherwise.
LEAST_PICTURES = 20
LEAST_GROUPS = 5  # of fewer, all go one way by chance in more than 5 %
RESAMPLES = 9999
_AT_ONCE = 1000  # resamples: with 2,000 groups all of them took 600 MB
SEED = 0  # of the bounds, so that the same pictures give the same verdict

REGIONS: Mapping[str, str] = {"cell": "whole-cell", "nucleus": "nucleus"}
OfGroups: TypeAlias = NDArray[Any]  # [groups] numbers


class DuelError(StationError):
    """Two models that cannot be held against each other."""


@dataclass(frozen=True, slots=True)
class Change:
    """Dice of the new model minus that of the old one: the mean over pictures, and what it is surely above and below.

    Where there are fewer than LEAST_GROUPS groups nothing is sure, and the bounds are those of Dice itself, -1 and 1.
    """

    region: str  # "whole-cell" or "nucleus"
    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Counts:
    """Pictures that each model counts exactly."""

    old: int
    new: int
    chance: float  # 0..1, that two equally good models differ so much to the new one's disadvantage


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a duel showed."""

    pictures: int
    groups: int
    changes: tuple[Change, ...]
    counts: Counts

    @property
    def losses(self) -> tuple[str, ...]:
        """What the new model surely does worse, in words."""
        surely = [change for change in self.changes if change.low < -MARGIN and change.high < 0]
        said = [f"its {change.region} Dice is surely lower, by {-change.high:.4f} or more" for change in surely]
        if self.counts.chance < CHANCE:
            said.append(f"its counts are worse, which chance alone does in {self.counts.chance:.1%} of such tests")
        return tuple(said)

    @property
    def doubts(self) -> tuple[str, ...]:
        """What these pictures are too few to show, in words."""
        said = []
        if self.pictures < LEAST_PICTURES or self.groups < LEAST_GROUPS:
            said.append(f"{_extent(self)} are too few, {LEAST_PICTURES} in {LEAST_GROUPS} groups are the least")
        if self.groups >= LEAST_GROUPS:
            said += [_unshown(self, change) for change in self.changes if change.low < -MARGIN]
        lost = self.counts.old - self.counts.new
        if lost > max(1, COUNT_MARGIN * self.pictures):
            said.append(f"{lost} pictures fewer are counted exactly, which may be chance")
        return tuple(said)

    @property
    def ruling(self) -> Ruling:
        if self.losses:
            return "worse"
        return "open" if self.doubts else "not worse"


def duel(
    old: Sequence[ImageScore],
    new: Sequence[ImageScore],
    group_of: Mapping[tuple[str, str], str],
    rng: np.random.Generator,
) -> Verdict:
    """Hold the scores of two models on the same pictures against each other, in any order.

    `group_of`: (data set, id) -> group. Raises DuelError where the pictures are not the same.
    """
    by_key = {(score.dataset, score.id): score for score in new}
    keys = [(score.dataset, score.id) for score in old]
    if not keys or len(keys) != len(new) or set(keys) != by_key.keys():
        raise DuelError("two models can only be held against each other on the same pictures, at least one")
    pairs = [(score, by_key[key]) for key, score in zip(keys, old, strict=True)]
    _, group = np.unique([group_of[key] for key in keys], return_inverse=True)
    return Verdict(
        pictures=len(pairs),
        groups=int(group.max()) + 1,
        changes=tuple(_change(pairs, region, group, rng) for region in REGIONS),
        counts=_counts(pairs, group),
    )


def words(verdict: Verdict, pictures: str = "pictures") -> str:
    """The verdict in sentences that name the figures. `pictures`: what they are called, as "test pictures"."""
    dice = " and ".join(f"{change.region} Dice {_change_words(change)}" for change in verdict.changes)
    return (
        f"On {_extent(verdict, pictures)} the new model's mean {dice}; it counts {verdict.counts.new} of them exactly, "
        f"the old one {verdict.counts.old}. {_conclusion(verdict)}"
    )


def _conclusion(verdict: Verdict) -> str:
    if verdict.ruling == "worse":
        return f"Worse: {'; '.join(verdict.losses)}."
    if verdict.ruling == "open":
        return f"Too little to tell: {'; '.join(verdict.doubts)}."
    return f"Not worse: a mean loss of more than {MARGIN} Dice is ruled out."


def _extent(verdict: Verdict, pictures: str = "pictures") -> str:
    number = f"{verdict.pictures} {pictures if verdict.pictures > 1 else pictures.removesuffix('s')}"
    return number if verdict.groups == verdict.pictures else f"{number} in {verdict.groups} groups"


def _change_words(change: Change) -> str:
    if change.low <= -1:
        return _side(change.mean)
    bound = f"at least {change.low:.4f} higher" if change.low > 0 else f"at most {abs(change.low):.4f} lower"
    return f"{_side(change.mean)} ({SURE:.0%} sure: {bound})"


def _side(mean: float) -> str:
    size = f"{abs(mean):.4f}"
    return "is the same" if float(size) == 0 else f"is {size} {'lower' if mean < 0 else 'higher'}"


def _unshown(verdict: Verdict, change: Change) -> str:
    return (
        f"{_extent(verdict)} cannot show a difference of {change.region} Dice smaller than "
        f"{change.mean - change.low:.4f}, so that a loss of {-change.low:.4f} is not ruled out ({MARGIN} may be lost)"
    )


def _change(
    pairs: Sequence[tuple[ImageScore, ImageScore]], region: str, group: NDArray[np.intp], rng: np.random.Generator
) -> Change:
    dice = np.array([[region_score(score.confusion, region).dice for score in pair] for pair in pairs])
    sums, sizes = np.bincount(group, weights=dice[:, 1] - dice[:, 0]), np.bincount(group)
    low, high = bounds(sums, sizes, rng) if len(sums) >= LEAST_GROUPS else (-1.0, 1.0)
    return Change(REGIONS[region], float(sums.sum() / sizes.sum()), low, high)


def bounds(sums: OfGroups, sizes: OfGroups, rng: np.random.Generator) -> tuple[float, float]:
    """What the mean over pictures is above, and what it is below, each with 95 %: a bootstrap of whole groups.

    `sums`, `sizes`: [groups] of the values of a group, and how many they are; at least two groups. The quantiles are
    moved outwards as Student's t is wider than the normal distribution (Hesterberg, The American Statistician 69, 2015,
    371-386): plain ones are sure in 88 % instead of 95 % with five groups.
    """
    from scipy import stats

    groups = len(sums)
    level = stats.norm.cdf(np.sqrt(groups / (groups - 1)) * stats.t.ppf(SURE, groups - 1))
    drawn = stats.bootstrap(
        (sums, sizes),
        _mean,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        confidence_level=2 * level - 1,
        batch=_AT_ONCE,
        method="percentile",
        rng=rng,
    )
    return float(drawn.confidence_interval.low), float(drawn.confidence_interval.high)


def _mean(sums: OfGroups, sizes: OfGroups, axis: int) -> Any:
    return sums.sum(axis=axis) / sizes.sum(axis=axis)


def _counts(pairs: Sequence[tuple[ImageScore, ImageScore]], group: NDArray[np.intp]) -> Counts:
    exact = np.array([[score.wbc_count == score.wbc_true for score in pair] for pair in pairs]).astype(int)
    gains = np.zeros(int(group.max()) + 1, int)
    np.add.at(gains, group, exact[:, 1] - exact[:, 0])
    return Counts(int(exact[:, 0].sum()), int(exact[:, 1].sum()), chance_of(gains))


def chance_of(gains: NDArray[np.int_]) -> float:
    """How likely so few pictures in all, or fewer, are gained by chance, 0..1, exactly. `gains`: [groups] pictures.

    Of two equally good models either may be the new one, in each group by itself: the randomisation test of R. A.
    Fisher, The Design of Experiments (1935), chapter 3. With one picture a group it is McNemar's exact test.
    """
    sums = np.ones(1)  # how likely each sum is, the middle one being 0
    for gain in np.abs(gains[gains != 0]):
        sums = np.convolve(sums, np.concatenate([[0.5], np.zeros(2 * gain - 1), [0.5]]))
    return min(1.0, float(sums[: len(sums) // 2 + int(gains.sum()) + 1].sum()))
