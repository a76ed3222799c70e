"""The whole way on painted fields: a folder, `trainer fit`, a run, a bundle, and on from there."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from station.contract.bundle import MODEL_CARD, Bundle, bundle_of, prove, read_bundle, write_bundle
from station.contract.errors import NotFinite
from station.demo.smear import SmearRecipe, paint
from station.engines import open_engine
from trainer.card import model_card
from trainer.cli import main
from trainer.evaluate import ImageScore
from trainer.recipe import read_recipe
from trainer.runs import HISTORY_COLUMNS, RunFolder

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__"),  # Keras on NumPy 2
    pytest.mark.xdist_group("fit"),  # it is trained once
]

TINY = """
name = "tiny"
backbone = "unet"
cell_diameter_px = 32
crop_px = 64
batch = 4
steps_per_epoch = 32
epochs = 3
learning_rate = 3e-3
held_out = 0.25
painted_fields = 2
bn_batches = 6
"""
CELL_DIAMETER = 50


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A finished `trainer fit ... -o bundle.zip`."""

    output: str
    run: RunFolder
    path: Path
    bundle: Bundle


def trainer(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def sentence(result: Result, exit_code: int = 1) -> str:
    """The last line of a command that ended with a sentence, not with a traceback."""
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == exit_code
    assert "Traceback" not in result.output
    return result.stderr.strip().splitlines()[-1]


def only_run(runs: Path) -> RunFolder:
    (path,) = runs.iterdir()
    return RunFolder(path)


def trained(data: Path, recipe: Path, runs: Path, *more: object) -> RunFolder:
    """The run of a training from random values that ended well."""
    result = trainer("fit", data, "--weights", "none", "--recipe", recipe, "--runs", runs, *more)
    assert result.exit_code == 0, result.output
    return only_run(runs)


def history(run: RunFolder) -> list[dict[str, float]]:
    with (run.path / "history.csv").open(newline="") as lines:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(lines)]


def learned(run: RunFolder) -> list[tuple[float, float, float]]:
    """The part of a history that the clock has no share in."""
    return [(row["epoch"], row["loss"], row["score"]) for row in history(run)]


def put(folder: Path, name: str, image: Any, labels: Any) -> None:
    for kind, picture in (("images", np.ascontiguousarray(image[..., ::-1])), ("masks", labels)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(folder / kind / f"{name}.png"), picture)


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "fields"
    for seed in range(8):
        field = paint(SmearRecipe(width=160, height=120, cell_diameter_px=CELL_DIAMETER, wbc=2, seed=seed))
        put(folder, f"{seed}", field.image, field.labels)
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory, fields: Path, tiny: Path) -> Fitted:
    home = tmp_path_factory.mktemp("fitted")
    path = home / "bundle.zip"
    result = trainer("fit", fields, "--weights", "none", "--recipe", tiny, "--runs", home / "runs", "-o", path)
    assert result.exit_code == 0, result.output
    return Fitted(result.output, only_run(home / "runs"), path, read_bundle(path))


def test_a_run_keeps_its_record_its_history_and_its_weights(fitted: Fitted, tiny: Path) -> None:
    record = fitted.run.load()
    assert (record.run_id, record.seed, record.weights) == (fitted.run.path.name, 0, "none")
    assert record.recipe == read_recipe(str(tiny))
    assert set(record.sources) == {"fields"}
    source = record.sources["fields"]
    assert (source.images, source.held_out) == (6, 2)
    assert source.cell_diameter_px == pytest.approx(CELL_DIAMETER, rel=0.1)
    assert fitted.run.weights.stat().st_size > 1e6
    rows = history(fitted.run)
    assert set(rows[0]) == {*HISTORY_COLUMNS, "dice_nucleus/fields", "dice_cell/fields"}
    for row in rows:
        assert row["score"] == pytest.approx((row["dice_nucleus/fields"] + row["dice_cell/fields"]) / 2, abs=1e-4)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert all(0 <= row["seconds_waiting"] <= row["seconds"] for row in rows)
    assert rows[0]["learning_rate"] > rows[-1]["learning_rate"] > 0
    for part in (
        str(fitted.run.path),
        "8 pictures, unet, cross_entropy+dice, from none",
        "epoch 3/3",
        str(fitted.path),
    ):
        assert part in fitted.output


