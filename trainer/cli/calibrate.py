"""`trainer calibrate`: what is normal for a model, so that a station can tell what is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from trainer.cli.context import (
    cell_diameter_option,
    data_argument,
    diameters_of,
    layout_option,
    samples_of,
    splits_option,
)

if TYPE_CHECKING:
    from station.contract.bundle import Bundle
    from station.contract.manifest import Reference
    from trainer.datasets.samples import Sample
    from trainer.reference import Doubt

FIELDS = 200  # composed, where nobody tells how many


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@data_argument
@layout_option
@splits_option
@cell_diameter_option
@click.option("--fields", type=click.IntRange(min=20), default=FIELDS, show_default=True, help="How many are composed.")
@click.option("--threads", type=int, default=0, help="Threads of ONNX Runtime; 0 = all cores.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The bundle with its reference.")
def command(
    bundle: Path,
    data: tuple[Path, ...],
    layout: str | None,
    splits: Path | None,
    cell_diameter: tuple[str, ...],
    fields: int,
    threads: int,
    output: Path,
) -> None:
    """Measure stain, focus and light of training pictures, and from where on a count is doubtful.

    The station flags what is far from that: pictures out of focus, dark, overexposed, pale or of another stain, cells
    that are unsure, and what looks like a cell to some degree but is none. The limits of the last two are those that
    mark most of the wrong counts, and at most 12 % of the right ones, on fields composed of DATA's own cells.

    \b
    Example:
      trainer calibrate my-model.zip my-images -o my-model-calibrated.zip
    """
    from trainer.reference import marked

    samples = samples_of(data, layout, splits, "train")
    told, doubted = calibrated(bundle, samples, diameters_of(samples, cell_diameter), fields, threads, output)
    right, wrong = marked(doubted, told.unclear, told.confidence)
    wrongly = sum(one.wrong for one in doubted)
    click.echo(
        f"wrote {output}: of {fields} composed fields {wrongly} are counted wrong, {wrong:.0%} of these are marked for "
        f"review, and {right:.1%} of those counted right"
    )


def calibrated(
    bundle: Path, samples: Sequence[Sample], diameters: Mapping[str, float], fields: int, threads: int, output: Path
) -> tuple[Reference, list[Doubt]]:
    """Write the bundle with its reference to `output`, which may be the same file. Raises DataError as `reference`."""
    from station.contract.bundle import read_bundle
    from station.engines import Setup, open_engine
    from trainer.composites import compose
    from trainer.cutouts import stock
    from trainer.display import progress
    from trainer.reference import doubts, qualities, reference, stains_of

    opened = read_bundle(bundle)
    network = open_engine(opened, setup=Setup(threads=threads))
    cells, grounds = stock(samples, diameters)
    with progress(Console(stderr=True)) as bar:
        seen = bar.track(samples, description="measuring stain and focus")
        measured = list(qualities(seen, diameters, opened.manifest, network))
        stains_of(measured)  # before the minutes that the fields take
        made = (compose(seed, cells, grounds) for seed in bar.track(range(fields), description="composed fields"))
        doubted = list(doubts(made, opened.manifest, network))
    found = reference(measured, doubted)
    write_reference(opened, found, output)
    return found, doubted


def calibrate_trained(
    output: Path, samples: Sequence[Sample], diameters: Mapping[str, float], parent: Bundle | None, console: Console
) -> None:
    """Give the bundle of a training that has just ended its reference.

    Where its pictures are too few for one, that of the model that it descends from, if any.
    """
    from station.contract.bundle import read_bundle
    from trainer.datasets.samples import DataError

    try:
        calibrated(output, samples, diameters, FIELDS, 0, output)
        words = "calibrated: stations flag what is far from its training pictures"
    except DataError as cause:
        inherited = parent.manifest.reference if parent else None
        if inherited:
            write_reference(read_bundle(output), inherited, output)
        flags = (
            "flags are by the limits of the model that it comes from" if inherited else "no light or doubt is flagged"
        )
        words = f"not calibrated ({cause}): {flags}; `trainer calibrate` does it with more pictures"
    console.print(f"{output}: {words}", soft_wrap=True)


def write_reference(bundle: Bundle, found: Reference, output: Path) -> None:
    """The bundle once more, with another reference."""
    from station.contract.bundle import MANIFEST, bundle_of, write_bundle

    manifest = bundle.manifest.model_copy(update={"reference": found})
    files = {name: content for name, content in bundle.files.items() if name != MANIFEST}
    write_bundle(output, bundle_of(manifest, files), compact=True)
