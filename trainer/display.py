"""What the trainer's commands show: tables of scores, progress bars, one line per epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from trainer.average import Averaged
from trainer.counting import Tally
from trainer.evaluate import (
    REGIONS,
    ImageScore,
    by_dataset,
    count_score,
    pooled,
    region_score,
    selection_score,
    summary,
)
from trainer.marks import MarkScore
from trainer.scales import NEAR, PICTURES, QUANTILES, ScaleScore
from trainer.stress import UNDISTURBED, Change, Effect
from trainer.task import Outcome, Task

_WIDE = 400  # columns


def score_table(dataset: str, scores: Sequence[ImageScore]) -> Table:
    """Pixel scores of the regions, pooled over all pictures, under a line about the counts."""
    counts = count_score(scores)
    title = (
        f"{dataset}: {counts.images} pictures, counted exactly {counts.exact:.1%}, mean absolute error "
        f"{counts.mean_absolute_error:.3f}, bias {counts.bias:+.3f} cells a picture"
    )
    table = Table("pooled pixels", "precision", "sensitivity", "specificity", "Dice", "IoU", title=title)
    for region in REGIONS:
        score = region_score(pooled(scores), region)
        figures = (score.precision, score.sensitivity, score.specificity, score.dice, score.iou)
        table.add_row(region, *(f"{figure:.4f}" for figure in figures))
    return table


def duel_table(dataset: str, names: tuple[str, str], old: Sequence[ImageScore], new: Sequence[ImageScore]) -> Table:
    """The scores of two models on the same pictures, side by side, and what changed."""
    table = Table("pooled pixels", "", *names, "change", title=f"{dataset}: {len(new)} pictures")
    both = (pooled(old), pooled(new))
    for region in REGIONS:
        before, after = (asdict(region_score(matrix, region)) for matrix in both)
        for name in before:
            table.add_row(region, name, *_changed(before[name], after[name], ".4f"))
    before, after = (asdict(count_score(scores)) for scores in (old, new))
    for name, form in (("exact", ".1%"), ("mean_absolute_error", ".3f"), ("bias", "+.3f")):
        table.add_row("counts", name.replace("_", " "), *_changed(before[name], after[name], form))
    return table


def _changed(old: float, new: float, form: str) -> tuple[str, str, str]:
    return f"{old:{form}}", f"{new:{form}}", f"{new - old:+{form.lstrip('+')}}"


def per_image_table(scores: Sequence[ImageScore]) -> Table:
    """One line per picture."""
    table = Table("set", "image", *(f"Dice {region}" for region in REGIONS), "counted", "true", "cell diameter px")
    for s in scores:
        dice = (f"{region_score(s.confusion, region).dice:.4f}" for region in REGIONS)
        table.add_row(s.dataset, s.id, *dice, str(s.wbc_count), str(s.wbc_true), f"{s.cell_diameter_px:.0f}")
    return table


def counting_table(title: str, tallies: Mapping[tuple[str, str], Tally]) -> Table:
    """A line per (separation, scale); instances match at an IoU above 0.5."""
    columns = ("exact", "error", "bias", "precision", "recall", "F1", "IoU", "pairs merged", "lobed split")
    table = Table("separation", "scale", *columns, "false in 100 empty", title=title)
    for (separation, scale), own in tallies.items():
        counts = (f"{own.exact:.1%}", f"{own.mean_absolute_error:.3f}", f"{own.bias:+.3f}")
        instances = (f"{figure:.4f}" for figure in (own.precision, own.recall, own.f1, own.mean_iou))
        faults = ("–" if share is None else f"{share:.1%}" for share in (own.merged, own.split))
        empty = "–" if own.false_in_empty is None else f"{own.false_in_empty:.0f}"
        table.add_row(separation, scale, *counts, *instances, *faults, empty)
    return table


def stress_table(title: str, found: Mapping[str, Effect]) -> Table:
    """A line per disturbance, with a star where it costs too much; beside each figure, how it changed."""
    columns = list(found[UNDISTURBED].dice)
    dice = (f"{dataset}, Dice {region}" for dataset, region in columns)
    table = Table("", "disturbance", *dice, "counted exactly", "of fields", title=title)
    for name, effect in found.items():
        is_plain = name == UNDISTURBED
        figures = (_beside(effect.dice.get(column), ".4f", is_plain) for column in columns)
        exact = _beside(effect.exact, ".1%", is_plain)
        table.add_row("*" if effect.is_too_much else "", name, *figures, exact, str(effect.fields))
    return table


def scale_table(draws: int, scores: Mapping[str, ScaleScore]) -> Table:
    """A line per data set: the errors of single pictures, and the share of draws that come near the set's median."""
    quantiles = (f"{share:.0%}" for share in QUANTILES)
    title = f"scale untold: error of single pictures; {draws} draws of {PICTURES} pictures"
    near = f"within {NEAR:.0%}"
    table = Table("set", "pictures", "unknown", "median px", *quantiles, near, f"draws {near}", "by masks", title=title)
    for name, own in scores.items():
        errors = [f"{error:+.1%}" for error in own.errors] or ["–"] * len(QUANTILES)
        drawn = (own.drawn, own.drawn_by_masks) if own.images > PICTURES else (None, None)  # else all draws are one
        shares = ("–" if share is None else f"{share:.1%}" for share in (own.near, *drawn))
        table.add_row(name, str(own.images), f"{own.unknown:.1%}", f"{own.median_px:.0f}", *errors, *shares)
    return table


