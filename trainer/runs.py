"""A training run on disk: one folder with its record, its learning curve and its best weights."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import Field, ValidationError

from station.contract.errors import StationError
from station.contract.manifest import Frozen, Manifest, NetworkFile, NetworkScale, Provenance
from trainer.recipe import Recipe

HISTORY_COLUMNS = ("epoch", "loss", "score", "learning_rate", "seconds", "seconds_waiting")


class RunError(StationError):
    """A run that does not exist or cannot be used."""


class SourceRecord(Frozen):
    """One data set as it was trained on."""

    images: int
    held_out: int
    cell_diameter_px: float


class RunRecord(Frozen):
    """`run.json`: what was trained, from what, and how it scored."""

    run_id: str
    recipe: Recipe
    seed: int
    weights: str
    data_sha256: str
    sources: dict[str, SourceRecord]
    created_at: str
    package_version: str
    best_epoch: int | None = None
    score: float | None = None
    metrics: dict[str, dict[str, float]] = Field(default_factory=dict)
    ancestry: tuple[str, ...] = ()

    def manifest(self, name: str, networks: tuple[NetworkFile, ...], stride: int) -> Manifest:
        """The manifest of this run's model; golden images and weights are added by the export."""
        trained_on = tuple(f"{source} ({own.images} images)" for source, own in sorted(self.sources.items()))
        return Manifest(
            name=name,
            scale=NetworkScale(cell_diameter_px=self.recipe.cell_diameter_px, stride=stride),
            networks=networks,
            provenance=Provenance(
                backbone=self.recipe.backbone,
                loss=self.recipe.loss,
                recipe_sha256=self.recipe.digest,
                data_sha256=self.data_sha256,
                seed=self.seed,
                trained_on=trained_on,
                created_at=self.created_at,
                package_version=self.package_version,
                ancestry=self.ancestry,
            ),
            metrics=self.metrics,
        )


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where a run keeps its files."""

    path: Path

    @property
    def weights(self) -> Path:
        return self.path / "best.weights.h5"

    def save(self, record: RunRecord) -> None:
        (self.path / "run.json").write_text(record.model_dump_json(indent=2), encoding="utf-8")

    def load(self) -> RunRecord:
        """The record. Raises RunError where this is no run."""
        try:
            return RunRecord.model_validate_json((self.path / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValidationError) as cause:
            raise RunError(f"{self.path} is not a training run ({cause})") from cause

    def append_history(self, row: Mapping[str, float]) -> None:
        """One line of history.csv per epoch, flushed at once, so that a killed run leaves its curve."""
        path = self.path / "history.csv"
        is_new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as lines:
            writer = csv.DictWriter(lines, HISTORY_COLUMNS)
            if is_new:
                writer.writeheader()
            writer.writerow({key: f"{value:.6g}" for key, value in row.items()})


def new_run(runs: Path, recipe: Recipe, now: datetime) -> RunFolder:
    """A fresh folder below `runs`, named by time and model."""
    name = f"{now:%Y%m%dT%H%M%S}-{recipe.backbone}-{recipe.loss.replace('_', '-').replace('+', '-')}"
    path = runs / name
    try:
        path.mkdir(parents=True)
    except FileExistsError as cause:
        raise RunError(f"{path} exists already; wait a second and start again") from cause
    except OSError as cause:
        raise RunError(f"{runs} cannot take a run ({cause.strerror})") from cause
    return RunFolder(path)


def open_run(runs: Path, run: str) -> RunFolder:
    """A run by its name below `runs`, or by its path."""
    for path in (runs / run, Path(run)):
        if (path / "run.json").is_file():
            return RunFolder(path)
    known = sorted(p.parent.name for p in runs.glob("*/run.json"))
    raise RunError(f"there is no run '{run}' in {runs}; known: {', '.join(known) or 'none'}")
