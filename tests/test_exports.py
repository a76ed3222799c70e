"""The shelf of export formats: one exam for all, by the libraries with which others read them."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import geojson
import numpy as np
import pytest
import roifile
import shapely
import tifffile
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from painted_days import MORNING, NIGHT, Day, small
from pycocotools.coco import COCO
from shapely.geometry import Polygon, shape

from station.cli import main
from station.contract.corrections import Accept, Correction, Flag, MergeCells, RejectImage, Repaint, Stroke
from station.contract.decoding import decode
from station.contract.errors import StationError
from station.contract.headers import is_bare
from station.contract.polygons import polygons
from station.database.review_records import Between, Reviewed
from station.database.store import Store
from station.exports import FORMATS, folders, open_format
from station.exports.choosing import Wanted
from station.exports.names import key_of
from station.exports.writing import Tally, export
from station.reviewing import correct, masks_of, state_of
from station.testset import as_written, draw, freeze, frozen, learnt, learnt_facts, note_learnt
from trainer.datasets import open_dataset

Masks: TypeAlias = tuple[NDArray[Any] | None, NDArray[Any] | None]  # labels, cells; None: the format does not hold them

PATIENT = "Mustermann_Erika"
HOSTILE = (
    "<script>alert(1).png",
    "=cmd()|A0.png",
    "..\\..\\etc.png",
    "a\nb\tc.png",
    "@" + "x" * 250 + ".png",
    "\u202egnp.exe\u200f.png",
    "-rf $(reboot).png",
    "...png",
)


class Room:
    """A day of painted pictures, some of them corrected."""

    def __init__(self, root: Path) -> None:
        self.day = Day(root)
        self.root, self.store, self.settings = root, self.day.store, self.day.settings
        config = f'[camera]\nfolder = "{self.day.folder}"\n[database]\npath = "{self.store.path}"\n'
        (root / "station.toml").write_text(config + '[report]\ntime_zone = "Europe/Berlin"\n')

    def take(self, cells: int, name: str = "", slide: str = "S-1", days: int = 0) -> int:
        at = MORNING + timedelta(days=days, minutes=self.day.number)
        return self.day.picture(small(cells)[0], at, name=name, slide=slide)

    def say(self, image_id: int, correction: Correction) -> None:
        assert correct(self.store, image_id, correction, "Ada").written

    def key(self, image_id: int) -> str:
        history = self.store.history(image_id)
        assert history is not None and history.sha256 is not None
        return key_of(history.sha256, "salt")

    def path(self, image_id: int) -> Path:
        history = self.store.history(image_id)
        assert history is not None
        return Path(history.path)

    def call(self, *arguments: object) -> Result:
        told = CliRunner().invoke(main, [*map(str, arguments), "--config", str(self.root / "station.toml")])
        assert told.exception is None or isinstance(told.exception, SystemExit), told.exception
        return told


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    """Six pictures: as counted, with a hole and a nucleus in pieces, in two pieces, accepted, empty, rejected."""
    made = Room(tmp_path_factory.mktemp("room"))
    for number, cells in enumerate((1, 2, 3, 2, 0, 1)):
        name = f"{PATIENT}_{number}.{('bmp', 'png', 'jpg', 'tif', 'png', 'png')[number]}"
        made.take(cells, name, slide=f"{PATIENT}-{number % 2}")
    first, second = state_of(made.store, 2).cells
    made.say(2, Repaint((Stroke(((first.x, first.y),), 3, 0, first.cell_id),)))
    made.say(2, Repaint((Stroke(((second.x - 40, second.y), (second.x + 40, second.y)), 1, 1, second.cell_id),)))
    x, y = 30, 30
    made.say(3, Repaint((Stroke(((x, y),), 6, 2),)))
    made.say(3, Repaint((Stroke(((x + 15, y),), 6, 1),)))
    made.say(3, MergeCells((4, 5)))
    made.say(4, Accept())
    made.say(6, RejectImage())
    yield made
    made.store.close()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Room]:
    made = Room(tmp_path)
    yield made
    made.store.close()


# How others read


def rasterised(geometry: Any, height: int, width: int) -> NDArray[np.bool_]:
    """Where the centre of a pixel lies within."""
    rows, columns = np.mgrid[:height, :width]
    return np.asarray(shapely.contains_xy(geometry, columns + 0.5, rows + 0.5), bool)


def drawn(parts: Iterator[tuple[int, NDArray[np.bool_], NDArray[np.bool_] | None]], size: tuple[int, int]) -> Masks:
    """(labels, cells) of (number, cell, nucleus)."""
    labels, cells = np.zeros(size, np.uint8), np.zeros(size, np.uint16)
    for number, cell, nucleus in parts:
        assert not cells[cell].any()
        cells[cell], labels[cell] = number, 1
        if nucleus is not None:
            assert cell[nucleus].all()
            labels[nucleus] = 2
    return labels, cells


def size_of(folder: Path, stem: str) -> tuple[int, int]:
    height, width = decode((folder / "images" / f"{stem}.png").read_bytes()).shape[:2]
    return height, width


def read_training(folder: Path) -> dict[str, Masks]:
    return {sample.id: (sample.read()[1], None) for sample in open_dataset(folder)}


def read_qupath(folder: Path) -> dict[str, Masks]:
    found = {}
    for path in sorted((folder / "cells").iterdir()):
        collection = geojson.loads(path.read_text())
        assert collection.is_valid and collection["type"] == "FeatureCollection"
        size = size_of(folder, path.stem)
        found[path.stem] = drawn((read_cell(one, size) for one in collection["features"]), size)
    return found


def read_cell(feature: Any, size: tuple[int, int]) -> tuple[int, NDArray[np.bool_], NDArray[np.bool_] | None]:
    assert feature["properties"]["objectType"] == "cell"
    cell, nucleus = shape(feature["geometry"]), feature.get("nucleusGeometry")
    assert cell.is_valid and (nucleus is None or shape(nucleus).is_valid)
    assert {"Cell: Area px^2", "Nucleus: Area px^2"} < feature["properties"]["measurements"].keys()
    number = int(feature["properties"]["name"].split()[1])
    return number, rasterised(cell, *size), None if nucleus is None else rasterised(shape(nucleus), *size)


def read_coco(folder: Path) -> dict[str, Masks]:
    coco = COCO(folder / "annotations.json")
    found = {}
    for image in coco.loadImgs(coco.getImgIds()):
        stem = Path(image["file_name"]).stem
        assert size_of(folder, stem) == (image["height"], image["width"])
        own = coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]]))
        shown = {(one["cell_id"], one["category_id"]): coco.annToMask(one) > 0 for one in own}
        for one in own:
            rows, columns = np.nonzero(shown[one["cell_id"], one["category_id"]])
            box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
            assert (one["area"], one["bbox"]) == (rows.size, box)
        parts = ((number, mask, shown.get((number, 2))) for (number, category), mask in shown.items() if category == 1)
        found[stem] = drawn(parts, (image["height"], image["width"]))
    return found


def read_tiff(folder: Path) -> dict[str, Masks]:
    found: dict[str, Masks] = {}
    for path in folder.glob("*.ome.tif"):
        with tifffile.TiffFile(path) as tiff:
            assert tiff.is_ome and tiff.series[0].axes == "CYX"
            labels, cells = tiff.series[0].asarray()
        found[path.name.removesuffix(".ome.tif")] = labels, cells
    return found


def read_imagej(folder: Path) -> dict[str, Masks]:
    found = {}
    for path in (folder / "rois").iterdir():
        size = size_of(folder, path.stem)
        rois = roifile.roiread(path) if path.stat().st_size > 22 else []  # 22: a zip that holds nothing
        shown = {roi.name: filled(roi, size) for roi in rois}
        names = [name.split() for name in shown]
        numbers = [int(number) for word, number in names if word == "cell"]
        found[path.stem] = drawn(((n, shown[f"cell {n}"], shown.get(f"nucleus {n}")) for n in numbers), size)
    return found


def filled(roi: Any, size: tuple[int, int]) -> NDArray[np.bool_]:
    """As ImageJ does: a pixel is inside where it lies in an odd number of rings."""
    rings = roi.coordinates(multi=True)
    inside = [rasterised(Polygon(ring), *size) for ring in (rings if isinstance(rings, list) else [rings])]
    rows, columns = np.nonzero(np.logical_xor.reduce(inside))
    assert (roi.left, roi.top, roi.right, roi.bottom) == (
        *(columns.min(), rows.min()),
        *(columns.max() + 1, rows.max() + 1),
    )
    return np.asarray(np.logical_xor.reduce(inside), bool)


READERS: dict[str, Callable[[Path], dict[str, Masks]]] = {
    "training": read_training,
    "qupath": read_qupath,
    "coco": read_coco,
    "tiff": read_tiff,
    "imagej": read_imagej,
}
needs_pixels = pytest.mark.parametrize("style", READERS)


# The exam


@needs_pixels
def test_masks_come_out_as_they_are_pixel_for_pixel(room: Room, tmp_path: Path, style: str) -> None:
    told = room.call("export", "--format", style, "-o", tmp_path / "out")
    assert told.exit_code == 0, told.output
    found = READERS[style](tmp_path / "out")
    assert sorted(found) == sorted(room.key(number) for number in (1, 2, 3, 4, 5))  # and not the rejected one
    for number in (1, 2, 3, 4, 5):
        labels, cells = found[room.key(number)]
        expected = masks_of(state_of(room.store, number))
        assert labels is not None and np.array_equal(labels, expected[0])
        assert cells is None or np.array_equal(cells, expected[1])


@pytest.mark.parametrize("style", [style for style in FORMATS if open_format(style).NEEDS.picture])
def test_pictures_come_out_as_the_station_saw_them(room: Room, tmp_path: Path, style: str) -> None:
    assert room.call("export", "--format", style, "-o", tmp_path / "out").exit_code == 0
    for path in (tmp_path / "out" / "images").iterdir():
        (number,) = (number for number in range(1, 6) if room.key(number) == path.stem)
        assert np.array_equal(decode(path.read_bytes()), decode(room.path(number).read_bytes()))


def test_every_format_is_examined() -> None:
    assert {*READERS, "csv"} == set(FORMATS)


@pytest.mark.parametrize("style", FORMATS)
def test_no_name_leaves_the_station_unless_asked_for(room: Room, tmp_path: Path, style: str) -> None:
    jpeg = room.path(3).read_bytes()
    assert room.call("export", "--format", style, "-o", tmp_path / "out").exit_code == 0
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert files and all(PATIENT not in str(path.relative_to(tmp_path)) for path in files)
    assert all(PATIENT.encode() not in path.read_bytes() and jpeg[:30] not in path.read_bytes() for path in files)


def test_a_bmp_is_copied_and_what_may_carry_metadata_is_not(fresh: Room, tmp_path: Path) -> None:
    fresh.take(1, "a.bmp")
    for ending in ("png", "tif", "jpg"):
        fresh.take(1, f"b.{ending}")
    assert fresh.call("export", "--format", "training", "-o", tmp_path / "out").exit_code == 0
    images = tmp_path / "out" / "images"
    assert (images / f"{fresh.key(1)}.bmp").read_bytes() == fresh.path(1).read_bytes()
    assert sorted(path.suffix for path in images.iterdir()) == [".bmp", ".png", ".png", ".png"]


@pytest.mark.parametrize(
    ("beside", "bare"),
    [(b"", True), (b"\0\0", True), (b"PatientName=Mustermann^Erika", False)],
    ids=["pixels", "padded", "more"],
)
def test_a_bmp_that_holds_more_than_pixels_is_written_anew(
    fresh: Room, tmp_path: Path, beside: bytes, bare: bool
) -> None:
    fresh.take(1, "a.bmp")
    data = fresh.path(1).read_bytes() + beside
    (fresh.path(1).parent / "b.bmp").write_bytes(data)
    assert is_bare(data) == bare
    picture, again = decode(data), decode(fresh.path(1).read_bytes())
    assert np.array_equal(picture, again)
    (fresh.path(1)).write_bytes(data)
    with closing(sqlite3.connect(fresh.store.path)) as database, database:
        database.execute("UPDATE images SET sha256 = ?", (hashlib.sha256(data).hexdigest(),))
    assert fresh.call("export", "--format", "training", "-o", tmp_path / "out").exit_code == 0
    (written,) = (tmp_path / "out" / "images").iterdir()
    assert written.suffix == (".bmp" if bare else ".png") and np.array_equal(decode(written.read_bytes()), picture)
    assert b"Mustermann" not in written.read_bytes()


def test_a_colour_profile_or_text_before_the_pixels_is_more_than_pixels() -> None:
    plain = cv2.imencode(".bmp", np.full((3, 5, 3), 7, np.uint8))[1].tobytes()
    assert is_bare(plain) and not is_bare(b"\x89PNG" + plain)
    gap = plain[:10] + (54 + 8).to_bytes(4, "little") + plain[14:54] + b"Erika M." + plain[54:]
    longer = plain[:10] + (14 + 124).to_bytes(4, "little") + (124).to_bytes(4, "little") + plain[18:54]
    longer += b"\0" * 84 + plain[54:]
    assert np.array_equal(decode(gap), decode(plain)) and not is_bare(gap)
    assert np.array_equal(decode(longer), decode(plain)) and not is_bare(longer)
    grey = cv2.imencode(".bmp", np.full((3, 5), 7, np.uint8))[1].tobytes()
    assert is_bare(grey)


def test_what_is_said_and_counted_while_an_export_is_written_is_taken_as_it_is_then(
    fresh: Room, tmp_path: Path
) -> None:
    for _ in range(3):
        fresh.take(2)

    def step(done: int, _: int) -> None:
        if done == 1:
            fresh.say(2, RejectImage())
            analysis = fresh.day.analysis(3, small(1)[0], model="n")
            assert fresh.store.add_analysis(analysis)

    (tally,) = export(fresh.store, fresh.settings, Wanted("csv"), tmp_path / "out", NIGHT, step=step)
    assert (tally.pictures, tally.cells, tally.looked_at) == (3, 3, 1)
    lines = rows_of(tmp_path / "out" / "images.csv")
    assert [line["rejected"] for line in lines] == ["0", "1", "0"]
    assert [line["wbc_count"] for line in lines] == ["2", "0", "1"]
    assert [line["wbc_count_automatic"] for line in lines] == ["2", "2", "1"]
    assert [line["model"] for line in lines] == ["model m", "model m", "model n"]


def test_a_picture_that_is_rejected_while_an_export_is_written_is_left_out_of_what_needs_masks(
    fresh: Room, tmp_path: Path
) -> None:
    for _ in range(2):
        fresh.take(1)

    def step(done: int, _: int) -> None:
        if done == 1:
            fresh.say(2, RejectImage())

    (tally,) = export(fresh.store, fresh.settings, Wanted("training"), tmp_path / "out", NIGHT, step=step)
    assert tally.pictures == 1 and [(left.image_id, left.reason, left.lost) for left in tally.left] == [
        (2, "rejected", False)
    ]


def test_the_tables_of_a_training_export(room: Room, tmp_path: Path) -> None:
    assert room.call("export", "--format", "training", "-o", tmp_path / "out").exit_code == 0
    samples = {sample.id: sample for sample in open_dataset(tmp_path / "out")}
    assert len({sample.group for sample in samples.values()}) == 2  # the slides, by pseudonyms
    assert samples[room.key(1)].group == samples[room.key(3)].group != samples[room.key(2)].group
    counts = {number: state_of(room.store, number).wbc_count for number in range(1, 6)}
    assert {number: samples[room.key(number)].wbc_count for number in counts} == counts


def test_the_tables_of_a_csv_export(room: Room, tmp_path: Path) -> None:
    assert room.call("export", "--format", "csv", "-o", tmp_path / "out").exit_code == 0
    images = {int(row["image_id"]): row for row in rows_of(tmp_path / "out" / "images.csv")}
    cells = rows_of(tmp_path / "out" / "cells.csv")
    for number, row in images.items():
        state = state_of(room.store, number)
        assert demanded(state) == {name: row[name] for name in demanded(state)}
        own = [row for row in cells if row["image_id"] == str(number)]
        counting = () if state.rejected else state.cells
        assert [(int(row["cell_id"]), row["source"], int(row["area_px"])) for row in own] == [
            (cell.cell_id, cell.source, cell.area_px) for cell in counting
        ]
    assert sorted(images) == [1, 2, 3, 4, 5, 6] and images[6]["rejected"] == "1"
    assert images[3]["wbc_count_automatic"] == "3" and images[3]["wbc_count"] == "4"


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def demanded(state: Reviewed) -> dict[str, str]:
    return {
        "wbc_count": str(state.wbc_count),
        "wbc_count_inside": str(state.wbc_count_inside),
        "looked_at": str(int(state.by_a_person)),
        "changed": str(int(state.changed)),
        "width": str(state.width),
    }


@pytest.mark.parametrize("style", FORMATS)
def test_hostile_names_are_harmless(fresh: Room, tmp_path: Path, style: str) -> None:
    for name in HOSTILE:
        fresh.take(1, name, slide="=<script>\u202e")
    target = tmp_path / "deep" / "out"
    told = fresh.call("export", "--format", style, "--names", "-o", target)
    assert told.exit_code == 0, told.output
    assert sorted(path.name for path in target.parent.iterdir()) == ["out"]
    files = [path for path in target.rglob("*") if path.is_file()]
    assert all(path.name.isprintable() and path.name[0] not in "-.=@" and len(path.name) < 100 for path in files)
    assert not any(set(path.name) & set("<>|\\()$ \n\u202e\u200f") for path in files)
    if style != "csv":
        assert len(READERS[style](target)) == len(HOSTILE)
    for table in target.glob("*.csv"):
        for row in csv.reader(table.read_text(encoding="utf-8").splitlines()):
            assert not any(cell.startswith(("=", "+", "-", "@")) or not cell.isprintable() for cell in row), row


def test_names_are_shown_when_asked_for(room: Room, tmp_path: Path) -> None:
    assert room.call("export", "--format", "qupath", "--names", "-o", tmp_path / "out").exit_code == 0
    assert (tmp_path / "out" / "images" / f"{PATIENT}_0-{room.key(1)}.png").is_file()
    assert room.call("export", "--format", "training", "--names", "-o", tmp_path / "train").exit_code == 0
    assert {sample.group for sample in open_dataset(tmp_path / "train")} == {f"train/{PATIENT}-{n}" for n in (0, 1)}
    assert all(PATIENT not in path.name for path in (tmp_path / "train").rglob("*"))  # a key stays with a model


# What is chosen


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [
        ((), [1, 2, 3, 4, 5, 6]),
        (("--reviewed",), [2, 3, 4, 6]),
        (("--slide", f"{PATIENT}-1"), [2, 4, 6]),
        (("--slide", f"{PATIENT}-1", "--reviewed", "--date", "2026-11-23"), [2, 4, 6]),
        (("--from", "2026-11-22", "--to", "2026-11-23"), [1, 2, 3, 4, 5, 6]),
    ],
)
def test_days_slides_and_reviewed_pictures_are_chosen(
    room: Room, tmp_path: Path, asked: tuple[str, ...], numbers: list[int]
) -> None:
    assert room.call("export", "--format", "csv", *asked, "-o", tmp_path / "out").exit_code == 0
    assert [int(row["image_id"]) for row in rows_of(tmp_path / "out" / "images.csv")] == numbers


def test_what_somebody_wants_looked_at_again_is_not_reviewed(fresh: Room, tmp_path: Path) -> None:
    for cells in (1, 2):
        fresh.say(fresh.take(cells), Accept())
    fresh.say(1, Flag())
    told = fresh.call("export", "--format", "training", "--reviewed", "-o", tmp_path / "out")
    assert "left out: 1 picture: somebody asked for another look" in told.output
    fresh.say(1, Accept())
    told = fresh.call("export", "--format", "training", "--reviewed", "-o", tmp_path / "again")
    assert "again: 2 pictures, 2 of them looked at by a person" in told.output


def test_where_nothing_is_to_be_exported_that_is_said(room: Room, tmp_path: Path) -> None:
    for asked in (("--date", "2026-11-22"), ("--slide", "nobody's")):
        told = room.call("export", "--format", "csv", *asked, "-o", tmp_path / "out")
        assert told.exit_code == 1 and "there is no counted picture to export" in told.stderr
        assert ("reports show pseudonyms" in told.stderr) == ("--slide" in asked)
    assert not (tmp_path / "out").exists()
    for wrong in (("--from", "2026-11-22"), ("--date", "2026-11-22", "--to", "2026-11-23"), ("--date", "1066-10-14")):
        assert room.call("export", "--format", "csv", *wrong, "-o", tmp_path / "out").exit_code == 2


def test_the_manifest_says_what_is_in_it(room: Room, tmp_path: Path) -> None:
    told = room.call("export", "--format", "training", "--reviewed", "--date", "2026-11-23", "-o", tmp_path / "out")
    assert "out: 3 pictures, 3 of them looked at by a person, 2 with changed cells; 8 white cells" in told.output
    assert "left out: 2 pictures: nobody looked at it" in told.output
    assert "left out: image 6 (" in told.output
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["pictures"] == 3 and manifest["white_cells"] == 8 and manifest["corrections"] == 6
    assert (manifest["from"], manifest["to"], manifest["only_reviewed"]) == ("2026-11-23", "2026-11-23", True)
    assert manifest["models"] == [{"name": "model m", "sha256": "m" * 64, "pictures": 3}]
    reasons = {one["image_id"]: one["reason"] for one in manifest["left_out"]}
    assert reasons == {1: "nobody looked at it", 5: "nobody looked at it", 6: "rejected"}


# What is missing


@pytest.mark.parametrize("style", FORMATS)
def test_a_picture_that_is_gone_is_named_and_the_others_are_written(fresh: Room, tmp_path: Path, style: str) -> None:
    for cells in (1, 2, 3):
        fresh.take(cells)
    fresh.path(1).unlink()
    fresh.path(2).write_bytes(b"another picture")
    told = fresh.call("export", "--format", style, "-o", tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    if not open_format(style).NEEDS.picture:
        assert told.exit_code == 0 and manifest["pictures"] == 3
        return
    assert told.exit_code == 1 and manifest["pictures"] == 1 == len(READERS[style](tmp_path / "out"))
    for number in (1, 2):
        assert f"left out: image {number} ({fresh.path(number)}): no file holds it any more" in told.stderr


@pytest.mark.parametrize("style", FORMATS)
def test_a_picture_without_masks_is_named(fresh: Room, tmp_path: Path, style: str) -> None:
    fresh.take(1)
    fresh.take(2)
    fresh.store.remove_masks([1], NIGHT + timedelta(days=1))
    told = fresh.call("export", "--format", style, "-o", tmp_path / "out")
    pruned = open_format(style).NEEDS.masks
    assert told.exit_code == pruned and ("image 1 (" in told.stderr) == pruned


def test_an_unknown_format_names_the_known_ones(fresh: Room, tmp_path: Path) -> None:
    with pytest.raises(StationError, match="known: training, qupath, csv"):
        export(fresh.store, fresh.settings, Wanted("nonsense"), tmp_path / "out", NIGHT)


def test_a_format_whose_library_is_missing_says_what_to_install(fresh: Room, tmp_path: Path) -> None:
    """As after `pip install wbc-station`: the library is hidden from a real process."""
    code = (
        "import sys, importlib.util as u; real = u.find_spec;"
        "u.find_spec = lambda name, *rest: None if name in ('roifile', 'tifffile') else real(name, *rest);"
        "from station.cli import main; main(sys.argv[1:])"
    )
    fresh.take(1)
    told = ("export", "--format", "imagej", "-o", str(tmp_path / "out"), "--config", str(tmp_path / "station.toml"))
    found = subprocess.run([sys.executable, "-c", code, *told], capture_output=True, text=True)
    assert found.returncode == 1 and "pip install 'wbc-station[export]'" in found.stderr
    assert not (tmp_path / "out").exists()


# Where it is written


def test_a_folder_with_anything_in_it_is_left_alone(fresh: Room, tmp_path: Path) -> None:
    fresh.take(1)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.doc").write_text("years of work")
    for more in ((), ("--overwrite",)):
        told = fresh.call("export", "--format", "csv", *more, "-o", tmp_path / "home")
        assert told.exit_code == 1 and "home is" in told.stderr
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["thesis.doc"]


def test_an_older_export_is_overwritten_only_when_asked_for(fresh: Room, tmp_path: Path) -> None:
    fresh.take(1)
    (tmp_path / "out").mkdir()  # empty
    assert fresh.call("export", "--format", "tiff", "-o", tmp_path / "out").exit_code == 0
    assert fresh.call("export", "--format", "csv", "-o", tmp_path / "out").exit_code == 1
    assert read_tiff(tmp_path / "out")
    assert fresh.call("export", "--format", "csv", "--overwrite", "-o", tmp_path / "out").exit_code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["cells.csv", "images.csv", "manifest.json"]


def test_an_older_export_stays_where_no_picture_can_be_read(fresh: Room, tmp_path: Path) -> None:
    """The share is away: what was exported may be the last copy there is."""
    for cells in (1, 2):
        fresh.take(cells)
    place = tmp_path / "out"
    assert fresh.call("export", "--format", "coco", "-o", place).exit_code == 0
    for number in (1, 2):
        fresh.path(number).unlink()
    told = fresh.call("export", "--format", "coco", "--overwrite", "-o", place)
    assert told.exit_code == 1 and f"none of 2 pictures could be exported; {place} stays as it is" in told.stderr
    assert f"({fresh.path(1)}): no file holds it any more" in told.stderr
    assert len(read_coco(place)) == 2
    assert fresh.call("export", "--format", "coco", "-o", tmp_path / "new").exit_code == 1
    assert not (tmp_path / "new").exists()


def manifests(place: Path) -> dict[Path, int]:
    """Those of a training set and its tests, with their inodes."""
    return {path: path.stat().st_ino for path in place.glob("train*/manifest.json")}


def two_exported(room: Room, place: Path) -> dict[Path, int]:
    for number in range(4):
        room.take(1, slide=f"S-{number}")
    assert room.call("testset", "freeze", "--from", "2026-11-23", "--to", "2026-11-23").exit_code == 0
    assert room.call("export", "--format", "training", "-o", place / "train").exit_code == 0
    return manifests(place)


@pytest.mark.parametrize("cut", [OSError(errno.EBUSY, "busy"), KeyboardInterrupt()], ids=["busy", "interrupted"])
@pytest.mark.parametrize("moves", range(4))
def test_older_exports_are_back_where_the_new_ones_cannot_take_their_places(
    fresh: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: BaseException, moves: int
) -> None:
    """Of a training set and its tests both are exchanged or none, whichever of the four moves fails.

    On a file system on which folders cannot change places at one moment.
    """
    monkeypatch.setattr("station.exports.folders._swapped", lambda _one, _other: False)
    before = two_exported(fresh, tmp_path)
    rename, left = Path.rename, [moves]

    def refused(path: Path, target: Path) -> Path:
        left[0] -= 1
        if left[0] == -1:
            raise cut
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises((StationError, KeyboardInterrupt)):
        export(fresh.store, fresh.settings, Wanted("training"), tmp_path / "train", NIGHT, overwrite=True)
    assert manifests(tmp_path) == before and len(before) == 2 and not list(tmp_path.glob(".export-*"))


def test_whoever_reads_an_export_that_is_made_anew_always_finds_one(fresh: Room, tmp_path: Path) -> None:
    fresh.take(1)
    place, over, missed = tmp_path / "out", threading.Event(), []

    def look() -> None:
        while not over.is_set():
            if not (place / "manifest.json").is_file():
                missed.append(place)

    export(fresh.store, fresh.settings, Wanted("csv"), place, NIGHT)
    reader = threading.Thread(target=look)
    reader.start()
    try:
        for _ in range(30):
            export(fresh.store, fresh.settings, Wanted("csv"), place, NIGHT, overwrite=True)
    finally:
        over.set()
        reader.join()
    assert not missed and [path.name for path in tmp_path.glob("*out*")] == ["out"]
    assert not list(tmp_path.glob(".export-*"))


def test_of_two_exports_that_change_places_the_first_is_back_where_the_second_cannot(
    fresh: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = two_exported(fresh, tmp_path)
    swapped, left = folders._swapped, [1]

    def once(one: Path, other: Path) -> bool:
        left[0] -= 1
        if left[0] == -1:
            raise KeyboardInterrupt
        return swapped(one, other)

    monkeypatch.setattr(folders, "_swapped", once)
    with pytest.raises(KeyboardInterrupt):
        export(fresh.store, fresh.settings, Wanted("training"), tmp_path / "train", NIGHT, overwrite=True)
    assert manifests(tmp_path) == before and len(before) == 2 and not list(tmp_path.glob(".export-*"))


def test_nothing_is_written_into_the_cameras_folder(fresh: Room) -> None:
    fresh.take(1)
    before = sorted(fresh.day.folder.rglob("*"))
    for place in (
        fresh.day.folder,
        fresh.day.folder / "S-1" / "out",
        fresh.day.folder / "x" / ".." / "out",
        fresh.root,
    ):
        told = fresh.call("export", "--format", "csv", "-o", place)
        assert told.exit_code == 1 and "where the station only reads" in told.stderr
    assert sorted(fresh.day.folder.rglob("*")) == before


@pytest.mark.parametrize("style", FORMATS)
def test_a_cut_leaves_no_half_export(fresh: Room, tmp_path: Path, style: str) -> None:
    for cells in (1, 2):
        fresh.take(cells)
    place = tmp_path / "exports"

    def cut(done: int, _total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(fresh.store, fresh.settings, Wanted(style), place / "out", NIGHT, step=cut)
    assert list(place.iterdir()) == []
    export(fresh.store, fresh.settings, Wanted(style), place / "out", NIGHT)
    before = sorted(place.rglob("*"))
    with pytest.raises(KeyboardInterrupt):
        export(fresh.store, fresh.settings, Wanted(style), place / "out", NIGHT, overwrite=True, step=cut)
    assert sorted(place.rglob("*")) == before


def test_a_place_that_cannot_be_written_is_named(fresh: Room, tmp_path: Path) -> None:
    fresh.take(1)
    (tmp_path / "file").write_text("")
    told = fresh.call("export", "--format", "csv", "-o", tmp_path / "file" / "out")
    assert told.exit_code == 1 and "file/out cannot be written (" in told.stderr


@pytest.mark.parametrize("output", ["/", "."])
def test_a_place_that_cannot_be_exchanged_is_refused(
    fresh: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    fresh.take(1)
    monkeypatch.chdir(tmp_path)
    told = fresh.call("export", "--format", "csv", "-o", output)
    assert told.exit_code == 1 and told.stderr.startswith(f"error: {output} cannot be exchanged for an export;")


# The frozen test set


def test_a_test_set_is_held_back_from_training(fresh: Room, tmp_path: Path) -> None:
    for number in range(10):
        fresh.take(1 + number % 3, slide=f"S-{number // 2}")
    told = fresh.call("testset", "freeze", "--from", "2026-11-23", "--to", "2026-11-23", "--share", "0.4")
    assert told.exit_code == 0, told.output
    assert "test set: 4 pictures in 2 slides, of 10 in 5 slides" in told.output and "too few to tell" in told.output
    made = frozen(fresh.store)
    assert made is not None and len(made.images) == 4
    later = fresh.take(2, slide=made.slides[0])  # a neighbour of what is tested on
    told = fresh.call("export", "--format", "training", "-o", tmp_path / "train")
    assert told.exit_code == 0 and "1 picture: of a slide of the test set" in told.output
    assert "no test set is frozen" not in told.stderr
    training, tests = ({sample.id for sample in open_dataset(tmp_path / name)} for name in ("train", "train-test"))
    assert tests == {fresh.key(number) for number in made.images}
    assert training == {fresh.key(number) for number in range(1, 11)} - tests
    assert fresh.key(later) not in training | tests
    assert fresh.call("export", "--format", "csv", "-o", tmp_path / "csv").exit_code == 0
    assert len(rows_of(tmp_path / "csv" / "images.csv")) == 11 and not (tmp_path / "csv-test").exists()


def test_a_full_folder_for_the_tests_is_refused_before_any_work(fresh: Room, tmp_path: Path) -> None:
    for number in range(4):
        fresh.take(1, slide=f"S-{number}")
    assert fresh.call("testset", "freeze", "--from", "2026-11-23", "--to", "2026-11-23").exit_code == 0
    (tmp_path / "train-test").mkdir()
    (tmp_path / "train-test" / "mine").write_text("")
    told = fresh.call("export", "--format", "training", "-o", tmp_path / "train")
    assert told.exit_code == 1 and "train-test is not empty" in told.stderr
    assert not (tmp_path / "train").exists()


def test_the_tests_of_an_older_export_are_not_left_beside_a_new_one(fresh: Room, tmp_path: Path) -> None:
    fresh.take(1)
    (tmp_path / "train-test").mkdir()
    for more in ((), ("--overwrite",)):
        told = fresh.call("export", "--format", "training", *more, "-o", tmp_path / "train")
        assert told.exit_code == 1 and "train-test is of another export" in told.stderr
        assert not (tmp_path / "train").exists()


def test_what_ends_among_the_tests_leaves_no_training_set_without_them(fresh: Room, tmp_path: Path) -> None:
    for number in range(4):
        fresh.take(1, slide=f"S-{number}")
    assert fresh.call("testset", "freeze", "--from", "2026-11-23", "--to", "2026-11-23").exit_code == 0
    begun: list[int] = []

    def step(done: int, total: int) -> None:
        begun.append(done)
        if begun.count(1) == 2:  # the first of the second part
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(fresh.store, fresh.settings, Wanted("training"), tmp_path / "train", NIGHT, step=step)
    assert not (tmp_path / "train").exists() and not (tmp_path / "train-test").exists()


def test_slides_are_noted_as_learnt_before_anybody_can_learn_from_them(fresh: Room, tmp_path: Path) -> None:
    fresh.take(1)
    there: list[bool] = []

    def ready(tallies: Sequence[Tally]) -> None:
        there.append(tallies[0].folder.exists())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(fresh.store, fresh.settings, Wanted("training"), tmp_path / "train", NIGHT, ready=ready)
    assert there == [False] and not (tmp_path / "train").exists()


def test_a_test_set_is_drawn_once(fresh: Room) -> None:
    days = ("--from", "2026-11-23", "--to", "2026-11-23")
    assert fresh.call("testset", "show").exit_code == 1
    fresh.take(1, slide="S-0")
    told = fresh.call("testset", "freeze", *days)
    assert told.exit_code == 1 and "counted pictures of 1 slide," in told.stderr
    for number in range(1, 9):
        fresh.take(1, slide=f"S-{number}")
    assert fresh.call("testset", "freeze", *days).exit_code == 0
    first = frozen(fresh.store)
    told = fresh.call("testset", "freeze", *days, "--seed", 1)
    assert told.exit_code == 1 and "a test set is frozen already" in told.stderr
    assert frozen(fresh.store) == first and first is not None
    assert f"slides: {', '.join(first.slides)}" in fresh.call("testset", "show").output
    assert fresh.call("testset", "freeze", *days, "--seed", 1, "--replace").exit_code == 0
    second = frozen(fresh.store)
    assert second is not None and second.slides != first.slides and second.seed == 1


def test_what_models_learnt_from_is_not_drawn(fresh: Room, tmp_path: Path) -> None:
    days = ("--from", "2026-11-23", "--to", "2026-11-23")
    for number in range(3):
        fresh.take(1, slide=f"S-{number}")
    told = fresh.call("export", "--format", "training", "-o", tmp_path / "train")
    assert told.exit_code == 0 and "no test set is frozen, and none can be drawn from these slides" in told.stderr
    manifest = json.loads((tmp_path / "train" / "manifest.json").read_text())
    assert (manifest["from"], manifest["to"]) == (None, None)  # of all days
    told = fresh.call("testset", "freeze", *days)
    assert told.exit_code == 1 and "all 3 slides of 2026-11-23 to 2026-11-23 were exported" in told.stderr
    fresh.take(1, slide="S-new")
    assert (
        fresh.call("export", "--format", "csv", "-o", tmp_path / "csv").exit_code == 0
    )  # no model learns from a table
    told = fresh.call("testset", "freeze", *days, "--share", 0.9)
    assert told.exit_code == 0 and "not drawn: 3 slides that were exported for training" in told.output
    made = frozen(fresh.store)
    assert made is not None and made.slides == ("S-new",)
    again = fresh.call("export", "--format", "training", "--overwrite", "-o", tmp_path / "train")
    assert again.exit_code == 0 and learnt(fresh.store) == {"S-0", "S-1", "S-2"}


def test_only_what_was_written_counts_as_learnt_from(fresh: Room, tmp_path: Path) -> None:
    for number in range(2):
        fresh.take(1, slide=f"S-{number}")
    fresh.path(1).unlink()
    assert fresh.call("export", "--format", "training", "-o", tmp_path / "train").exit_code == 1
    assert learnt(fresh.store) == {"S-1"}


def test_a_test_set_and_what_models_learn_from_cannot_be_taken_at_once(fresh: Room, tmp_path: Path) -> None:
    days = ("--from", "2026-11-23", "--to", "2026-11-23")
    for number in range(4):
        fresh.take(1, slide=f"S-{number}")
    before, none_yet = learnt_facts(fresh.store), as_written(fresh.store)

    def step(done: int, _total: int) -> None:
        if done == 2:  # by another command, while this one is writing
            assert fresh.call("testset", "freeze", *days).exit_code == 0

    def ready(tallies: Sequence[Tally]) -> None:
        note_learnt(fresh.store, tallies[0].written, none_yet)

    with pytest.raises(StationError, match="a test set was frozen while this was written"):
        export(fresh.store, fresh.settings, Wanted("training"), tmp_path / "train", NIGHT, step=step, ready=ready)
    assert not (tmp_path / "train").exists() and not learnt(fresh.store)
    made = frozen(fresh.store)
    assert made is not None
    assert fresh.call("export", "--format", "training", "-o", tmp_path / "train").exit_code == 0
    with pytest.raises(StationError, match="call it again"):
        freeze(fresh.store, made, before, replace=True)


def renamed(store: Store, slide: str, name: str) -> None:
    """As when its folder is renamed and the station has looked."""
    with closing(sqlite3.connect(store.path)) as connection, connection:
        connection.execute("UPDATE images SET slide = ? WHERE slide = ?", (name, slide))


def test_a_slide_of_another_name_stays_on_its_side(fresh: Room, tmp_path: Path) -> None:
    days = ("--from", "2026-11-23", "--to", "2026-11-23")
    for number in range(4):
        fresh.take(1, slide=f"S-{number}")
    assert fresh.call("testset", "freeze", *days).exit_code == 0
    made = frozen(fresh.store)
    assert made is not None
    renamed(fresh.store, made.slides[0], "S-99")
    fresh.take(1, slide="S-99")
    told = fresh.call("export", "--format", "training", "-o", tmp_path / "train")
    assert "left out: 1 picture: of a slide of the test set, but not drawn with it" in told.output
    (seen, *_) = {f"S-{number}" for number in range(4)} - set(made.slides)
    renamed(fresh.store, seen, "S-98")
    assert "S-98" in learnt(fresh.store)


def test_a_folder_named_from_here_counts_as_learnt_from_too(
    fresh: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh.take(1, slide="S-0")
    monkeypatch.chdir(tmp_path)
    assert fresh.call("export", "--format", "training", "-o", "train").exit_code == 0
    assert learnt(fresh.store) == {"S-0"}


def test_a_draw_is_of_whole_slides_and_the_same_for_a_seed(fresh: Room) -> None:
    for number in range(12):
        fresh.take(1, slide=f"S-{number // 3}")
    fresh.say(1, RejectImage())
    lines = fresh.store.review_lines(Between(MORNING, NIGHT))
    days = MORNING.date(), MORNING.date()
    for share in (0.01, 0.5, 0.99):
        made = draw(lines, *days, share, 3, NIGHT)
        assert made == draw(tuple(reversed(lines)), *days, share, 3, NIGHT)
        expected = [one.image_id for one in lines if one.slide in made.slides and not one.rejected]
        assert list(made.images) == expected and 1 <= len(made.slides) <= 3
    assert len({draw(lines, *days, 0.1, seed, NIGHT).slides for seed in range(20)}) == 4
    freeze(fresh.store, draw(lines, *days, 0.5, 3, NIGHT))
    assert frozen(fresh.store) == draw(lines, *days, 0.5, 3, NIGHT)


# Outlines


def test_polygons_hold_every_mask_exactly() -> None:
    rng = np.random.default_rng(0)
    for _ in range(400):
        size = rng.integers(1, 9, 2)
        mask = rng.random(size) < rng.uniform(0.2, 0.9)
        found = [Polygon(outer, holes) for outer, *holes in polygons(mask)]
        assert all(one.is_valid for one in found)
        assert sum(one.area for one in found) == np.count_nonzero(mask)
        assert np.array_equal(rasterised(shapely.union_all(found), *size), mask)


def test_polygons_have_no_more_corners_than_they_need() -> None:
    mask = np.zeros((9, 9), bool)
    mask[2:7, 1:8] = True
    mask[4, 4] = False
    ((outer, hole),) = polygons(mask)
    assert sorted(outer) == [(1, 2), (1, 7), (8, 2), (8, 7)]
    assert sorted(hole) == [(4, 4), (4, 5), (5, 4), (5, 5)]
    assert polygons(np.zeros((3, 3), bool)) == ()
