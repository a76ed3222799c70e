"""The golden gate for an engine of this machine: each way that tiles take through it must come to the same masks."""

from __future__ import annotations

import numpy as np

from station.contract.analysis import Scale, prepare
from station.contract.bundle import LEAST_GOLDEN_DICE, LEAST_INT8_DICE, Bundle, GoldenResult, cell_dice, prove
from station.contract.decoding import decode
from station.contract.errors import BundleError
from station.contract.imaging import RGB
from station.engines import REFERENCE, Engine, TileUnfit, finite_answer, open_engine

_WIDE = 704, 960  # px, height and width, multiples of every stride: larger than what may come in batches


def prove_engine(bundle: Bundle, engine: Engine, precision: str) -> tuple[GoldenResult, ...]:
    """The golden gate for single tiles, and for batches and large tiles, which may take other ways through the engine.

    Raises BundleError where it does not reproduce a golden picture, EngineError where it fails.
    """
    least = least_cell_dice(precision)
    golden = prove(bundle, engine, least_cell_dice=least)
    if engine.batch > 1:
        prove(bundle, lambda tiles: engine(tiles.repeat(engine.batch, axis=0))[-1:], least_cell_dice=least)
        _prove_wide(bundle, engine, least)
    return golden


def least_cell_dice(precision: str) -> float:
    """What the golden gate asks; bfloat16 has eight significant bits, as int8 has."""
    return LEAST_INT8_DICE if precision in ("int8", "bfloat16") else LEAST_GOLDEN_DICE


def _prove_wide(bundle: Bundle, engine: Engine, least: float) -> None:
    """Held against the reference, since the golden masks are those of smaller tiles."""
    reference = open_engine(bundle, REFERENCE)
    for golden in bundle.manifest.golden:
        scale = Scale(golden.cell_diameter_px, "told")
        tiles = _wide(prepare(decode(bundle.files[golden.image]), scale, bundle.manifest).tile)[None]
        try:
            answer = finite_answer(engine, tiles)
        except TileUnfit:  # no picture takes this way
            return
        found, expected = (one[0].argmax(axis=-1).astype(np.uint8) for one in (answer, reference(tiles)))
        if not (dice := cell_dice(found, expected)) >= least:
            raise BundleError(
                f"the model {bundle.manifest.name} does not prove itself here: a tile of {tiles.shape[2]} x "
                f"{tiles.shape[1]} px made of {golden.image} comes to other masks than by the reference, whole-cell "
                f"Dice {dice:.4f}; this engine must not serve it"
            )


def _wide(tile: RGB) -> RGB:
    """The tile again and again beside and below itself, up to that size."""
    height, width = (max(side, wide) for side, wide in zip(tile.shape[:2], _WIDE, strict=True))
    return np.pad(tile, ((0, height - tile.shape[0]), (0, width - tile.shape[1]), (0, 0)), mode="wrap")
