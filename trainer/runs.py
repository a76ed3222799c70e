"""A training run on disk: one folder with its record, its learning curve, its best weights, and where it stands."""

from __future__ import annotations

import csv
import fcntl
import io
import math
import os
import shlex
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import Field, ValidationError

from station.contract.errors import StationError
from station.contract.manifest import Frozen, Manifest, NetworkFile, Provenance
from trainer.learnt import LEARNT
from trainer.recipe import Recipe

_HEAD_BYTES = 4096  # of a variable in a file of weights, at most
HISTORY_COLUMNS = ("epoch", "loss", "score", "learning_rate", "seconds", "seconds_waiting")

Ruling: TypeAlias = Literal["not worse", "worse", "open"]  # open: too few pictures to tell


class RunError(StationError):
    """A run that does not exist or cannot be used."""


class Checkpoint(Frozen):
    """`checkpoint.json`: what a training that was cut off needs to go on as if nothing had happened."""

    epochs: int = 0  # finished
    best_epoch: int = 0  # from 1; 0: the model that the training started from, or none
    best: float = -1.0
    history: tuple[dict[str, float], ...] = ()

    def after(self, row: dict[str, float]) -> Checkpoint:
        """One epoch further; `row` has HISTORY_COLUMNS, and Dice by region and data set."""
        done, score = self.epochs + 1, row["score"]
        is_best = score > self.best
        return Checkpoint(
            epochs=done,
            best_epoch=done if is_best else self.best_epoch,
            best=score if is_best else self.best,
            history=(*self.history, row),
        )


class SourceRecord(Frozen):
    """One data set as it was trained on."""

    images: int
    held_out: int
    cell_diameter_px: float


