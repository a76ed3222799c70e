"""A training that is stopped, killed, refused by the disk or diverges: a sentence, and what was good stays usable."""

from __future__ import annotations

import resource
import shlex
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from trainings import (
    TINY,
    ended,
    history,
    kept_epochs,
    learned,
    only_run,
    paint_fields,
    scalars,
    started,
    wait_for,
)

from station.contract.bundle import Bundle, prove, read_bundle
from station.engines import open_engine
from trainer.cli import main
from trainer.runs import RunFolder

pytestmark = pytest.mark.xdist_group("interrupted")  # the undisturbed run is trained once

SLOW = TINY.replace("3e-3", "1e-6")  # steps that hardly move what they go on from
SHOWN = {"loss", "score", "learning_rate", "seconds", "waiting_share", "dice_nucleus/fields", "dice_cell/fields"}
ROOM_BYTES = 100_000  # for the record of a run, but not for weights


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paint_fields(tmp_path_factory.mktemp("data") / "fields")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, fields: Path, tiny: Path) -> RunFolder:
    """A finished run of the tiny recipe."""
    runs = tmp_path_factory.mktemp("undisturbed")
    code, output = ended("fit", fields, "--weights", "none", "--recipe", tiny, "--runs", runs)
    assert code == 0, output
    return only_run(runs)


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory, undisturbed: RunFolder) -> Path:
    """What `--from` goes on from: the bundle of that run."""
    path = tmp_path_factory.mktemp("parent") / "parent.zip"
    exported(undisturbed, path)
    return path


@pytest.fixture(scope="module")
def cut_off(tmp_path_factory: pytest.TempPathFactory, fields: Path, tiny: Path) -> Path:
    """The folder of a run that was killed (kill -9) after its second epoch; copy it before it is taken up."""
    runs = tmp_path_factory.mktemp("cut-off")
    process = started("fit", fields, "--weights", "none", "--recipe", tiny, "--runs", runs)
    wait_for(lambda: any("0002" in name for name in kept_epochs(runs)), process)
    process.kill()
    process.communicate()
    return runs


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory, fields: Path, cut_off: Path) -> tuple[RunFolder, str]:
    """A killed run that was taken up to its end, and what was said."""
    runs = tmp_path_factory.mktemp("resumed") / "runs"
    shutil.copytree(cut_off, runs)
    run = only_run(runs)
    code, output = ended("fit", fields, "--resume", run.path.name, "--runs", runs)
    assert code == 0, output
    return run, output


def refused(*arguments: object, exit_code: int = 1) -> str:
    """The sentence of a command that fails without a traceback."""
    told = CliRunner().invoke(main, [*map(str, arguments)])
    assert isinstance(told.exception, SystemExit) and told.exit_code == exit_code, told
    return told.output.strip().splitlines()[-1]


def exported(run: RunFolder, path: Path) -> Bundle:
    """The bundle of a run, after it has proved itself."""
    told = CliRunner().invoke(main, ["export", str(run.path), "-o", str(path)], catch_exceptions=False)
    assert told.exit_code == 0, told.output
    bundle = read_bundle(path)
    assert prove(bundle, open_engine(bundle, "onnxruntime"))
    return bundle


