"""An attempt: a third output of the network, the depth of each pixel in its cell, as seeds of the watershed.

A head of three convolutions is trained on the last features of a bundle's network (which stays as it is, so that its
probabilities do), on fields composed of train rows; the depth of a pixel is its distance to the border of its own cell,
divided by the largest one in that cell. The height above its saddle that a seed must have is chosen on other fields of
train rows, then the fields of val rows are counted that `trainer evaluate --counting` counts, their scale told.

    python deploy/attempts/learned_depth.py SHARED BUNDLE     # 25 minutes on two cores
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from station.contract.analysis import Scale, find, prepare
from station.contract.bundle import Bundle, read_bundle
from station.contract.imaging import Probabilities
from station.contract.manifest import BACKGROUND, Separation
from station.contract.separation import (
    Instances,
    _at_edge,
    _boxes,
    _components,
    _confidences,
    _flood,
    _kept,
    separate,
)
from trainer.composites import Composite, compose
from trainer.counting import FieldScore, Tally, field_score, tally
from trainer.cutouts import stock
from trainer.datasets import open_datasets
from trainer.datasets.samples import in_role
from trainer.runs import temporary_folder

DIAMETERS = {"bccd": 162.0, "zheng": 75.0, "allidb2": 116.0}
TRAINED, CHOSEN, EXAMINED = range(1000, 1400), range(2000, 2150), range(300)
CROP, BATCH, EPOCHS, CHANNELS = 192, 8, 12, 24
PROMINENCES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)  # of the depth, 0..1
SIGMAS = (0.0, 1.0, 2.0)  # px by which the depth is smoothed


@dataclass(frozen=True, slots=True)
class Seen:
    """A field as the network sees it."""

    field: Composite
    prepared: Any
    features: NDArray[np.float32]  # [h, w, c] with padding
    probabilities: Probabilities  # [h, w, 3] with padding


def depth_of(field: Composite, frame: Any) -> NDArray[np.float32]:
    """[padded_h, padded_w] 0..1."""
    size = (frame.network_width, frame.network_height)
    small = cv2.resize(field.instances, size, interpolation=cv2.INTER_NEAREST_EXACT)
    depth = np.zeros(small.shape, np.float32)
    for cell in range(1, int(small.max(initial=0)) + 1):
        own = np.pad((small == cell).astype(np.uint8), 1, mode="edge")  # the border of the field is no edge of a cell
        distance = cv2.distanceTransform(own, cv2.DIST_L2, 5)[1:-1, 1:-1]
        depth += distance / max(float(distance.max()), 1.0)
    below, right = frame.padded_height - depth.shape[0], frame.padded_width - depth.shape[1]
    return np.pad(depth, ((0, below), (0, right)))


def network_of(bundle: Bundle) -> Any:
    """The bundle's network with its last features as another output."""
    import keras

    entry = bundle.manifest.weights
    assert entry is not None
    with temporary_folder() as folder:
        path = folder / Path(entry.file).name
        path.write_bytes(bundle.files[entry.file])
        kept = keras.models.load_model(path, compile=False)
    return keras.Model(kept.input, [kept.get_layer("logits").input, kept.output])


def head_of(channels: int) -> Any:
    import keras
    from keras import layers

    features = x = keras.Input((None, None, channels))
    for dilation in (1, 2, 4):
        x = layers.Conv2D(CHANNELS, 3, padding="same", dilation_rate=dilation, activation="relu")(x)
    return keras.Model(features, layers.Conv2D(1, 1, activation="sigmoid")(x))


def seen(seeds: range, cells: Any, grounds: Any, bundle: Bundle, network: Any) -> list[Seen]:
    found = []
    for seed in seeds:
        field = compose(seed, cells, grounds)
        prepared = prepare(field.image, Scale(field.cell_diameter_px, "told"), bundle.manifest)
        features, probabilities = network(prepared.tile[None].astype(np.float32), training=False)
        found.append(Seen(field, prepared, np.asarray(features[0], np.float32), np.asarray(probabilities[0])))
    return found


