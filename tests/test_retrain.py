"""The daily use on painted fields: `trainer fit --from OLD -o NEW`, where the new model has to stand up to the old."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from networks import tiny_bundle
from numpy.typing import NDArray
from unets import record_of

from station.contract.bundle import MODEL_CARD, Bundle, prove, read_bundle, write_bundle
from station.demo.smear import SmearRecipe, paint
from station.engines import open_engine
from station.registry import starter_path
from trainer.average import average
from trainer.card import model_card
from trainer.cli import main
from trainer.datasets import open_dataset
from trainer.datasets.division import joined_by_content
from trainer.datasets.samples import data_digest
from trainer.runs import Checkpoint, RunFolder

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__"),  # Keras on NumPy 2
    pytest.mark.xdist_group("retrain"),  # it is trained once
]

TINY = """
name = "tiny"
backbone = "unet"
cell_diameter_px = 16
crop_px = 32
batch = 4
steps_per_epoch = 32
epochs = 3
learning_rate = 3e-3
held_out = 0.25
painted_fields = 2
bn_batches = 6
"""
Labels = NDArray[np.uint8]


def trainer(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def sentence(result: Result, exit_code: int = 1) -> str:
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == exit_code, result.output
    return result.stderr.strip().splitlines()[-1]


def painted(folder: Path, seeds: range, relabelled: Callable[[Labels], Labels] = lambda labels: labels) -> Path:
    for seed in seeds:
        field = paint(SmearRecipe(width=160, height=120, cell_diameter_px=50, wbc=2, seed=seed))
        image, labels = np.ascontiguousarray(field.image[..., ::-1]), relabelled(field.labels)
        for kind, shown in (("images", image), ("masks", labels)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(folder / kind / f"{seed}.png"), shown)
    return folder


def around(labels: Labels) -> Labels:
    """Masks gone wrong: each cell is cytoplasm, and what they call nucleus lies around it, where no model sees one.

    So the old model is bad on them, whatever its training came to, and what learns from them is worse than it.
    """
    cells = (labels > 0).astype(np.uint8)
    wide = cv2.dilate(cells, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (19, 19)))
    return (2 * wide - cells).astype(np.uint8)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return painted(tmp_path_factory.mktemp("data") / "fields", range(8))


@pytest.fixture(scope="module")
def tests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return painted(tmp_path_factory.mktemp("data") / "aside", range(100, 124))


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A model that has learned something."""
    home = tmp_path_factory.mktemp("old")
    (home / "tiny.toml").write_text(TINY)
    told = ("--weights", "none", "--recipe", home / "tiny.toml", "--runs", home / "runs", "-o", home / "old.zip")
    result = trainer("fit", data, *told)
    assert result.exit_code == 0, result.output
    return home / "old.zip"


def retrained(old: Path, data: Path, home: Path, recipe: str, *more: object) -> Result:
    """`home/new.zip`, a descendant of `old`."""
    (home / "recipe.toml").write_text(recipe)
    told = ("--recipe", home / "recipe.toml", "--runs", home / "runs", "-o", home / "new.zip")
    return trainer("fit", data, "--from", old, *told, *more)


def run_in(home: Path) -> RunFolder:
    (path,) = (home / "runs").iterdir()
    return RunFolder(path)


def test_a_model_that_is_not_worse_is_offered_with_its_command(
    old: Path, data: Path, tests: Path, tmp_path: Path
) -> None:
    gentle = TINY.replace("3e-3", "1e-9").replace("epoch = 32", "epoch = 1").replace("bn_batches = 6", "bn_batches = 0")
    gentle += "bn_momentum = 0.999999\n"  # its statistics stay as they were, too
    told = ("--cell-diameter", "fields=50", "--cell-diameter", "aside=50")
    result = retrained(old, data, tmp_path, gentle, "--epochs", 1, "--test", tests, *told)
    assert result.exit_code == 0, result.output
    line = next(line for line in result.output.splitlines() if "if it is cut off, this goes on: " in line)
    assert "--cell-diameter aside=50" in line and "fields=50" not in line  # which the run knows
    assert result.output.splitlines()[-1] == f"station model install {tmp_path / 'new.zip'}"
    record, new = run_in(tmp_path).load(), read_bundle(tmp_path / "new.zip")
    assert record.duel is not None
    assert (record.duel.ruling, record.duel.pictures) == ("not worse", 24)
    assert record.duel.against == read_bundle(old).sha256 == new.manifest.provenance.ancestry[-1]
    assert record.duel.data_sha256 == data_digest(open_dataset(tests))
    assert record.duel.words.startswith("On 24 test pictures the new model's mean whole-cell Dice is ")
    assert record.duel.words in result.output
    demand_noted(run_in(tmp_path), new, result.output)
    assert set(new.manifest.metrics) == {"held-out rows of fields, scale told", "test rows of aside, scale told"}


