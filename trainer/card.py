"""The model card: what a model was made of, how it scored, what it is not good for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from station.contract.bundle import MODEL_CARD, Bundle, bundle_of
from station.contract.errors import BundleError
from station.contract.manifest import Manifest, NetworkScale
from trainer.recipe import Recipe
from trainer.runs import RunRecord

CITATIONS = {
    "bccd": (
        "bccd: photographs from Shenggan/BCCD_Dataset (MIT, Copyright (c) 2017 shenggan); masks of P. P. Banik, "
        "R. Saha, K.-D. Kim, Expert Systems with Applications 149 (2020) 113211 (MIT, "
        "Copyright (c) 2020 Partha Pratim Banik)."
    ),
    "zheng": (
        "zheng: zxaoyou/segmentation_WBC, Dataset 1 (repository under GPL-3.0); X. Zheng, Y. Wang, G. Wang, J. Liu, "
        "Micron 107 (2018) 55-71, doi 10.1016/j.micron.2018.01.010. With thanks to Jiangxi Tecom Science Corporation."
    ),
}

_CARD = """\
# {name}

Segments white blood cells in stained smears into nucleus and cytoplasm. Research use only: no diagnosis, no
differential count; masks of nucleus and cytoplasm carry no lineage.

## Training
- U-Net, encoder `{backbone}`, weights at the start: {weights}; loss `{loss}`.
{picked}- Recipe `{recipe}` ({digest}), seed {seed}, best epoch {best_epoch} of {epochs}.
- {scale}
{sources}
- {painted:.0%} of the crops come from painted fields{composed}.

## Figures
Pooled Dice on whole pictures. "told": the cell diameter of the set was given; "estimated": nothing was.

| rows | pictures | nucleus | cytoplasm | whole cell | counted exactly | mean absolute count error |
|---|---|---|---|---|---|---|
{figures}
{duel}
## Not good for
- Erythroblasts, megakaryocytes, smudge cells and stains other than those above: untested.
- Pictures whose cell diameter nobody told: counts depend on it, compare the lines "told" and "estimated".
- Cells that overlap by more than a little are counted as one.

## Cite
{citations}
"""


@dataclass(frozen=True, slots=True)
class PrecisionRow:
    """How a network in another precision compares with the float32 one of its bundle."""

    precision: str
    megabytes: float
    golden_dice: float  # least whole-cell Dice over the golden pictures, 0..1
    fields: int  # painted ones that were compared
    mean_dice: float  # whole cell, over those fields
    least_dice: float
    counted_otherwise: int  # fields with another count

    def __str__(self) -> str:
        return (
            f"{self.precision}: {self.megabytes:.1f} MB, whole-cell Dice at least {self.golden_dice:.4f} on the golden "
            f"pictures, {self.mean_dice:.4f} on {self.fields} painted fields (least {self.least_dice:.4f}), "
            f"{self.counted_otherwise} of them counted otherwise"
        )


_PRECISIONS_HEADING = "## Other precisions\n"
_PRECISIONS = f"""\
{_PRECISIONS_HEADING}\
Each network beside the float32 one, in ONNX Runtime on a processor: least whole-cell Dice on the golden pictures, and
on painted fields from which no range was taken.

| network | MB | golden, least | painted fields | mean | least | counted otherwise |
|---|---|---|---|---|---|---|
{{rows}}
"""
_ROWS_FROM = len(_PRECISIONS.partition("{rows}")[0].removeprefix(_PRECISIONS_HEADING).splitlines())


def with_precision_rows(card: str, rows: Sequence[PrecisionRow]) -> str:
    """The card with these rows in the section of other precisions at its end, instead of those of the same name."""
    before, _, section = card.partition(_PRECISIONS_HEADING)
    if not rows:
        return card
    made = {row.precision for row in rows}
    kept = [line for line in section.splitlines()[_ROWS_FROM:] if line.startswith("| ") and line.split()[1] not in made]
    lines = [
        *kept,
        *(
            f"| {r.precision} | {r.megabytes:.1f} | {r.golden_dice:.4f} | {r.fields} | {r.mean_dice:.4f} "
            f"| {r.least_dice:.4f} | {r.counted_otherwise} |"
            for r in rows
        ),
    ]
    return f"{before.rstrip()}\n\n{_PRECISIONS.format(rows=chr(10).join(lines))}"


_LIMITS = "\n## Not good for\n"
_COUNTED_BEFORE = "The counts above were taken before `trainer calibrate` changed how cells are told apart.\n"


def counted_before(card: str) -> str:
    """The card of a model that tells cells apart otherwise than when its figures were measured."""
    figures, limits, rest = card.partition(_LIMITS)
    if not limits or _COUNTED_BEFORE in card:
        return card
    return f"{figures.rstrip()}\n\n{_COUNTED_BEFORE}{limits}{rest}"


def _composed(recipe: Recipe) -> str:
    if not recipe.composed_share:
        return ""
    (small, large), (pale, dark) = recipe.composed_size, recipe.composed_density
    changed = f" made {small:g} to {large:g} times as large and {pale:g} to {dark:g} times as deep in stain"
    varied = changed if (small, large, pale, dark) != (1, 1, 1, 1) else ""
    return f", {recipe.composed_share:.0%} from fields composed of single cells of the training pictures{varied}"


def _origin(record: RunRecord) -> str:
    picked = f"- Chosen in {record.picked}.\n" if record.picked else ""
    return picked + (f"- Its weights are an average: {record.averaged}.\n" if record.averaged else "")


def model_card(record: RunRecord, manifest: Manifest) -> str:
    """Markdown, from the run's record alone."""
    recipe = record.recipe
    return _CARD.format(
        name=manifest.name,
        backbone=recipe.backbone,
        weights=record.weights,
        loss=recipe.loss,
        picked=_origin(record),
        recipe=recipe.name,
        digest=recipe.digest[:12],
        seed=record.seed,
        best_epoch=record.best_epoch,
        epochs=_epochs(record),
        scale=_scale(manifest.scale),
        sources="\n".join(_sources(record)),
        painted=recipe.painted_share,
        composed=_composed(recipe),
        figures="\n".join(_figures(record)),
        duel=_duel(record),
        citations="\n".join(f"- {CITATIONS[name]}" for name in sorted(record.sources) if name in CITATIONS),
    )


