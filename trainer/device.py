"""What the device offers a training: half precision and compiled steps on a GPU, neither on processor cores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from trainer.recipe import Recipe

# For every process that trains; what the user has set already goes before it.
BACKEND_SETTINGS = {
    "TF_CPP_MIN_LOG_LEVEL": "2",  # keeps its start quiet
    "TF_DETERMINISTIC_OPS": "1",  # the same recipe, data and seed give the same figures; sums over threads differ
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",  # else the first of several --jobs takes all memory of their GPU
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # likewise, under JAX
    "TF_ENABLE_ONEDNN_OPTS": "1",  # by itself not on all processors; up to a third faster on one with AVX2 alone
}

# As the three backends call a GPU: "/job:localhost/.../device:GPU:0", "cuda:0" and "rocm:0" (JAX, PyTorch).
_GPU = ("gpu", "cuda", "rocm")


def has_gpu() -> bool:
    """Whether Keras computes on a GPU, whatever its backend.

    Asked by where it puts a number: `keras.distribution.list_devices` does not answer for PyTorch, and JAX raises
    where there is none.
    """
    import keras

    return names_gpu(str(keras.ops.convert_to_tensor(0.0).device))


def names_gpu(device: str) -> bool:
    """Whether a backend's name of a device is that of a GPU."""
    return any(word in device.lower() for word in _GPU)


def gpu_models(driver: Path = Path("/proc/driver/nvidia/gpus")) -> tuple[str, ...]:
    """What NVIDIA's driver calls the GPUs of this machine, whether Keras uses them or not."""
    lines = (line for told in sorted(driver.glob("*/information")) for line in told.read_text().splitlines())
    return tuple(line.partition(":")[2].strip() for line in lines if line.startswith("Model:"))


def precision(recipe: Recipe, on_gpu: bool) -> str:
    """Keras' name of the number format to train in; `auto` is half precision only where it is faster, on a GPU."""
    if recipe.mixed_precision != "auto":
        return recipe.mixed_precision
    return "mixed_float16" if on_gpu else "float32"


def jit_compile(on_gpu: bool, backend: str) -> bool | Literal["auto"]:
    """For `model.compile`: on a GPU Keras decides by backend and layers.

    On cores compiling would not pay, but for JAX, which without it takes every single operation by itself.
    """
    return "auto" if on_gpu or backend == "jax" else False


@contextmanager
def numbers_in(policy: str) -> Iterator[None]:
    """Build a model in a number format of `precision`; what is built afterwards, as for the export, is as before."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