def test_training_learns_and_the_best_weights_are_kept(fitted: Fitted) -> None:
    record, rows = fitted.run.load(), history(fitted.run)
    assert min(row["loss"] for row in rows[1:]) < rows[0]["loss"]
    scores = [row["score"] for row in rows]
    assert record.best_epoch == 1 + scores.index(max(scores))
    assert record.score is not None
    assert record.score >= max(scores) - 1e-4  # better still where new statistics of batch normalisation helped
    (figures,) = record.metrics.values()
    assert (figures["dice_nucleus"] + figures["dice_cell"]) / 2 == pytest.approx(record.score, abs=1e-4)
    assert figures["dice_cell"] > 0.4


def test_the_bundle_proves_itself_and_says_what_it_was_made_of(fitted: Fitted) -> None:
    manifest, record = fitted.bundle.manifest, fitted.run.load()
    results = prove(fitted.bundle, open_engine(fitted.bundle, "onnxruntime"))
    assert len(results) == 3
    assert fitted.path.stat().st_size < 12e6
    assert manifest.name == "bundle"
    assert (manifest.scale.cell_diameter_px, manifest.scale.stride) == (32, 16)
    made = manifest.provenance
    assert (made.backbone, made.loss, made.seed, made.ancestry) == ("unet", "cross_entropy+dice", 0, ())
    assert (made.recipe_sha256, made.data_sha256) == (record.recipe.digest, record.data_sha256)
    assert manifest.metrics == record.metrics
    card = fitted.bundle.files[MODEL_CARD].decode()
    assert card.startswith(model_card(record, manifest).rstrip())
    assert "| int8 |" in card and [network.precision for network in manifest.networks] == ["float32", "int8"]
    for part in ("# bundle", "`unet`", "`tiny`", "seed 0", "fields: 6 pictures trained on, 2 held out"):
        assert part in card


def test_run_network_and_weights_of_a_bundle_answer_alike(fitted: Fitted) -> None:
    from trainer.backbones import backbone
    from trainer.start import descendant
    from trainer.unet import build
    from trainer.validation import keras_network

    kept, parent = build(backbone("unet")), build(backbone("unet"))
    kept.load_weights(fitted.run.weights)
    descendant(fitted.path).load_into(parent)
    assert {str(weight.dtype) for weight in parent.get_weights()} == {"float32"}
    tiles = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)
    answer = open_engine(fitted.bundle, "onnxruntime")(tiles)
    for model in (kept, parent):  # in float32, and from float16
        assert answer == pytest.approx(keras_network(model)(tiles), abs=5e-3)


def test_a_training_goes_on_from_a_bundle(fitted: Fitted, fields: Path, tmp_path: Path) -> None:
    gentle = tmp_path / "gentle.toml"
    gentle.write_text(TINY.replace("3e-3", "1e-9").replace("epoch = 32", "epoch = 1"))
    arguments = ("--recipe", gentle, "--epochs", 1, "--runs", tmp_path / "runs", "-o", tmp_path / "child.zip")
    result = trainer("fit", fields, "--from", fitted.path, *arguments)
    assert result.exit_code == 1, result.output
    assert "Too little to tell: 2 pictures are too few" in result.output
    assert "These pictures also chose the epoch of the new model" in result.output
    assert f"from model bundle ({fitted.bundle.sha256[:12]})" in result.output
    child = read_bundle(tmp_path / "child.zip").manifest
    assert child.provenance.ancestry == (fitted.bundle.sha256,)
    (row,) = history(only_run(tmp_path / "runs"))
    best = max(row["score"] for row in history(fitted.run))
    assert row["score"] == pytest.approx(best, abs=0.05)  # the step was too small to matter


