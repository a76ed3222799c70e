"""One crop as another stain, microscope, focus or file would have shown it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.color import hed_from_rgb, rgb_from_hed

from station.contract.imaging import RGB
from trainer.recipe import Augmentation

# [256] a grey value as light, and the logarithm of it; black lets through as much as the value above it.
_LIGHT = (np.arange(256) / 255.0).astype(np.float32)
_LOG_LIGHT = np.log(np.maximum(_LIGHT, _LIGHT[1]))
_LEAST_LIGHT = 1e-6  # has a logarithm, and stays far below one grey value under any gamma


def recoloured(image: RGB, augment: Augmentation, rng: np.random.Generator) -> NDArray[np.float32]:
    """[H, W, 3] RGB 0..255, in the order in which a picture comes about: stain, light, focus, noise, file.

    Everything happens in one array: fresh memory for each step would cost as much time as the arithmetic.
    """
    x = np.empty(image.shape, np.float32)
    _stain(x, image, augment, rng)
    _light(x, augment, rng)
    if rng.random() < augment.blur_share:
        cv2.GaussianBlur(x, (0, 0), rng.uniform(0.3, augment.blur_sigma_px), dst=x)
    if rng.random() < augment.noise_share:
        sigma = np.float32(rng.uniform(0, augment.noise_sigma) * 255.0)
        x += sigma * rng.standard_normal(x.shape, np.float32)
    np.clip(x, 0, 255, out=x)
    if augment.jpeg_share and rng.random() < augment.jpeg_share:
        least, most = augment.jpeg_quality
        x[:] = _compressed(x, int(rng.integers(least, most + 1)))
    return x


def _stain(x: NDArray[np.float32], image: RGB, augment: Augmentation, rng: np.random.Generator) -> None:
    """x becomes the picture as RGB 0..1, above 1 where a stain became fainter than none (Tellez et al. 2018).

    Each stain of a colour deconvolution (Ruifrok & Johnston 2001: haematoxylin, eosin, and what neither explains) is
    scaled and shifted. Both are linear in the logarithm of light, so one matrix does it all.
    """
    if not (augment.stain_scale or augment.stain_shift):
        cv2.LUT(image, _LIGHT, dst=x)
        return
    scale = 1.0 + rng.uniform(-1, 1, 3) * augment.stain_scale
    shift = rng.uniform(-1, 1, 3) * augment.stain_shift
    mixed = hed_from_rgb @ np.diag(scale) @ rgb_from_hed  # for rows of RGB; `_transform` has columns
    cv2.LUT(image, _LOG_LIGHT, dst=x)
    _transform(x, mixed.T, -shift @ rgb_from_hed)
    cv2.exp(x, dst=x)


def _light(x: NDArray[np.float32], augment: Augmentation, rng: np.random.Generator) -> None:
    """x goes from RGB 0..1 to about 0..255: saturation, hue, gamma, white balance, brightness."""
    saturation = rng.uniform(*augment.saturation)
    from_grey = saturation * np.eye(3) + (1.0 - saturation) / 3.0
    turned = _hue_rotation(np.deg2rad(rng.uniform(-1, 1) * augment.hue_degrees))
    _transform(x, turned @ from_grey, np.zeros(3))
    np.clip(x, _LEAST_LIGHT, 1, out=x)
    cv2.log(x, dst=x)  # to a power by way of logarithms, three times as fast as `cv2.pow`
    x *= np.float32(rng.uniform(*augment.gamma))
    cv2.exp(x, dst=x)
    gain, offset = rng.uniform(*augment.gain, size=3), rng.uniform(-1, 1) * augment.offset
    _transform(x, np.diag(gain * 255.0), np.full(3, offset * 255.0))


def _hue_rotation(angle: float) -> NDArray[np.float64]:
    """[3, 3] rotation of a column of RGB around the grey axis (Rodrigues' formula)."""
    axis = np.full(3, 1 / np.sqrt(3))
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross, np.float64)


def _transform(x: NDArray[np.float32], matrix: NDArray[np.float64], shift: NDArray[np.float64]) -> None:
    """Each colour of x [H, W, 3], as a column, becomes matrix [3, 3] times it, plus shift [3]."""
    cv2.transform(x, np.column_stack([matrix, shift]), dst=x)


def _compressed(x: NDArray[np.float32], quality: int) -> NDArray[np.uint8]:
    """[H, W, 3] RGB 0..255 as it comes out of a JPEG file; OpenCV takes and gives BGR."""
    blue_first = cv2.cvtColor(np.rint(x).astype(np.uint8), cv2.COLOR_RGB2BGR)
    _, file = cv2.imencode(".jpg", blue_first, [cv2.IMWRITE_JPEG_QUALITY, quality])
    read = np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR), np.uint8)
    return np.asarray(cv2.cvtColor(read, cv2.COLOR_BGR2RGB), np.uint8)
