"""`trainer data convert`: every layout ends as the default one, proven by reading it back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from layouts import LABELS, NAMES, OTHERS, OWN, WORDS, file_of, opened, put, put_pair

from trainer.cli import main
from trainer.datasets import LAYOUTS, open_dataset
from trainer.datasets.encodings import INDEXED
from trainer.datasets.samples import read_labels


def convert(*arguments: object) -> Result:
    result = CliRunner().invoke(main, ["data", "convert", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def source(home: Path, layout: str) -> Path:
    """Two neighbouring pictures."""
    for shade, names in ((120, NAMES), (160, OTHERS)):
        put_pair(home, layout, names[layout], shade)
    return home


def told(layout: str) -> tuple[str, ...]:
    return ("--palette", WORDS[layout].partition(":")[2]) if layout in WORDS else ()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_becomes_the_default_one(tmp_path: Path, layout: str) -> None:
    old, new = source(tmp_path / "old", layout), tmp_path / "new"
    result = convert(old, "-o", new, *told(layout))
    assert (result.exit_code, result.output.count("2 pictures in")) == (0, 1), result.output
    for sample in opened(old, layout):
        assert (new / "images" / sample.image.name).read_bytes() == sample.image.read_bytes()
        assert np.array_equal(read_labels(new / "masks" / f"{sample.id}.png", INDEXED), LABELS)
    assert sorted(path.name for path in new.iterdir() if path.name != "counts.csv") == ["groups.csv", "images", "masks"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_copy_is_recognised_as_what_it_is(tmp_path: Path, layout: str) -> None:
    """Its pictures may still be called as in the public set, whose masks have other values."""
    convert(source(tmp_path / "old", layout), "-o", tmp_path / "new", *told(layout))
    for sample in open_dataset(tmp_path / "new"):
        assert sample.dataset == "new"
        assert np.array_equal(sample.read()[1], LABELS)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_groups_and_counts_go_along(tmp_path: Path, layout: str) -> None:
    old = source(tmp_path / "old", layout)
    if layout in OWN:
        (old / "groups.csv").write_text("id,group\nother,slide\nany name,slide\n")
        (old / "counts.csv").write_text("id,wbc_count\nother,3\n")
    convert(old, "-o", tmp_path / "new", *told(layout))
    before, after = opened(old, layout), open_dataset(tmp_path / "new")
    assert [sample.wbc_count for sample in after] == [sample.wbc_count for sample in before]
    assert (
        len({sample.group for sample in after}) == len({sample.group for sample in before}) == 1 + (layout == "zheng")
    )


def test_what_a_table_cannot_hold_is_named(tmp_path: Path) -> None:
    old = source(tmp_path / " lead", "pairs")  # its own name is that of a group
    assert convert(old, "-o", tmp_path / "new").exit_code == 0
    for kind in ("images", "masks"):
        (old / kind / "other.png").rename(old / kind / "other\n.png")
    result = convert(old, "-o", tmp_path / "newer")
    assert result.exit_code == 1 and "a picture is called 'other\\n': tables leave out spaces" in result.stderr


def test_several_folders_become_one(tmp_path: Path) -> None:
    olds = [source(tmp_path / name, layout) for name, layout in (("b", "bccd"), ("z", "zheng"), ("mine", "pairs"))]
    (tmp_path / "new").mkdir()
    assert convert(*olds, "-o", tmp_path / "new").exit_code == 0
    ids = [
        f"{name}-{names[layout]}"
        for name, layout in (("bccd", "bccd"), ("mine", "pairs"), ("zheng", "zheng"))
        for names in (NAMES, OTHERS)
    ]
    assert [sample.id for sample in open_dataset(tmp_path / "new")] == ids


def test_a_folder_with_anything_in_it_is_left_alone(tmp_path: Path) -> None:
    old, new = source(tmp_path / "old", "pairs"), tmp_path / "new"
    new.mkdir()
    (new / "mine.txt").write_text("keep")
    result = convert(old, "-o", new)
    assert result.exit_code == 1
    assert f"{new} exists and is not empty" in result.output
    assert [path.name for path in new.iterdir()] == ["mine.txt"]
    assert convert(old, "-o", new / "mine.txt").exit_code == 1


def test_nothing_is_left_where_a_pair_cannot_be_read(tmp_path: Path) -> None:
    old = source(tmp_path / "old", "pairs")
    file_of(old, "pairs", "other", "masks").write_bytes(b"nonsense")
    result = convert(old, "-o", tmp_path / "new")
    assert result.exit_code == 1
    assert str(file_of(old, "pairs", "other", "masks")) in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    old = source(tmp_path / "old", "pairs")
    (tmp_path / "file").write_text("in the way")
    result = convert(old, "-o", tmp_path / "file" / "new")
    assert result.exit_code == 1
    assert f"{tmp_path / 'file' / 'new'} cannot be written" in result.output


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_a_pair_that_lacks_its_picture_or_mask(tmp_path: Path, kind: str) -> None:
    old = source(tmp_path / "old", "isnb")
    file_of(old, "isnb", "other", kind).unlink()  # type: ignore[arg-type]
    result = convert(old, "-o", tmp_path / "new")
    assert result.exit_code == 1
    assert "cannot be paired by order" in result.output


def test_an_empty_folder_and_values_without_a_name(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "none of the known layouts" in convert(tmp_path / "empty", "-o", tmp_path / "new").output
    old = source(tmp_path / "old", "pairs")
    result = convert(old, "-o", tmp_path / "new", "--palette", "0=background,1=cytoplasm")
    assert result.exit_code == 1
    assert "values without a name: 2 (" in result.output
    put(file_of(old, "pairs", "other", "masks"), np.full(LABELS.shape, 200, np.uint8))
    assert "200 (100.0%)" in convert(old, "-o", tmp_path / "new").output
    assert not (tmp_path / "new").exists()


def test_ids_that_would_be_equal_are_refused(tmp_path: Path) -> None:
    put_pair(tmp_path / "a", "pairs", "b-c")
    put_pair(tmp_path / "a-b", "pairs", "c")
    result = convert(tmp_path / "a", tmp_path / "a-b", "-o", tmp_path / "new")
    assert result.exit_code == 1
    assert "2 pictures would be called 'a-b-c'" in result.output


@pytest.mark.parametrize("name", ["bccd", "zheng", "allidb2"])
def test_the_real_sets_are_converted(photographs: Path, tmp_path: Path, name: str) -> None:
    result = convert(photographs / name, "-o", tmp_path / name)
    assert result.exit_code == 0, result.output
    before = {sample.id: sample for sample in open_dataset(photographs / name)}
    after = open_dataset(tmp_path / name)
    assert [sample.id for sample in after] == sorted(before)
    for sample in after[::20]:
        assert np.array_equal(sample.read()[1], before[sample.id].read()[1])
        assert sample.wbc_count == before[sample.id].wbc_count
