"""From a run, and from a bundle without its run, to one that holds a network for another precision as well."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from conftest import SHARED
from networks import DIAMETER_PX, GOLDEN_DISCS, WEIGHTS, discs, tiny_manifest, tiny_onnx
from unets import record_of

from station.contract.bundle import LEAST_INT8_DICE, MODEL_CARD, Bundle, prove, read_bundle
from station.contract.errors import StationError
from station.demo.smear import demo_fields
from station.engines import open_engine
from station.registry import starter_path
from trainer.cli import main
from trainer.datasets import open_datasets
from trainer.datasets.samples import in_role
from trainer.evaluate import by_dataset, score_images, summary, told
from trainer.export import (
    GOLDEN_FIELDS,
    GOLDEN_SEED,
    kept_weights,
    painted_golden,
    stored_network,
    with_weights,
)
from trainer.precisions import to_int8
from trainer.runs import RunFolder
from trainer.start import Descendant

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__"),  # Keras on NumPy 2
    pytest.mark.xdist_group("export"),  # it is trained once
]


def wide_onnx(shared: float) -> bytes:
    """The colour network with weights enough to be halved, all moved by `shared`, which the softmax does not see."""
    network = onnx.load_from_string(tiny_onnx())
    graph, first, last = network.graph, np.zeros((3, 64), np.float32), np.eye(64, 3, dtype=np.float32)
    first[:, :3] = WEIGHTS + np.float32(shared)
    (weights,) = (one for one in graph.initializer if one.name == "weights")
    weights.CopyFrom(onnx.numpy_helper.from_array(first, "weights"))
    graph.initializer.append(onnx.numpy_helper.from_array(last, "last"))
    (product,) = (node for node in graph.node if node.op_type == "MatMul")
    product.output[0] = "wide"
    graph.node.insert(2, onnx.helper.make_node("MatMul", ["wide", "last"], ["products"]))
    return bytes(network.SerializeToString())


def trainer(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def exported(*arguments: object) -> tuple[Bundle, str]:
    """The bundle of `trainer export ... -o PATH`, and what was said."""
    result = trainer("export", *arguments)
    assert result.exit_code == 0, result.output
    return read_bundle(Path(str(arguments[-1]))), result.output


@pytest.fixture(scope="module")
def starter() -> Bundle:
    return read_bundle(starter_path())


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The starter with an int8 network."""
    path = tmp_path_factory.mktemp("extended") / "starter.zip"
    exported(starter_path(), "--int8", "--repaint", "-o", path)
    return path


