"""What a comparison came to: everything that its tables and its page show, from the ledger alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from station.contract.errors import StationError
from trainer.backbones import IMAGENET, NO_WEIGHTS
from trainer.ledger import LEDGER_FILE, Ledger, Pick, Setting, Speed
from trainer.ranking import Standing, complete, of_newest_machine, pareto, rankings, standings, start_order
from trainer.recipe import Recipe
from trainer.task import Outcome, Task

MARK = "†"  # beside the name of a network that is not ranked
FRONT_MARK = "*"  # beside the rank of a network than which none is both faster and better
APART = (
    "Networks that started at ImageNet weights and networks that started at random values are ranked apart: "
    "between the two the weights would decide, not the encoder."
)
FIGURES = (
    "A figure is the mean ± the standard deviation over folds; the seeds of a fold are averaged first. In each fold "
    "pixels are pooled over the pictures of a data set, and data sets count alike. The scale of a test picture was "
    "told, not estimated: from the set's own masks, as the cell diameter that is shown with the set, unless that was "
    "given by hand. F-score and Dice are the same figure. "
    "Score: mean Dice of nucleus and whole cell. Count error: mean absolute difference, cells a picture. "
    "The best of a column is marked among the ranked networks of one start; "
    f"{FRONT_MARK} stands beside the ranks of a Pareto front: none of the others is both faster and better."
)


class NoComparison(StationError):
    """A comparison that the ledger does not hold."""


@dataclass(frozen=True, slots=True)
class Results:
    """One comparison. `networks` are sorted by start (ImageNet first), those that are ranked, then the best first."""

    setting: Setting
    recipe: Recipe
    outcomes: tuple[Outcome, ...]
    networks: tuple[Standing, ...]
    by_dataset: Mapping[str, tuple[Standing, ...]]  # the figures of one set's pictures; empty where there is one set
    speeds: Mapping[str, Speed]
    failures: Mapping[Task, str]
    pick: Pick | None  # the newest

    @property
    def rankings(self) -> dict[str, list[Standing]]:
        """start -> ranked networks, the best first."""
        return rankings(self.networks)

    @property
    def ranked(self) -> list[Standing]:
        """The networks that may be compared; the others did not sit all shared exams."""
        return complete(self.networks)

    @property
    def losses(self) -> list[str]:
        return sorted({standing.loss for standing in self.networks})

    @property
    def starts(self) -> list[str]:
        return sorted({standing.start for standing in self.networks}, key=start_order)

    def of(self, standing: Standing) -> list[Outcome]:
        """The outcomes that a network's figures are from."""
        own = (standing.backbone, standing.loss, standing.start)
        return [
            outcome
            for outcome in self.outcomes
            if (outcome.task.backbone, outcome.task.loss, outcome.task.start) == own
            and (outcome.task.fold, outcome.task.seed) in standing.exams
        ]

    def picked(self) -> Standing | None:
        """The network of the pick, if there is one and its outcomes are there."""
        own = self.pick and (self.pick.backbone, self.pick.loss, self.pick.start)
        return next((s for s in self.networks if (s.backbone, s.loss, s.start) == own), None)


def results_of(ledger: Ledger, setting: Setting) -> Results:
    """All that the ledger knows of a comparison, also while it still runs. Raises LedgerError."""
    outcomes, speeds = ledger.outcomes(setting.id), ledger.speeds(setting.id)
    picks = ledger.picks(setting.id)
    sets = sorted(setting.sources) if len(setting.sources) > 1 else []
    return Results(
        setting=setting,
        recipe=recipe_of(setting),
        outcomes=tuple(outcomes),
        networks=_sorted(standings(outcomes, speeds, None, setting.division)),
        by_dataset={name: _sorted(standings(outcomes, speeds, name, setting.division)) for name in sets},
        speeds=speeds,
        failures=ledger.failures(setting.id),
        pick=picks[-1] if picks else None,
    )


def recipe_of(setting: Setting) -> Recipe:
    """The recipe of a comparison, but for backbone and loss. Raises NoComparison where another version knows more."""
    try:
        return Recipe.model_validate_json(setting.recipe)
    except ValidationError as cause:
        raise NoComparison(
            f"the recipe of comparison {setting.id} is of version {setting.package_version} and not understood here "
            f"({cause.errors()[0]['msg']})"
        ) from cause


def open_ledger(runs: Path) -> Ledger:
    """The ledger of a folder of runs. Raises NoComparison where there is none, LedgerError where it is unreadable."""
    path = runs / LEDGER_FILE
    if not path.is_file():
        raise NoComparison(f"there is no ledger {path}: run `trainer compare`, or name its folder with --runs")
    return Ledger(path)


def find(settings: Sequence[Setting], told: str | None) -> Setting:
    """The comparison whose id begins as told, else the newest. Raises NoComparison naming the known ones."""
    found = [setting for setting in settings if told is None or setting.id.startswith(told)]
    if not settings:
        raise NoComparison("the ledger holds no comparison yet: run `trainer compare` first")
    if not found or (told is not None and len(found) > 1):
        known = ", ".join(f"{setting.id} ({setting.created_at[:10]})" for setting in settings)
        problem = "several comparisons begin with" if found else "there is no comparison"
        raise NoComparison(f"{problem} '{told}'; known: {known}")
    return found[-1]


def home(runs: Path, setting: Setting) -> Path:
    """The folder of a comparison's trainings and of its page."""
    return runs / f"compare-{setting.id}"


