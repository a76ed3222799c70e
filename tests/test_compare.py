"""`trainer compare` on painted fields: it goes on wherever it was cut off, and names what it cannot do."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import signal
import sqlite3
import time
import tomllib
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from comparisons import outcome, picture, speed
from conftest import LONG
from trainings import PATIENCE_SECONDS, paint_fields, started, wait_for

from trainer.cli import main
from trainer.compare import Plan, arrange, setting_of
from trainer.datasets import open_dataset
from trainer.datasets.samples import DataError
from trainer.fit import TrainingError
from trainer.folds import Fold, group_folds, set_folds
from trainer.ledger import Ledger, Request, Speed
from trainer.recipe import Recipe
from trainer.task import Order, Outcome, Paused, Task, perform
from trainer.workers import Processes

TINY = """
name = "tiny"
cell_diameter_px = 16
crop_px = 32
batch = 2
steps_per_epoch = 4
epochs = 4
learning_rate = 3e-3
held_out = 0.25
painted_fields = 2
bn_batches = 4
"""

Arguments = Callable[[Path], list[str]]


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = paint_fields(tmp_path_factory.mktemp("data") / "fields")
    (folder / "groups.csv").write_text("id,group\n0,a\n1,a\n2,b\n3,b\n4,c\n5,c\n6,d\n7,d\n")
    return folder


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory, fields: Path) -> Arguments:
    """The command line of a tiny comparison that keeps its runs in a folder of choice."""
    recipe = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    recipe.write_text(TINY)

    def arguments(runs: Path) -> list[str]:
        chosen = ["--backbones", "unet", "--losses", "dice", "--folds", "2", "--weights", "none"]
        return ["compare", str(fields), *chosen, "--recipe", str(recipe), "--runs", str(runs)]

    return arguments


def checkpoints(runs: Path) -> list[Path]:
    return sorted(runs.glob("compare-*/*/epoch-*.weights.h5"))


def final_table(runs: Path) -> dict[str, list[tuple[object, ...]]]:
    """All figures of the ledger but the measured times."""
    queries = {
        "outcomes": "select comparison, backbone, loss, start, fold, seed, best_epoch, steps, parameters from outcomes",
        "pictures": "select * from pictures",
        "epochs": "select comparison, backbone, loss, start, fold, seed, epoch, mean_loss, score from epochs",
        "failures": "select * from failures",
    }
    with sqlite3.connect(runs / "ledger.db") as ledger:
        return {name: sorted(ledger.execute(query)) for name, query in queries.items()}


@pytest.mark.parametrize("folds", [1, pytest.param(2, marks=LONG)])
def test_a_killed_comparison_ends_in_the_same_table_as_an_undisturbed_one(
    tmp_path: Path, comparison: Arguments, folds: int
) -> None:
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"

    def arguments(runs: Path) -> list[str]:
        return [*comparison(runs), "--only-folds", str(folds)]

    process = started(*arguments(undisturbed))
    assert process.wait() == 0, process.communicate()[0]

    killed = started(*arguments(disturbed))
    wait_for(lambda: bool(checkpoints(disturbed)), killed)
    killed.kill()
    killed.wait()

    asked = started(*arguments(disturbed))
    wait_for(lambda: any("0003" in path.name for path in checkpoints(disturbed)), asked)
    asked.send_signal(signal.SIGINT)
    output, _ = asked.communicate()
    assert asked.returncode == 1
    assert "ending after this epoch" in output
    assert "are not done; start the same command again to go on" in output

    last = started(*arguments(disturbed))
    output, _ = last.communicate()
    assert last.returncode == 0, output
    table = final_table(undisturbed)
    assert final_table(disturbed) == table
    assert len(table["outcomes"]) == folds and len(table["pictures"]) == 4 * folds and not table["failures"]
    assert not checkpoints(disturbed)

    again = CliRunner().invoke(main, arguments(disturbed))
    assert again.exit_code == 0
    assert f"{folds} of them done before" in again.output
    assert final_table(disturbed) == table


def test_a_task_does_not_outlive_its_comparison(tmp_path: Path, comparison: Arguments) -> None:
    process = started(*comparison(tmp_path))
    wait_for(lambda: any(tmp_path.glob("compare-*/*/log.txt")), process)
    (log,) = tmp_path.glob("compare-*/*/log.txt")

    def working() -> bool:
        return bool(_processes_with(str(log.parent)))

    wait_for(working, process)
    process.kill()
    process.wait()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while working():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@LONG
def test_a_ray_cluster_does_the_same_tasks(tmp_path: Path, comparison: Arguments) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    process = started(*comparison(tmp_path), "--ray", "local", "--epochs", "2")
    output, _ = process.communicate()
    assert process.returncode == 0, output
    table = final_table(tmp_path)
    assert len(table["outcomes"]) == 2 and len(table["pictures"]) == 8 and not table["failures"]


def _processes_with(word: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and word.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue  # it ended meanwhile
    return [pid for pid in found if pid != os.getpid()]


@pytest.mark.filterwarnings("ignore:__array__")
def order_of(fold: Fold, folder: Path, **recipe: int) -> Order:
    """Of a plain U-Net by the tiny recipe."""
    return Order(
        task=Task(backbone="unet", loss="dice", start="none", fold=1, seed=0),
        recipe=Recipe.model_validate(tomllib.loads(TINY) | {"backbone": "unet", "loss": "dice"} | recipe),
        weights_dir=folder,
        fold=fold,
        diameters={"fields": 50.0},
        folder=folder / "task",
        created_at="2026-11-24T00:00:00+00:00",
    )


def test_a_task_that_broke_off_while_it_scored_does_not_train_again(tmp_path: Path, fields: Path) -> None:
    data = tmp_path / "fields"
    shutil.copytree(fields, data)
    fold = group_folds(open_dataset(data), 2)[0]
    order = order_of(fold, tmp_path, epochs=2)
    picture = fold.test[0].image
    picture.rename(picture.with_suffix(".away"))
    with pytest.raises(DataError, match=re.escape(str(picture))):
        perform(order)
    picture.with_suffix(".away").rename(picture)
    asked: list[int] = []
    outcome = perform(order, lambda: bool(asked.append(1)))  # it asks after each epoch that it trains
    assert not asked
    assert [epoch.epoch for epoch in outcome.curve] == [1, 2]
    assert len(outcome.pictures) == len(fold.test)
    assert "keras" in outcome.made_with and "float32" in outcome.made_with


def test_more_only_folds_than_folds_are_refused(tmp_path: Path, comparison: Arguments) -> None:
    assert "there are 2 folds, not 3" in refused([*comparison(tmp_path), "--only-folds", "3"])


def test_a_refused_comparison_leaves_nothing_in_the_ledger(tmp_path: Path, comparison: Arguments) -> None:
    assert "no loss" in refused([*comparison(tmp_path), "--losses", "hinge"])
    assert not (tmp_path / "ledger.db").exists() or not Ledger(tmp_path / "ledger.db").comparisons()


def test_other_counts_or_groups_are_another_comparison(tmp_path: Path, fields: Path) -> None:
    def identity(folder: Path) -> str:
        plan = Plan(
            recipe=Recipe(name="x"),
            samples=open_dataset(folder),
            diameters={"fields": 50.0},
            backbones=("unet",),
            losses=("dice",),
            division="groups",
            folds=2,
            only_folds=None,
            seeds=1,
            weights="none",
            weights_dir=tmp_path,
        )
        return setting_of(plan, arrange(plan), Request(data=()), "now").id

    counted, regrouped = tmp_path / "a" / "fields", tmp_path / "b" / "fields"
    for copy in (counted, regrouped):
        shutil.copytree(fields, copy)
    assert identity(counted) == identity(fields)  # wherever it lies
    (counted / "counts.csv").write_text("id,wbc_count\n0,7\n")
    (regrouped / "groups.csv").write_text("id,group\n0,a\n1,b\n2,c\n3,d\n4,e\n5,f\n6,g\n7,h\n")
    assert len({identity(fields), identity(counted), identity(regrouped)}) == 3


def test_a_ledger_of_another_version_is_named(tmp_path: Path, comparison: Arguments) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.close()
    with sqlite3.connect(tmp_path / "ledger.db") as raw:
        raw.execute('insert into comparisons values (\'x\', \'{"id": "x", "from_the_future": 1}\')')
    result = CliRunner().invoke(main, ["results", "--runs", str(tmp_path)])
    assert isinstance(result.exception, SystemExit)
    assert "ledger.db holds what this version does not understand" in result.stderr


def test_folds_never_part_a_group_and_test_every_picture_once(fields: Path) -> None:
    samples = open_dataset(fields)
    folds = group_folds(samples, 4)
    assert sorted(s.id for fold in folds for s in fold.test) == sorted(s.id for s in samples)
    for fold in folds:
        assert not {s.group for s in fold.test} & {s.group for s in fold.training}
        assert len(fold.test) == 2
    assert folds == group_folds(samples[::-1], 4)  # whatever order the pictures come in
    assert folds != group_folds(samples, 4, seed=1)


def test_too_few_pictures_of_each_kind_are_refused_in_words(tmp_path: Path) -> None:
    folder = paint_fields(tmp_path / "few", count=5)
    for number in (3, 4):
        mask = folder / "masks" / f"{number}.png"
        assert cv2.imwrite(str(mask), np.zeros_like(cv2.imread(str(mask), cv2.IMREAD_UNCHANGED)))
    with pytest.raises(DataError, match=r"5 pictures, of 2 kinds .* cannot be divided into 5 folds; use fewer --folds"):
        group_folds(open_dataset(folder), 5)


def test_a_set_that_is_left_out_is_tested_alone(fields: Path) -> None:
    samples = open_dataset(fields)
    other = [replace(s, dataset="other", group=s.group if s.id == "0" else f"other/{s.group}") for s in samples]
    folds = set_folds([*other, *samples])
    assert [{s.dataset for s in fold.test} for fold in folds] == [{"fields"}, {"other"}]
    assert [{s.dataset for s in fold.training} for fold in folds] == [{"other"}, {"fields"}]
    assert [len(fold.test) for fold in folds] == [8, 8]
    shared = [{s.group for s in fold.test} & {s.group for s in fold.training} for fold in folds]
    assert shared == [set(), set()]
    assert [len(fold.training) for fold in folds] == [7, 6]  # the group that both share is left out


def test_one_set_alone_cannot_be_left_out(tmp_path: Path, comparison: Arguments) -> None:
    arguments = [*comparison(tmp_path / "runs"), "--leave-one-set-out"]
    assert "leave --folds away" in refused(arguments)
    arguments = [word for word in arguments if word not in {"--folds", "2"}]
    assert "at least two are needed: give several folders" in refused(arguments)


def test_a_fold_that_could_never_be_trained_is_refused_before_any_work(tmp_path: Path, comparison: Arguments) -> None:
    """Its other folds would be trained for hours, and the comparison never be whole."""
    slide = paint_fields(tmp_path / "slide", count=12)
    for path in (slide / kind / f"{number}.png" for kind in ("images", "masks") for number in range(8)):
        path.unlink()  # they show what the other set does
    (slide / "groups.csv").write_text("id,group\n" + "".join(f"{number},one\n" for number in range(8, 12)))
    arguments = [word for word in comparison(tmp_path / "runs") if word not in {"--folds", "2"}]
    said = refused([*arguments, str(slide), "--leave-one-set-out"])
    assert "which is tested on fields, cannot be trained: 4 pictures in 1 groups are too few" in said
    assert not list(tmp_path.glob("runs/compare-*"))


def refused(arguments: list[str]) -> str:
    result = CliRunner().invoke(main, arguments)
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code != 0
    return result.stderr.strip().splitlines()[-1]


def test_more_folds_than_groups_are_refused(tmp_path: Path, comparison: Arguments) -> None:
    arguments = [*comparison(tmp_path / "runs"), "--folds", "5"]
    assert "8 pictures in 4 groups cannot be divided into 5 folds" in refused(arguments)
    assert not list(tmp_path.glob("runs/compare-*"))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--backbones", "resnet"], "there is no backbone 'resnet'; known: unet"),
        (["--losses", "hinge"], "there is no loss 'hinge'; known: cross_entropy"),
        (["--backbones", "mobilenet", "--weights", "imagenet"], "put MobileNet_notop.weights.h5"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_any_work(
    tmp_path: Path, comparison: Arguments, more: list[str], said: str
) -> None:
    assert said in refused([*comparison(tmp_path), *more])


def masks(fields: Path, folder: Path, change: Callable[[int, np.ndarray], np.ndarray]) -> Path:
    """The fields with other masks."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number, path in enumerate(sorted((fields / "images").iterdir())):
        (folder / "images" / path.name).write_bytes(path.read_bytes())
        mask = cv2.imread(str(fields / "masks" / path.name), cv2.IMREAD_UNCHANGED)
        assert cv2.imwrite(str(folder / "masks" / path.name), change(number, mask))
    return folder


