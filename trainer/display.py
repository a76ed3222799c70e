"""What the trainer's commands show: tables of scores, progress bars, one line per epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from trainer.evaluate import REGIONS, ImageScore, count_score, pooled, region_score

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


def per_image_table(scores: Sequence[ImageScore]) -> Table:
    """One line per picture."""
    table = Table("set", "image", *(f"Dice {region}" for region in REGIONS), "counted", "true", "cell diameter px")
    for s in scores:
        dice = (f"{region_score(s.confusion, region).dice:.4f}" for region in REGIONS)
        table.add_row(s.dataset, s.id, *dice, str(s.wbc_count), str(s.wbc_true), f"{s.cell_diameter_px:.0f}")
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
