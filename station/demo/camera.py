"""Plays the microscope camera: saves painted fields as 24-bit BMP files, slowly and in pieces."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from station.demo.smear import SmearField, SmearRecipe, paint

_NAME = "Image_{:04d}.bmp"


def shoot(
    folder: Path, recipes: Iterable[SmearRecipe], *, pieces: int, pause: Callable[[], None]
) -> Iterator[tuple[Path, SmearField]]:
    """Saves one field after the other into the slide folder and yields each once it is whole.

    Files are named Image_0001.bmp and so on; numbers already taken are passed over.
    Raises OSError where the folder cannot be written, ValueError where a recipe cannot be painted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    numbers = itertools.count(1)
    for recipe in recipes:
        path = _next_free(folder, numbers)
        field = paint(recipe)
        write_in_pieces(path, encode_bmp(field.image), pieces=pieces, pause=pause)
        yield path, field


def encode_bmp(image_rgb: NDArray[np.uint8]) -> bytes:
    """An [H, W, 3] RGB image, 0..255, as a 24-bit BMP file."""
    if image_rgb.ndim != 3 or image_rgb.shape[2] != 3 or image_rgb.dtype != np.uint8:
        raise ValueError(f"a 24-bit BMP needs [H, W, 3] bytes, not {image_rgb.shape} of {image_rgb.dtype}")
    _, encoded = cv2.imencode(".bmp", cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR))
    return encoded.tobytes()


def write_in_pieces(path: Path, data: bytes, *, pieces: int, pause: Callable[[], None]) -> None:
    """Writes a new file piece by piece, with a pause between two pieces, as slow cameras and shares do.

    Raises FileExistsError instead of overwriting: no camera changes a picture that it has saved.
    """
    if pieces < 1:
        raise ValueError(f"a file is written in at least one piece, not {pieces}")
    # Unbuffered, so that whoever watches the folder sees each piece as soon as it is written.
    with path.open("xb", buffering=0) as file:
        for index in range(pieces):
            if index:
                pause()
            file.write(data[len(data) * index // pieces : len(data) * (index + 1) // pieces])


def _next_free(folder: Path, numbers: Iterator[int]) -> Path:
    return next(path for path in (folder / _NAME.format(number) for number in numbers) if not path.exists())
