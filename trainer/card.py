"""The model card: what a model was made of, how it scored, what it is not good for."""

from __future__ import annotations

from station.contract.manifest import Manifest
from trainer.runs import RunRecord

CITATIONS = {
    "bccd": (
        "bccd: photographs from Shenggan/BCCD_Dataset (MIT, Copyright (c) 2017 shenggan); masks of P. P. Banik, R. Saha, "
        "K.-D. Kim, Expert Systems with Applications 149 (2020) 113211 (MIT, Copyright (c) 2020 Partha Pratim Banik)."
    ),
    "zheng": (
        "zheng: zxaoyou/segmentation_WBC, Dataset 1 (repository under GPL-3.0); X. Zheng, Y. Wang, G. Wang, J. Liu, "
        "Micron 107 (2018) 55-71, doi 10.1016/j.micron.2018.01.010. With thanks to Jiangxi Tecom Science Corporation, China."
    ),
}


def model_card(record: RunRecord, manifest: Manifest) -> str:
    """Markdown, from the run's record alone."""
    return "\n".join(
        [
            f"# {manifest.name}",
            "",
            "Segments white blood cells in stained smears into nucleus and cytoplasm. Research use only: no diagnosis, no",
            "differential count; masks of nucleus and cytoplasm carry no lineage.",
            "",
            "## Training",
            f"- U-Net, encoder `{record.recipe.backbone}`, weights at the start: {record.weights}; loss "
            f"`{record.recipe.loss}`; recipe `{record.recipe.name}` ({record.recipe.digest[:12]}), seed {record.seed}, best "
            f"epoch {record.best_epoch} of {record.recipe.epochs}.",
            f"- Cells measure {manifest.scale.cell_diameter_px:g} px at network scale.",
            *_sources(record),
            f"- {record.recipe.painted_share:.0%} of the crops come from painted fields.",
            "",
            "## Figures",
            *_figures(record),
            "",
            "## Not good for",
            "- Erythroblasts, megakaryocytes, smudge cells and stains other than those above are untested.",
            "- A picture whose cell diameter is not known: tell it (`cell_diameter_px`), counts depend on it.",
            "- Cells that overlap by more than a little are counted as one.",
            "",
            "## Cite",
            *(f"- {CITATIONS[name]}" for name in sorted(record.sources) if name in CITATIONS),
            "",
        ]
    )


def _sources(record: RunRecord) -> list[str]:
    return [
        f"- {name}: {own.images} pictures trained on, {own.held_out} held out by group for stopping; median cell "
        f"{own.cell_diameter_px:g} px."
        for name, own in sorted(record.sources.items())
    ]


def _figures(record: RunRecord) -> list[str]:
    lines = [
        "Pooled Dice on whole pictures, scale told:",
        "",
        "| set | pictures | nucleus | cytoplasm | whole cell | counted exactly | mean absolute error |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, f in record.metrics.items():
        lines.append(
            f"| {name} | {f['images']:.0f} | {f['dice_nucleus']:.4f} | {f['dice_cytoplasm']:.4f} | {f['dice_cell']:.4f} "
            f"| {f['count_exact']:.1%} | {f['count_mae']:.3f} |"
        )
    return lines
