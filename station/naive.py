"""The loop that one would write first: read, resize, run, label, insert. The station is held against it.

It knows nothing of the station: no threads beside the network, no watershed, no proof, the defaults of every library
but for the number of the network's threads, which is the station's.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import TypeAlias

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from station.engines import cores

# [1, H, W, 3] uint8 RGB -> [1, H, W, 3] float32 class probabilities.
Predict: TypeAlias = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Counted:
    """What a run of the loop came to."""

    counts: tuple[int, ...]  # connected regions of each file, in order
    network_seconds: tuple[float, ...]  # of each file
    seconds: float  # of the whole loop
    cpu_seconds: float  # of all threads of this process


def onnx_predict(network: bytes, threads: int) -> Predict:
    """A plain session on the ONNX bytes; `threads` 0: as many as the station's engines take then.

    Left to itself the library counts cores, where the station counts what the system lets run at once.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or cores()
    session = ort.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    (source,) = session.get_inputs()

    def predict(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(session.run(None, {source.name: tiles})[0])

    return predict


def count_all(
    paths: Sequence[Path],
    predict: Predict,
    size: tuple[int, int],
    database: Path,
    *,
    tick: Callable[[], None] = lambda: None,
) -> Counted:
    """Count the pictures one after the other into a new SQLite file; `size` is (width, height) of the input, px.

    `tick` is called after each. Raises sqlite3.Error where the database cannot be written.
    """
    counts, network_seconds = [], []
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE results (name TEXT, wbc_count INTEGER, mask BLOB)")
        began, cpu_began = perf_counter(), process_time()
        for path in paths:
            mask, seconds = _segment(path, predict, size)
            count = cv2.connectedComponents((mask > 0).astype(np.uint8))[0] - 1
            png = cv2.imencode(".png", mask)[1].tobytes()
            connection.execute("INSERT INTO results VALUES (?, ?, ?)", (path.name, count, png))
            connection.commit()
            counts.append(count)
            network_seconds.append(seconds)
            tick()
        return Counted(tuple(counts), tuple(network_seconds), perf_counter() - began, process_time() - cpu_began)


def _segment(path: Path, predict: Predict, size: tuple[int, int]) -> tuple[NDArray[np.uint8], float]:
    """(mask [H, W] 0 background, 1 cytoplasm, 2 nucleus at camera scale, seconds of the network)."""
    image = cv2.cvtColor(np.asarray(cv2.imread(str(path)), np.uint8), cv2.COLOR_BGR2RGB)
    tile = cv2.resize(image, size)
    began = perf_counter()
    probabilities = predict(tile[None].astype(np.uint8))[0]
    seconds = perf_counter() - began
    labels = probabilities.argmax(axis=-1).astype(np.uint8)
    full = cv2.resize(labels, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_NEAREST)
    return np.asarray(full, np.uint8), seconds