def demand_noted(run: RunFolder, new: Bundle, output: str) -> None:
    """The bundle proves itself still, and its card and figures are those of the record with the verdict."""
    record = run.load()
    assert record.duel is not None
    assert prove(new, open_engine(new, "onnxruntime"))
    assert new.manifest.metrics == record.metrics
    card = new.files[MODEL_CARD].decode()
    assert card.startswith(model_card(record, new.manifest))
    held = [network.precision for network in new.manifest.networks]
    # It was there before the verdict, where the network got one at all: so small a one may come to other masks by it.
    assert ("| int8 |" in card.partition("## Other precisions")[2]) == ("int8" in held)
    assert ("int8" in held) != ("int8 is not for this network" in output)
    assert f"\n## Against the model {record.duel.against[:12]}\n{record.duel.words}\n" in card


def test_a_model_that_is_worse_is_kept_but_not_offered(old: Path, tests: Path, tmp_path: Path) -> None:
    mislabelled = painted(tmp_path / "mislabelled", range(8), around)
    result = retrained(old, mislabelled, tmp_path, TINY, "--test", tests)
    assert result.exit_code == 1, result.output
    last = result.output.splitlines()[-1]
    assert "Worse: " in last and "its nucleus Dice is surely lower, by 0." in last
    assert last.endswith(f"{tmp_path / 'new.zip'} stays where it is, but should not be installed.")
    assert "station model install" not in result.output
    demand_noted(run_in(tmp_path), read_bundle(tmp_path / "new.zip"), result.output)
    demand_averages(old, mislabelled, tmp_path)


def demand_averages(old: Path, data: Path, home: Path) -> None:
    """The best of five, by what the run held out, is the run's own; what was trained is kept, for a second time."""
    folder = run_in(home)
    before, score = folder.weights.read_bytes(), folder.load().score
    assert score is not None
    for _ in range(2):
        told = trainer("average", folder.path, data, "--from", old, "--runs", home / "runs")
        assert told.exit_code == 0, told.output
        rows = [line.split() for line in told.output.splitlines() if line.strip().partition("%")[0].isdecimal()]
        assert [row[0] for row in rows] == ["100%", "85%", "70%", "50%", "30%"]
        shares = {row[0]: float(row[1]) for row in rows}
        record = folder.load()
        assert record.score == pytest.approx(max(shares.values()), abs=1e-5) and record.score >= score - 1e-5
        assert folder.trained.read_bytes() == before
        if max(shares, key=shares.__getitem__) == "100%":
            assert record.averaged == ""
        else:
            assert f" of the model old ({read_bundle(old).sha256[:12]})" in record.averaged
            assert f"- Its weights are an average: {record.averaged}." in model_card(record, read_bundle(old).manifest)
    assert "was not begun --from the model starter" in sentence(
        trainer("average", folder.path, data, "--from", starter_path(), "--runs", home / "runs")
    )
    assert "was begun on other pictures or masks" in sentence(
        trainer("average", folder.path, painted(home / "other", range(50, 58)), "--from", old, "--runs", home / "runs")
    )


