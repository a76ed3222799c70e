"""One training on TensorFlow, JAX and PyTorch: the same first values and data give the same steps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from conftest import LONG, ROOT
from numpy.typing import NDArray
from trainings import GENTLE, STARTER, ended, only_run, paint_fields

from station.contract.bundle import prove, read_bundle
from station.engines import open_engine

FEW = """
name = "few"
cell_diameter_px = 32
crop_px = 64
batch = 4
steps_per_epoch = 5
epochs = 1
learning_rate = 1e-4
held_out = 0.25
painted_fields = 2
bn_batches = 2
"""
# Backends sum in other orders. Adam's first steps turn that noise into whole steps where a gradient is nearly 0, and
# statistics over the few pixels of mobilenet_v2's deepest map enlarge it. A step with the wrong learning rate is off by
# 0.036 and 0.011 here, momentum of batch normalisation that is not set moves the answer by 0.08 and 0.04.
CLOSE = {"unet": 2e-3, "mobilenet_v2": 6e-3}
ANSWER_CLOSE = 2e-3

SENTENCE = (
    "error: a network is converted through TensorFlow, and Keras runs on jax here: export it with "
    "KERAS_BACKEND=tensorflow"
)

Steps = Callable[[str, str], "tuple[NDArray[np.float64], NDArray[np.float32]]"]


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paint_fields(tmp_path_factory.mktemp("data") / "fields")


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory, fields: Path) -> Steps:
    """(backend, backbone) -> mean loss after each step, and the answer of the trained network to one picture.

    Who asks first, lays down the first values for the others.
    """
    home = tmp_path_factory.mktemp("steps")
    (home / "few.toml").write_text(FEW)
    done: dict[tuple[str, str], tuple[NDArray[np.float64], NDArray[np.float32]]] = {}

    def run(backend: str, backbone: str) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        if (backend, backbone) not in done:
            name = f"{backbone}-{backend}"
            order = {
                "backbone": backbone,
                "recipe": str(home / "few.toml"),
                "data": str(fields),
                "run": str(home / name),
                "weights": str(home / f"{backbone}.weights.h5"),
                "answer": str(home / f"{name}.npz"),
            }
            (home / f"{name}.json").write_text(json.dumps(order))
            line = [sys.executable, str(ROOT / "tests" / "backend_steps.py"), str(home / f"{name}.json")]
            around = os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)}
            told = subprocess.run(line, capture_output=True, text=True, timeout=900, env=around)
            assert told.returncode == 0, told.stderr
            with np.load(order["answer"]) as answer:
                done[backend, backbone] = answer["losses"], answer["probabilities"]
        return done[backend, backbone]

    return run


@LONG
@pytest.mark.xdist_group("backends")
@pytest.mark.parametrize("backbone", ["unet", "mobilenet_v2"])
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_a_backend_takes_the_steps_that_tensorflow_takes(steps: Steps, backend: str, backbone: str) -> None:
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    expected, expected_answer = steps("tensorflow", backbone)
    losses, answer = steps(backend, backbone)
    assert len(losses) == 5 and np.isfinite(losses).all()
    assert losses[0] == pytest.approx(expected[0], rel=1e-5)  # before any step
    assert losses == pytest.approx(expected, rel=CLOSE[backbone])
    assert answer == pytest.approx(expected_answer, abs=ANSWER_CLOSE)


@LONG
@pytest.mark.xdist_group("backends")
def test_a_run_of_jax_is_exported_by_tensorflow(tmp_path: Path, fields: Path) -> None:
    pytest.importorskip("jax", reason="jax is not installed")
    recipe, runs = tmp_path / "gentle.toml", tmp_path / "runs"
    recipe.write_text(GENTLE)
    begin = ("fit", fields, "--from", STARTER, "--recipe", recipe, "--epochs", 1, "--runs", runs)

    code, output = ended(*begin, "-o", tmp_path / "model.zip", KERAS_BACKEND="jax")
    assert code == 1 and output.strip().splitlines()[-1] == SENTENCE  # before the training, not after it
    assert not runs.exists()

    code, output = ended(*begin, KERAS_BACKEND="jax")
    assert code == 0, output
    export = ("export", only_run(runs).path, "-o", tmp_path / "model.zip")
    code, output = ended(*export, KERAS_BACKEND="jax")
    assert code == 1 and output.strip().splitlines()[-1] == SENTENCE
    assert not (tmp_path / "model.zip").exists()
    code, output = ended(*export, KERAS_BACKEND="tensorflow")
    assert code == 0, output
    bundle = read_bundle(tmp_path / "model.zip")
    assert prove(bundle, open_engine(bundle, "onnxruntime"))
