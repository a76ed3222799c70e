"""What the tests of long trainings share: painted fields, a tiny recipe, commands as processes, and what they leave."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from conftest import ROOT

from station.demo.smear import SmearRecipe, paint
from trainer.runs import RunFolder

TINY = """
name = "tiny"
backbone = "unet"
cell_diameter_px = 16
crop_px = 32
batch = 2
steps_per_epoch = 6
epochs = 4
frozen_epochs = 1
learning_rate = 3e-3
held_out = 0.25
painted_fields = 2
bn_batches = 4
"""
STARTER = ROOT / "station" / "models" / "starter.zip"
# For `--from STARTER`: steps that hardly move it, so that what comes out passes the gates of an export.
GENTLE = (
    TINY.replace("3e-3", "1e-6")
    .replace('backbone = "unet"\n', "")
    .replace("diameter_px = 16\ncrop_px = 32\n", "diameter_px = 64\ncrop_px = 64\n")
)
PATIENCE_SECONDS = 300.0  # far more than an epoch takes on a busy machine


def paint_fields(folder: Path, count: int = 8) -> Path:
    """A data set in the default layout."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for seed in range(count):
        field = paint(SmearRecipe(width=160, height=120, cell_diameter_px=50, wbc=2, seed=seed))
        assert cv2.imwrite(str(folder / "images" / f"{seed}.png"), np.ascontiguousarray(field.image[..., ::-1]))
        assert cv2.imwrite(str(folder / "masks" / f"{seed}.png"), field.labels)
    return folder


def started(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    """`trainer ...` as a process of its own."""
    line = [sys.executable, "-m", "trainer.cli", *map(str, arguments)]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(line, text=True, env=os.environ | environment, **output)


def ended(*arguments: object, **environment: str) -> tuple[int, str]:
    """Exit code and output of `trainer ...`."""
    process = started(*arguments, **environment)
    output, _ = process.communicate(timeout=2 * PATIENCE_SECONDS)
    return process.returncode, output


def wait_for(seen: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Until it is seen; the process must be alive until then."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not seen():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def kept_epochs(runs: Path) -> list[str]:
    """Names of the weights that a training keeps to go on from."""
    return sorted(path.name for path in runs.glob("*/epoch-*.weights.h5"))


def only_run(runs: Path) -> RunFolder:
    (record,) = runs.glob("*/run.json")
    return RunFolder(record.parent)


def history(run: RunFolder) -> list[dict[str, float]]:
    with (run.path / "history.csv").open(newline="") as lines:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(lines)]


def learned(run: RunFolder) -> list[dict[str, float]]:
    """The part of a history that the clock has no share in."""
    return [{key: value for key, value in row.items() if not key.startswith("seconds")} for row in history(run)]


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """(step, value) by tag, as TensorBoard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found: Any = EventAccumulator(str(folder))
    found.Reload()
    return {tag: [(one.step, one.value) for one in found.Scalars(tag)] for tag in found.Tags()["scalars"]}
