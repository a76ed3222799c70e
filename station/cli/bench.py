"""`station bench`: how fast this machine counts."""

from __future__ import annotations

import tempfile
from contextlib import chdir
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from station.bench.contest import Rules, contest, has_keras, names_of
from station.bench.fields import Fields, crowded, painted
from station.bench.latency import WAYS, latency
from station.bench.picture import picture
from station.bench.rows import Bench, Latency, Soak
from station.bench.soak import soak
from station.bench.stand import Stand, stand_in
from station.bench.tables import sentences, tables
from station.cli.context import progress, show
from station.cli.ends import tidy_when_terminated
from station.contract.bundle import read_bundle
from station.contract.durable import write_whole
from station.contract.errors import EngineError, StationError
from station.engines import ENGINES, Option, options
from station.processor import this_processor
from station.registry import starter_path
from station.settings import Camera


def _engines(_context: click.Context, _option: click.Parameter, told: str | None) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in told.split(","))) if told else tuple(ENGINES)
    for name in names:
        if name not in ENGINES:
            raise click.BadParameter(f"there is no engine '{name}'; known: {', '.join(ENGINES)}")
    return names


@click.command("bench")
@click.option("--model", type=click.Path(path_type=Path), help="Bundle to measure (default: the starter model).")
@click.option("--engines", callback=_engines, help=f"Names with commas (default: {','.join(ENGINES)}).")
@click.option("--fields", default=200, show_default=True, type=click.IntRange(2), help="Pictures in the backlog.")
@click.option(
    "--cells", type=click.IntRange(0), help="White cells in each field (default: those of the demo day, 0-8)."
)
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1), help="Turns of each contender.")
@click.option("--threads", default=0, type=click.IntRange(0, 256), help="Threads of the network (default: all cores).")
@click.option("--beside-keras/--no-keras", "keras", default=None, help="Also Keras (default: where it is installed).")
@click.option("--latency", "files", type=click.IntRange(1), help="Instead: how soon so many files are rows.")
@click.option("--soak", "images", type=click.IntRange(1), help="Instead: the memory over so many pictures.")
@click.option("--work", type=click.Path(path_type=Path, file_okay=False), help="A folder on the disk to measure on.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures here (JSON).")
@click.option("--picture", "drawing", type=click.Path(path_type=Path, dir_okay=False), help="Draw them here (SVG).")
def command(
    model: Path | None,
    engines: tuple[str, ...],
    fields: int,
    cells: int | None,
    rounds: int,
    threads: int,
    keras: bool | None,
    files: int | None,
    images: int | None,
    work: Path | None,
    output: Path | None,
    drawing: Path | None,
) -> None:
    """Measure how fast this machine counts: every engine and precision, beside the loop that one would write first.

    Painted fields of 1024 x 768 px are counted by the real station into a real database, in a temporary folder: the
    network alone, each stage, and end to end. Other work on the machine slows all of it; its load is shown.

    \b
    Example:
      station bench
      station bench --engines onnxruntime,openvino -o bench.json --picture bench.svg
      station bench --fields 20 --rounds 1 --no-keras
      station bench --cells 12 --fields 24 --rounds 1 --no-keras --engines onnxruntime
      station bench --latency 100
      station bench --soak 5000 --engines openvino
    """
    _refuse(files, images, keras, (output, drawing))
    tidy_when_terminated()  # half a gigabyte of pictures
    console = Console(markup=False, highlight=False)
    console.print(str(this_processor()), soft_wrap=True)
    made, bundle = _fields(cells), (model or starter_path()).absolute()
    output, drawing = output and output.absolute(), drawing and drawing.absolute()
    with (
        tempfile.TemporaryDirectory(prefix="station-bench-", dir=work and work.absolute()) as folder,
        chdir(folder),  # what measures is started where this process is, which may be a folder of somebody else
        progress(console) as bar,
    ):
        stand = _stand(Path(folder), bundle, engines, threads, made, bar)
        if files:
            report: Bench | Latency | Soak = _latency(stand, made, files, bar)
        elif images:
            report = _soak(stand, made, images, bar)
        else:
            report = _contest(stand, made, Rules(fields, rounds, has_keras() if keras is None else keras), bar)
    for sentence in sentences(report):
        console.print(sentence, soft_wrap=True)
    for table in tables(report):
        show(table)
    if output:
        _write(output, report.model_dump_json(indent=2) + "\n")
    if drawing and isinstance(report, Bench):
        _write(drawing, picture(report))


def _fields(cells: int | None) -> Fields:
    try:
        return painted() if cells is None else painted(crowded(cells))
    except ValueError as cause:
        raise click.UsageError(f"--cells {cells}: {cause}") from cause


def _refuse(files: int | None, images: int | None, keras: bool | None, written: tuple[Path | None, ...]) -> None:
    """What would be known to be in vain only after minutes."""
    if files and images:
        raise click.UsageError("--latency and --soak are measurements of their own; ask for one of them")
    if written[1] and (files or images):
        raise click.UsageError("--picture draws the comparison of the engines; leave --latency and --soak away")
    if keras and not has_keras():
        raise EngineError("Keras is not installed here; `pip install 'wbc-station[train]'` does it")
    for path in written:
        if path and not path.absolute().parent.is_dir():
            raise click.UsageError(f"there is no folder {path.absolute().parent} for {path.name}")


def _stand(folder: Path, model: Path, engines: tuple[str, ...], threads: int, fields: Fields, bar: Progress) -> Stand:
    asked = [option for option in options(read_bundle(model)) if option.engine in engines]
    if not asked:
        raise EngineError(f"the model {model} holds no network for {', '.join(engines)}")
    task = bar.add_task("proving the model", total=len(asked))

    def step(option: Option) -> None:
        bar.update(task, description=f"proving the model on {option}", advance=1)

    stand = stand_in(folder, model, asked, fields.cell_diameter_px, threads, step)
    bar.remove_task(task)
    return stand


def _contest(stand: Stand, fields: Fields, rules: Rules, bar: Progress) -> Bench:
    task = bar.add_task("measuring", total=rules.fields * rules.rounds * len(names_of(stand, rules)))

    def tell(name: str, done: int) -> None:
        bar.update(task, description=f"measuring {name}", advance=done)

    return contest(stand, fields, rules, tell)


def _latency(stand: Stand, fields: Fields, files: int, bar: Progress) -> Latency:
    task = bar.add_task("files that come one by one", total=files * len(WAYS))
    settle_seconds = Camera(folder=stand.camera).settle_seconds  # as a station has it unless it is told another
    return latency(stand, _serving(stand), fields, files, settle_seconds, lambda: bar.advance(task))


def _soak(stand: Stand, fields: Fields, images: int, bar: Progress) -> Soak:
    task = bar.add_task("counting", total=images)
    return soak(stand, _serving(stand), fields, images, lambda: bar.advance(task))


def _serving(stand: Stand) -> Option:
    """What `auto` takes of the engines that were asked for."""
    if not any(trial.serves for trial in stand.trials):
        raise EngineError(f"no engine serves here: {'; '.join(filter(None, (t.refusal for t in stand.trials)))}")
    return stand.chosen(stand.trials)


def _write(path: Path, text: str) -> None:
    try:
        write_whole(path, text)
    except OSError as cause:
        raise StationError(f"{path} cannot be written ({cause.strerror})") from cause
    click.echo(f"wrote {path}")
