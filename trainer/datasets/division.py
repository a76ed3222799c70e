"""How samples are divided: whole groups, so that nothing is learnt from what shows the same as a test picture."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from trainer.datasets.samples import OF_A_CELL, DataError, Sample, classes_of, content_of, grouped, read_image

_MOST_TIMES: Final = 2.0  # as much as wanted is held out at most, where groups are small enough


def joined_by_content(samples: Sequence[Sample]) -> list[Sample]:
    """The samples with groups merged wherever two files hold the same pixels (a leak between training and test).

    Raises DataError naming the file that cannot be read, or a picture and a mask that do not fit: that is found before
    any work is done, also in those that are only tested on.
    """
    group_of_content: dict[str, str] = {}
    parent: dict[str, str] = {}
    for sample in samples:
        content = content_of(sample.read()[0])
        first = group_of_content.setdefault(content, sample.group)
        parent[_root(parent, sample.group)] = _root(parent, first)
    return [replace(sample, group=_root(parent, sample.group)) for sample in samples]


def demand_apart(tests: Sequence[Sample], training: Sequence[Sample]) -> None:
    """Raises DataError naming the first test picture that is trained on too, has a neighbour that is, or is unfit."""
    known = {content_of(read_image(sample.image)): sample for sample in training}
    groups = {(sample.dataset, sample.group): sample for sample in training}
    for sample in tests:
        if twin := known.get(content_of(sample.read()[0])):
            raise DataError(
                f"the test picture {sample.image} shows the same as {twin.image}, which is trained on; "
                "take one of them out"
            )
        if neighbour := groups.get((sample.dataset, sample.group)):
            raise DataError(
                f"the test picture {sample.image} is of the group '{sample.group}' like {neighbour.image}, which is "
                "trained on; take one of them out (or rename the folder, if it is another data set)"
            )


def namesakes(tests: Sequence[Sample], training: Sequence[Sample]) -> list[str]:
    """Names of groups, as groups.csv tells them, that a folder of test pictures has in common with another one."""

    def named(samples: Sequence[Sample]) -> set[str]:
        own = {(sample.group.removeprefix(f"{sample.dataset}/"), sample.id) for sample in samples}
        return {group for group, picture in own if group != picture}

    return sorted(named(tests) & named(training))


def hold_out(
    samples: Sequence[Sample],
    share: float,
    seed: int,
    classes_of: Callable[[Sample], frozenset[int]] = classes_of,
) -> tuple[list[Sample], list[Sample]]:
    """(training, held out): whole groups, about `share` of each data set, drawn by `seed`.

    More than that where it would hold no cell otherwise: on empty fields alone a network that finds nothing is best.
    """
    held: set[str] = set()
    for own in grouped(samples).values():
        held |= _groups_worth(own, share, seed, classes_of)
    # By the group alone: it may reach over data sets, where two of them hold the same pixels.
    kept = [sample for sample in samples if sample.group not in held]
    out = [sample for sample in samples if sample.group in held]
    if not kept or not out:
        raise DataError(
            f"{len(samples)} pictures in {len({s.group for s in samples})} groups are too few to hold some out; "
            "at least two groups in one data set are needed (groups.csv)"
        )
    return kept, out


def _root(parent: dict[str, str], group: str) -> str:
    while parent.setdefault(group, group) != group:
        group = parent[group]
    return group


def _groups_worth(
    samples: Sequence[Sample], share: float, seed: int, classes_of: Callable[[Sample], frozenset[int]]
) -> set[str]:
    members: dict[str, list[Sample]] = {}
    for sample in samples:
        members.setdefault(sample.group, []).append(sample)
    wanted, chosen, size = share * len(samples), list[str](), 0
    order = sorted(members, key=lambda group: _place(seed, group))
    # A slide that alone is far more than is wanted would leave too little to train on: only if there is no other.
    fitting = [group for group in order if len(members[group]) <= _MOST_TIMES * wanted]
    shown = frozenset[int]()
    for group in (*fitting, *sorted(set(order) - set(fitting), key=lambda group: (len(members[group]), group))):
        own = len(members[group])
        if len(chosen) == len(members) - 1 or (chosen and size >= wanted and shown >= OF_A_CELL):
            break
        if chosen and size + own > _MOST_TIMES * wanted and shown >= OF_A_CELL:
            continue
        chosen.append(group)
        size += own
        for sample in members[group]:
            shown = shown if shown >= OF_A_CELL else shown | classes_of(sample)
    if shown >= OF_A_CELL:
        return set(chosen)
    return set(chosen[: 1 + int(np.searchsorted(np.cumsum([len(members[group]) for group in chosen]), wanted))])


def _place(seed: int, group: str) -> bytes:
    """Where a group stands in the order in which groups are held out: the same however many others come to it."""
    return hashlib.sha256(f"{seed}/{group}".encode(errors="surrogateescape")).digest()
