"""Tlemcen's bone marrow fields (ISNB): images/*.bmp, mask/*.bmp coloured by region.

The thresholds are the published ones: yellow cytoplasm, green nucleus, everything else background. A field may have no
white cell. Not published: groups.csv and counts.csv, as in `pairs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainer.datasets.encodings import ColourBoxes
from trainer.datasets.pairing import Finding, Listing, Pair, by_stem, counting_order, files_in, listed, tables_in, twins

# R > 150, G > 150, B < 100 and R < 100, G > 150, B < 100: colours are not pure.
COLOURS = ColourBoxes(cytoplasm=((151, 151, 0), (255, 255, 99)), nucleus=((0, 151, 0), (99, 255, 99)))
BMP = frozenset({".bmp"})


def recognises(folder: Path) -> bool:
    return any((folder / "mask").glob("*.[bB][mM][pP]")) and any((folder / "images").glob("*.[bB][mM][pP]"))


def listing(folder: Path) -> Listing:
    """Pairs by stem where the stems agree; what is left by order of the names, numbers in them counted."""
    images, masks = files_in(folder / "images", BMP), files_in(folder / "mask", BMP)
    pairs = by_stem(images, masks)
    partnered = {path for pair in pairs for path in pair}
    rest, findings = _by_order(
        folder, *([path for path in files if path not in partnered] for files in (images, masks))
    )
    findings += twins(images) + twins(masks)
    return listed(folder, folder.resolve().name, COLOURS, sorted([*pairs, *rest]), findings, tables_in(folder))


def _by_order(folder: Path, images: Sequence[Path], masks: Sequence[Path]) -> tuple[list[Pair], list[Finding]]:
    """Nothing is paired where the numbers differ: nobody can know which masks belong to which pictures."""
    if len(images) != len(masks):
        text = (
            f"{folder} has {len(images)} pictures and {len(masks)} masks that share no name ({_first(images, masks)}), "
            "so they cannot be paired by order; bring what is missing, or take the others out"
        )
        return [], [Finding(folder, text)]
    if not images:
        return [], []
    images, masks = (sorted(files, key=counting_order) for files in (images, masks))
    text = (
        f"{folder}: {len(images)} pictures have no mask of their name and were paired by order, such as "
        f"{images[0].name} with {masks[0].name}; look at the contact sheet (--sheet)"
    )
    return list(zip(images, masks, strict=True)), [Finding(folder, text, must_mend=False)]


def _first(images: Sequence[Path], masks: Sequence[Path]) -> str:
    return ", ".join(f"{path.parent.name}/{path.name}" for path in [*images[:1], *masks[:1]])
