"""Days of painted pictures that are counted as their truth says: real files, real rows, masks that fit the pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from station.commission import PSEUDONYM_SALT, remember_folder
from station.contract.cells import Cell, measure
from station.contract.masks import encode
from station.database.records import AnalysisRecord, FileStamp, NewImage, StoredCell
from station.database.store import Store
from station.demo.smear import SmearField, SmearRecipe, paint
from station.settings import Camera, Database, Report, Settings
from station.watching import stamp_of

MORNING = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
NIGHT = datetime(2026, 11, 23, 22, 0, tzinfo=UTC)
STAMP = FileStamp(1, 1, 1)


@cache
def painted(recipe: SmearRecipe) -> tuple[SmearField, tuple[Cell, ...], bytes, bytes]:
    """A field with its cells and its masks as PNG."""
    made = paint(recipe)
    return made, measure(made.labels, made.instances), encode(made.labels), encode(made.instances)


def small(*cells: int) -> tuple[SmearRecipe, ...]:
    """Fields that are painted in no time."""
    return tuple(SmearRecipe(240, 180, 48.0, wbc=count, seed=7 + count) for count in cells)


def pixels(path: Path, image: np.ndarray, number: int) -> bytes:
    """A file like no other: one pixel tells its number, in a JPEG, which would blur it, a comment."""
    changed = image.copy()
    changed[0, 0] = (number % 256, number // 256, 0)
    data = cv2.imencode(path.suffix, changed[..., ::-1])[1].tobytes()
    if path.suffix == ".jpg":
        data = data[:2] + b"\xff\xfe\x00\x06%04d" % number + data[2:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return data


@dataclass
class Day:
    """A station whose database is filled picture by picture."""

    root: Path
    target: int = 0
    number: int = 0
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(5))

    def __post_init__(self) -> None:
        self.folder = self.root / "camera"
        self.folder.mkdir()
        report = Report(time_zone="Europe/Berlin", target_cells=self.target)
        place = Database(path=self.root / "station.db")
        self.settings = Settings(camera=Camera(folder=self.folder, settle_seconds=1), database=place, report=report)
        self.store = Store.open(place.path, clock=lambda: NIGHT, create=True)
        self.store.record_fact(PSEUDONYM_SALT, "salt")
        remember_folder(self.store, self.folder)

    def picture(
        self,
        recipe: SmearRecipe,
        at: datetime,
        *,
        name: str = "",
        slide: str = "S-1",
        file: bool = True,
        flags: tuple[str, ...] = (),
        model: str = "m",
        confidence: tuple[float, float] = (0.8, 0.99),
        areas: float = 1.0,
        quality: dict[str, float] | None = None,
    ) -> int:
        """A counted picture; `areas` multiplies those of its cells."""
        made, *_ = painted(recipe)
        self.number += 1
        path = self.folder / slide / (name or f"Image_{self.number:04d}.png")
        data = pixels(path, made.image, self.number) if file else b"%d" % self.number
        stamp = stamp_of(path.stat()) if file else STAMP
        new = NewImage(str(path), stamp, hashlib.sha256(data).hexdigest(), slide, at, rung=True)
        self.store.add_image(new)
        (lease,) = self.store.lease("test", 1)
        told = {"flags": flags, "model": model, "confidence": confidence, "areas": areas, "quality": quality}
        self.store.save_analysis(self.analysis(lease.image_id, recipe, **told))  # type: ignore[arg-type]
        return lease.image_id

    def analysis(
        self,
        image_id: int,
        recipe: SmearRecipe,
        *,
        flags: tuple[str, ...] = (),
        model: str = "m",
        confidence: tuple[float, float] = (0.8, 0.99),
        areas: float = 1.0,
        quality: dict[str, float] | None = None,
    ) -> AnalysisRecord:
        """What a model finds in a picture of that recipe."""
        _, cells, labels_png, cells_png = painted(recipe)
        return AnalysisRecord(
            image_id=image_id,
            model_sha256=model * 64,
            model=f"model {model}",
            engine="onnxruntime 1.30 cpu",
            settings_sha256="s",
            package_version="0.1.0",
            cell_diameter_px=recipe.cell_diameter_px,
            cell_diameter_source="told",
            flags=flags,
            seconds={"total": float(self.rng.gamma(9, 0.02))},
            cells=tuple(self.stored(cells, confidence, areas)),
            labels_png=labels_png,
            cells_png=cells_png,
            width=recipe.width,
            height=recipe.height,
            quality=quality or {},
        )

    def stored(self, cells: Sequence[Cell], confidence: tuple[float, float], areas: float) -> list[StoredCell]:
        return [
            StoredCell(
                *(cell.id, cell.x, cell.y, *cell.bbox),
                area_px=round(cell.area_px * areas * float(self.rng.normal(1, 0.08))),
                nucleus_area_px=cell.nucleus_area_px,
                cytoplasm_area_px=cell.cytoplasm_area_px,
                nc_ratio=cell.nc_ratio and round(cell.nc_ratio * float(self.rng.normal(1, 0.1)), 4),
                touches_edge=cell.touches_edge,
                confidence=round(float(self.rng.uniform(*confidence)), 4),
            )
            for cell in cells
        ]

    def usual(self, days: int = 3, each: int = 10, **told: object) -> None:
        """Pictures of earlier days, from the 16th on; their files are gone."""
        for number in range(days * each):
            at = MORNING - timedelta(days=7 - number // each, minutes=-7 * (number % each))
            self.picture(small(2, 1, 3)[number % 3], at, file=False, **told)  # type: ignore[arg-type]
