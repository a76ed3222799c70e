"""A comparison: backbones x losses x folds x seeds, each a task that is done once, whatever happens in between."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Protocol, TypeAlias

from station.contract.errors import StationError
from trainer.backbones import IMAGENET, NO_WEIGHTS, backbone
from trainer.datasets.samples import DataError, Sample, data_digest, grouped
from trainer.folds import Fold, group_folds, set_folds
from trainer.ledger import Division, Ledger, Request, Setting
from trainer.losses import loss
from trainer.recipe import Recipe
from trainer.results import home
from trainer.runs import RunError, RunFolder
from trainer.start import Encoder
from trainer.task import Order, Outcome, Paused, Task
from trainer.training import sources_of
from trainer.workers import Workers

AVAILABLE = "available"  # ImageNet weights where their file is there, random values elsewhere
_GLANCE_SECONDS = 1.0  # how often running tasks are looked at

Stopping: TypeAlias = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be compared."""

    recipe: Recipe
    samples: Sequence[Sample]
    diameters: dict[str, float]
    backbones: tuple[str, ...]
    losses: tuple[str, ...]
    division: Division
    folds: int  # of the division by groups
    only_folds: int | None  # the first so many of them
    seeds: int
    weights: str  # imagenet, none or available
    weights_dir: Path  # absolute, as all paths of the samples: a task may run elsewhere


@dataclass(frozen=True, slots=True)
class Arrangement:
    """What a plan comes to: its tasks in the order in which they are begun, and the folds that they name, from 1."""

    tasks: tuple[Task, ...]
    folds: tuple[Fold, ...]


class Watcher(Protocol):
    """Who is told how a comparison goes."""

    def planned(self, tasks: Sequence[Task], done: Mapping[Task, Outcome]) -> None: ...
    def running(self, epochs: Mapping[Task, int]) -> None: ...
    def finished(self, outcome: Outcome) -> None: ...
    def failed(self, task: Task, reason: str) -> None: ...


def arrange(plan: Plan) -> Arrangement:
    """Raises, before any work, LossError, WeightsError or DataError for what cannot be trained or divided."""
    for name in plan.losses:
        loss(name)
    starts = {name: _start(plan, name) for name in plan.backbones}
    folds = set_folds(plan.samples) if plan.division == "sets" else group_folds(plan.samples, plan.folds)
    wanted = plan.only_folds or len(folds)
    if wanted > len(folds):
        raise DataError(f"there are {len(folds)} folds, not {wanted}")
    for number, fold in enumerate(folds[:wanted], start=1):
        _demand_trainable(plan, number, fold)
    return Arrangement(_tasks(plan, starts, wanted), tuple(folds))


def _demand_trainable(plan: Plan, number: int, fold: Fold) -> None:
    for seed in range(plan.seeds):
        try:
            sources_of(plan.recipe, fold.training, plan.diameters, seed)
        except DataError as cause:
            tested = ", ".join(sorted({sample.dataset for sample in fold.test}))
            raise DataError(f"fold {number}, which is tested on {tested}, cannot be trained: {cause}") from cause


def setting_of(plan: Plan, arrangement: Arrangement, request: Request, now: str) -> Setting:
    """The identity of the comparison that a plan belongs to: more backbones, losses or seeds are still the same one."""
    neutral = plan.recipe.model_copy(update={"backbone": "unet", "loss": "cross_entropy"})
    data = data_digest(plan.samples)
    return Setting(
        id=_identity(neutral.digest, data, plan, arrangement.folds),
        recipe=neutral.model_dump_json(),
        data_sha256=data,
        folds=len(arrangement.folds),
        division=plan.division,
        cell_diameters=plan.diameters,
        sources={name: len(own) for name, own in grouped(plan.samples).items()},
        request=request,
        created_at=now,
        package_version=version("wbc-station"),
    )


def compare(
    plan: Plan,
    arrangement: Arrangement,
    setting: Setting,
    ledger: Ledger,
    runs: Path,
    workers: Workers,
    watcher: Watcher,
    stopping: Stopping,
) -> list[Outcome]:
    """Do what is not done, keep it in the ledger, return the outcomes of the plan's tasks.

    A task that failed is noted with its reason; the others go on.
    """
    tasks, folds = arrangement.tasks, arrangement.folds
    done = {outcome.task: outcome for outcome in ledger.outcomes(setting.id) if outcome.task in tasks}
    place = home(runs, setting)
    watcher.planned(tasks, done)
    waiting: dict[Future[Outcome], Order] = {}
    for task in tasks:
        if task not in done:
            order = order_of(plan, setting, task, folds[task.fold - 1], place)
            waiting[workers.submit(order)] = order
    while waiting:
        if stopping():
            workers.stop()
        ended, _ = wait(waiting, timeout=_GLANCE_SECONDS, return_when=FIRST_COMPLETED)
        for future in ended:
            order = waiting.pop(future)
            outcome = _collected(future, order, setting, ledger, watcher)
            if outcome:
                done[order.task] = outcome
        watcher.running({order.task: _epochs(order.folder) for order in waiting.values()})
    return [done[task] for task in tasks if task in done]


def order_of(plan: Plan, setting: Setting, task: Task, fold: Fold, place: Path) -> Order:
    """All that a worker needs for a task."""
    return Order(
        task=task,
        recipe=plan.recipe.model_copy(update={"backbone": task.backbone, "loss": task.loss}),
        weights_dir=plan.weights_dir,
        fold=fold,
        diameters=plan.diameters,
        folder=(place / task.folder_name).absolute(),
        created_at=setting.created_at,
    )


def _collected(
    future: Future[Outcome], order: Order, setting: Setting, ledger: Ledger, watcher: Watcher
) -> Outcome | None:
    try:
        outcome = future.result()
    except Paused:
        return None
    except StationError as failure:
        ledger.fail(setting.id, order.task, str(failure))
        watcher.failed(order.task, str(failure))
        return None
    ledger.finish(setting.id, outcome)
    watcher.finished(outcome)
    return outcome


def _tasks(plan: Plan, starts: Mapping[str, str], folds: int) -> tuple[Task, ...]:
    """Fold by fold, so that an early look compares everything on the same pictures."""
    return tuple(
        Task(backbone=encoder, loss=one, start=starts[encoder], fold=fold, seed=seed)
        for seed in range(plan.seeds)
        for fold in range(1, folds + 1)
        for one in plan.losses
        for encoder in plan.backbones
    )


def _identity(recipe: str, data: str, plan: Plan, folds: Sequence[Fold]) -> str:
    """Of recipe, pictures and masks, counts, cell diameters, and who is tested with whom."""
    counts = sorted((s.dataset, s.id, s.group, s.wbc_count) for s in plan.samples)
    members = [sorted((s.dataset, s.id) for s in fold.test) for fold in folds]
    identity = json.dumps([recipe, data, counts, sorted(plan.diameters.items()), plan.division, members])
    return hashlib.sha256(identity.encode()).hexdigest()[:12]


def _start(plan: Plan, name: str) -> str:
    row = backbone(name)
    if plan.weights == AVAILABLE:
        there = row.imagenet_file and (plan.weights_dir / row.imagenet_file).is_file()
        return IMAGENET if there else NO_WEIGHTS
    Encoder(plan.weights, plan.weights_dir).check(name)
    return plan.weights


def _epochs(folder: Path) -> int:
    """How many epochs a task has behind it; a damaged folder is the worker's to report."""
    try:
        state = RunFolder(folder).checkpoint()
    except RunError:
        return 0
    return state.epochs if state else 0