def test_another_backbone_than_that_of_the_bundle_is_refused(fitted: Fitted, fields: Path, tmp_path: Path) -> None:
    result = trainer("fit", fields, "--from", fitted.path, "--backbone", "mobilenet_v2", "--runs", tmp_path / "runs")
    assert sentence(result) == (
        "error: the model bundle has the backbone 'unet', not 'mobilenet_v2'; leave --backbone away"
    )
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("option", ["--weights", "--weights-dir"])
def test_a_bundle_and_other_weights_exclude_each_other(fitted: Fitted, fields: Path, option: str) -> None:
    text = sentence(trainer("fit", fields, "--from", fitted.path, option, "none"), exit_code=2)
    assert "leave --weights and --weights-dir away" in text


def test_a_bundle_without_weights_cannot_be_trained_on(fitted: Fitted, fields: Path, tmp_path: Path) -> None:
    bare = fitted.bundle.manifest.model_copy(update={"weights": None})
    write_bundle(tmp_path / "bare.zip", bundle_of(bare, fitted.bundle.files))
    text = sentence(trainer("fit", fields, "--from", tmp_path / "bare.zip", "--runs", tmp_path / "runs"))
    assert "carries no weights to train from" in text
    (tmp_path / "no.zip").write_bytes(b"no archive")
    assert "no.zip" in sentence(trainer("fit", fields, "--from", tmp_path / "no.zip", "--runs", tmp_path / "runs"))


def test_a_bundle_is_evaluated_on_a_folder(fitted: Fitted, fields: Path, tmp_path: Path) -> None:
    result = trainer("evaluate", fitted.path, fields, "--per-image")
    assert result.exit_code == 0, result.output
    for part in ("fields: 8 pictures, counted exactly", "nucleus", "cytoplasm", "cell", "sensitivity", "IoU"):
        assert part in result.output
    splits = tmp_path / "splits.csv"
    splits.write_text("dataset,image,role,group\nfields,1.png,val,a\nfields,2.png,val,b\nfields,3.png,train,c\n")
    for role, count in (("val", 2), ("train", 1)):
        rows = ("--splits", splits, "--role", role, "--cell-diameter", f"fields={CELL_DIAMETER}")
        result = trainer("evaluate", fitted.path, fields, *rows)
        assert f"fields: {count} pictures" in result.output
    result = trainer("evaluate", fitted.path, fields, "--untold")
    assert result.exit_code == 0, result.output
    result = trainer("evaluate", fitted.path, fields, "--role", "train")
    assert result.exit_code == 2 and "name it with --splits" in result.stderr
    assert trainer("evaluate", fitted.path, fields, "--threads", 100_000).exit_code == 2


def test_a_model_is_not_tested_unawares_on_what_it_learnt_from(fitted: Fitted, fields: Path, tmp_path: Path) -> None:
    told = trainer("evaluate", fitted.path, fields)
    assert told.exit_code == 0 and "bundle learnt from 8 of these 8 pictures; they flatter it" in told.stderr
    shutil.copytree(fields, tmp_path / "mixed")
    for name in ("0", "1", "2"):  # the same pictures under other names, and the others without their neighbours
        for kind in ("images", "masks"):
            (tmp_path / "mixed" / kind / f"{name}.png").rename(tmp_path / "mixed" / kind / f"other-{name}.png")
    text = sentence(trainer("evaluate", fitted.path, tmp_path / "mixed", "--against", fitted.path))
    assert "the model bundle learnt from 8 of these 8 pictures, such as " in text and "take them out" in text
    fresh = paint(SmearRecipe(width=160, height=120, cell_diameter_px=CELL_DIAMETER, wbc=2, seed=99))
    put(tmp_path / "fresh", "99", fresh.image, fresh.labels)
    beside = ("--test", tmp_path / "mixed", "-o", tmp_path / "new.zip", "--runs", tmp_path / "runs")
    text = sentence(trainer("fit", tmp_path / "fresh", "--from", fitted.path, *beside))
    assert "the model bundle learnt from 8 of these 8 pictures, such as " in text and not (tmp_path / "runs").exists()
    told = trainer("evaluate", fitted.path, tmp_path / "fresh")
    assert told.exit_code == 0 and "learnt from" not in told.stderr