def test_ctrl_c_ends_after_the_epoch_and_leaves_a_run_that_exports(tmp_path: Path, fields: Path, parent: Path) -> None:
    recipe = tmp_path / "endless.toml"
    recipe.write_text(SLOW.replace("epochs = 4", "epochs = 500\npatience = 500"))
    process = started("fit", fields, "--from", parent, "--recipe", recipe, "--runs", tmp_path / "runs")
    wait_for(lambda: any("0001" in name for name in kept_epochs(tmp_path / "runs")), process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert "ending after this epoch; Ctrl-C again ends at once" in output
    assert "held-out pictures, best epoch" in output
    run = only_run(tmp_path / "runs")
    record, rows = run.load(), history(run)
    assert 1 <= len(rows) < 500
    assert record.best_epoch in range(len(rows) + 1)
    assert record.score is not None and record.score >= max(row["score"] for row in rows) - 1e-4
    assert record.epochs == len(rows) and f"ended after {len(rows)} of 500 epochs; this goes on: trainer fit " in output
    child = exported(run, tmp_path / "child.zip")
    assert child.manifest.provenance.ancestry[-1] == read_bundle(parent).sha256
    assert f" of {len(rows)} that were trained (500 allowed)." in child.files["MODEL_CARD.md"].decode()
    code, told = ended("average", run.path, fields, "--from", parent)
    assert code == 0 and run.trained.is_file(), told
    run.save(run.load().model_copy(update={"averaged": "of what was trained so far"}))

    _, _, line = output.rpartition("this goes on: ")
    process = started(*shlex.split(line)[1:])
    wait_for(lambda: any(f"{len(rows) + 1:04}" in name for name in kept_epochs(tmp_path / "runs")), process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert len(history(run)) > len(rows) and history(run)[: len(rows)] == rows
    assert run.load().averaged == "" and not run.trained.exists()  # of what went on since no average was made


def test_a_killed_run_goes_on_to_the_same_history(undisturbed: RunFolder, resumed: tuple[RunFolder, str]) -> None:
    run, output = resumed
    assert "epoch 1/4" not in output and "epoch 4/4" in output
    assert learned(run) == learned(undisturbed)
    same = {"run_id", "created_at"}
    assert run.load().model_dump(exclude=same) == undisturbed.load().model_dump(exclude=same)
    assert run.weights.is_file() and not kept_epochs(run.path.parent)


def test_tensorboard_shows_each_epoch_of_a_resumed_run_once(resumed: tuple[RunFolder, str]) -> None:
    pytest.importorskip("tensorboardX", reason="tensorboardX, a part of the extra train, is not installed")
    pytest.importorskip("tensorboard", reason="tensorboard, a part of the extra dev, is not installed")
    run, _ = resumed
    rows, shown = history(run), scalars(run.path)
    assert shown.keys() == SHOWN
    for tag, values in shown.items():
        assert [step for step, _ in values] == [1, 2, 3, 4], tag
    for tag in SHOWN - {"waiting_share"}:
        assert [value for _, value in shown[tag]] == pytest.approx([one[tag] for one in rows], rel=1e-4)
    shares = [one["seconds_waiting"] / one["seconds"] for one in rows]
    assert [value for _, value in shown["waiting_share"]] == pytest.approx(shares, abs=1e-4)


def test_a_run_that_broke_off_after_its_training_goes_on_with_its_bundle(
    fields: Path, undisturbed: RunFolder, tmp_path: Path
) -> None:
    text = refused("fit", fields, "--resume", undisturbed.path)
    assert text == f"error: the run {undisturbed.path} is trained: `-o NAME.zip` goes on with its bundle"
    assert "is a folder; name the file" in refused("fit", fields, "--weights", "none", "-o", tmp_path, exit_code=2)
    before = undisturbed.weights.read_bytes()
    code, output = ended("fit", fields, "--resume", undisturbed.path, "-o", tmp_path / "late.zip")
    assert code == 0, output
    assert f"run {undisturbed.path} is trained: on with its bundle" in output
    assert read_bundle(tmp_path / "late.zip").manifest.name == "late" and undisturbed.weights.read_bytes() == before


def test_a_run_is_resumed_on_its_own_data_only(tmp_path: Path, cut_off: Path) -> None:
    other = paint_fields(tmp_path / "fields", count=7)
    run = only_run(cut_off).path
    text = refused("fit", other, "--resume", run)
    assert text == f"error: the run {run} was begun on other pictures or masks; start a new one"


def test_a_run_is_resumed_as_it_was_begun(fields: Path, cut_off: Path) -> None:
    run = only_run(cut_off).path
    text = refused("fit", fields, "--resume", run, "--epochs", 9, "--seed", 0, exit_code=2)
    assert "--resume goes on as the run was begun: leave --epochs, --seed away" in text


def test_two_do_not_train_one_run(tmp_path: Path, fields: Path, cut_off: Path) -> None:
    shutil.copytree(cut_off, tmp_path / "runs")
    run = only_run(tmp_path / "runs")
    with run.locked() as mine:
        assert mine
        text = refused("fit", fields, "--resume", run.path)
    assert text == f"error: another process trains the run {run.path}: wait for it, or end it"


def test_an_unknown_run_and_a_damaged_checkpoint_are_named(tmp_path: Path, fields: Path, cut_off: Path) -> None:
    text = refused("fit", fields, "--resume", "no-run", "--runs", cut_off)
    assert text == f"error: there is no run 'no-run' in {cut_off}; known: {only_run(cut_off).path.name}"
    shutil.copytree(cut_off, tmp_path / "runs")
    run = only_run(tmp_path / "runs").path
    (run / "checkpoint.json").write_text("{")
    text = refused("fit", fields, "--resume", run)
    assert text.startswith(f"error: {run / 'checkpoint.json'} cannot be read (Invalid JSON")
    assert text.endswith(f"; remove {run} to train it anew")


def test_a_full_disk_gets_a_sentence_and_takes_nothing_that_was_good(
    tmp_path: Path, fields: Path, tiny: Path, undisturbed: RunFolder
) -> None:
    runs = tmp_path / "runs"
    process = started("fit", fields, "--weights", "none", "--recipe", tiny, "--runs", runs)
    wait_for(lambda: bool(kept_epochs(runs)), process)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (ROOM_BYTES, ROOM_BYTES))
    output, _ = process.communicate()
    assert process.returncode == 1, output
    assert "Traceback" not in output
    last = output.strip().splitlines()[-1]
    assert last.startswith(f"error: {only_run(runs).path}/") and ".weights.h5 cannot be written (" in last
    assert last.endswith("; make room, then start again")
    assert kept_epochs(runs)
    assert not list(runs.glob("*/partial-*"))

    code, output = ended("fit", fields, "--resume", only_run(runs).path)  # there is room again
    assert code == 0, output
    assert learned(only_run(runs)) == learned(undisturbed)


def test_a_disk_that_was_full_from_the_start_gets_a_sentence(tmp_path: Path, fields: Path, tiny: Path) -> None:
    process = started("fit", fields, "--weights", "none", "--recipe", tiny, "--runs", tmp_path / "runs")
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (ROOM_BYTES, ROOM_BYTES))
    output, _ = process.communicate()
    assert process.returncode == 1, output
    assert "Traceback" not in output
    assert "epoch-0001.weights.h5 cannot be written (File too large); make room" in output