def trained(fields: list[Seen], head: Any) -> None:
    import keras

    rng = np.random.default_rng(0)
    depths = [depth_of(one.field, one.prepared.frame) for one in fields]
    schedule = keras.optimizers.schedules.CosineDecay(2e-3, EPOCHS * len(fields) // BATCH)
    head.compile(keras.optimizers.Adam(schedule), loss="mse")
    for epoch in range(EPOCHS):
        order, losses = rng.permutation(len(fields)), []
        for first in range(0, len(order) - BATCH + 1, BATCH):
            crops = [_crop(rng, fields[i].features, depths[i]) for i in order[first : first + BATCH]]
            x, y = (np.stack(part) for part in zip(*crops, strict=True))
            losses.append(float(head.train_on_batch(x, y[..., None])))
        print(f"epoch {epoch + 1}: mean squared error {np.mean(losses):.5f}", flush=True)


def _crop(
    rng: np.random.Generator, features: NDArray[np.float32], depth: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    down, across = (max(0, CROP - side) for side in depth.shape)
    features = np.pad(features, ((0, down), (0, across), (0, 0)), mode="edge")
    depth = np.pad(depth, ((0, down), (0, across)), mode="edge")
    top, left = (int(rng.integers(side - CROP + 1)) for side in depth.shape)
    window = slice(top, top + CROP), slice(left, left + CROP)
    return features[window], depth[window]


def by_depth(
    depth: NDArray[np.float32], prominence: float, sigma: float, probabilities: Probabilities, diameter: float, how: Separation
) -> Instances:
    """As `separate`, with the learned depth for the distance to the border."""
    background, disc_px = 1.0 - how.foreground, np.pi / 4 * diameter**2
    mask = (cv2.extractChannel(probabilities, BACKGROUND) < background).view(np.uint8)
    depth = depth[: mask.shape[0], : mask.shape[1]]
    relief = cv2.GaussianBlur(depth, (0, 0), sigma) if sigma else depth
    territory, boxes, confidences = np.zeros(mask.shape, np.int32), [], []
    for window, own in _components(mask, min(how.min_area, how.min_area_at_edge) * disc_px):
        parts = _flood(np.ascontiguousarray(relief[window]) + np.float32(1e-3), own, prominence)
        parts[(territory[window] > 0) | (own < mask[window])] = 0
        pixels = np.nonzero(own & (parts > 0))
        owner, probable = parts[pixels], probabilities[window][pixels]
        kept = _kept(owner, probable, _at_edge(pixels, owner, window, mask.shape), disc_px, how)
        numbers = np.where(kept, np.cumsum(kept) + len(boxes), 0).astype(np.int32)
        territory[window] = np.maximum(territory[window], numbers[parts])
        boxes += _boxes(parts, kept, window)
        confidences += _confidences(owner, probable, kept)
    return Instances(territory, background, tuple(boxes), tuple(confidences))


def scored(fields: list[Seen], depths: list[Any], bundle: Bundle, prominence: float, sigma: float) -> Tally:
    scores = []
    for one, depth in zip(fields, depths, strict=True):

        def learned(probabilities: Probabilities, diameter: float, how: Separation, depth: Any = depth) -> Instances:
            return by_depth(depth, prominence, sigma, probabilities, diameter, how)

        scores.append(_score(one, bundle, learned if prominence else separate))
    return tally(scores)


def _score(one: Seen, bundle: Bundle, how: Any) -> FieldScore:
    found = find(one.prepared, one.probabilities, bundle.manifest, how).drawing.cells
    return field_score(one.field.instances, found, one.field.pairs, one.field.lobed)


def words(told: Tally) -> str:
    merged, split = (f"{100 * (share or 0):.1f} %" for share in (told.merged, told.split))
    return (
        f"exact {100 * told.exact:.1f} %, mean error {told.mean_absolute_error:.3f}, F1 {told.f1:.4f}, "
        f"merged {merged}, split {split}, IoU {told.mean_iou:.4f}"
    )


def main(shared: Path, path: Path) -> None:
    begun, bundle = time.monotonic(), read_bundle(path)
    sets = [shared / "data" / name for name in DIAMETERS]
    rows = {
        "train": in_role(open_datasets(sets[:2], None, print), shared / "data" / "splits.csv", "train"),
        "val": in_role(open_datasets(sets, None, print), shared / "data" / "splits.csv", "val"),
    }
    network = network_of(bundle)
    train = stock(rows["train"], DIAMETERS)
    fields = seen(TRAINED, *train, bundle, network)
    head = head_of(fields[0].features.shape[-1])
    print(f"{len(fields)} fields to learn from, {head.count_params()} parameters, {time.monotonic() - begun:.0f} s", flush=True)
    trained(fields, head)
    del fields
    choosing = seen(CHOSEN, *train, bundle, network)
    depths = [np.asarray(head(one.features[None])[0, ..., 0]) for one in choosing]
    print(f"train rows, the station's: {words(scored(choosing, depths, bundle, 0, 0))}", flush=True)
    best: tuple[float, float, float, float] = (0, 0, 0, 0)
    for sigma in SIGMAS:
        for prominence in PROMINENCES:
            told = scored(choosing, depths, bundle, prominence, sigma)
            print(f"train rows, prominence {prominence}, sigma {sigma}: {words(told)}", flush=True)
            best = max(best, (told.exact, told.f1, prominence, sigma))
    examined = seen(EXAMINED, *stock(rows["val"], DIAMETERS), bundle, network)
    depths = [np.asarray(head(one.features[None])[0, ..., 0]) for one in examined]
    print(f"val rows, the station's: {words(scored(examined, depths, bundle, 0, 0))}")
    print(f"val rows, learned depth, prominence {best[2]}, sigma {best[3]}: {words(scored(examined, depths, bundle, *best[2:]))}")
    print(f"{time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
