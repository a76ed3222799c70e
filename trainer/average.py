"""A retrained network averaged, weight by weight, with the one that it comes from.

What a second training wins elsewhere it pays for on what the first one knew; between the two lie networks that keep
most of both (Wortsman et al. 2022, Robust fine-tuning of zero-shot models).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from trainer.evaluate import ImageScore, by_dataset, selection_score, summary
from trainer.runs import RunError, RunFolder, RunRecord, save_weights, write_whole

SHARES: Final = (1.0, 0.85, 0.7, 0.5, 0.3)  # of the new weights; all of them first, which wins where nothing is better

Weights: TypeAlias = list[NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Averaged:
    """A network between the two, and how it does on the run's held-out pictures."""

    share: float  # of the new weights, 0..1
    scores: tuple[ImageScore, ...]

    @property
    def score(self) -> float:
        """What a training selects by, 0..1."""
        return selection_score(self.scores)


def averages(model: Any, old: Weights, new: Weights, validate: Callable[[], list[ImageScore]]) -> Iterator[Averaged]:
    """Each share of SHARES; the model is left with the last one. Lazy, for a progress bar around it."""
    for share in SHARES:
        model.set_weights(average(old, new, share))
        yield Averaged(share, tuple(validate()))


def average(old: Weights, new: Weights, share: float) -> Weights:
    """`share` of the new weights and the rest of the old ones, statistics of normalisations too."""
    return [((1 - share) * one + share * other).astype(np.float32) for one, other in zip(old, new, strict=True)]


def trained_weights(model: Any, folder: RunFolder) -> Weights:
    """Those that the run was trained to, also where it was averaged since. Raises RunError where it is not finished."""
    if folder.load().score is None:
        raise RunError(f"the run {folder.path} is not finished: {folder.going_on} ends it")
    if not folder.trained.exists():
        write_whole(folder.trained, lambda path: path.write_bytes(folder.weights.read_bytes()))
    model.load_weights(folder.trained)
    return list(model.get_weights())


def keep(model: Any, folder: RunFolder, old: Weights, new: Weights, best: Averaged, parent: str) -> RunRecord:
    """Make the best one the run's own, with its figures; `parent` is the older model in words."""
    model.set_weights(average(old, new, best.share))
    write_whole(folder.weights, lambda path: save_weights(model, path))
    figures = {f"held-out rows of {name}, scale told": summary(own) for name, own in by_dataset(best.scores).items()}
    words = f"{best.share:g} of what was trained and {1 - best.share:g} of the {parent}" if best.share < 1 else ""
    # A verdict, if there is one, was of the network that was trained.
    changes = {"averaged": words, "score": best.score, "metrics": figures, "duel": None}
    record = folder.load().model_copy(update=changes)
    folder.save(record)
    return record
