"""`python -m trainer.predict`: the naive loop with Keras as its network, for `station bench`, which knows no Keras.

Arguments: bundle, folder of pictures, new database, width and height of the input, threads (0: all cores). The last
line that is printed holds what came out, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from station.contract.bundle import read_bundle
from station.contract.errors import StationError
from station.naive import Counted, Predict, count_all
from trainer.backbones import backbone
from trainer.start import Descendant
from trainer.unet import build

_WARM_UP = 3  # calls that are not counted; the first one traces the network


def keras_predict(bundle: Path) -> Predict:
    """`model.predict` of the bundle's network, in float32. Raises WeightsError where it carries no weights."""
    start = Descendant(read_bundle(bundle))
    start.check(str(start.backbone))
    model: Any = build(backbone(str(start.backbone)))
    start.load_into(model)

    def predict(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(model.predict(tiles, verbose=0), np.float32)

    return predict


def main(arguments: Sequence[str]) -> Counted:
    """Count the BMP files of a folder, in the order of their names."""
    bundle, folder, database, width, height, threads = arguments
    _limit(int(threads))
    predict, size = keras_predict(Path(bundle)), (int(width), int(height))
    for _ in range(_WARM_UP):
        predict(np.zeros((1, size[1], size[0], 3), np.uint8))
    return count_all(sorted(Path(folder).glob("*.bmp")), predict, size, Path(database))


def _limit(threads: int) -> None:
    """TensorFlow reads these when it starts; other backends take all cores."""
    if threads:
        os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(threads)


if __name__ == "__main__":
    try:
        counted = main(sys.argv[1:])
    except StationError as failure:
        sys.exit(str(failure))
    print(json.dumps(asdict(counted)))