@pytest.fixture(scope="module")
def run(starter: Bundle, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that ended with the starter's weights."""
    from trainer.backbones import backbone
    from trainer.start import Descendant
    from trainer.unet import build

    folder = RunFolder(tmp_path_factory.mktemp("runs") / "run")
    folder.path.mkdir()
    record = record_of(starter.manifest.provenance.backbone)
    model = build(backbone(record.recipe.backbone))
    Descendant(starter).load_into(model)
    model.save_weights(folder.weights)
    folder.save(record)
    return folder


def test_a_run_is_exported_with_a_network_for_gpus(run: RunFolder, tmp_path: Path) -> None:
    bundle, output = exported(run.path.name, "--runs", run.path.parent, "--float16", "-o", tmp_path / "model.zip")
    assert [network.precision for network in bundle.manifest.networks] == ["float32", "float16"]
    assert len(prove(bundle, open_engine(bundle))) == 3
    assert "ONNX differs from Keras" in output and "float16: " in output and "int8" not in output
    card = bundle.files[MODEL_CARD].decode()
    assert card.startswith("# model") and "| float16 |" in card


def test_the_starter_gets_its_int8_network_without_a_run(starter: Bundle, extended: Path) -> None:
    bundle = read_bundle(extended)
    assert bundle.network("float32") == starter.network("float32")
    assert bundle.files["weights.keras"] == starter.files["weights.keras"]
    assert bundle.manifest.name == starter.manifest.name
    golden = prove(bundle, open_engine(bundle, "onnxruntime", "int8"), least_cell_dice=LEAST_INT8_DICE)
    assert min(one.cell_dice for one in golden) >= 0.999 > LEAST_INT8_DICE
    assert [one.wbc_count for one in golden] == [2, 3, 2]


def test_it_stays_small(extended: Path) -> None:
    assert extended.stat().st_size <= 30e6


def test_int8_scores_as_float32_on_photographs(extended: Path, photographs: Path) -> None:
    """Some of the val rows of both sets; all of them: `trainer evaluate`."""
    bundle = read_bundle(extended)
    rows = in_role(open_datasets([photographs / "bccd", photographs / "zheng"]), SHARED / "data" / "splits.csv", "val")
    scale_of = told({"bccd": 162.0, "zheng": 75.0})
    whole, other = (
        by_dataset(score_images(rows[::4], scale_of, bundle.manifest, open_engine(bundle, "onnxruntime", precision)))
        for precision in ("float32", "int8")
    )
    for dataset in whole:
        for figure in ("dice_cell", "dice_nucleus", "count_mae"):
            expected = summary(whole[dataset])[figure]
            assert summary(other[dataset])[figure] == pytest.approx(expected, abs=0.002), (dataset, figure)


def test_golden_fields_are_small_and_hold_cells_that_touch() -> None:
    recipes = [demo_fields(GOLDEN_SEED)[index] for index in GOLDEN_FIELDS]
    assert all(recipe.wbc >= 2 for recipe in recipes) and any(recipe.touching_pairs for recipe in recipes)
    pictures = painted_golden()
    assert [image.shape for image, _ in pictures] == [(448, 576, 3)] * 3
    assert [diameter for _, diameter in pictures] == [recipe.cell_diameter_px for recipe in recipes]


def test_wrong_uses_of_the_command_are_named(tmp_path: Path) -> None:
    output = tmp_path / "more.zip"
    result = trainer("export", starter_path(), "-o", output)
    assert result.exit_code == 2 and "is a bundle already; say with --int8, --float16 what" in result.output
    result = trainer("export", "no-run", "--repaint", "-o", output, "--runs", tmp_path)
    assert result.exit_code == 2 and "--repaint is for a bundle" in result.output
    broken = tmp_path / "broken.zip"
    broken.write_bytes(starter_path().read_bytes()[:-40])
    result = trainer("export", broken, "--int8", "-o", output)
    assert result.exit_code == 1 and "is damaged or no model bundle" in result.stderr
    assert not output.exists()


def test_a_run_that_is_not_finished_is_not_exported(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "cut-off")
    folder.path.mkdir()
    folder.save(record_of("mobilenet_v2"))
    result = trainer("export", "cut-off", "-o", tmp_path / "new.zip", "--runs", tmp_path)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == (
        f"error: the run {folder.path} is not finished: `trainer fit DATA --resume cut-off --runs {tmp_path}`, "
        "with the DATA and --from that it was begun with, ends it"
    )


def test_weights_beyond_float16_are_kept_whole(starter: Bundle) -> None:
    """VGG has no batch normalisation of its own: behind it variances pass what float16 can hold."""
    from trainer.backbones import backbone
    from trainer.unet import build

    model = build(backbone("unet"))
    weights = model.get_weights()
    weights[-1] = np.full_like(weights[-1], 98_000)
    model.set_weights(weights)
    kept, precision = kept_weights(model, record_of("unet"))
    bundle = with_weights(starter, kept, precision)
    assert bundle.manifest.weights is not None and bundle.manifest.weights.precision == "float32"
    again = build(backbone("unet"))
    Descendant(bundle).load_into(again)
    assert all(np.array_equal(one, other) for one, other in zip(weights, again.get_weights(), strict=True))
    model.set_weights([*weights[:-1], np.full_like(weights[-1], np.inf)])
    with pytest.raises(StationError, match="a weight is not finite"):
        kept_weights(model, record_of("unet"))


class Unsaved:
    """A model for which the disk has no room."""

    def get_weights(self) -> list[np.ndarray]:
        return []

    def set_weights(self, weights: list[np.ndarray]) -> None: ...

    def save(self, path: Path) -> None:
        raise OSError(errno.ENOSPC, "in five lines")


def test_a_full_temporary_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.export.build", lambda row: Unsaved())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(StationError) as failure:
        kept_weights(Unsaved(), record_of("unet"))
    assert str(failure.value) == (f"{tmp_path} cannot be written (No space left on device); make room, or set TMPDIR")


@pytest.mark.parametrize(
    "work", [lambda starter: Descendant(starter).load_into(None), lambda starter: to_int8(b"", [], 3)]
)
def test_a_missing_temporary_folder_is_named(
    starter: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: Callable[[Bundle], Any]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(StationError, match=r"gone cannot be written .*; make room, or set TMPDIR"):
        work(starter)


@pytest.mark.parametrize(("shared", "halved"), [(0, True), (40, False)])
def test_weights_that_halving_would_harm_stay_whole(shared: float, halved: bool) -> None:
    exact = wide_onnx(shared)
    stored, said = stored_network(tiny_manifest(), exact, [(discs(180, 240, GOLDEN_DISCS[0]), DIAMETER_PX)])
    assert (stored == exact) is not halved
    assert said.startswith("storing weights as float16" if halved else "weights stay float32 (kept as float16 they")
