"""Counted pictures once more, by the model that is active now: stored beside the old results, never over them.

It works beside a running station without touching its queue: only pictures that are counted are taken, they stay
counted all the while, and each new result is one transaction. What is done already is not done again, so that a
reanalysis that was cut off goes on where it was.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from station.calibration import scale_of, settled_diameter
from station.contract.errors import BundleError
from station.daemon import record_of
from station.database.records import Counted, Lease, StoredModel
from station.database.store import Store
from station.pipeline import Failure, Result, analyse_each
from station.places import is_there
from station.registry import Loaded, load_active
from station.settings import Settings


@dataclass(frozen=True, slots=True)
class Plan:
    """What there is to do."""

    model: StoredModel
    due: tuple[Counted, ...]
    done: int  # pictures whose newest result is of this model and these settings already


@dataclass(frozen=True, slots=True)
class Recount:
    """A picture that was analysed again, with the cells that both analyses found.

    `now` is None, with the reason, where it could not be: the old count stays. `kept`: it stays in any case, for a
    person looked at the picture.
    """

    image_id: int
    path: str
    before: int
    now: int | None
    kept: bool
    reason: str = ""


def plan(store: Store, settings: Settings, start: datetime, end: datetime, slide: str | None = None) -> Plan:
    """The counted pictures captured in start <= t < end that the active model has not counted as the settings say now.

    Among them are those whose masks were pruned, and those counted before their camera's scale was settled, by a guess.
    Raises BundleError where no model is active.
    """
    model = store.active_model()
    if model is None:
        raise BundleError("no model is active; `station model install BUNDLE` or `station init` gives one")
    found = store.counted_between(start, end, slide)
    settled = settled_diameter(store, settings)

    def is_due(one: Counted) -> bool:
        elsewise = (one.model_sha256, one.settings_sha256) != (model.sha256, settings.sha256)
        as_settled = settled is None or (one.cell_diameter_px, one.cell_diameter_source) == (settled, "camera")
        return elsewise or not one.has_masks or not as_settled

    due = tuple(filter(is_due, found))
    return Plan(model, due, len(found) - len(due))


def reanalyse(
    store: Store, settings: Settings, planned: Plan, *, trouble: Callable[[str], None] = lambda _sentence: None
) -> Iterator[Recount]:
    """Analyse what is due, one outcome per picture, each written when it is handed out.

    `trouble` is called with a sentence where the engine fails and another one answers, in any thread. Raises
    BundleError or EngineError where the model cannot be used; a single picture at which its engine fails is an outcome.
    """
    if not planned.due:
        return
    model = load_active(planned.model, store, settings.engine, trouble)
    scale = scale_of(store, settings, (), model, lambda _diameter: None)
    under_way: deque[Counted] = deque()
    paths = _paths(store, planned.due, under_way)
    for outcome in analyse_each(paths, scale, model.manifest, model.engine, settings.limits.max_megapixels):
        yield _kept(store, under_way.popleft(), outcome, model, settings)


def _paths(store: Store, due: Iterable[Counted], under_way: deque[Counted]) -> Iterator[Path]:
    for one in due:
        under_way.append(one)
        yield _present([*store.paths_of([one.image_id]).get(one.image_id, ()), one.path])


def _present(paths: Sequence[str]) -> Path:
    """Where the picture lies now: it may have been moved since it was taken."""
    return next(filter(is_there, map(Path, paths)), Path(paths[-1]))


def _kept(store: Store, one: Counted, outcome: Result | Failure, model: Loaded, settings: Settings) -> Recount:
    told = partial(Recount, one.image_id, one.path, one.wbc_count, kept=one.looked_at)
    if isinstance(outcome, Failure):
        return told(None, reason=outcome.reason)
    if outcome.sha256 != one.sha256:
        return told(None, reason="its file holds another picture now")
    lease = Lease(one.image_id, (one.path,), one.sha256, 1, one.clock_differs)
    if not store.add_analysis(record_of(lease, outcome, model, settings)):
        return told(None, reason="was removed, or analysed, meanwhile")
    return told(outcome.analysis.wbc_count)
