"""Examples of what a network of a comparison does: its best, median and worst picture, with both outlines.

The network is the one that the comparison trained: on the fold whose test part holds the picture.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np

from station.contract.analysis import Network, Scale, analyse
from station.contract.errors import StationError
from station.contract.imaging import RGB
from station.contract.manifest import NUCLEUS, Manifest
from station.contract.masks import LabelImage
from station.contract.overlay import CELL_COLOUR, NUCLEUS_COLOUR
from trainer.backbones import backbone
from trainer.datasets.samples import Sample
from trainer.evaluate import region_score
from trainer.ledger import Setting
from trainer.runs import RunFolder
from trainer.task import Outcome, PictureScore

Samples: TypeAlias = Mapping[tuple[str, str], Sample]  # (data set, id) -> picture and mask

TRUTH_COLOUR = (110, 220, 255)
_BROAD, _THIN = 5, 2  # px
_LARGEST, _SMALLEST = 640, 480  # longest side of a picture on the page, px
_JPEG_QUALITY = 84


class OverlayError(StationError):
    """An example that cannot be shown on this machine."""


@dataclass(frozen=True, slots=True)
class Example:
    """A picture of the page. `source`: a data URI; empty where it cannot be shown, for the `reason`."""

    place: str
    words: str
    source: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Gallery:
    """The examples of one network."""

    title: str
    examples: tuple[Example, ...]


def gallery(title: str, outcomes: Sequence[Outcome], setting: Setting, home: Path, samples: Samples) -> Gallery:
    """Best, median and worst test picture of a network, analysed anew by the weights in `home`."""
    shown = tuple(_example(*one, setting, home, samples) for one in extremes(outcomes))
    return Gallery(title, shown)


def extremes(outcomes: Iterable[Outcome]) -> list[tuple[str, Outcome, PictureScore]]:
    """("best" | "median" | "worst", outcome, picture) by whole-cell Dice.

    Pictures in which there was nothing to find and nothing was found say nothing and are left out.
    """
    scored = [
        (_dice(picture, "cell"), picture.dataset, picture.id, outcome, picture)
        for outcome in outcomes
        for picture in outcome.pictures
        if sum(picture.confusion) > picture.confusion[0]
    ]
    ordered = sorted(scored, key=lambda entry: (-entry[0], *entry[1:3], entry[3].task.folder_name))
    last = len(ordered) - 1
    places = {last: "worst", last // 2: "median", 0: "best"} if ordered else {}
    return [(places[index], *ordered[index][3:]) for index in sorted(places)]


def outlined(image: RGB, truth: LabelImage, predicted: LabelImage) -> RGB:
    """The picture at the size at which it is seen: the network's outlines thin upon the broad ones of the truth."""
    height, width = image.shape[:2]
    factor = min(max(_SMALLEST / max(height, width), 1.0), _LARGEST / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    shown = np.ascontiguousarray(cv2.resize(image, size, interpolation=method), np.uint8)
    for labels, (cell, nucleus), thickness in (
        (truth, (TRUTH_COLOUR, TRUTH_COLOUR), _BROAD),
        (predicted, (CELL_COLOUR, NUCLEUS_COLOUR), _THIN),
    ):
        for region, colour in ((labels > 0, cell), (labels == NUCLEUS, nucleus)):
            # Resampled as a share, so that an enlarged outline has no steps.
            share = cv2.resize(region.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
            lines, _ = cv2.findContours((share > 0.5).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(shown, lines, -1, colour, thickness, cv2.LINE_AA)
    return shown


def _example(
    place: str, outcome: Outcome, picture: PictureScore, setting: Setting, home: Path, samples: Samples
) -> Example:
    words = (
        f"{picture.dataset} {picture.id}, fold {outcome.task.fold}: Dice of the cell {_dice(picture, 'cell'):.4f}, "
        f"of the nucleus {_dice(picture, 'nucleus'):.4f}; counted {picture.wbc_count} of {picture.wbc_true}"
    )
    try:
        shown = _shown(outcome, picture, setting, home, samples)
    except StationError as cause:
        return Example(place, words, reason=str(cause))
    return Example(place, words, source=_data_uri(shown))


def _shown(outcome: Outcome, picture: PictureScore, setting: Setting, home: Path, samples: Samples) -> RGB:
    sample = samples.get((picture.dataset, picture.id))
    if sample is None:
        raise OverlayError("its picture is not where the comparison had it")
    image, truth = sample.read()
    if not _is_same_truth(truth, picture):
        raise OverlayError(f"{sample.mask} is not the mask that was scored: it was changed since")
    manifest, network = _trained(RunFolder(home / outcome.task.folder_name))
    scale = Scale(setting.cell_diameters[picture.dataset], "told")
    return outlined(image, truth, analyse(image, scale, manifest, network).drawing.labels)


def _is_same_truth(truth: LabelImage, picture: PictureScore) -> bool:
    """The rows of a confusion matrix sum up to the true pixels of each class."""
    scored = np.array(picture.confusion).reshape(3, 3).sum(axis=1)
    return bool((np.bincount(truth.ravel(), minlength=3) == scored).all())


def _trained(folder: RunFolder) -> tuple[Manifest, Network]:
    """The network of a finished training. Raises OverlayError, or RunError where the folder is no run."""
    if not folder.weights.is_file():
        raise OverlayError(f"the trained weights {folder.weights} are not on this machine")
    if find_spec("keras") is None:
        raise OverlayError("this needs keras: pip install 'wbc-station[train]'")
    from trainer.unet import build
    from trainer.validation import keras_network

    record = folder.load()
    row = backbone(record.recipe.backbone)
    model = build(row)
    try:
        model.load_weights(folder.weights)
    except (OSError, ValueError) as cause:
        raise OverlayError(f"{folder.weights} does not hold the weights of '{row.name}' ({cause})") from cause
    return record.manifest("candidate", (), row.stride), keras_network(model)


def _dice(picture: PictureScore, region: str) -> float:
    return region_score(picture.score().confusion, region).dice


def _data_uri(image: RGB) -> str:
    done, buffer = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not done:
        raise OverlayError("the picture could not be written as JPEG")
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.tobytes()).decode()}"
