"""How well the hand that outlined bccd agrees with itself: the evidence for what a score on it can mean.

Part of the series was photographed and outlined a second time (the README of the data names the numbers). A pair is
laid over each other by its pictures; then the two outlines of the same cells are compared.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from conftest import SHARED
from numpy.typing import NDArray

from station.contract.imaging import RGB
from station.contract.masks import LabelImage
from trainer.datasets import open_dataset
from trainer.datasets.samples import Sample
from trainer.evaluate import confusion, region_score

BCCD = SHARED / "data" / "bccd"
NUMBERS = (
    [(37, 38), (165, 193), (166, 193), (239, 240), (244, 247), (248, 249)]
    + [(first, 487 - first) for first in range(223, 234)]
    + [(236, 253), (237, 252), (242, 249), (243, 250), (204, 277), (205, 276), (206, 278)]
)
OUTSIDE = 255  # label of what the other picture does not show
LEAST_CORRELATION = 0.9  # of the grey values where two pictures lie over each other

pytestmark = pytest.mark.skipif(not BCCD.is_dir(), reason=f"the shared pictures are not in {BCCD}")


def transform(moved: RGB, fixed: RGB) -> NDArray[np.float64] | None:
    """[2, 3] similarity that lays one picture over the other by common features, refined by grey values."""
    sift = cv2.SIFT_create(3000)
    (points, features), (others, theirs) = (sift.detectAndCompute(image, None) for image in (moved, fixed))
    pairs = [a for a, b in cv2.BFMatcher().knnMatch(features, theirs, k=2) if a.distance < 0.8 * b.distance]
    if len(pairs) < 12:
        return None
    source = np.array([points[pair.queryIdx].pt for pair in pairs], np.float32)
    target = np.array([others[pair.trainIdx].pt for pair in pairs], np.float32)
    found, inliers = cv2.estimateAffinePartial2D(source, target, ransacReprojThreshold=2)
    return None if found is None or inliers.sum() < 10 else np.asarray(found, np.float64)


def overlaid(first: Sample, second: Sample) -> tuple[LabelImage, LabelImage] | None:
    """The labels of both in the second picture's place, where both show something and look alike."""
    (moved, outlined), (fixed, again) = first.read(), second.read()
    matrix = transform(moved, fixed)
    if matrix is None:
        return None
    size = (fixed.shape[1], fixed.shape[0])
    labels = cv2.warpAffine(outlined, matrix, size, flags=cv2.INTER_NEAREST, borderValue=OUTSIDE)
    common = labels != OUTSIDE
    grey = cv2.cvtColor(cv2.warpAffine(moved, matrix, size), cv2.COLOR_RGB2GRAY)
    likeness = np.corrcoef(grey[common], cv2.cvtColor(fixed, cv2.COLOR_RGB2GRAY)[common])[0, 1]
    return (labels[common], again[common]) if likeness > LEAST_CORRELATION else None


def test_the_outlines_of_bccd_agree_with_themselves_to_about_0_967() -> None:
    """A model that draws what both hands mean could pass them a little, one that copies one of them could not."""
    samples = {int(sample.id[-5:]): sample for sample in open_dataset(BCCD)}
    pairs = [overlaid(samples[a], samples[b]) for a, b in NUMBERS if a in samples and b in samples]
    usable = [pair for pair in pairs if pair is not None]
    matrix = np.sum([confusion(a, b) for a, b in usable], axis=0)
    cell, nucleus = region_score(matrix, "cell").dice, region_score(matrix, "nucleus").dice
    print(f"\n{len(usable)} pairs: whole cell {cell:.4f}, nucleus {nucleus:.4f}")
    assert len(usable) >= 12
    assert cell == pytest.approx(0.967, abs=0.01)
    assert nucleus == pytest.approx(0.963, abs=0.01)
