"""Logs for TensorBoard, read back by TensorBoard's own reader."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from trainings import scalars

from trainer.events import event_log
from trainer.runs import RunError

pytest.importorskip("tensorboardX", reason="tensorboardX, a part of the extra train, is not installed")
pytest.importorskip("tensorboard", reason="tensorboard, a part of the extra dev, is not installed")


def row(epoch: int, score: float) -> dict[str, float]:
    return {
        "epoch": epoch,
        "loss": 1 / epoch,
        "score": score,
        "learning_rate": 1e-3,
        "seconds": 8.0,
        "seconds_waiting": 2.0,
    }


def test_an_epoch_that_was_logged_but_not_kept_gives_way_to_the_one_that_is_done_again(tmp_path: Path) -> None:
    with event_log(tmp_path, 1) as log:
        for epoch in (1, 2, 3):
            log(row(epoch, 0.1 * epoch))
    with event_log(tmp_path, 3) as log:
        for epoch in (3, 4):
            log(row(epoch, 0.2 * epoch))
    steps, scores = zip(*scalars(tmp_path)["score"], strict=True)
    assert steps == (1, 2, 3, 4)
    assert scores == pytest.approx((0.1, 0.2, 0.6, 0.8))


def test_a_row_is_on_the_disk_before_the_next_epoch_begins(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with event_log(tmp_path / "run", 1) as log:
        log(row(1, 0.5))
        shutil.copytree(tmp_path / "run", tmp_path / "as a kill would leave it")
        assert scalars(tmp_path / "as a kill would leave it")["score"] == [(1, 0.5)]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"gone/events cannot be written \(No such file or directory\)"):
        event_log(tmp_path / "gone", 1).__enter__()