class DuelRecord(Frozen):
    """How a model did against an older one on the same pictures; see trainer.duel."""

    against: str = Field(description="hash of the older model's bundle")
    data_sha256: str = Field(description="of the pictures and their masks")
    pictures: int
    ruling: Ruling
    words: str


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
    epochs: int | None = Field(None, description="that were trained")
    score: float | None = None
    metrics: dict[str, dict[str, float]] = Field(default_factory=dict)
    ancestry: tuple[str, ...] = ()
    held_out_sha256: str = Field("", description="of the names of the pictures that choose the epoch")
    picked: str = Field("", description="the comparison and the reason for which this network was chosen")
    averaged: str = Field("", description="of what its weights are averages, where they are")
    duel: DuelRecord | None = None

    def manifest(self, name: str, networks: tuple[NetworkFile, ...], stride: int) -> Manifest:
        """The manifest of this run's model; golden images and weights are added by the export."""
        trained_on = tuple(f"{source} ({own.images} images)" for source, own in sorted(self.sources.items()))
        return Manifest(
            name=name,
            scale=self.recipe.network_scale(stride),
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

    @property
    def trained(self) -> Path:
        """The weights that were trained, where averages took their place."""
        return self.path / "trained.weights.h5"

    @property
    def curve(self) -> Path:
        return self.path / "curve.svg"

    @property
    def learnt(self) -> Path:
        """Which pictures it learns from, and those models did that it descends from."""
        return self.path / LEARNT

    @property
    def going_on(self) -> str:
        """The line that goes on with a run, as far as the run itself knows it."""
        line = shlex.join(["trainer", "fit", "DATA", "--resume", self.path.name, "--runs", str(self.path.parent)])
        return f"`{line}`, with the DATA and --from that it was begun with,"

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Whether this process has the run for itself; the lock ends with the process, however it ends.

        Raises RunError where the run's folder cannot be written.
        """
        with refused(self.path / "lock"):
            lock = (self.path / "lock").open("w")
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    def save(self, record: RunRecord) -> None:
        write_text(self.path / "run.json", record.model_dump_json(indent=2))

    def load(self) -> RunRecord:
        """The record. Raises RunError where this is no run."""
        try:
            return RunRecord.model_validate_json((self.path / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValidationError) as cause:
            raise RunError(f"{self.path} is not a training run ({_reason(cause)})") from cause

    def weights_after(self, epoch: int) -> Path:
        """Weights and optimizer as they were after that many epochs; only the last and the best are kept."""
        return self.path / f"epoch-{epoch:04d}.weights.h5"

    def checkpoint(self) -> Checkpoint | None:
        """Where a training that was cut off stands. Raises RunError where the file is damaged."""
        path = self.path / "checkpoint.json"
        try:
            return Checkpoint.model_validate_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as cause:
            raise RunError(f"{path} cannot be read ({_reason(cause)}); remove {self.path} to train it anew") from cause

    def keep(self, state: Checkpoint, save: Callable[[Path], None]) -> None:
        """Weights first, then the state that names them, then the curve: a kill in between loses one epoch at most."""
        write_whole(self.weights_after(state.epochs), save)
        write_text(self.path / "checkpoint.json", state.model_dump_json())
        write_text(self.path / "history.csv", _table(state.history))
        self._drop_weights({state.epochs, state.best_epoch})

    def close(self) -> None:
        """Remove what only a training that goes on needs."""
        (self.path / "checkpoint.json").unlink(missing_ok=True)
        self._drop_weights(set())

    def _drop_weights(self, kept_epochs: set[int]) -> None:
        kept = {self.weights_after(epoch) for epoch in kept_epochs}
        for path in self.path.glob("epoch-*.weights.h5"):
            if path not in kept:
                path.unlink()


def write_text(path: Path, text: str) -> None:
    """The file is there whole or as it was before."""

    def write(partial: Path) -> None:
        partial.write_text(text, encoding="utf-8")

    write_whole(path, write)


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file beside `path`, bring it to the disk, then give it its name.

    Raises RunError naming the file where the disk is full or refuses.
    """
    partial = path.with_name(f"partial-{path.name}")
    with refused(path):
        try:
            write(partial)
            with partial.open("rb") as written:
                os.fsync(written.fileno())
            partial.replace(path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise


@contextmanager
def refused(path: Path) -> Iterator[None]:
    """Turn the system's refusal to write a file into the RunError that names it."""
    try:
        yield
    except OSError as cause:
        raise RunError(f"{path} cannot be written ({_reason(cause)}); make room, then start again") from cause


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for what a library only writes to files. Raises RunError where there is none, or no room in it."""
    place = "the folder for temporary files"
    try:
        place = tempfile.gettempdir()
        with tempfile.TemporaryDirectory(dir=place) as folder:
            yield Path(folder)
    except OSError as cause:
        raise RunError(f"{place} cannot be written ({_reason(cause)}); make room, or set TMPDIR") from cause


def _reason(cause: OSError | ValidationError) -> str:
    """In a line, where HDF5 and pydantic say it in five."""
    if isinstance(cause, ValidationError):
        return cause.errors()[0]["msg"]
    return os.strerror(cause.errno) if cause.errno else str(cause)


def save_weights(model: Any, path: Path) -> None:
    """Weights and optimizer. Room is asked for first: a full disk that HDF5 meets prints tracebacks."""
    optimizer = getattr(model, "optimizer", None)
    variables = [*model.variables, *(optimizer.variables if optimizer else ())]
    reserve(path, sum(4 * math.prod(variable.shape) + _HEAD_BYTES for variable in variables))
    model.save_weights(path)


def reserve(path: Path, size: int) -> None:
    """Raise OSError where the disk has no room for a file of so many bytes. What was in the file may be lost."""
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):  # macOS has none
            os.posix_fallocate(file.fileno(), 0, size)


def _table(history: tuple[dict[str, float], ...]) -> str:
    """Further columns follow as they appear; a row of an older version has none of them."""
    lines = io.StringIO()
    columns = dict.fromkeys([*HISTORY_COLUMNS, *(name for row in history for name in row)])
    writer = csv.DictWriter(lines, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: f"{value:.6g}" for key, value in row.items()} for row in history)
    return lines.getvalue()


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
