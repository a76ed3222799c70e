"""The camera's one scale: told, computed from the size of a pixel, or settled once from its pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from station.contract.analysis import Scale
from station.contract.errors import ImageError
from station.contract.imaging import RGB
from station.contract.scale import camera_diameter, estimate
from station.database.records import CAMERA_SCALE
from station.database.store import Store
from station.pipeline import load
from station.registry import Loaded, told_scale
from station.settings import Settings

CAMERA_ESTIMATES = "camera_cell_diameter_estimates"  # a fact: what the pictures told before the scale was settled, px

SETTLING_PICTURES = 20  # with a white cell, from which an unknown scale is settled: twenty tell it within 12 %
LEAST_PICTURES = 5  # with a white cell, from which it may be settled by hand


def scale_of(
    store: Store, settings: Settings, paths: Iterable[Path], model: Loaded, settled: Callable[[float], None]
) -> Callable[[RGB], Scale]:
    """The scale of every picture. Where it is not known yet, the pictures at `paths` are asked for it.

    `settled` is called when it is frozen, with the cells' diameter, px.
    """
    scale = known_scale(store, settings, model) or _settle(store, settings, paths, model, settled)
    one = scale or Scale(model.manifest.scale.default_camera_diameter_px, "default")
    return lambda _image: one


def known_scale(store: Store, settings: Settings, model: Loaded) -> Scale | None:
    """The scale at which every picture is counted: told by the settings, or settled; None while it is neither."""
    settled = settled_diameter(store, settings)
    return told_scale(settings.camera, model.manifest.scale) or (Scale(settled, "camera") if settled else None)


def settled_diameter(store: Store, settings: Settings) -> float | None:
    """The cells' diameter, px, that its pictures settled; None while they have not, or where the settings tell it."""
    told = settings.camera.cell_diameter_px != "auto" or settings.camera.um_per_px is not None
    frozen = store.fact(CAMERA_SCALE)
    return float(frozen) if isinstance(frozen, int | float) and not told else None


def _settle(
    store: Store, settings: Settings, paths: Iterable[Path], model: Loaded, settled: Callable[[float], None]
) -> Scale | None:
    """What the first pictures tell together; with enough of them it is frozen, and order matters no more."""
    known = store.fact(CAMERA_ESTIMATES)
    found = list(known) if isinstance(known, list) else []
    found += _estimates(paths, settings.limits.max_megapixels, model)
    if not found:
        return None
    diameter_px = round(camera_diameter(found), 1)
    store.record_fact(CAMERA_ESTIMATES, found)
    if len(found) < SETTLING_PICTURES:
        return Scale(diameter_px, "estimated")
    store.record_fact(CAMERA_SCALE, diameter_px)
    settled(diameter_px)
    return Scale(diameter_px, "camera")


def keep_scale(store: Store, diameters_px: Sequence[float]) -> float:
    """Freeze the camera's scale by what these pictures told, px. Pictures that are counted keep theirs."""
    diameter_px = round(camera_diameter(diameters_px), 1)
    store.record_fact(CAMERA_ESTIMATES, list(diameters_px))
    store.record_fact(CAMERA_SCALE, diameter_px)
    return diameter_px


def _estimates(paths: Iterable[Path], max_megapixels: float, model: Loaded) -> list[float]:
    found = []
    for path in paths:
        try:
            picture = load(path, max_megapixels)
        except ImageError:
            continue  # told when its turn comes to be analysed
        scale = estimate(picture.image, model.manifest, model.engine)
        if scale.source == "estimated":
            found.append(scale.cell_diameter_px)
    return found
