"""`trainer results`: the tables, the page and the Markdown of comparisons that the ledger holds."""

from __future__ import annotations

import io
import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from station.contract.bundle import read_bundle
from station.contract.errors import StationError
from trainer.cli.context import TRAINING, TrainingMissing, need, runs_option, samples_of

if TYPE_CHECKING:
    from trainer.datasets.samples import Sample
    from trainer.ledger import Setting
    from trainer.results import Results

_ROOMY = 100  # columns of a terminal


class NotWritten(StationError):
    """A file that cannot take the results."""


@click.command()
@click.argument("comparisons", nargs=-1, metavar="[COMPARISON]...")
@runs_option
@click.option("--markdown", "as_markdown", is_flag=True, help="As Markdown, under a line that names this command.")
@click.option("--model", "models", metavar="RUN", multiple=True, help="Add how this run, or this .zip, was made.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Into this file instead of the terminal.")
@click.option("--page", "page_file", type=click.Path(path_type=Path), help="Write the offline HTML page as well.")
def command(
    comparisons: tuple[str, ...],
    runs: Path,
    as_markdown: bool,
    models: tuple[str, ...],
    output: Path | None,
    page_file: Path | None,
) -> None:
    """Show the tables of a COMPARISON (the first letters of its id; default: the last begun), also while it runs.

    \b
    Example:
      trainer results
      trainer results 5e77149c --page comparison.html
      trainer results 5e77149c 01d0c0a1 --model 20261124T101500-resnet50-dice --markdown -o RESULTS.md
    """
    if page_file and len(comparisons) > 1:
        raise click.UsageError("--page shows one comparison")
    if models and not as_markdown:
        raise click.UsageError("--model is a section of the Markdown: add --markdown")
    from trainer.results import find, open_ledger, results_of

    ledger = open_ledger(runs)
    settings = ledger.comparisons()
    shown = [results_of(ledger, find(settings, told)) for told in comparisons or (None,)]
    with _into(output):
        if as_markdown:
            _print_markdown(shown, runs, models, output)
        for results in () if as_markdown else shown:
            print_results(results)
    if page_file:
        write_page(shown[0], runs, page_file, _samples(shown[0].setting))


def print_results(results: Results) -> None:
    """All tables, with what was compared and what came out."""
    from trainer.display import show
    from trainer.results import APART, FIGURES, facts, failed, incomplete, verdicts
    from trainer.tables import as_rich, grids

    console = Console(markup=False, highlight=False, soft_wrap=True)
    console.print(f"comparison {results.setting.id}")
    for name, value in facts(results):
        console.print(f"  {name}: {value}")
    gap = 1 if console.is_terminal and console.width < _ROOMY else 2
    for grid in grids(results):
        console.print()
        show(as_rich(grid, gap))
    console.print()
    for note in (FIGURES, incomplete(results), APART if len(results.starts) > 1 else "", *verdicts(results)):
        if note:
            console.print(note)
    for training, reason in failed(results):
        console.print(f"failed: {training}: {reason}")


def write_page(results: Results, runs: Path, path: Path, samples: Iterable[Sample]) -> None:
    """The offline page into `path`; pictures are drawn where samples and trained weights are at hand."""
    from trainer.page import galleries_of, page
    from trainer.results import home
    from trainer.runs import write_text

    with suppress(TrainingMissing):  # only the outlines need it, and the page says where they are missing
        need(*TRAINING)
    by_name = {(sample.dataset, sample.id): sample for sample in samples}
    galleries = galleries_of(results, home(runs, results.setting), by_name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise NotWritten(f"{path} cannot be written ({cause.strerror})") from cause
    write_text(path, page(results, galleries))
    click.echo(f"page: {path}")


def _samples(setting: Setting) -> list[Sample]:
    """The pictures of a comparison where they were; none where they are gone, which the page then says."""
    request = setting.request
    splits = Path(request.splits) if request.splits else None
    try:
        return samples_of([Path(folder) for folder in request.data], request.layout, splits, "train")
    except StationError:
        return []


def _print_markdown(shown: Sequence[Results], runs: Path, models: Sequence[str], output: Path | None) -> None:
    from trainer.page import markdown

    words = ["trainer", "results", *(results.setting.id for results in shown)]
    words += ["--runs", str(runs)] if runs != Path("runs") else []
    words += [word for run in models for word in ("--model", run)]
    words += ["--markdown", *(["-o", str(output)] if output else [])]
    click.echo(markdown(shown, shlex.join(words)), nl=False)
    for model in models:
        click.echo("\n" + _section(model, runs), nl=False)


def _section(model: str, runs: Path) -> str:
    """How a run was trained and scored, from its record, or a bundle, from its card."""
    from trainer.card import bundle_section, run_section
    from trainer.runs import open_run

    if model.endswith(".zip"):
        return bundle_section(read_bundle(Path(model)))
    return run_section(open_run(runs, model).load())


@contextmanager
def _into(output: Path | None) -> Iterator[None]:
    """What is printed meanwhile goes into the file, if one is named, and whole: a failure leaves it as it was."""
    if output is None:
        yield
        return
    from trainer.runs import write_text

    with redirect_stdout(io.StringIO()) as lines:
        yield
    if output.is_dir() or not output.absolute().parent.is_dir():
        raise NotWritten(f"{output} cannot be written: name a file in a folder that exists")
    write_text(output, lines.getvalue())