@pytest.mark.parametrize("line", [("fit", "--from"), ("evaluate", "bundle.zip", "--against")], ids=" ".join)
def test_an_empty_path_is_taken_for_what_it_is(fitted: Fitted, fields: Path, line: tuple[str, ...]) -> None:
    """What `"$(station model path)"` comes to where that command failed."""
    command, *words = [str(fitted.path) if word == "bundle.zip" else word for word in line]
    result = trainer(command, *words[:-1], fields, words[-1], "")
    assert result.exit_code == 2 and f"{words[-1]} names no file; `station model path`" in result.stderr


def test_figures_are_noted_in_the_run_for_its_card(fitted: Fitted, fields: Path, tmp_path: Path) -> None:
    before = fitted.run.load()
    copy = RunFolder(tmp_path / "copy")
    copy.path.mkdir()
    copy.save(before)
    result = trainer("evaluate", fitted.path, fields, "--into", "copy", "--runs", tmp_path)
    assert result.exit_code == 0, result.output
    after = copy.load()
    assert after.metrics == before.metrics | {"fields, scale told": after.metrics["fields, scale told"]}
    assert "| fields, scale told | 8 |" in model_card(after, fitted.bundle.manifest)
    text = sentence(trainer("evaluate", fitted.path, fields, "--into", "no-run", "--runs", tmp_path))
    assert text == f"error: there is no run 'no-run' in {tmp_path}; known: copy"