def test_masks_without_any_cell_are_refused(tmp_path: Path, fields: Path) -> None:
    empty = masks(fields, tmp_path / "empty", lambda _, mask: mask * 0)
    said = refused(["compare", str(empty), "--folds", "2", "--weights", "none", "--runs", str(tmp_path / "runs")])
    assert "no mask holds a whole white blood cell" in said


def test_empty_fields_are_spread_over_the_folds_and_each_set_has_cells_in_each(tmp_path: Path, fields: Path) -> None:
    """A set whose part of a fold shows no cell would score 1 for a network that finds nothing."""
    half = open_dataset(masks(fields, tmp_path / "half", lambda number, mask: mask if number < 4 else mask * 0))
    apart = [replace(sample, group=f"half/{sample.id}") for sample in half]
    for seed in range(10):
        for fold in group_folds(apart, 4, seed):
            assert sum(sample.read_truth().any() for sample in fold.test) == 1
    rich = [replace(sample, dataset="rich", group=f"rich/{sample.id}") for sample in open_dataset(fields)]
    poor = open_dataset(masks(fields, tmp_path / "poor", lambda number, mask: mask if number < 2 else mask * 0))
    with pytest.raises(DataError, match=r"no mask in the test part of fold \d, of poor, holds any"):
        group_folds([*rich, *(replace(sample, group=f"poor/{sample.id}") for sample in poor)], 4)


