"""`trainer data check` as a user calls it: each finding is one line with its file, and the exit code says the rest."""

from __future__ import annotations

import os
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from networks import COLOURS, Disc, disc_labels
from numpy.typing import NDArray

from station.contract.manifest import CLASSES
from trainer.cli import main
from trainer.cli.context import samples_of

HEIGHT, WIDTH = 90, 120


def call(*arguments: object) -> Result:
    result = CliRunner().invoke(main, ["data", "check", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def lines(result: Result, word: str) -> list[str]:
    return [line for line in result.output.splitlines() if line.startswith(f"{word}: ")]


def put(path: Path, picture: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture)


def labels_at(x: float, *more: Disc) -> NDArray[np.uint8]:
    """A cell of 40 px with its nucleus of 20 px."""
    return disc_labels(HEIGHT, WIDTH, [(x, 45, 20, 10), *more])


def put_field(folder: Path, name: str, labels: NDArray[np.uint8], mask: NDArray[np.uint8] | None = None) -> None:
    put(folder / "images" / f"{name}.png", COLOURS[labels][..., ::-1])
    put(folder / "masks" / f"{name}.png", labels if mask is None else mask)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three sound fields."""
    home = tmp_path / "fields"
    for name, x in (("a", 40), ("b", 60), ("c", 80)):
        put_field(home, name, labels_at(x))
    return home


def only(folder: Path, word: str, file: str, *words: str, options: tuple[object, ...] = ()) -> None:
    """The check of the folder finds one thing, says it of that file, and its exit code fits."""
    result = call(folder, *options)
    found = lines(result, "mend") + lines(result, "look")
    assert len(found) == 1, result.output
    assert found[0].startswith(f"{word}: ") and str(folder / file) in found[0]
    assert all(part in found[0] for part in words), found[0]
    assert result.exit_code == (1 if word == "mend" else 0)
    assert result.output.endswith(
        "1 to be mended, 0 worth a look\n" if word == "mend" else "0 to be mended, 1 worth a look\n"
    )


def test_a_sound_folder_gives_its_figures_and_nothing_else(folder: Path) -> None:
    put_field(folder, "d", disc_labels(HEIGHT, WIDTH, [(0, 45, 20, 10), (60, 45, 24, 10)]))  # one cut by the border
    (folder / "groups.csv").write_text("id,group\na,slide\nb,slide\n")
    result = call(folder)
    assert (result.exit_code, lines(result, "mend"), lines(result, "look")) == (0, [], [])
    masks = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED).ravel() for path in (folder / "masks").iterdir()]
    pixels = np.bincount(np.concatenate(masks))
    figures = {
        "pictures with a mask": "4",
        "groups": "3",
        "size, px": "120 x 90",
        **{name: f"{pixels[label] / pixels.sum():.1%}" for label, name in enumerate(CLASSES)},
        "cell diameter, px (10th..90th)": "40 (40..45)",
        "white cells": "5 (regions with a nucleus)",
    }
    table = [line.strip() for line in result.output.splitlines()[1:-1]]
    assert [re.split("  +", row) for row in table] == [[name, figure] for name, figure in figures.items()]


def test_counts_that_are_told_are_said_to_be(folder: Path) -> None:
    (folder / "counts.csv").write_text("id,wbc_count\na,1\nb,1\nc,2\n")
    assert "4 (told)" in call(folder).output


def test_a_picture_without_a_mask(folder: Path) -> None:
    (folder / "masks" / "b.png").unlink()
    only(folder, "mend", "images/b.png", "has no mask", str(folder / "masks/b.png"))
    (folder / "masks/b.jpg").write_bytes(b"")
    only(folder, "mend", "images/b.png", str(folder / "masks/b.jpg"), "JPEG changes the values; save it as PNG")


def test_a_mask_without_a_picture(folder: Path) -> None:
    put(folder / "masks" / "z.png", labels_at(50))
    only(folder, "look", "masks/z.png", "has no picture")


def test_two_pictures_of_one_name(folder: Path) -> None:
    put(folder / "images" / "a.bmp", COLOURS[labels_at(30)])
    found = lines(call(folder), "mend")
    assert len(found) == 2
    assert all("is not the only file called 'a'" in line for line in found)


def test_values_that_the_layout_does_not_know(folder: Path) -> None:
    put(folder / "masks" / "c.png", labels_at(80) * 100)
    only(folder, "mend", "masks/c.png", "0 (88.4%), 100 (8.8%), 200 (2.8%)", "--palette")


def test_values_that_the_palette_does_not_name(folder: Path) -> None:
    put(folder / "masks" / "c.png", labels_at(80) + 1)
    palette = ("--palette", "0=background,1=cytoplasm,2=nucleus")
    only(folder, "mend", "masks/c.png", "without a name: 3 (2.8%)", options=palette)
    put(folder / "masks" / "c.png", labels_at(80))
    assert call(folder, *palette).exit_code == 0


def test_a_mask_of_another_size(folder: Path) -> None:
    put(folder / "masks" / "a.png", labels_at(40)[:80])
    only(folder, "mend", "masks/a.png", str(folder / "images/a.png"), "120 x 90 against 120 x 80 px")


@pytest.mark.parametrize("kind", ["images", "masks"])
@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_a_file_that_is_not_whole(folder: Path, kind: str, share: float) -> None:
    file = folder / kind / "a.png"
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    only(folder, "mend", f"{kind}/a.png", "anew")


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_a_file_that_is_no_picture(folder: Path, kind: str) -> None:
    (folder / kind / "a.png").write_bytes(b"not a picture")
    only(folder, "mend", f"{kind}/a.png", "is text, not a picture", "anew")


def test_a_picture_that_is_there_twice_would_leak(folder: Path) -> None:
    put(folder / "images" / "copy.bmp", COLOURS[labels_at(40)][..., ::-1])
    put(folder / "masks" / "copy.png", labels_at(40))
    only(folder, "mend", "images/copy.bmp", "the same pixels as", "in other groups (fields/copy and fields/a)")
    put(folder / "masks" / "copy.png", labels_at(41))
    only(folder, "mend", "images/copy.bmp", "their masks differ")
    (folder / "groups.csv").write_text("id,group\na,slide\ncopy,slide\n")
    only(folder, "look", "images/copy.bmp", "in one group (fields/slide)", "counts twice", "their masks differ")


def test_a_picture_that_is_there_twice_in_two_sets(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "others"
    for name, x in (("x", 30), ("y", 60)):
        put_field(other, name, labels_at(x))
    result = call(folder, other)
    assert result.exit_code == 1
    assert [
        f"{other / 'images' / 'y.png'} has the same pixels as {folder / 'images' / 'b.png'}" in line
        for line in lines(result, "mend")
    ] == [True]


@pytest.mark.parametrize(("nucleus", "word"), [(200, "mend"), (165, "look")])
def test_a_nucleus_brighter_than_its_cytoplasm(folder: Path, nucleus: int, word: str) -> None:
    """The cytoplasm has grey 155. A little brighter may be an odd cell, much brighter is no biology."""
    labels = labels_at(70)
    put(folder / "images" / "a.png", np.array([230, 155, nucleus], np.uint8)[labels])
    put(folder / "masks" / "a.png", labels)
    only(folder, word, "masks/a.png", f"median grey {nucleus} against 155", "swapped")


def test_swapped_classes_are_put_right_by_a_palette(folder: Path) -> None:
    for name, x in (("a", 40), ("b", 60), ("c", 80)):
        put(folder / "masks" / f"{name}.png", np.array([0, 2, 1], np.uint8)[labels_at(x)])
    assert len(lines(call(folder), "mend")) == 3
    assert call(folder, "--palette", "0=background,2=cytoplasm,1=nucleus").exit_code == 0


def test_a_mask_of_another_picture(folder: Path) -> None:
    put(folder / "masks" / "a.png", labels_at(98))
    only(folder, "look", "masks/a.png", "no darker in the picture than the background")


def test_a_mask_that_is_all_background(folder: Path) -> None:
    put_field(folder, "empty", np.zeros((HEIGHT, WIDTH), np.uint8))
    only(folder, "look", "masks/empty.png", "right only for a field without a white cell")
    (folder / "counts.csv").write_text("id,wbc_count\nempty,2\n")
    only(folder, "mend", "masks/empty.png", "but 2 are told")


def test_masks_that_are_all_background(folder: Path) -> None:
    for name in "abc":
        put(folder / "masks" / f"{name}.png", labels_at(50) * 0)
    result = call(folder)
    assert result.exit_code == 1
    assert len(lines(result, "look")) == 3
    assert "of 3 usable masks none holds any cytoplasm or nucleus" in "".join(lines(result, "mend"))


def test_a_class_that_nobody_drew(folder: Path) -> None:
    for name, x in (("a", 40), ("b", 60), ("c", 80)):
        put(folder / "masks" / f"{name}.png", np.array([0, 2, 2], np.uint8)[labels_at(x)])
    only(folder, "mend", "images", "none holds any cytoplasm;")


def test_one_picture_is_too_few(tmp_path: Path) -> None:
    put_field(tmp_path / "one", "a", labels_at(50))
    only(tmp_path / "one", "mend", "images", "pictures: 1, groups: 1", "groups.csv")


def test_cells_that_are_all_cut_cannot_be_measured(folder: Path) -> None:
    for name, y in (("a", 0), ("b", 2), ("c", 4)):
        put_field(folder, name, disc_labels(HEIGHT, WIDTH, [(60, y, 20, 10)]))
    only(folder, "look", "images", "--cell-diameter")


def test_rows_of_no_picture(folder: Path) -> None:
    (folder / "groups.csv").write_text("id,group\na.png,slide\nb.tif,slide\nz,slide\n")
    only(folder, "look", "groups.csv", ": 2, such as 'b.tif'", "with its ending or without")
    (folder / "groups.csv").write_text("id,group\nb.tif,slide\nz,slide\n")
    only(folder, "mend", "groups.csv", ": 2, such as 'b.tif'")


def test_a_table_is_read_without_blanks_and_tells_nothing_twice(folder: Path) -> None:
    (folder / "groups.csv").write_text("id,group\na,slide \nb, slide\n")
    assert re.search(r"^ groups +2 *$", call(folder).output, re.MULTILINE)
    (folder / "groups.csv").write_text("id,group\na,slide\na,other\nb,slide\n")
    result = call(folder)
    assert result.exit_code == 1
    assert "groups.csv: 'a' has two values, 'slide' and 'other'; leave one of the rows" in result.output


def test_a_name_that_is_no_text_is_to_be_mended(folder: Path) -> None:
    """As a ZIP made on Windows leaves it."""
    put_field(folder, "d", labels_at(50))
    for kind in ("images", "masks"):
        (folder / kind / "d.png").rename(folder / kind / os.fsdecode(b"b\xe4d.png"))
    result = call(folder)
    assert result.exit_code == 1 and "b\\xe4d.png: the name is no UTF-8; rename picture and mask" in result.output


def test_commands_that_train_say_what_is_only_worth_a_look(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(folder / "masks" / "z.png", labels_at(50))
    assert len(samples_of([folder], None, None, "train")) == 3
    mask = folder / "masks" / "z.png"
    assert capsys.readouterr().err == f"warning: {mask} has no picture; bring it, or take the mask out\n"


def test_a_division_that_tears_a_group_or_forgets_a_picture(folder: Path, tmp_path: Path) -> None:
    splits = tmp_path / "splits.csv"
    splits.write_text("dataset,image,role,group\nfields,a.png,train,g\nfields,b.png,val,g\nfields,c.png,val,h\n")
    result = call(folder, "--splits", splits)
    torn = f"the group 'g' lies in train ({folder / 'images/a.png'}) and val ({folder / 'images/b.png'})"
    assert [torn in line for line in lines(result, "mend")] == [True]
    splits.write_text("dataset,image,role,group\nfields,a.png,train,g\nfields,b.png,train,g\n")
    result = call(folder, "--splits", splits)
    assert (result.exit_code, lines(result, "mend")) == (0, [])
    assert [f"pictures without a row: 1, such as {folder / 'images/c.png'}" in x for x in lines(result, "look")] == [
        True
    ]
    splits.write_text("dataset,image,role,group\nfields,a.png,train,\nfields,b.png,val,\nfields,c.png,val,\n")
    assert lines(call(folder, "--splits", splits), "mend") == []  # a row without a group joins nothing
    splits.write_text("image,role\na.png,train\n")
    assert "error:" in call(folder, "--splits", splits).output


def test_all_findings_come_in_one_run_and_one_bad_folder_stops_no_other(folder: Path, tmp_path: Path) -> None:
    (folder / "masks" / "a.png").unlink()
    (folder / "images" / "b.png").write_bytes(b"")
    put(folder / "masks" / "c.png", labels_at(80) * 0)
    (tmp_path / "empty").mkdir()
    result = call(tmp_path / "empty", tmp_path / "nowhere", folder)
    assert result.exit_code == 1
    mend = "\n".join(lines(result, "mend"))
    for part in (
        "empty has none of the known layouts",
        "nowhere is not a folder",
        "a.png has no mask",
        "b.png: is empty",
    ):
        assert part in mend, result.output
    assert len(lines(result, "look")) == 1
    assert "2 pictures" not in mend


def test_one_folder_given_twice(folder: Path) -> None:
    assert "a second data set called 'fields'" in call(folder, folder).output


def test_isnb_with_unequal_numbers(tmp_path: Path) -> None:
    for name, x in (("a", 40), ("b", 60), ("c", 80)):
        put(tmp_path / "images" / f"{name}.bmp", COLOURS[labels_at(x)][..., ::-1])
        put(
            tmp_path / "mask" / f"m{name}.bmp",
            np.array([[9, 9, 9], [0, 255, 255], [0, 255, 0]], np.uint8)[labels_at(x)],
        )
    assert "paired by order, such as a.bmp with ma.bmp" in "".join(lines(call(tmp_path), "look"))
    (tmp_path / "mask" / "ma.bmp").unlink()
    only(tmp_path, "mend", "", "3 pictures and 2 masks that share no name (images/a.bmp, mask/mb.bmp)")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--palette", "0=background,1:nucleus"), "cannot be read at '1:nucleus'"),
        (("--palette", "0=background,9=nucleus", "--tolerance", 5), "cannot tell apart"),
        (("--tolerance", 5), "--tolerance belongs to a --palette"),
    ],
)
def test_a_palette_that_cannot_be_read_is_wrong_usage(
    folder: Path, options: tuple[object, ...], complaint: str
) -> None:
    result = call(folder, *options)
    assert result.exit_code == 2
    assert complaint in result.output


def read_sheet(path: Path) -> NDArray[np.uint8]:
    return np.asarray(cv2.imread(str(path))[..., ::-1], np.uint8)


def test_the_sheet_shows_outlines_and_what_must_be_mended_first(folder: Path, tmp_path: Path) -> None:
    put_field(folder, "z", labels_at(50), labels_at(50) * 90)
    sheet = tmp_path / "sheet.png"
    result = call(folder, "--sheet", sheet)
    assert f"{sheet}: 4 of 4 pictures" in result.output
    shown = read_sheet(sheet)
    places = [shown[:, start : start + shown.shape[1] // 8] for start in range(0, shown.shape[1], shown.shape[1] // 8)]

    def near(place: NDArray[np.uint8], colour: tuple[int, int, int]) -> int:
        return int((np.abs(place.astype(int) - colour).max(axis=-1) < 40).sum())

    outlined = [near(place, (0, 150, 60)) > 100 and near(place, (255, 200, 0)) > 50 for place in places]
    assert outlined == [False, True, True, True, False, False, False, False]
    assert [near(place[60:], (200, 0, 0)) > 0 for place in places] == [True] + [False] * 7


def test_no_sheet_is_drawn_of_nothing(tmp_path: Path) -> None:
    for kind in ("images", "masks"):
        (tmp_path / "none" / kind).mkdir(parents=True)
    sheet = tmp_path / "sheet.png"
    result = call(tmp_path / "none", "--sheet", sheet)
    assert result.exit_code == 1 and "there is no picture to draw" in result.output
    assert not sheet.exists()


def test_a_sheet_holds_48_of_many_pictures(tmp_path: Path) -> None:
    for number in range(60):
        put_field(tmp_path / "many", f"{number:02d}", labels_at(25 + number))
    put(tmp_path / "many" / "masks" / "31.png", labels_at(25) * 0)
    sheet = tmp_path / "sheet.png"
    assert "48 of 60 pictures" in call(tmp_path / "many", "--sheet", sheet).output
    height, width = read_sheet(sheet).shape[:2]
    assert (height - 30) % 6 == 0 and width % 8 == 0


def test_a_sheet_that_cannot_be_written_is_named(folder: Path, tmp_path: Path) -> None:
    result = call(folder, "--sheet", tmp_path / "nowhere" / "sheet.png")
    assert result.exit_code == 1
    assert "cannot be written" in result.output


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("bccd", ("294", "640 x 480", "163 (113..211)", "307 (told)")),
        ("zheng", ("245", "25 sizes, 88..120 x 88..120", "75 (60..87)", "245 (told)")),
        ("allidb2", ("188", "6 sizes, 257..257 x 220..257", "116 (86..154)", "202 (regions with a nucleus)")),
    ],
)
def test_of_the_real_sets_nothing_false_is_said(photographs: Path, name: str, figures: tuple[str, ...]) -> None:
    result = call(photographs / name, "--splits", photographs / "splits.csv")
    assert result.exit_code == 0
    assert result.output.endswith("0 to be mended, 0 worth a look\n")
    assert all(figure in result.output for figure in figures)
