"""`trainer calibrate`: what is normal for a model, so that a station can tell what is not; how it tells cells apart."""

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
    model_name,
    samples_of,
    splits_option,
    threads_option,
)

if TYPE_CHECKING:
    from station.contract.bundle import Bundle
    from station.contract.manifest import Manifest
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
@threads_option
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
    """Measure stain, focus and light of training pictures, how cells are told apart, and when a count is doubtful.

    Touching cells are parted, and what the border cuts is counted or not, as most fields composed of DATA's own cells
    and painted ones are counted exactly.

    The station flags what is far from that: pictures out of focus, dark, overexposed, pale or of another stain, cells
    that are unsure, and what looks like a cell to some degree but is none. The limits of the last two are those that
    mark most of the wrong counts, and at most 7 % of the right ones, on fields composed of DATA's own cells.

    \b
    Example:
      trainer calibrate my-model.zip my-images -o my-model-calibrated.zip
    """
    model_name(output, None)
    from trainer.reference import ENOUGH_WRONG, marked

    samples = samples_of(data, layout, splits, "train")
    told, doubted = calibrated(bundle, samples, diameters_of(samples, cell_diameter), fields, threads, output)
    limits, how = told.reference, told.separation
    assert limits is not None
    right, wrong = marked(doubted, limits.unclear, limits.confidence)
    wrongly = sum(one.wrong for one in doubted)
    click.echo(
        f"wrote {output}: seeds stand {how.prominence:g} cell diameters above their saddle, of a cell at the border "
        f"{how.min_area_at_edge:g} discs are seen; of {fields} composed fields {wrongly} are counted wrong, "
        f"{wrong:.0%} of these are marked for review, and {right:.1%} of those counted right"
    )
    if wrongly < ENOUGH_WRONG:
        click.echo(
            f"fewer than {ENOUGH_WRONG} wrong counts tell nothing of where limits should lie: those are set that "
            "mark few right ones; --fields makes more"
        )


def calibrated(
    bundle: Path, samples: Sequence[Sample], diameters: Mapping[str, float], fields: int, threads: int, output: Path
) -> tuple[Manifest, list[Doubt]]:
    """Write the bundle with what was measured to `output`, which may be the same file; its manifest.

    Raises DataError as `reference` does.
    """
    from station.contract.bundle import read_bundle
    from station.engines import Setup, open_engine
    from trainer.apart import divided, separation
    from trainer.apart import fields as made_of
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
        apart = bar.track(
            made_of(fields, cells, grounds), total=fields + fields // 2, description="telling cells apart"
        )
        how, _ = separation(list(divided(apart, opened.manifest, network)), opened.manifest.separation)
        manifest = opened.manifest.model_copy(update={"separation": how})
        made = (compose(seed, cells, grounds) for seed in bar.track(range(fields), description="composed fields"))
        doubted = list(doubts(made, manifest, network))
    manifest = manifest.model_copy(update={"reference": reference(measured, doubted)})
    write_manifest(opened, manifest, output)
    return manifest, doubted


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
        if parent and inherited:
            trained = read_bundle(output)
            update = {"reference": inherited, "separation": parent.manifest.separation}
            write_manifest(trained, trained.manifest.model_copy(update=update), output)
        flags = (
            "flags are by the limits of the model that it comes from" if inherited else "no light or doubt is flagged"
        )
        words = f"not calibrated ({cause}): {flags}; `trainer calibrate` does it with more pictures"
    console.print(f"{output}: {words}", soft_wrap=True)


def write_manifest(bundle: Bundle, manifest: Manifest, output: Path) -> None:
    """The bundle once more, with another manifest, and golden results as cells are told apart by it."""
    from station.contract.bundle import MANIFEST, MODEL_CARD, bundle_of, write_bundle
    from trainer.card import counted_before
    from trainer.export import with_own_golden

    files = {name: content for name, content in bundle.files.items() if name != MANIFEST}
    if manifest.separation == bundle.manifest.separation:
        write_bundle(output, bundle_of(manifest, files), compact=True)
        return
    if MODEL_CARD in files:
        files[MODEL_CARD] = counted_before(files[MODEL_CARD].decode(errors="replace")).encode()
    write_bundle(output, with_own_golden(bundle_of(manifest, files)), compact=True)
