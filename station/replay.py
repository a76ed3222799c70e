"""An image analysed again, held against what the database holds of it: does the number come out again? Only reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from station.contract.analysis import Analysis, Scale, ScaleSource, analyse
from station.contract.bundle import LEAST_INT8_DICE, LEAST_NUCLEUS_DICE, cell_dice
from station.contract.decoding import decode
from station.contract.errors import ImageError, StationError
from station.contract.manifest import NUCLEUS
from station.contract.masks import decode_mask
from station.database.records import History, StoredAnalysis, StoredModel
from station.database.store import Store
from station.originals import original
from station.registry import Loaded, load_active
from station.settings import Settings
from station.version import package_version


@dataclass(frozen=True, slots=True)
class Replay:
    """An image that was analysed again, beside what the database holds."""

    image_id: int
    path: str
    verdict: Literal["the same", "alike", "different"]
    wbc_count: int
    wbc_count_before: int
    cell_dice: float  # without masks the most that the areas allow
    nucleus_dice: float
    by_pixels: bool  # whether there were masks to compare with
    model: str
    model_sha256: str
    cell_diameter_px: float
    engine: str
    engine_before: str
    package_version: str
    package_version_before: str


def replay(
    history: History,
    store: Store,
    settings: Settings,
    *,
    trouble: Callable[[str], None] = lambda _sentence: None,
) -> Replay:
    """Analyse an image again with the model and the scale of its newest analysis, on the engine that is chosen now.

    `trouble` is called with a sentence where that engine fails and another one answers. Raises StationError where the
    image has no analysis, or none of its files holds it any more; BundleError where its model is not installed any
    more.
    """
    if not history.analyses:
        told = f"{history.status}, {history.reason}" if history.reason else history.status
        raise StationError(f"image {history.image_id} has no analysis that could be done again: it is {told}")
    before = history.analyses[-1]
    path, data = original(history)
    model = load_active(_installed(before, store), store, settings.engine, trouble)
    try:
        image = decode(data, max_megapixels=settings.limits.max_megapixels)
        scale = Scale(before.cell_diameter_px, cast(ScaleSource, before.cell_diameter_source))
        again = analyse(image, scale, model.manifest, model.engine)
    except ImageError as cause:
        raise StationError(f"{path}: {cause}") from cause
    return _compared(history, path, before, again, model, store.masks(before.analysis_id))


def _installed(analysis: StoredAnalysis, store: Store) -> StoredModel:
    for model in store.models():
        if model.sha256 == analysis.model_sha256:
            return model
    raise StationError(
        f"the model {analysis.model} ({analysis.model_sha256[:12]}) is not installed any more; "
        "`station model install BUNDLE` brings it back"
    )


def _compared(
    history: History,
    path: str,
    before: StoredAnalysis,
    again: Analysis,
    model: Loaded,
    masks: tuple[bytes, bytes] | None,
) -> Replay:
    identical, cell, nucleus = (
        (False, *_by_areas(before, again)) if masks is None else _by_pixels(masks, again, history.image_id)
    )
    alike = cell >= LEAST_INT8_DICE and nucleus >= LEAST_NUCLEUS_DICE and again.wbc_count == before.wbc_count
    return Replay(
        image_id=history.image_id,
        path=path,
        verdict="the same" if identical and alike else "alike" if alike else "different",
        wbc_count=again.wbc_count,
        wbc_count_before=before.wbc_count,
        cell_dice=cell,
        nucleus_dice=nucleus,
        by_pixels=masks is not None,
        model=before.model,
        model_sha256=before.model_sha256,
        cell_diameter_px=before.cell_diameter_px,
        engine=model.engine.name,  # of the one that answered: a standby may have stepped in
        engine_before=before.engine,
        package_version=package_version(),
        package_version_before=before.package_version,
    )


def _by_pixels(masks: tuple[bytes, bytes], again: Analysis, image_id: int) -> tuple[bool, float, float]:
    """(every pixel the same, Dice of whole cells, Dice of nuclei)."""
    try:
        labels, cells = map(decode_mask, masks)
    except ImageError as cause:
        raise StationError(f"the masks of image {image_id} are damaged; restore a backup of the database") from cause
    drawing = again.drawing
    if labels.shape != drawing.labels.shape:
        return False, 0.0, 0.0
    identical = np.array_equal(labels, drawing.labels) and np.array_equal(cells, drawing.cells)
    first = labels.astype(np.uint8)
    return identical, cell_dice(first, drawing.labels), cell_dice(_nuclei(first), _nuclei(drawing.labels))


def _nuclei(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(labels == NUCLEUS, np.uint8)


def _by_areas(before: StoredAnalysis, again: Analysis) -> tuple[float, float]:
    """(whole cells, nuclei): the most Dice that masks of these areas can have."""
    now = again.drawing.measured
    whole = _most_dice((c.area_px for c in before.cells), (c.area_px for c in now))
    return whole, _most_dice((c.nucleus_area_px for c in before.cells), (c.nucleus_area_px for c in now))


def _most_dice(first: Iterable[int], second: Iterable[int]) -> float:
    a, b = sum(first), sum(second)
    return 2 * min(a, b) / (a + b) if a + b else 1.0
