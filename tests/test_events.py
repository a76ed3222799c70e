"""Logs for TensorBoard, read back by TensorBoard's own reader."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from trainings import TINY, ended, history, kept_epochs, only_run, paint_fields, started, wait_for

from trainer.events import event_log
from trainer.runs import RunError

pytest.importorskip("tensorboardX", reason="tensorboardX, a part of the extra train, is not installed")
pytest.importorskip("tensorboard", reason="tensorboard, a part of the extra dev, is not installed")

SHOWN = {"loss", "score", "learning_rate", "seconds", "waiting_share", "dice_nucleus/fields", "dice_cell/fields"}


def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """(step, value) by tag, as TensorBoard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found: Any = EventAccumulator(str(folder))
    found.Reload()
    return {tag: [(one.step, one.value) for one in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def row(epoch: int, score: float) -> dict[str, float]:
    return {
        "epoch": epoch,
        "loss": 1 / epoch,
        "score": score,
        "learning_rate": 1e-3,
        "seconds": 8.0,
        "seconds_waiting": 2.0,
    }


def test_a_run_that_was_killed_and_taken_up_shows_each_epoch_once(tmp_path: Path) -> None:
    fields, recipe, runs = paint_fields(tmp_path / "fields"), tmp_path / "tiny.toml", tmp_path / "runs"
    recipe.write_text(TINY)
    process = started("fit", fields, "--weights", "none", "--recipe", recipe, "--runs", runs)
    wait_for(lambda: any("0002" in name for name in kept_epochs(runs)), process)
    process.kill()
    process.communicate()
    run = only_run(runs)
    code, output = ended("fit", fields, "--resume", run.path)
    assert code == 0, output

    rows, shown = history(run), read(run.path)
    assert shown.keys() == SHOWN
    for tag, values in shown.items():
        assert [step for step, _ in values] == [1, 2, 3, 4], tag
    for tag in SHOWN - {"waiting_share"}:
        assert [value for _, value in shown[tag]] == pytest.approx([one[tag] for one in rows], rel=1e-4)
    shares = [one["seconds_waiting"] / one["seconds"] for one in rows]
    assert [value for _, value in shown["waiting_share"]] == pytest.approx(shares, abs=1e-4)


def test_an_epoch_that_was_logged_but_not_kept_gives_way_to_the_one_that_is_done_again(tmp_path: Path) -> None:
    with event_log(tmp_path, 1) as log:
        for epoch in (1, 2, 3):
            log(row(epoch, 0.1 * epoch))
    with event_log(tmp_path, 3) as log:
        for epoch in (3, 4):
            log(row(epoch, 0.2 * epoch))
    steps, scores = zip(*read(tmp_path)["score"], strict=True)
    assert steps == (1, 2, 3, 4)
    assert scores == pytest.approx((0.1, 0.2, 0.6, 0.8))


def test_a_row_is_on_the_disk_before_the_next_epoch_begins(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with event_log(tmp_path / "run", 1) as log:
        log(row(1, 0.5))
        shutil.copytree(tmp_path / "run", tmp_path / "as a kill would leave it")
        assert read(tmp_path / "as a kill would leave it")["score"] == [(1, 0.5)]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"gone/events cannot be written \(No such file or directory\)"):
        event_log(tmp_path / "gone", 1).__enter__()