def test_between_two_models_lie_their_averages() -> None:
    old, new = [np.array([0.0, 2.0], np.float32)], [np.array([4.0, 6.0], np.float32)]
    assert [average(old, new, share)[0].tolist() for share in (0.0, 0.25, 1.0)] == [[0, 2], [1, 3], [4, 6]]


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A bundle for those who are refused before anybody looks at its weights."""
    write_bundle(tmp_path / "bare.zip", tiny_bundle())
    return tmp_path / "bare.zip"


def test_a_test_picture_that_is_trained_on_is_refused_by_name(bare: Path, data: Path, tmp_path: Path) -> None:
    leaky = painted(tmp_path / "leaky", range(100, 103))
    again = cv2.imread(str(data / "images" / "3.png"))
    assert cv2.imwrite(str(leaky / "images" / "101.bmp"), again)  # another name, another format, the same pixels
    (leaky / "images" / "101.png").unlink()
    text = sentence(retrained(bare, data, tmp_path, TINY, "--test", leaky))
    assert text == (
        f"error: the test picture {leaky / 'images' / '101.bmp'} shows the same as {data / 'images' / '3.png'}, "
        "which is trained on; take one of them out"
    )
    assert not (tmp_path / "runs").exists()


def test_a_neighbour_of_what_is_trained_on_is_refused_too(bare: Path, tmp_path: Path) -> None:
    training, aside = (
        painted(tmp_path / part / "mine", range(first, first + 4)) for part, first in (("a", 0), ("b", 4))
    )
    (training / "groups.csv").write_text("id,group\n0,slide 1\n1,slide 2\n2,slide 3\n3,slide 4\n")
    (aside / "groups.csv").write_text("id,group\n4,slide 5\n5,slide 2\n6,slide 6\n7,slide 7\n")
    text = sentence(retrained(bare, training, tmp_path, TINY, "--test", aside))
    assert f"{aside / 'images' / '5.png'} is of the group 'mine/slide 2' like {training / 'images' / '1.png'}" in text


def test_a_slide_of_one_name_in_both_folders_is_told(bare: Path, tmp_path: Path) -> None:
    training, aside = (painted(tmp_path / name, range(first, first + 4)) for name, first in (("mine", 0), ("test", 4)))
    (training / "groups.csv").write_text("id,group\n0,S-17\n1,slide 2\n2,slide 3\n3,slide 4\n")
    (aside / "groups.csv").write_text("id,group\n4,slide 5\n5,S-17\n6,\n7,\n")
    told = retrained(bare, training, tmp_path, TINY, "--test", aside)
    assert (
        "both have a group 'S-17' (of 1 such names): if that is one slide, the verdict is worth nothing" in told.output
    )


def test_with_a_table_the_val_rows_are_the_test(bare: Path, data: Path, tmp_path: Path) -> None:
    rows = "".join(f"fields,{i}.png,{'val' if i > 5 else 'train'},{i // 3}\n" for i in range(8))
    (tmp_path / "splits.csv").write_text(f"dataset,image,role,group\n{rows}")
    told = ("--splits", tmp_path / "splits.csv", "--test", data)
    text = sentence(retrained(bare, data, tmp_path, TINY, *told))
    assert text.startswith("error: the model tiny carries no weights")  # no picture stood on both sides


def test_what_makes_no_sense_is_refused_before_any_work(bare: Path, data: Path, tests: Path, tmp_path: Path) -> None:
    for alone in (("--from", bare), ("-o", tmp_path / "new.zip")):
        text = sentence(trainer("fit", data, "--test", tests, "--runs", tmp_path / "runs", *alone), exit_code=2)
        assert text.endswith("name both")
    text = sentence(trainer("fit", data, "--from", bare, "-o", tmp_path / "." / "bare.zip"), exit_code=2)
    assert f"-o would write over {bare}" in text
    assert not (tmp_path / "runs").exists()


def test_a_run_that_goes_on_meets_the_model_that_it_began_from(
    bare: Path, data: Path, tests: Path, tmp_path: Path
) -> None:
    run = RunFolder(tmp_path / "runs" / "run")
    run.path.mkdir(parents=True)
    digest = data_digest(joined_by_content(open_dataset(data)))
    run.save(record_of("unet").model_copy(update={"ancestry": ("a" * 64,), "data_sha256": digest}))
    run.keep(Checkpoint(), lambda path: path.touch())
    told = ("fit", data, "--resume", "run", "--runs", tmp_path / "runs", "-o", tmp_path / "new.zip")
    assert "was begun from the model aaaaaaaaaaaa: name its bundle with --from" in sentence(trainer(*told))
    text = sentence(trainer(*told, "--from", bare))
    assert text == f"error: the run {run.path} was not begun --from the model tiny ({tiny_bundle().sha256[:12]})"
    assert "leave --cell-diameter away" in sentence(trainer(*told, "--cell-diameter", 50), exit_code=2)
    diameters = ("--test", tests, "--cell-diameter", "aside=50")  # that of the test pictures no run knows
    assert "was not begun --from" in sentence(trainer(*told, "--from", bare, *diameters))


def test_a_run_does_not_go_on_with_other_groups(data: Path, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "runs" / "run")
    run.path.mkdir(parents=True)
    digest = data_digest(joined_by_content(open_dataset(data)))
    run.save(record_of("unet").model_copy(update={"data_sha256": digest, "held_out_sha256": "0" * 64}))
    run.keep(Checkpoint(), lambda path: path.touch())
    text = sentence(trainer("fit", data, "--resume", "run", "--runs", tmp_path / "runs"))
    assert "was begun with other groups" in text and "start a new one" in text
