"""What a GPU is used for: the number format of a training, and whether its steps are compiled."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from conftest import LONG
from trainings import GENTLE, STARTER, ended, history, only_run, paint_fields

from station.contract.bundle import read_bundle
from station.demo.smear import SmearRecipe, paint
from station.engines import open_engine
from trainer.backbones import backbone
from trainer.device import gpu_models, has_gpu, jit_compile, names_gpu, numbers_in, precision
from trainer.export import MAX_DIFFERENCE
from trainer.losses import loss
from trainer.recipe import Recipe
from trainer.unet import build
from trainer.validation import keras_network


@pytest.mark.parametrize(
    ("told", "on_gpu", "on_cores"),
    [
        ("auto", "mixed_float16", "float32"),
        ("float32", "float32", "float32"),
        ("mixed_float16", "mixed_float16", "mixed_float16"),
        ("mixed_bfloat16", "mixed_bfloat16", "mixed_bfloat16"),
    ],
)
def test_half_precision_is_for_a_gpu_unless_the_recipe_says_otherwise(told: str, on_gpu: str, on_cores: str) -> None:
    recipe = Recipe.model_validate({"name": "x", "mixed_precision": told})
    assert (precision(recipe, True), precision(recipe, False)) == (on_gpu, on_cores)


@pytest.mark.parametrize(
    ("on_gpu", "backend", "expected"),
    [(True, "tensorflow", "auto"), (False, "tensorflow", False), (False, "jax", "auto"), (False, "torch", False)],
)
def test_steps_are_compiled_on_a_gpu_and_always_with_jax(on_gpu: bool, backend: str, expected: bool | str) -> None:
    assert jit_compile(on_gpu, backend) == expected


def test_a_gpu_is_named_as_its_driver_names_it(tmp_path: Path) -> None:
    for number, model in enumerate(("NVIDIA H100 80GB HBM3", "NVIDIA L4")):
        (tmp_path / f"0000:0{number}:00.0").mkdir()
        (tmp_path / f"0000:0{number}:00.0" / "information").write_text(f"Model: \t\t {model}\nIRQ:   \t\t 17\n")
    assert gpu_models(tmp_path) == ("NVIDIA H100 80GB HBM3", "NVIDIA L4")
    assert gpu_models(tmp_path / "no driver") == ()


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("/job:localhost/replica:0/task:0/device:GPU:0", True),
        ("/job:localhost/replica:0/task:0/device:CPU:0", False),
        ("cuda:0", True),
        ("rocm:1", True),
        ("cpu", False),
        ("TFRT_CPU_0", False),
    ],
)
def test_a_gpu_is_known_by_the_names_that_backends_give_it(device: str, expected: bool) -> None:
    assert names_gpu(device) is expected


def test_keras_is_asked_for_what_tensorflow_sees() -> None:
    import tensorflow as tf

    assert has_gpu() is bool(tf.config.list_physical_devices("GPU"))


def test_a_network_in_half_precision_keeps_float32_where_it_matters_and_learns() -> None:
    import keras

    keras.utils.set_random_seed(0)
    with numbers_in("mixed_float16"):
        model = build(backbone("unet"))
    assert keras.config.dtype_policy().name == "float32"
    assert model.get_layer("logits").compute_dtype == "float16"
    assert {str(weight.dtype) for weight in model.weights if "seed" not in weight.path} == {"float32"}
    model.compile(keras.optimizers.Adam(3e-3), loss("cross_entropy+dice", (0.5, 1, 1.5)), jit_compile=False)
    labels = np.zeros((2, 32, 32), np.int64)
    labels[:, 8:24, 8:24], labels[:, 12:20, 12:20] = 1, 2
    images, truth = (labels[..., None] * np.array([90.0, 60, 30])).astype(np.float32), np.eye(3, dtype=np.float32)
    costs = [float(model.train_on_batch(images, truth[labels])) for _ in range(8)]
    assert np.isfinite(costs).all()
    assert costs[-1] < 0.8 * costs[0]
    assert keras.backend.standardize_dtype(model(images, training=False).dtype) == "float32"


def test_the_number_format_is_as_before_even_after_a_failure() -> None:
    import keras

    with pytest.raises(RuntimeError), numbers_in("mixed_float16"):
        assert keras.config.dtype_policy().name == "mixed_float16"
        raise RuntimeError
    assert keras.config.dtype_policy().name == "float32"


@LONG
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_run_in_half_precision_leaves_float32_weights_that_export(tmp_path: Path, policy: str) -> None:
    """Forced on processor cores, where it does not pay: the way of a GPU from the first step to the bundle."""
    fields, recipe, runs = paint_fields(tmp_path / "fields"), tmp_path / "half.toml", tmp_path / "runs"
    recipe.write_text(f'{GENTLE}mixed_precision = "{policy}"\n')
    fit = ("fit", fields, "--recipe", recipe, "--runs", runs)
    code, output = ended(*fit, "--from", STARTER, "--epochs", 2)
    assert code == 0, output
    run = only_run(runs)
    rows = history(run)
    assert run.load().recipe.mixed_precision == policy
    assert len(rows) == 2 and all(np.isfinite(list(row.values())).all() for row in rows)

    model = build(backbone("mobilenet_v2"))
    model.load_weights(run.weights)
    assert {str(weight.dtype) for weight in model.weights if "seed" not in weight.path} == {"float32"}
    tiles = paint(SmearRecipe(width=320, height=256, cell_diameter_px=64, wbc=3, seed=9)).image[None]
    before = open_engine(read_bundle(STARTER), "onnxruntime")(tiles).argmax(axis=-1)
    after = keras_network(model)(tiles).argmax(axis=-1)
    assert set(np.unique(before)) == {0, 1, 2}
    assert np.mean(after == before) > 0.98

    code, output = ended("export", run.path, "-o", tmp_path / "model.zip")
    assert code == 0, output
    (difference,) = re.findall(r"ONNX differs from Keras by at most (\S+),", output)
    assert float(difference) <= MAX_DIFFERENCE
