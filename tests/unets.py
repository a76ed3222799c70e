"""What the exams of the U-Nets share: the list of candidates, noise to look at, and a run that one may come from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from trainer.backbones import BACKBONES
from trainer.recipe import Recipe
from trainer.runs import RunRecord

every_backbone = pytest.mark.parametrize("name", BACKBONES)


def noise(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.float32)


def answered(model: Any, images: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(model(images, training=False))


def record_of(name: str) -> RunRecord:
    return RunRecord(
        run_id="run",
        recipe=Recipe(name="x", backbone=name),
        seed=0,
        weights="none",
        data_sha256="0" * 64,
        sources={},
        created_at="2026-11-24T00:00:00+00:00",
        package_version="0",
    )
