"""The camera's one scale: told, computed from the size of a pixel, or settled once from its pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

from station.contract.analysis import Scale
from station.contract.errors import ImageError, Unreadable
from station.contract.imaging import RGB
from station.contract.scale import camera_diameter, estimate
from station.database.records import CAMERA_SCALE, Fact
from station.database.store import Store
from station.pipeline import load
from station.registry import Loaded, told_scale
from station.settings import Settings

Asked: TypeAlias = tuple[int, Path, RGB | None]  # the id of an image, where it lies, and itself if it is at hand

CAMERA_ESTIMATES = "camera_cell_diameter_estimates"  # a fact: what the pictures told before the scale was settled, px
CAMERA_ASKED = "camera_cell_diameter_asked"  # a fact: the ids of the pictures that were asked for it, the last of them

_MOST_REMEMBERED = 1000  # of these ids; who is asked again after so many others tells it twice, which does no harm
SETTLING_PICTURES = 20  # with a white cell, from which an unknown scale is settled: twenty tell it within 12 %
LEAST_PICTURES = 5  # with a white cell, from which it may be settled by hand


def scale_of(
    store: Store, settings: Settings, pictures: Iterable[Asked], model: Loaded, settled: Callable[[float], None]
) -> Callable[[RGB], Scale]:
    """The scale of every picture. Where it is not known yet, these `pictures` are asked for it, each once for good.

    `settled` is called when it is frozen, with the cells' diameter, px.
    """
    scale = known_scale(store, settings, model) or _settle(store, settings, pictures, model, settled)
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
    store: Store, settings: Settings, pictures: Iterable[Asked], model: Loaded, settled: Callable[[float], None]
) -> Scale | None:
    """What the first pictures tell together; with enough of them it is frozen, and order matters no more."""
    found, before = _listed(store, CAMERA_ESTIMATES), _listed(store, CAMERA_ASKED)
    asked = []
    for image_id, path, image in pictures:
        if image_id in before:
            continue
        try:
            found += _estimate(path, image, settings.limits.max_megapixels, model)
        except Unreadable:  # perhaps there again in a moment: it can be asked then
            continue
        asked.append(image_id)
    diameter_px = round(camera_diameter(found), 1) if found else None
    enough = len(found) >= SETTLING_PICTURES
    told: dict[str, Fact] = {CAMERA_SCALE: diameter_px} if enough else {}
    if asked:  # together: a station that dies before asks all of them again
        told |= {CAMERA_ESTIMATES: list(found), CAMERA_ASKED: [*before, *asked][-_MOST_REMEMBERED:]}
    # Nothing is written where somebody kept one while these pictures were looked at.
    if told and not store.record_facts(told, expected={CAMERA_SCALE: None}):
        return known_scale(store, settings, model)
    if diameter_px is None or not enough:
        return Scale(diameter_px, "estimated") if diameter_px else None
    settled(diameter_px)
    return Scale(diameter_px, "camera")


def keep_scale(store: Store, diameters_px: Sequence[float]) -> float:
    """Freeze the camera's scale by what these pictures told, px. Pictures that are counted keep theirs."""
    diameter_px = round(camera_diameter(diameters_px), 1)
    store.record_facts({CAMERA_ESTIMATES: list(diameters_px), CAMERA_SCALE: diameter_px})
    return diameter_px


def _listed(store: Store, name: str) -> list[float]:
    known = store.fact(name)
    return list(known) if isinstance(known, list) else []


def _estimate(path: Path, image: RGB | None, max_megapixels: float, model: Loaded) -> list[float]:
    """What a picture tells, px; nothing where it shows no white cell, or is none. Raises Unreadable."""
    try:
        shown = load(path, max_megapixels).image if image is None else image
    except Unreadable:
        raise
    except ImageError:
        return []  # told when its turn comes to be analysed
    scale = estimate(shown, model.manifest, model.engine)
    return [scale.cell_diameter_px] if scale.source == "estimated" else []