def facts(results: Results) -> list[tuple[str, str]]:
    """What was compared, as (name, value) in words."""
    setting = results.setting
    return [
        ("recipe", f"{results.recipe.name}, digest {results.recipe.digest[:12]} (without backbone and loss)"),
        ("budget", _budget(results)),
        ("data", f"{_sets(setting)}; digest {setting.data_sha256[:12]}"),
        ("folds", _folds(results)),
        ("starts", _starts(results)),
        ("trainings", f"{len(results.outcomes)} finished, {len(results.failures)} failed"),
        ("latency", _latency(results.speeds)),
        ("made by", f"wbc-station {setting.package_version}, begun {setting.created_at}"),
    ]


def verdicts(results: Results) -> list[str]:
    """What came out, a sentence each: the best of each ranking with its Pareto front, then the pick."""
    told = [_best(results, start, own) for start, own in results.rankings.items()]
    if results.networks and not told:
        told = ["Most networks share no fold that they were tested on, so there is no ranking yet."]
    if results.pick:
        pick = results.pick
        told.append(f"Picked on {pick.picked_at[:10]} by the rule '{pick.rule}': {pick.reason}.")
    return told


def start_words(start: str) -> str:
    """As a table says it."""
    return {IMAGENET: "ImageNet", NO_WEIGHTS: "random"}.get(start, start)


def from_words(start: str) -> str:
    """As a sentence says it, after "from"."""
    return {IMAGENET: "ImageNet weights", NO_WEIGHTS: "random values"}.get(start, start)


def failed(results: Results) -> list[tuple[str, str]]:
    """(training, reason), by name."""
    return sorted((task.folder_name, reason) for task, reason in results.failures.items())


def incomplete(results: Results) -> str:
    """Which networks are not ranked and why, and how much lies beyond the figures; empty where nothing does."""
    told = []
    if unranked := [s for s in results.networks if not s.is_complete]:
        every = frozenset[tuple[int, int]]().union(*(s.exams for s in results.ranked))
        names = [f"{s.name}: {len(s.exams & every)} of {len(every)}" for s in unranked]
        told.append(f"{MARK} Not ranked, as not tested on every fold: {'; '.join(names)} trainings.")
    if beyond := len(results.outcomes) - sum(len(s.exams) for s in results.networks):
        told.append(
            f"Compared on the folds and seeds that most networks share; {beyond} further trainings are left out."
        )
    return " ".join(told)


def _sorted(found: Sequence[Standing]) -> tuple[Standing, ...]:
    return tuple(sorted(found, key=lambda s: (start_order(s.start), not s.is_complete, -s.score.mean, s.name)))


def _best(results: Results, start: str, own: Sequence[Standing]) -> str:
    front = pareto(own)
    rivals = f"the best of {len(own)}" if len(own) > 1 else "the only one"
    text = f"From {from_words(start)}: {_short(own[0])} scores {_score(own[0])}, {rivals}."
    if front:
        steps = ", ".join(f"{_short(s)} ({s.milliseconds:.0f} ms, {s.score.mean:.4f})" for s in front)
        text += f" Pareto front, the fastest first: {steps}."
    return text


def _short(standing: Standing) -> str:
    return f"{standing.backbone} with {standing.loss}"


def _score(standing: Standing) -> str:
    deviation = standing.score.deviation
    return f"{standing.score.mean:.4f}" + ("" if deviation is None else f" ± {deviation:.4f}")


def _budget(results: Results) -> str:
    recipe = results.recipe
    most = recipe.epochs * recipe.steps_per_epoch
    taken = sorted({outcome.steps for outcome in results.outcomes})
    spent = f"; taken: {' to '.join(map(str, dict.fromkeys((taken[0], taken[-1]))))}" if taken else ""
    return f"at most {most} optimizer steps of {recipe.batch} pictures of {recipe.input_px} px{spent}"


def _sets(setting: Setting) -> str:
    return "; ".join(
        f"{name}, {pictures} pictures, cells of {setting.cell_diameters[name]:g} px"
        for name, pictures in sorted(setting.sources.items())
    )


def _folds(results: Results) -> str:
    """A fold of a network counts as trained with its first finished training; failed ones are to be done yet."""
    setting, finished = results.setting, [outcome.task for outcome in results.outcomes]
    networks = {(task.backbone, task.loss, task.start) for task in (*finished, *results.failures)}
    done = len({(task.backbone, task.loss, task.start, task.fold) for task in finished})
    every, seeds = len(networks) * setting.folds, len({task.seed for task in finished})
    made = "by group" if setting.division == "groups" else "by data set, each left out once"
    trained = "all trained" if done == every > 0 else f"{done} of {every} trained over all networks"
    return f"{setting.folds} {made}, {trained}; {seeds} seed{'' if seeds == 1 else 's'}"


def _starts(results: Results) -> str:
    of_start = {start: sorted({s.backbone for s in results.networks if s.start == start}) for start in results.starts}
    return "; ".join(f"{from_words(start)}: {', '.join(names)}" for start, names in of_start.items()) or "none yet"


def _latency(speeds: Mapping[str, Speed]) -> str:
    """Of one machine; what others took cannot stand beside it."""
    newest = of_newest_machine(speeds)
    ways = sorted({f"{s.engine} on {s.machine}, a picture of {s.picture} px" for s in newest.values()})
    others = sorted(speeds.keys() - newest.keys())
    elsewhere = f"; not counted, as measured on another machine: {', '.join(others)}" if others else ""
    return "; ".join(ways) + ", the network alone" + elsewhere if ways else "not measured"