def marks_table(scores: Mapping[tuple[str, str], MarkScore]) -> Table:
    """A line per kind of picture and scale: what the mark for review catches, what it doubts, and the flags behind."""
    table = Table("pictures", "scale", "wrong", "of these marked", "right", "of these marked", title="marks for review")
    table.add_column("flags (of wrong, of right counts)", overflow="fold")
    for (kind, scale), own in scores.items():
        flags = (f"{flag} {wrong}, {right}" for flag, (wrong, right) in own.with_flag.items())
        parts = (own.wrong, own.wrong_marked), (own.right, own.right_marked)
        cells = (text for whole, part in parts for text in (str(whole), _part(part, whole)))
        table.add_row(kind, scale, *cells, "; ".join(flags))
    return table


def _part(part: int, whole: int) -> str:
    return f"{part} ({part / whole:.1%})" if whole else "–"


def _beside(change: Change | None, form: str, is_plain: bool) -> str:
    if change is None:
        return "–"
    return f"{change.value:{form}}" if is_plain else f"{change.value:{form}} {change.value - change.before:+{form}}"


def averages_table(found: Sequence[Averaged]) -> Table:
    """A line per share of the new weights: the score that selects, and Dice of nucleus and cell of each data set."""
    sets = list(by_dataset(found[0].scores))
    table = Table("of the new weights", "score", *(f"{name}, nucleus / cell" for name in sets), title="averages")
    for one in found:
        figures = (summary(own) for own in by_dataset(one.scores).values())
        dice = (f"{own['dice_nucleus']:.4f} / {own['dice_cell']:.4f}" for own in figures)
        table.add_row(f"{one.share:.0%}", f"{one.score:.5f}", *dice)
    return table


def figures_table(metrics: Mapping[str, Mapping[str, float]], title: str) -> Table:
    """The figures that a run keeps, one line per data set."""
    columns = sorted({key for figures in metrics.values() for key in figures})
    table = Table("set", *columns, title=title)
    for name, figures in metrics.items():
        table.add_row(name, *(f"{figures.get(key, float('nan')):.4g}" for key in columns))
    return table


def show(table: Table) -> None:
    """A table on a terminal; plain aligned lines, nothing cut off, where the output is a file or a pipe."""
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        table.box = None
        console = Console(markup=False, highlight=False, width=_WIDE)
    console.print(table)


def progress(console: Console) -> Progress:
    """A bar with the time left on a terminal; nothing where the output is a file or a pipe."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)


@dataclass
class TrainingBar:
    """Shows a training: a bar with time left on a terminal, one line per epoch everywhere."""

    console: Console
    steps: int
    epochs: int
    bar: Progress = field(init=False)
    task: TaskID = field(init=False)

    def __enter__(self) -> TrainingBar:
        self.bar = progress(self.console)
        self.task = self.bar.add_task("training", total=self.steps * self.epochs)
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def step(self, epoch: int, step: int, mean_loss: float) -> None:
        text = f"epoch {epoch + 1}/{self.epochs} loss {mean_loss:.4f}"
        self.bar.update(self.task, completed=epoch * self.steps + step + 1, description=text)

    def epoch(self, row: dict[str, float], is_best: bool) -> None:
        waiting = row["seconds_waiting"] / row["seconds"]
        self.console.print(
            f"epoch {row['epoch']:.0f}/{self.epochs}  loss {row['loss']:.4f}  score {row['score']:.4f}"
            f"{' (best)' if is_best else ''}  {row['seconds']:.0f} s, {waiting:.1%} of it waiting for data"
        )


@dataclass
class ComparisonBar:
    """Shows a comparison: a bar in seconds of training on a terminal, one line per finished training everywhere."""

    console: Console
    epochs: int  # per training, at most
    total: int = 0
    bar: Progress = field(init=False)
    task: TaskID = field(init=False)
    done: dict[Task, float] = field(default_factory=dict)  # seconds that each took
    left: list[Task] = field(default_factory=list)

    def __enter__(self) -> ComparisonBar:
        self.bar = progress(self.console)
        self.task = self.bar.add_task("comparing", total=None)
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def planned(self, tasks: Sequence[Task], done: Mapping[Task, Outcome]) -> None:
        self.total = len(tasks)
        self.done = {task: outcome.seconds for task, outcome in done.items()}
        self.left = [task for task in tasks if task not in done]
        self.console.print(f"{len(tasks)} trainings, {len(done)} of them done before")

    def running(self, epochs: Mapping[Task, int]) -> None:
        expected = {task: expected_seconds(task, self.done) for task in self.left}
        under_way = sum(expected[task] * done / self.epochs for task, done in epochs.items() if task in expected)
        past = sum(self.done.values())
        names = ", ".join(f"{task.folder_name} {done}/{self.epochs}" for task, done in epochs.items() if done)
        self.bar.update(
            self.task,
            total=past + sum(expected.values()),
            completed=past + under_way,
            description=f"{len(self.done)}/{self.total} done  {names[:60]}",
        )

    def finished(self, outcome: Outcome) -> None:
        self.done[outcome.task] = outcome.seconds
        self.left.remove(outcome.task)
        score = selection_score([picture.score() for picture in outcome.pictures])
        self.console.print(
            f"{len(self.done)}/{self.total}  {outcome.task.folder_name}: score {score:.4f} on its test part, "
            f"best epoch {outcome.best_epoch} of {len(outcome.curve)}, {outcome.seconds:.0f} s"
        )

    def failed(self, task: Task, reason: str) -> None:
        self.left.remove(task)
        self.console.print(f"FAILED  {task.folder_name}: {reason}")


def expected_seconds(task: Task, done: Mapping[Task, float]) -> float:
    """How long a training will take: as the finished ones of its backbone did, else as all did; 1 before any."""
    alike = [seconds for other, seconds in done.items() if other.backbone == task.backbone]
    known = alike or list(done.values())
    return sum(known) / len(known) if known else 1.0