def test_weights_that_the_last_step_of_an_epoch_ruins_leave_the_best_ones_usable(
    tmp_path: Path, fields: Path, parent: Path
) -> None:
    """Each epoch has one step, whose loss is that of the weights before it: the loss never shows the ruin."""
    hot = tmp_path / "hot.toml"
    hot.write_text(TINY.replace("3e-3", "1e30").replace("steps_per_epoch = 6", "steps_per_epoch = 1"))
    text = refused("fit", fields, "--from", parent, "--recipe", hot, "--runs", tmp_path / "runs")
    run = only_run(tmp_path / "runs")
    assert text.startswith("error: the loss was no longer finite in epoch 1, step 1; ")
    assert f"the best weights so far are in {run.weights}" in text
    bundles = exported(run, tmp_path / "child.zip"), read_bundle(parent)
    card = bundles[0].files["MODEL_CARD.md"].decode()
    assert (
        "best epoch 0 of 0 that were trained (4 allowed)" in card and "| none: the training ended with a loss" in card
    )
    tiles = np.random.default_rng(0).integers(0, 256, (1, 128, 160, 3), np.uint8)
    answers = [open_engine(bundle, "onnxruntime")(tiles) for bundle in bundles]
    assert answers[0] == pytest.approx(answers[1], abs=0.05)  # weights went through float16 twice
