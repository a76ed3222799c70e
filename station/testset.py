"""The laboratory's frozen test set: whole slides that were drawn once, and that no model of it may learn from."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final

from pydantic import ValidationError

from station.contract.errors import StationError
from station.contract.manifest import Frozen
from station.database.records import Fact
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


def freeze(store: Store, made: TestSet, drawn_on: Mapping[str, Fact] | None = None, *, replace: bool = False) -> None:
    """Keep it for good; `drawn_on` is what `learnt_facts` told before it was drawn.

    Raises StationError where there is one, unless it shall be replaced, and where slides were exported meanwhile.
    """
    there = as_written(store)
    if there is not None and not replace:
        raise StationError(
            "a test set is frozen already (`station testset show`); models that were chosen on it cannot be compared "
            "with later ones on another: --replace draws it anew all the same"
        )
    if not store.record_facts({TEST_SET: made.model_dump_json()}, expected={TEST_SET: there, **(drawn_on or {})}):
        raise StationError("slides were exported or drawn while this was drawn, perhaps the same ones; call it again")


def as_written(store: Store) -> Fact:
    """The test set as the database holds it, None where there is none: to be told from one that is frozen later."""
    return store.fact(TEST_SET)


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


def note_learnt(store: Store, lines: Sequence[ReviewLine], test_set: Fact = None) -> None:
    """Remember that models may learn from these, so that none of their slides is drawn for a later test set.

    `test_set` is what `as_written` told before they were chosen. Raises StationError where another was frozen since.
    """
    while True:
        before = learnt_facts(store)
        now = {
            LEARNT: json.dumps(sorted(_listed(before[LEARNT]).union(line.slide for line in lines))),
            LEARNT_IMAGES: json.dumps(sorted(_listed(before[LEARNT_IMAGES]).union(line.image_id for line in lines))),
        }
        if as_written(store) != test_set:
            raise StationError(
                "a test set was frozen while this was written, and its slides may be among these pictures; nothing "
                "was exported, call it again"
            )
        if store.record_facts(now, expected={TEST_SET: test_set, **before}):
            return


def learnt_facts(store: Store) -> dict[str, Fact]:
    """What was exported for training, as the database holds it."""
    return {name: store.fact(name) for name in (LEARNT, LEARNT_IMAGES)}


def learnt(store: Store) -> frozenset[str]:
    """The slides that were exported for training at any time, also by the names that they have now."""
    facts = learnt_facts(store)
    return store.slides_of(_listed(facts[LEARNT_IMAGES])).union(_listed(facts[LEARNT]))


def _listed(fact: Fact) -> frozenset[Any]:
    return frozenset(json.loads(str(fact or "[]")))


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
