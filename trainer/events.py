"""The figures of a training for TensorBoard: `events.out.tfevents.*` in the run's folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from time import time
from typing import TypeAlias

from trainer.runs import refused

Row: TypeAlias = Mapping[str, float]


@contextmanager
def event_log(folder: Path, first_epoch: int) -> Iterator[Callable[[Row], None]]:
    """Takes the row of each epoch from `first_epoch` on, and has it on the disk when it returns.

    What another process logged of these epochs is void: it was cut off before it could keep them. Without tensorboardX,
    a part of the extra `train`, nothing is written. Raises RunError where the disk is full.
    """
    if find_spec("tensorboardX") is None:
        yield lambda row: None
        return
    from tensorboardX.event_file_writer import EventsWriter  # SummaryWriter's thread loses what a full disk refuses
    from tensorboardX.proto.event_pb2 import Event, SessionLog
    from tensorboardX.proto.summary_pb2 import Summary

    with refused(folder / "events"):
        file = EventsWriter(str(folder / "events"), f".epoch-{first_epoch:04d}")
        file.write_event(Event(wall_time=time(), step=first_epoch, session_log=SessionLog(status=SessionLog.START)))
        file.flush()

    def log(row: Row) -> None:
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars(row).items()]
        with refused(folder / "events"):
            file.write_event(Event(wall_time=time(), step=int(row["epoch"]), summary=Summary(value=values)))
            file.flush()

    try:
        yield log
    finally:
        with suppress(OSError):  # it was flushed after each row; what is left is a row that was refused
            file.close()


def scalars(row: Row) -> dict[str, float]:
    """What is shown of an epoch, by its name in TensorBoard."""
    shown = {name: value for name, value in row.items() if name not in ("epoch", "seconds_waiting")}
    return shown | {"waiting_share": row["seconds_waiting"] / row["seconds"]}