@pytest.mark.parametrize("change", [lambda _, mask: mask * 0, lambda _, mask: np.minimum(mask, 1)])
def test_a_fit_without_a_class_is_refused(
    tmp_path: Path, fields: Path, change: Callable[[int, np.ndarray], np.ndarray]
) -> None:
    """Also where the cell diameter is told, so that no mask has to be measured."""
    data = masks(fields, tmp_path / "data", change)
    told = ["fit", str(data), "--weights", "none", "--cell-diameter", "60", "--runs", str(tmp_path / "runs")]
    assert "no mask in the pictures to train on holds any" in refused(told)
    assert not (tmp_path / "runs").exists()


def test_a_task_hears_its_order_before_it_is_asked_to_stop(
    tmp_path: Path, fields: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the moment in which its process is started."""
    workers, packed = Processes(1), pickle.dumps

    def dumps(order: Order) -> bytes:
        workers.stop()
        return packed(order)

    monkeypatch.setattr("trainer.workers.pickle.dumps", dumps)
    try:
        with pytest.raises(Paused, match="stands after a whole epoch"):
            workers.submit(order_of(group_folds(open_dataset(fields), 2)[0], tmp_path)).result()
    finally:
        workers.close()


def test_a_class_that_is_missing_in_a_fold_is_refused(tmp_path: Path, fields: Path) -> None:
    one = masks(fields, tmp_path / "one", lambda number, mask: mask if number == 0 else np.minimum(mask, 1))
    said = refused(["compare", str(one), "--folds", "2", "--weights", "none", "--runs", str(tmp_path / "runs")])
    assert "no mask in the t" in said and "holds any nucleus" in said


def test_an_empty_folder_and_a_single_picture_are_refused(tmp_path: Path, fields: Path) -> None:
    (tmp_path / "none").mkdir()
    common = ["--folds", "2", "--weights", "none", "--runs", str(tmp_path / "runs")]
    assert "none of the known layouts" in refused(["compare", str(tmp_path / "none"), *common])
    single = masks(fields, tmp_path / "single", lambda _, mask: mask)
    for path in [*(single / "images").iterdir(), *(single / "masks").iterdir()]:
        if path.stem != "0":
            path.unlink()
    assert "1 pictures in 1 groups cannot be divided" in refused(["compare", str(single), *common])


def test_a_training_that_fails_is_named_and_the_others_go_on(tmp_path: Path, comparison: Arguments) -> None:
    recipe = tmp_path / "wild.toml"
    recipe.write_text(TINY.replace("3e-3", "1e30"))
    arguments = [*comparison(tmp_path / "runs"), "--recipe", str(recipe), "--jobs", "2"]
    result = CliRunner().invoke(main, arguments, env={"COLUMNS": "400"})
    assert result.exit_code == 1
    assert result.output.count("FAILED") == 2
    assert "the loss was no longer finite in epoch 1" in result.output
    assert len(final_table(tmp_path / "runs")["failures"]) == 2


class Fated:
    """Workers for whom every training of a U-Net succeeds and every other one fails; nothing is trained."""

    def submit(self, order: Order) -> Future[Outcome]:
        future = Future[Outcome]()
        if order.task.backbone == "unet":
            tested = [picture(300, sample.dataset, sample.id) for sample in order.fold.test]
            future.set_result(outcome(order.task, tested))
        else:
            future.set_exception(TrainingError("the loss was no longer finite"))
        return future

    def stop(self) -> None: ...

    def close(self) -> None: ...


def test_an_encoder_that_always_fails_does_not_keep_the_others_from_being_timed(
    tmp_path: Path, comparison: Arguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(names: Sequence[str], *_: object) -> list[Speed]:
        return [speed(name, 20.0, 1_000_000) for name in names]

    monkeypatch.setattr("trainer.cli.compare._workers", lambda *_: Fated())
    monkeypatch.setattr("trainer.speed.measure_all", measured)
    result = CliRunner().invoke(main, [*comparison(tmp_path), "--backbones", "mobilenet,unet"])
    assert result.exit_code == 1 and "2 trainings are not done" in result.stderr
    ledger = Ledger(tmp_path / "ledger.db")
    (compared,) = ledger.comparisons()
    assert set(ledger.speeds(compared.id)) == {"unet"}
    picked = CliRunner().invoke(main, ["pick", "--runs", str(tmp_path)])
    assert picked.exit_code == 0, picked.output
    assert "picked unet, dice" in picked.output
