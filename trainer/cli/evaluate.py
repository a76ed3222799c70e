"""`trainer evaluate`: the scores of a bundle on whole pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
from rich.console import Console

from trainer.cli.context import (
    cell_diameter_option,
    data_argument,
    demand_named,
    diameters_of,
    given,
    layout_option,
    runs_option,
    samples_of,
    splits_option,
    threads_option,
    warn,
)
from trainer.cli.duel import Ground, end, fought, scored
from trainer.cli.exams import EXAMS, Exam, stress_under

if TYPE_CHECKING:
    from station.contract.bundle import Bundle
    from trainer.datasets.samples import Sample
    from trainer.evaluate import ImageScore
    from trainer.runs import DuelRecord, RunFolder


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@data_argument
@layout_option
@splits_option
@click.option("--role", type=click.Choice(["train", "val"]), default="val", show_default=True)
@cell_diameter_option
@click.option("--untold", is_flag=True, help="Estimate the scale of each picture instead.")
@click.option(
    "--against", type=click.Path(path_type=Path), help="Hold it against this older bundle, on the same pictures."
)
@click.option("--counting", is_flag=True, help="Count composed and painted fields with exact truth instead.")
@click.option("--stress", is_flag=True, help="Score pictures and count composed fields under disturbances instead.")
@click.option("--scale", is_flag=True, help="Estimate scales instead: of single pictures, and of 20 drawn by chance.")
@click.option("--marks", is_flag=True, help="Tell instead how many wrong and right counts are marked for review.")
@click.option(
    "--disturbance",
    "disturbances",
    metavar="WORD",
    multiple=True,
    help="With --stress, only those with it in their name; may be repeated.",
)
@click.option(
    "--fields",
    type=click.IntRange(min=1),
    help="How many are composed, with --scale how many draws there are.  "
    f"[default: {', '.join(f'{exam.seeds} of {word}' for word, exam in EXAMS.items())}]",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the first field, or draw.")
@click.option("--per-image", is_flag=True, help="One line per picture as well.")
@threads_option
@click.option("--into", "run", help="Note the figures in this run, for the card of the model that it exports.")
@runs_option
def command(
    bundle: Path,
    data: tuple[Path, ...],
    layout: str | None,
    splits: Path | None,
    role: Literal["train", "val"],
    cell_diameter: tuple[str, ...],
    untold: bool,
    against: Path | None,
    counting: bool,
    stress: bool,
    scale: bool,
    marks: bool,
    disturbances: tuple[str, ...],
    fields: int | None,
    seed: int,
    per_image: bool,
    threads: int,
    run: str | None,
    runs: Path,
) -> None:
    """Score a BUNDLE on whole pictures, through the same code as the station.

    With --against, the figures of both bundles stand side by side, and a sentence says whether BUNDLE is worse than the
    older one; neither may have learnt from a picture of DATA. The exit code is 0 only where it is shown to be not
    worse: at least 20 pictures in 5 groups, with 95 % no mean loss of more than 0.005 Dice of cell or nucleus, and
    counts as good.

    With --counting, fields are composed of the whole single cells of DATA on its own ground without cells: 0 to 15
    cells, a third of them touching another, at magnifications and under light of many cameras; and painted. Their truth
    is exact, so cells that are merged, split or made up can be told.

    With --stress, the pictures of DATA, their scale told, and composed fields, nothing told, are shown brighter,
    darker, out of focus, magnified, turned and so on: a line per disturbance, with what changes against the same
    pictures undisturbed. A star marks a loss of more than 0.02 Dice, or of 3 points of exact counts.

    With --scale, the cell diameter of each picture is estimated from its pixels and held against its mask: how far
    single pictures are off, and how often 20 of a set, drawn by chance, come within 12 % of its median together, as a
    station settles the scale of its camera.

    With --marks, composed fields and the pictures of DATA are counted, their scale told and not: how many of the wrong
    counts are marked for review, how many of the right ones, and which flags they have.

    \b
    Example:
      trainer evaluate my-model.zip my-images
      trainer evaluate my-model.zip data/bccd data/zheng --splits data/splits.csv \\
          --cell-diameter bccd=162 --cell-diameter zheng=75
      trainer evaluate my-model.zip my-images --counting
      trainer evaluate my-model.zip my-images --stress --fields 30
      trainer evaluate my-model.zip my-images --stress --disturbance brightness --fields 300
      trainer evaluate my-model.zip my-images --scale
      trainer evaluate my-model.zip my-images --marks
      trainer evaluate my-model.zip my-test --against "$(station model path)"
    """
    from station.contract.bundle import read_bundle
    from trainer.display import per_image_table, score_table, show
    from trainer.evaluate import by_dataset
    from trainer.runs import open_run

    if given("role") and not splits:
        raise click.UsageError("--role chooses rows of a table: name it with --splits")
    exam = _exam({"--counting": counting, "--stress": stress, "--scale": scale, "--marks": marks}, disturbances)
    folder = open_run(runs, run) if run else None
    opened = read_bundle(bundle)
    older = read_bundle(demand_named(against, "--against")) if against is not None else None
    samples = samples_of(data, layout, splits, role)
    if exam:
        told = diameters_of(samples, cell_diameter)
        exam.run(opened, samples, told, range(seed, seed + (fields or exam.seeds)), threads)
        return
    ground = Ground(samples, None if untold else diameters_of(samples, cell_diameter))
    ground = replace(ground, caveat=_caveat(opened, older, samples))
    console = Console(markup=False, highlight=False)
    new = scored(opened, ground, console, threads)
    if per_image:
        show(per_image_table(new.scores))
    duel = fought(scored(older, ground, console, threads), new, ground) if older else None
    if duel is None:
        for dataset, own in by_dataset(new.scores).items():
            show(score_table(dataset, own))
    if folder:
        rows = f"{role} rows of " if splits else ""
        _note(folder, rows, "estimated" if untold else "told", by_dataset(new.scores), duel)
    if duel:
        end(duel, bundle, console)


def _caveat(opened: Bundle, older: Bundle | None, samples: Sequence[Sample]) -> str:
    """What has to be said of the pictures beside a verdict. Raises DataError where models meet on what one learnt."""
    from trainer.learnt import demand_unseen, not_told, seen_of

    if older is None:
        if seen := seen_of(opened, samples):
            warn(f"{opened.manifest.name} learnt from {len(seen)} of these {len(samples)} pictures; they flatter it")
        return ""
    for bundle in (opened, older):
        demand_unseen(bundle, samples)
    return not_told(opened, older)


def _exam(told: Mapping[str, bool], disturbances: Sequence[str]) -> Exam | None:
    """Which one, if any. Raises UsageError where options contradict each other."""
    if disturbances and not told["--stress"]:
        raise click.UsageError("--disturbance goes with --stress")
    chosen = [word for word, is_told in told.items() if is_told]
    beside = given("untold", "against", "per_image", "run") if chosen else given("fields", "seed")
    if beside and not chosen:
        raise click.UsageError(f"{', '.join(beside)} goes with {', '.join(told)}")
    if beside or len(chosen) > 1:
        raise click.UsageError(f"{chosen[0]} does not go with {', '.join([*chosen[1:], *beside])}")
    if disturbances:
        return stress_under(disturbances)
    return EXAMS[chosen[0]] if chosen else None


def _note(
    folder: RunFolder,
    rows: str,
    scale: str,
    scores: Mapping[str, Sequence[ImageScore]],
    duel: DuelRecord | None,
) -> None:
    from trainer.evaluate import summary

    record = folder.load()
    noted = {f"{rows}{dataset}, scale {scale}": summary(own) for dataset, own in scores.items()}
    folder.save(record.model_copy(update={"metrics": record.metrics | noted, "duel": duel or record.duel}))
