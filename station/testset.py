"""The laboratory's frozen test set: whole slides that were drawn once, and that no model of it may learn from."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import date, datetime
from typing import Final

from pydantic import ValidationError

from station.contract.errors import StationError
from station.contract.manifest import Frozen
from station.database.review_records import ReviewLine
from station.database.store import Store
from station.printing import plural

TEST_SET: Final = "test_set"  # the fact that holds it, as JSON
LEARNT: Final = "learnt_slides"  # the fact that holds the slides that were exported for training, as JSON
LEARNT_IMAGES: Final = "learnt_images"  # likewise their images: a slide may be renamed


class TestSet(Frozen):
    """Slides of the local days `first` to `last`, and the pictures that were counted of them when it was drawn."""

    __test__ = False  # no test, whatever pytest makes of its name

    first: date
    last: date
    share: float  # of the pictures that was asked for, 0..1
    seed: int
    made_at: datetime
    slides: tuple[str, ...]
    images: tuple[int, ...]
    images_in_all: int  # of which they were drawn
    slides_in_all: int


def draw(
    lines: Iterable[ReviewLine],
    first: date,
    last: date,
    share: float,
    seed: int,
    made_at: datetime,
    learnt: Collection[str] = (),
) -> TestSet:
    """Whole slides in an order of chance until they hold the share of the counted pictures; one always stays outside.

    Slides that models may have learnt from, `learnt`, are not drawn. Raises StationError where there are fewer than two
    slides, or none that may be drawn.
    """
    of_slide: defaultdict[str, list[int]] = defaultdict(list)
    for line in lines:
        if line.status == "done" and not line.rejected:
            of_slide[line.slide].append(line.image_id)
    if len(of_slide) < 2:
        raise StationError(
            f"{first} to {last} holds counted pictures of {plural(len(of_slide), 'slide')}, rejected ones aside, and "
            "a test set needs two or more: some to test on, some to learn from; name more days with --from and --to"
        )
    unseen = sorted(of_slide.keys() - learnt)
    if not unseen:
        raise StationError(
            f"all {len(of_slide)} slides of {first} to {last} were exported for training, and a model is not tested on "
            "what it learnt from; name days whose slides were not"
        )
    in_all = sum(map(len, of_slide.values()))
    chosen = _chosen(unseen, of_slide, share * in_all, seed)
    return TestSet(
        first=first,
        last=last,
        share=share,
        seed=seed,
        made_at=made_at,
        slides=tuple(sorted(chosen)),
        images=tuple(sorted(image for slide in chosen for image in of_slide[slide])),
        images_in_all=in_all,
        slides_in_all=len(of_slide),
    )


def freeze(store: Store, made: TestSet, *, replace: bool = False) -> None:
    """Keep it for good. Raises StationError where there is one, unless it shall be replaced."""
    if store.fact(TEST_SET) is not None and not replace:
        raise StationError(
            "a test set is frozen already (`station testset show`); models that were chosen on it cannot be compared "
            "with later ones on another: --replace draws it anew all the same"
        )
    store.record_fact(TEST_SET, made.model_dump_json())


def frozen(store: Store) -> TestSet | None:
    """The test set, if one was drawn. Raises StationError where this version cannot read it."""
    told = store.fact(TEST_SET)
    if told is None:
        return None
    try:
        return TestSet.model_validate_json(str(told))
    except ValidationError as cause:
        raise StationError(
            f"the test set in {store.path} cannot be read by this version; `station testset freeze --replace` draws it "
            "anew"
        ) from cause


def held_back(store: Store, made: TestSet) -> frozenset[str]:
    """The slides of a test set by the names that they had, and by those that they have now."""
    return store.slides_of(made.images).union(made.slides)


def note_learnt(store: Store, lines: Sequence[ReviewLine]) -> None:
    """Remember that models may learn from these, so that none of their slides is drawn for a later test set."""
    store.record_fact(LEARNT, json.dumps(sorted(learnt(store).union(line.slide for line in lines))))
    store.record_fact(LEARNT_IMAGES, json.dumps(sorted(_learnt_images(store).union(line.image_id for line in lines))))


def learnt(store: Store) -> frozenset[str]:
    """The slides that were exported for training at any time, also by the names that they have now."""
    return store.slides_of(_learnt_images(store)).union(json.loads(str(store.fact(LEARNT) or "[]")))


def _learnt_images(store: Store) -> frozenset[int]:
    return frozenset(json.loads(str(store.fact(LEARNT_IMAGES) or "[]")))


def _chosen(unseen: Sequence[str], of_slide: dict[str, list[int]], wanted: float, seed: int) -> Sequence[str]:
    """Of the slides that may be drawn; all of them only where others are left to learn from."""
    order = list(unseen)
    random.Random(seed).shuffle(order)
    chosen: list[str] = []
    for slide in order if len(order) < len(of_slide) else order[:-1]:
        if sum(len(of_slide[one]) for one in chosen) >= wanted:
            break
        chosen.append(slide)
    return chosen