def _epochs(record: RunRecord) -> str:
    """How many were trained, and how many might have been."""
    most = record.recipe.epochs
    return f"{most}" if record.epochs in (None, most) else f"{record.epochs} that were trained ({most} allowed)"


_SECTION = """\
## The model of run {run}

U-Net, encoder `{backbone}`, weights at the start: {weights}; loss `{loss}`; recipe `{recipe}` ({digest}), seed {seed},
best epoch {best_epoch} of {epochs}. {picked}

{sources}

Pooled Dice on whole pictures; "told": the cell diameter of the set was given; "estimated": nothing was.

| rows | pictures | nucleus | cytoplasm | whole cell | counted exactly | mean absolute count error |
|---|---|---|---|---|---|---|
{figures}
"""


def run_section(record: RunRecord) -> str:
    """Markdown: how one run was trained and scored, for a page of results; from the run's record alone."""
    recipe = record.recipe
    return _SECTION.format(
        run=record.run_id,
        backbone=recipe.backbone,
        weights=record.weights,
        loss=recipe.loss,
        recipe=recipe.name,
        digest=recipe.digest[:12],
        seed=record.seed,
        best_epoch=record.best_epoch,
        epochs=_epochs(record),
        picked=_origin(record).replace("- ", "").replace("\n", " ").strip(),
        sources="\n".join(_sources(record)),
        figures="\n".join(_figures(record)),
    )


def bundle_section(bundle: Bundle) -> str:
    """Markdown: what the card of a bundle tells of its training and its figures, for a page of results.

    Raises BundleError where it has no such card.
    """
    card = bundle.files.get(MODEL_CARD, b"").decode(errors="replace")
    _, begin, rest = card.partition("## Training")
    told, end, _ = rest.partition("## Not good for")
    if not (begin and end):
        raise BundleError(f"the model {bundle.manifest.name} has no card of its training; name one of `trainer export`")
    told = f"{begin}{told}".strip().replace("## ", "### ")
    return f"## The model {bundle.manifest.name} ({bundle.sha256[:12]})\n\n{told}\n"


def with_record(bundle: Bundle, record: RunRecord) -> Bundle:
    """The bundle of a run whose record has come further: its figures and its card are new, the network is not."""
    manifest = bundle.manifest.model_copy(update={"metrics": record.metrics})
    card = model_card(record, manifest) + _precisions_section(bundle.files[MODEL_CARD].decode())
    return bundle_of(manifest, dict(bundle.files) | {MODEL_CARD: card.encode()})


def _precisions_section(card: str) -> str:
    """What `with_precision_rows` put at the end of a card; empty where it did not."""
    _, heading, section = card.partition(_PRECISIONS_HEADING)
    return f"\n{heading}{section}" if heading else ""


def _duel(record: RunRecord) -> str:
    if record.duel is None:
        return ""
    return f"\n## Against the model {record.duel.against[:12]}\n{record.duel.words}\n"


def _scale(scale: NetworkScale) -> str:
    if scale.policy == "stretch":
        return f"Every picture is stretched to {scale.stretch_px} x {scale.stretch_px} px."
    return f"Cells measure {scale.cell_diameter_px:g} px at network scale."


def _sources(record: RunRecord) -> list[str]:
    return [
        f"- {name}: {own.images} pictures trained on, {own.held_out} held out by group for stopping; median cell "
        f"{own.cell_diameter_px:g} px."
        for name, own in sorted(record.sources.items())
    ]


def _figures(record: RunRecord) -> list[str]:
    if not record.metrics:
        return ["| none: the training ended with a loss that was no longer finite | | | | | | |"]
    return [
        f"| {name} | {f['images']:.0f} | {f['dice_nucleus']:.4f} | {f['dice_cytoplasm']:.4f} | {f['dice_cell']:.4f} "
        f"| {f['count_exact']:.1%} | {f['count_mae']:.3f} |"
        for name, f in record.metrics.items()
    ]