def test_a_loss_that_is_no_longer_finite_ends_the_training(fields: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "hot.toml"
    recipe.write_text(TINY.replace("3e-3", "1e30"))
    result = trainer("fit", fields, "--weights", "none", "--recipe", recipe, "--runs", tmp_path / "runs")
    text = sentence(result)
    assert text.startswith("error: the loss was no longer finite in epoch 1, step ")
    assert text.endswith("try a lower learning rate")
    assert not (only_run(tmp_path / "runs").path / "history.csv").exists()


def test_data_that_cannot_be_trained_on_gets_a_sentence(tiny: Path, tmp_path: Path) -> None:
    def fit(folder: Path) -> str:
        return sentence(trainer("fit", folder, "--weights", "none", "--recipe", tiny, "--runs", tmp_path / "runs"))

    (tmp_path / "nothing").mkdir()
    assert "has none of the known layouts" in fit(tmp_path / "nothing")
    field = paint(SmearRecipe(width=160, height=120, cell_diameter_px=40, wbc=1, seed=0))
    image, labels = field.image, field.labels
    put(tmp_path / "one", "a", image, labels)
    assert "1 pictures in 1 groups are too few to hold some out" in fit(tmp_path / "one")
    for name in ("a", "b", "c"):
        put(tmp_path / "background", name, np.roll(image, ord(name), axis=0), labels * 0)
    assert "no mask holds a whole white blood cell" in fit(tmp_path / "background")


def test_missing_weights_are_named_before_any_work(fields: Path, tmp_path: Path) -> None:
    text = sentence(trainer("fit", fields, "--weights-dir", tmp_path, "--runs", tmp_path / "runs"))
    assert "put MobileNetV2_notop.weights.h5" in text
    assert str(tmp_path) in text
    assert not (tmp_path / "runs").exists()


def test_statistics_that_make_it_worse_are_thrown_away(
    fitted: Fitted, fields: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainer.unet import batch_normalisations

    def ruin(model: Any, batches: object) -> None:
        for layer in batch_normalisations(model):
            gamma, beta, mean, variance = layer.get_weights()
            layer.set_weights([gamma, beta, mean + 100, variance * 100])

    monkeypatch.setattr("trainer.fit.reestimate_statistics", ruin)
    run = trained(fields, tiny, tmp_path, "--seed", 1)
    assert learned(run) != learned(fitted.run)  # another seed, another history
    best = max(row["score"] for row in history(run))
    assert best > 0.1
    assert run.load().score == pytest.approx(best, abs=1e-4)


def test_training_stops_when_the_score_no_longer_rises(
    fields: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.1, 0.5, 0.4, 0.3, *[0.2] * 9])
    seen: list[Any] = []  # the last kernel at each validation; statistics have no share in it

    def validate(model: Any, session: object) -> list[ImageScore]:
        seen.append(model.get_layer("logits").get_weights()[0])
        if len(seen) == 5:  # after the four epochs: statistics that give no numbers are not kept either
            raise NotFinite("the network answered with numbers that are not finite")
        return []

    monkeypatch.setattr("trainer.fit.validate", validate)
    for module in ("trainer.fit", "trainer.validation"):
        monkeypatch.setattr(f"{module}.selection_score", lambda _: next(scores))
    recipe = tmp_path / "patient.toml"
    recipe.write_text(TINY.replace("epochs = 3", "epochs = 7\npatience = 2").replace("epoch = 32", "epoch = 1"))
    run = trained(fields, recipe, tmp_path / "runs")
    assert [row["score"] for row in history(run)] == [0.1, 0.5, 0.4, 0.3]
    assert run.load().best_epoch == 2
    assert not np.array_equal(seen[1], seen[3])
    assert len(seen) == 6
    assert all(np.array_equal(final, seen[1]) for final in seen[4:])  # it ends with the weights of the best epoch


def test_new_statistics_repair_a_lagging_batch_normalisation() -> None:
    import keras

    from trainer.fit import reestimate_statistics

    keras.utils.set_random_seed(0)
    layers = [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization(momentum=0.8)]
    model = keras.Sequential(layers)
    gamma, beta, mean, variance = model.layers[-1].get_weights()
    model.layers[-1].set_weights([gamma, beta, mean + 50, variance * 1000])
    batches = [np.random.default_rng(i).normal(3, 2, (16, 8, 8, 3)).astype(np.float32) for i in range(50)]
    wanted = np.asarray(model(batches[0], training=True))
    model.layers[-1].set_weights([gamma, beta, mean + 50, variance * 1000])
    assert np.abs(np.asarray(model(batches[0], training=False)) - wanted).mean() > 0.5
    kernel = model.layers[0].get_weights()[0]
    reestimate_statistics(model, batches)
    assert np.abs(np.asarray(model(batches[0], training=False)) - wanted).mean() < 0.15
    assert np.array_equal(model.layers[0].get_weights()[0], kernel)  # no step was taken


def test_a_storage_that_changes_a_picture_is_refused(fitted: Fitted) -> None:
    from trainer.export import ExportError, storage_dice

    picture = paint(SmearRecipe(width=160, height=120, cell_diameter_px=CELL_DIAMETER, wbc=2, seed=0)).image
    exact = open_engine(fitted.bundle, "onnxruntime")
    assert storage_dice(fitted.bundle.manifest, exact, exact, [(picture, 50.0)]) == 1
    with pytest.raises(ExportError, match="kept as float16 they change golden picture 1"):
        storage_dice(fitted.bundle.manifest, exact, lambda tiles: exact(tiles)[..., ::-1], [(picture, 50.0)])


def test_an_unknown_run_cannot_be_exported(fitted: Fitted, tmp_path: Path) -> None:
    runs = fitted.run.path.parent
    text = sentence(trainer("export", "no-run", "-o", tmp_path / "x.zip", "--runs", runs))
    assert text == f"error: there is no run 'no-run' in {runs}; known: {fitted.run.path.name}"
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text(json.dumps({"run_id": "broken"}))
    result = trainer("export", "broken", "-o", tmp_path / "x.zip", "--runs", tmp_path)
    assert "broken is not a training run" in result.stderr
    assert result.exit_code == 1
