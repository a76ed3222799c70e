"""Divisions in which every picture is tested once: group k-fold, where no neighbour of it was trained on, and
leave-one-set-out, where nothing of its laboratory was.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from station.contract.manifest import BACKGROUND
from trainer.datasets.samples import DataError, Sample, classes_of, demand_classes, grouped

_FEWER_FOLDS = "use fewer --folds, or "


@dataclass(frozen=True, slots=True)
class Fold:
    """One division: `training` is learned from (part of it held out for stopping), `test` is scored once at the end."""

    training: tuple[Sample, ...]
    test: tuple[Sample, ...]


def group_folds(samples: Sequence[Sample], count: int, seed: int = 0) -> list[Fold]:
    """`count` folds of whole groups, each with about the same share of every data set, and of its empty fields.

    Raises DataError where a data set has fewer groups than folds, or lacks a class in the test part of one.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    for name, own in grouped(samples).items():
        groups = len({sample.group for sample in own})
        if groups < count:
            raise DataError(
                f"{name}: {len(own)} pictures in {groups} groups cannot be divided into {count} folds; "
                "use fewer --folds, or more pictures (groups.csv says which belong together)"
            )
    ordered = sorted(samples, key=lambda sample: (sample.dataset, sample.id))
    kinds, groups_of = [_kind(sample) for sample in ordered], [sample.group for sample in ordered]
    divide = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a kind with fewer pictures than folds; judged below
        try:
            divided = list(divide.split(ordered, kinds, groups_of))
        except ValueError as cause:  # where no kind has as many pictures as there are folds
            raise DataError(
                f"{len(ordered)} pictures, of {len(set(kinds))} kinds (each data set, and its fields without a cell), "
                f"cannot be divided into {count} folds; use fewer --folds, or more pictures"
            ) from cause
    folds = [Fold(tuple(ordered[i] for i in training), tuple(ordered[i] for i in test)) for training, test in divided]
    for number, fold in enumerate(folds, start=1):
        demand_classes(fold.training, f"the training part of fold {number}", _FEWER_FOLDS)
        for name, own in grouped(fold.test).items():
            demand_classes(own, f"the test part of fold {number}, of {name},", _FEWER_FOLDS)
    return folds


def set_folds(samples: Sequence[Sample]) -> list[Fold]:
    """One fold per data set, in order of the name: trained on the others, tested on it.

    A picture of another set is left out of training where it belongs to a group of the tested one.
    Raises DataError where there is one set only, or a fold would lack a class.
    """
    sets = grouped(samples)
    if len(sets) < 2:
        raise DataError("to leave one data set out, at least two are needed: give several folders")
    folds = []
    for name, own in sets.items():
        groups = {sample.group for sample in own}
        others = [sample for sample in samples if sample.dataset != name and sample.group not in groups]
        folds.append(Fold(tuple(sorted(others, key=lambda s: (s.dataset, s.id))), tuple(own)))
        demand_classes(folds[-1].training, f"all sets but {name}")
        demand_classes(folds[-1].test, name)
    return folds


def _kind(sample: Sample) -> str:
    """What each fold shall have its share of."""
    return sample.dataset if classes_of(sample) > {BACKGROUND} else f"{sample.dataset}, no cell"
