"""`trainer pick`: a choice with its reason in the ledger, and the training that follows from it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from comparisons import fabricated, made_ledger, setting, speed, task

from station.contract.bundle import MODEL_CARD, read_bundle
from station.demo.smear import SmearRecipe, paint
from trainer.cli import main
from trainer.ledger import Ledger, Request
from trainer.recipe import Recipe
from trainer.runs import RunFolder

pytestmark = pytest.mark.filterwarnings("ignore:__array__")  # Keras on NumPy 2


def pick(runs: Path, *more: object) -> Result:
    return CliRunner().invoke(main, ["pick", "--runs", str(runs), *map(str, more)], env={"COLUMNS": "400"})


def test_the_pick_and_its_reason_stand_in_the_ledger(tmp_path: Path) -> None:
    comparison = setting()
    made_ledger(tmp_path, comparison).close()
    by_speed, by_accuracy = pick(tmp_path), pick(tmp_path, "--on", "accuracy")
    assert (by_speed.exit_code, by_accuracy.exit_code) == (0, 0)
    kept = Ledger(tmp_path / "ledger.db").picks(comparison.id)
    assert [one.rule for one in kept] == ["speed", "accuracy"]
    for one, result in zip(kept, (by_speed, by_accuracy), strict=True):
        assert one.reason in result.output
        assert one.backbone in one.reason and one.loss in one.reason
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]  # nothing was trained


def test_without_a_comparison_there_is_nothing_to_pick(tmp_path: Path) -> None:
    result = pick(tmp_path)
    assert result.exit_code == 1
    assert "run `trainer compare`" in result.stderr
    assert not (tmp_path / "ledger.db").exists()


def test_one_fold_allows_a_pick_on_accuracy_only(tmp_path: Path) -> None:
    comparison = setting()
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.open_comparison(comparison)
    ledger.finish(comparison.id, fabricated(task("unet"), 0.04, comparison.sources, 3))
    ledger.add_speed(comparison.id, speed("unet", 40.0))
    refused = pick(tmp_path)
    assert refused.exit_code == 1
    assert "one fold gives no standard error" in refused.stderr
    assert pick(tmp_path, "--on", "accuracy").exit_code == 0


def test_the_picked_network_is_trained_on_all_pictures_and_exported_with_the_reason(tmp_path: Path) -> None:
    data, runs, bundle = tmp_path / "fields", tmp_path / "runs", tmp_path / "picked.zip"
    for kind in ("images", "masks"):
        (data / kind).mkdir(parents=True)
    for seed in range(4):
        field = paint(SmearRecipe(width=160, height=120, cell_diameter_px=50, wbc=2, seed=seed))
        assert cv2.imwrite(str(data / "images" / f"{seed}.png"), np.ascontiguousarray(field.image[..., ::-1]))
        assert cv2.imwrite(str(data / "masks" / f"{seed}.png"), field.labels)
    recipe = Recipe(
        name="tiny",
        backbone="unet",
        loss="cross_entropy",
        cell_diameter_px=32,
        crop_px=64,
        batch=4,
        steps_per_epoch=4,
        epochs=1,
        held_out=0.25,
        painted_fields=2,
        bn_batches=2,
    )
    changes = {"recipe": recipe.model_dump_json(), "request": Request(data=(str(data),))}
    comparison = setting({"fields": 4}).model_copy(update=changes | {"cell_diameters": {"fields": 50.0}})
    ledger = Ledger(runs / "ledger.db")
    ledger.open_comparison(comparison)
    for fold in (1, 2, 3):
        ledger.finish(comparison.id, fabricated(task("unet", fold=fold), 0.04, comparison.sources, 3))
        ledger.finish(comparison.id, fabricated(task("resnet18", fold=fold), 0.3, comparison.sources, 3))
    result = pick(runs, "--on", "accuracy", "-o", bundle)
    assert result.exit_code == 0, result.output
    (run,) = runs.glob("*-unet-dice")
    record = RunFolder(run).load()
    assert (record.recipe.backbone, record.recipe.loss, record.weights) == ("unet", "dice", "none")
    assert record.sources["fields"].images + record.sources["fields"].held_out == 4
    assert record.picked.startswith(f"comparison {comparison.id}: unet, dice, start none has the best score")
    kept = read_bundle(bundle)
    assert kept.manifest.provenance.backbone == "unet"
    assert record.picked in kept.files[MODEL_CARD].decode()
