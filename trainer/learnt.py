"""What a model learnt from, kept in its bundle: so that nobody tests it on the same pictures unawares."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from station.contract.bundle import Bundle
from trainer.datasets.samples import DataError, Sample, content_of, read_image

LEARNT: Final = "LEARNT.txt"  # in a bundle, and in a run: a line for each picture that trained it or chose its epoch
_DIGITS: Final = 16  # of a SHA-256 over the pixels: enough to know a picture again, and none to draw it by


def contents(samples: Sequence[Sample]) -> list[str]:
    """A word for the pixels of each picture. Raises DataError naming one that cannot be read."""
    return [content_of(read_image(sample.image))[:_DIGITS] for sample in samples]


def listed(known: Collection[str]) -> str:
    """The text of `LEARNT.txt`."""
    return "".join(f"{one}\n" for one in sorted(set(known)))


def learnt(bundle: Bundle) -> frozenset[str] | None:
    """What a model and those that it descends from learnt from; None where its bundle does not tell."""
    text = bundle.files.get(LEARNT)
    return None if text is None else frozenset(text.decode("ascii", errors="replace").split())


def seen_of(bundle: Bundle, samples: Sequence[Sample]) -> list[Sample]:
    """Those pictures that the model learnt from, as far as its bundle tells."""
    known = learnt(bundle) or frozenset()
    return [sample for sample, content in zip(samples, contents(samples), strict=True) if content in known]


def not_told(*bundles: Bundle) -> str:
    """The caveat of a verdict on models of which it is not known what they learnt from; nothing if it is known."""
    unknown = " and ".join(bundle.manifest.name for bundle in bundles if learnt(bundle) is None)
    told = f"What {unknown} learnt from, the bundle does not tell: none of these pictures may be of it."
    return told if unknown else ""


def demand_unseen(bundle: Bundle, samples: Sequence[Sample]) -> None:
    """Raises DataError where the model learnt from one of them: such pictures tell nothing of how good it is."""
    if seen := seen_of(bundle, samples):
        raise DataError(
            f"the model {bundle.manifest.name} learnt from {len(seen)} of these {len(samples)} pictures, such as "
            f"{seen[0].image}: a model is not tested on what it learnt from; take them out"
        )
