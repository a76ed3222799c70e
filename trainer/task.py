"""One training of a comparison, in a process of its own: an order in, scored pictures out.

The process dies with the one that ordered it, and can be ordered again: it goes on where it was.
"""

from __future__ import annotations

import os
import pickle
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from station.contract.errors import StationError
from station.contract.manifest import Frozen
from trainer.evaluate import ImageScore, score_images, told
from trainer.folds import Fold
from trainer.recipe import Recipe
from trainer.runs import RunFolder, write_text

STOP = b"stop"
LENGTH_BYTES = 8  # before the order on the line
_LOOK_SECONDS = 0.2  # how often a task asks whether it may have its folder
PAUSED = 75  # the exit code of a task that was asked to stop; sysexits.h calls it a temporary failure


class Paused(StationError):
    """Asked to stop: the training stands after a whole epoch and can be taken up again."""

    exit_code = PAUSED


class Task(Frozen):
    """One cell of the comparison's table."""

    backbone: str
    loss: str
    start: str  # imagenet or none
    fold: int  # from 1
    seed: int

    @property
    def folder_name(self) -> str:
        """Also how the task is called in words."""
        loss = self.loss.replace("_", "-").replace("+", "-")
        return f"{self.backbone}-{loss}-{self.start}-fold{self.fold}-seed{self.seed}"


@dataclass(frozen=True, slots=True)
class Order:
    """A task with all that it needs, paths absolute. It travels by pickle between processes of one version."""

    task: Task
    recipe: Recipe
    weights_dir: Path
    fold: Fold
    diameters: dict[str, float]  # data set -> cell diameter at camera scale, px
    folder: Path
    created_at: str


class PictureScore(Frozen):
    """An ImageScore as it is kept."""

    dataset: str
    id: str
    confusion: tuple[int, ...]  # row-major [3, 3], rows true, columns predicted
    wbc_count: int
    wbc_true: int
    cell_diameter_px: float

    @classmethod
    def of(cls, score: ImageScore) -> PictureScore:
        return cls(
            dataset=score.dataset,
            id=score.id,
            confusion=tuple(int(pixels) for pixels in score.confusion.ravel()),
            wbc_count=score.wbc_count,
            wbc_true=score.wbc_true,
            cell_diameter_px=score.cell_diameter_px,
        )

    def score(self) -> ImageScore:
        return ImageScore(
            dataset=self.dataset,
            id=self.id,
            confusion=np.array(self.confusion, np.int64).reshape(3, 3),
            wbc_count=self.wbc_count,
            wbc_true=self.wbc_true,
            cell_diameter_px=self.cell_diameter_px,
        )


class Epoch(Frozen):
    """One line of the learning curve."""

    epoch: int  # from 1
    mean_loss: float
    score: float  # selection score on the held-out part of the training pictures, 0..1
    seconds: float

    @classmethod
    def of(cls, row: Mapping[str, float]) -> Epoch:
        return cls(epoch=int(row["epoch"]), mean_loss=row["loss"], score=row["score"], seconds=row["seconds"])


class Quiet:
    """Nobody watches a task; how far it is stands in its folder."""

    def step(self, epoch: int, step: int, mean_loss: float) -> None: ...
    def epoch(self, row: dict[str, float], is_best: bool) -> None: ...


class Outcome(Frozen):
    """What a finished task hands in: scores of the test part, and how the training went."""

    task: Task
    best_epoch: int
    steps: int  # optimizer steps taken
    parameters: int
    seconds: float  # of training; with the curve's the only figures that differ when it is done again
    pictures: tuple[PictureScore, ...]
    curve: tuple[Epoch, ...]
    made_with: str = ""  # versions, processor and number format, in words


def outcome_of(folder: Path) -> Outcome | None:
    """What the task of that folder handed in, if it is finished and readable."""
    try:
        return Outcome.model_validate_json((folder / "outcome.json").read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None


def perform(order: Order, stop: Callable[[], bool] = lambda: False) -> Outcome:
    """Train on the fold's training part, score its test part, leave `outcome.json` in the folder.

    Raises Paused after the epoch in which `stop` said so. A second process on the same folder waits for the first.
    """
    order.folder.mkdir(parents=True, exist_ok=True)
    with _alone(order.folder, stop):
        done = outcome_of(order.folder)
        if done is None:
            done = _train(order, stop)
            write_text(order.folder / "outcome.json", done.model_dump_json())
        RunFolder(order.folder).close()  # not before: what is killed while it scores shall not train again
    return done


def main() -> None:
    """A task as a process of its own.

    Standard input is the line to the one who orders: the order comes first, a word later asks to stop, its end is the
    end.
    """
    line = sys.stdin.fileno()
    order = pickle.loads(_read(line, int.from_bytes(_read(line, LENGTH_BYTES))))
    stop = threading.Event()
    threading.Thread(target=_listen, args=(line, stop), daemon=True).start()
    try:
        perform(order, stop.is_set)
    except StationError as failure:
        print(failure, file=sys.stderr)
        sys.exit(failure.exit_code)


def _read(line: int, length: int) -> bytes:
    data = b""
    while len(data) < length:
        part = os.read(line, length - len(data))
        if not part:
            os._exit(1)
        data += part
    return data


def _listen(line: int, stop: threading.Event) -> None:
    """A task must not outlive its comparison: two would write one folder when it is started again.

    Reads the bare descriptor: a thread that waits inside a buffered stream cannot be left behind at exit.
    """
    while os.read(line, len(STOP)):
        stop.set()
    os._exit(1)


def _train(order: Order, stop: Callable[[], bool]) -> Outcome:
    from trainer.fit import prepare, train
    from trainer.start import Encoder
    from trainer.training import finish, new_model, new_record, sources_of
    from trainer.validation import keras_network

    folder, start, samples = RunFolder(order.folder), Encoder(order.task.start, order.weights_dir), order.fold.training
    sources = sources_of(order.recipe, samples, order.diameters, order.task.seed)
    record = new_record(folder, order.recipe, samples, sources, order.task.seed, start, order.created_at)
    session = prepare(samples, order.diameters, record, folder)
    model = new_model(record, start)

    def pausing() -> bool:
        if stop():
            raise Paused(f"{order.folder.name} stands after a whole epoch")
        return False

    trained = train(model, session, Quiet(), pausing)
    finish(record, folder, trained)
    scores = score_images(order.fold.test, told(order.diameters), session.manifest, keras_network(model))
    return Outcome(
        task=order.task,
        best_epoch=trained.best_epoch,
        steps=len(trained.history) * order.recipe.steps_per_epoch,
        parameters=model.count_params(),
        seconds=sum(row["seconds"] for row in trained.history),
        pictures=tuple(PictureScore.of(score) for score in scores),
        curve=tuple(Epoch.of(row) for row in trained.history),
        made_with=_made_with(order),
    )


def _made_with(order: Order) -> str:
    import keras

    from trainer.device import has_gpu, precision

    on_gpu = has_gpu()
    device = "GPU" if on_gpu else platform.machine()
    numbers = precision(order.recipe, on_gpu)
    backend = keras.backend.backend()
    return f"wbc-station {version('wbc-station')}, keras {keras.version()} on {backend}, {device}, {numbers}"


@contextmanager
def _alone(folder: Path, stop: Callable[[], bool]) -> Iterator[None]:
    """Wait until no other process works in this folder."""
    while True:
        with RunFolder(folder).locked() as mine:
            if mine:
                yield
                return
        if stop():
            raise Paused(f"another process trains {folder.name}")
        time.sleep(_LOOK_SECONDS)
