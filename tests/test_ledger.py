"""What the database can prove: attempts, `station reconcile`, `station explain`, `station replay`."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from networks import DIAMETER_PX, GOLDEN_DISCS, discs, png, tiny_bundle
from stations import Bench
from stores import HOUR, START, Clock, analysis, leased, new, rows, wait

from station.cli import main
from station.contract.masks import decode_mask, encode
from station.database.records import FileStamp, NewImage
from station.database.store import Store
from station.ledger import Reconciliation, pruned_before, reconcile
from station.watching import Listing, look

# Attempts


def attempts(store: Store, image_id: int = 1) -> list[str]:
    found = store.history(image_id)
    assert found is not None
    return [f"{one.number} {one.outcome}" + (f": {one.reason}" if one.reason else "") for one in found.attempts]


def test_every_attempt_is_written_down_with_its_end(store: Store, clock: Clock) -> None:
    store.add_image(new("a.bmp"))
    for act in (lambda: store.give_back(1), store.release_leases, lambda: store.fail(1, "NaN")):
        leased(store)
        assert attempts(store)[-1].endswith("None")
        clock.after(minutes=1)
        act()
    clock.after(days=1)
    leased(store)
    store.save_analysis(analysis(1))
    assert attempts(store) == ["1 given back", "2 died", "3 failed: NaN", "4 done"]
    found = store.history(1)
    assert found is not None
    first = found.attempts[0]
    assert (first.worker, first.begun_at, first.ended_at) == ("w", START, START + timedelta(minutes=1))
    assert first.package_version[0].isdigit()


def test_attempts_at_several_images_end_apart(store: Store) -> None:
    for name in "abc":
        store.add_image(new(name))
    leased(store)
    store.save_analysis(analysis(2))
    store.fail(3, "NaN")
    assert [attempts(store, k) for k in (1, 2, 3)] == [["1 None"], ["1 done"], ["1 failed: NaN"]]
    store.release_leases()
    assert [attempts(store, k) for k in (1, 2, 3)] == [["1 died"], ["1 done"], ["1 failed: NaN"]]


def test_an_attempt_at_half_a_copy_gave_nothing(store: Store) -> None:
    store.add_image(new("a.bmp", "half"))
    leased(store)
    store.add_image(new("a.bmp", "whole"))
    store.save_analysis(analysis(1))
    assert attempts(store) == ["1 failed: superseded"] and attempts(store, 2) == []


# A folder against the database


class Camera:
    """A folder whose files are taken in as the station would, and counted when told to."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder, self.clock = root, root / "camera", Clock()
        (self.folder / "S-17").mkdir(parents=True, exist_ok=True)
        self.store = Store.open(root / "station.db", clock=self.clock, create=True)
        self.config = root / "station.toml"
        self.config.write_text(
            f'[camera]\nfolder = "{self.folder}"\nsettle_seconds = 0\nrescan_seconds = 0.001\n'
            f'[database]\npath = "{self.store.path}"\n'
        )

    def save(self, name: str, content: str | None = None) -> str:
        path = self.folder / name
        path.write_text(content or name)
        os.utime(path, (1e9, 1e9))
        return str(path)

    def stamp(self, path: str) -> FileStamp:
        return look(self.folder).files[path]

    def take(self, name: str, content: str | None = None) -> str:
        path = self.save(name, content)
        digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        self.store.add_image(NewImage(path, self.stamp(path), digest, "S-17", self.clock.now, rung=True))
        return path

    def count(self, name: str, content: str | None = None) -> str:
        path = self.take(name, content)
        for lease in self.store.lease("w", 8):
            self.store.save_analysis(analysis(lease.image_id))
        return path

    def sql(self, statement: str) -> None:
        with closing(sqlite3.connect(self.store.path)) as connection, connection:
            connection.execute(statement)

    def reconciled(
        self,
        now: float = 2e9,
        patience: float = 62,
        between: tuple[datetime, datetime] | None = None,
        **moved: float,
    ) -> Reconciliation:
        listing, audit = look(self.folder), self.store.audit(between)
        times = {str(self.folder / name): moment for name, moment in moved.items()}
        return reconcile(
            listing,
            audit,
            now=now,
            patience=patience,
            changed_at=lambda path: times.get(path, 0.0),
            pruned_before=pruned_before(self.store),
        )

    def call(self, *words: object) -> Result:
        return CliRunner().invoke(main, [*map(str, words), "--config", str(self.config)])


@pytest.fixture
def camera(tmp_path: Path) -> Iterator[Camera]:
    made = Camera(tmp_path)
    yield made
    made.store.close()


def named(camera: Camera, found: Reconciliation) -> list[str]:
    return [f"{line.status} {Path(line.path).name}" for line in found.files]


def test_a_folder_without_a_gap(camera: Camera) -> None:
    camera.count("S-17/a.bmp")
    path = camera.save("half.bmp")
    camera.store.note_waiting(path, camera.stamp(path), "is empty", "S")
    path = camera.save("many.lif")
    camera.store.quarantine_file(path, camera.stamp(path), "is a container", "S", next_look_at=START)
    camera.take("queued.bmp")
    found = camera.reconciled()
    assert named(camera, found) == ["done a.bmp", "waiting half.bmp", "quarantined many.lif", "queued queued.bmp"]
    assert [line.reason for line in found.files] == ["", "is empty", "is a container", ""]
    assert (found.gaps, found.gone, found.duplicates) == ((), (), 0)


def _touched(camera: Camera) -> None:
    os.utime(camera.folder / "a.bmp", (1e9, 1e9 + 1))


def _another(camera: Camera) -> None:
    (camera.folder / "a.bmp").unlink()
    camera.save("a.bmp", "another")


GAPS: list[tuple[str, Callable[[Camera], object], str]] = [
    ("unknown", lambda camera: camera.save("new.bmp"), "new.bmp"),
    ("unknown", lambda camera: camera.save("new.lif"), "new.lif"),
    ("changed", _touched, "a.bmp"),
    ("changed", _another, "a.bmp"),
    ("uncounted", lambda camera: camera.sql("DELETE FROM analyses"), "a.bmp"),
    ("miscounted", lambda camera: camera.sql("DELETE FROM cells WHERE cell_id = 2"), "a.bmp"),
    ("miscounted", lambda camera: camera.sql("UPDATE analyses SET wbc_count = 3"), "a.bmp"),
    ("miscounted", lambda camera: camera.sql("UPDATE analyses SET wbc_count = 1"), "a.bmp"),
    ("maskless", lambda camera: camera.sql("DELETE FROM masks"), "a.bmp"),
    ("unexplained", lambda camera: camera.sql("UPDATE images SET status = 'quarantined'"), "a.bmp"),
    ("unexplained", lambda camera: camera.sql("UPDATE images SET status = 'lost', reason = 'x'"), "a.bmp"),
]


@pytest.mark.parametrize(("kind", "damage", "name"), GAPS)
def test_each_gap_is_named_and_ends_with_1(
    camera: Camera, kind: str, damage: Callable[[Camera], object], name: str
) -> None:
    camera.count("a.bmp")
    assert camera.call("reconcile").exit_code == 0
    damage(camera)
    assert [(line.status, Path(line.path).name) for line in camera.reconciled().gaps] == [(kind, name)]
    told = camera.call("reconcile", "--list")
    assert told.exit_code == 1
    assert f"gap: 1 {kind}" in told.output and f"{kind:<12} {camera.folder / name}: " in told.output


def test_a_sub_folder_that_cannot_be_listed_is_a_gap(camera: Camera) -> None:
    listing = Listing({}, ("/srv/leica/S-18 (permission denied)",), (1, 2))
    audit = camera.store.audit()
    found = reconcile(listing, audit, now=2e9, patience=62, changed_at=lambda path: 0.0, pruned_before=None)
    assert [(line.status, line.path) for line in found.gaps] == [("unlisted", "/srv/leica/S-18 (permission denied)")]


def test_masks_that_were_pruned_are_no_gap_and_later_ones_are(camera: Camera) -> None:
    camera.count("a.bmp")
    camera.clock.after(hours=2)
    camera.count("b.bmp")
    camera.sql("DELETE FROM masks")
    camera.store.record_fact("masks_pruned_before", (START + HOUR).isoformat())
    assert [Path(line.path).name for line in camera.reconciled().gaps] == ["b.bmp"]
    camera.store.record_fact("masks_pruned_before", (START + 3 * HOUR).isoformat())
    assert camera.reconciled().gaps == ()


def test_a_file_that_has_just_come_is_arriving(camera: Camera) -> None:
    camera.save("a.bmp")  # written at 1e9
    for now, moved, status in [
        (1e9 + 61, {}, "arriving"),
        (1e9 + 63, {}, "unknown"),
        (1e9 - 63, {}, "unknown"),  # clocks that disagree do not excuse it for ever
        (1e9 + 63, {"a.bmp": 1e9 + 30}, "arriving"),  # a copy that kept the time of writing
        (1e9 + 93, {"a.bmp": 1e9 + 30}, "unknown"),
    ]:
        assert named(camera, camera.reconciled(now, **moved)) == [f"{status} a.bmp"]


def test_images_without_a_file_and_second_names_are_told_and_are_no_gaps(camera: Camera) -> None:
    for name, content in (("a.bmp", "x"), ("copy.bmp", "x"), ("gone.bmp", "y"), ("moved.bmp", "z")):
        camera.count(name, content)
    (camera.folder / "gone.bmp").unlink()
    (camera.folder / "moved.bmp").rename(camera.folder / "S-17" / "moved.bmp")
    camera.count("S-17/moved.bmp", "z")
    found = camera.reconciled()
    assert found.duplicates == 1 and found.counts == {"done": 3} and found.gaps == ()
    copy = next(line for line in found.files if line.path.endswith("copy.bmp"))
    assert copy.reason == f"the same content as {camera.folder / 'a.bmp'}"
    assert [(Path(line.path).name, line.reason) for line in found.gone] == [("gone.bmp", "stays counted")]


def test_of_a_part_of_the_images_others_are_only_counted_while_they_are_as_they_were(camera: Camera) -> None:
    camera.count("old.bmp", "x")
    camera.count("older.bmp", "x")
    camera.count("gone.bmp", "z")
    (camera.folder / "gone.bmp").unlink()
    camera.clock.after(hours=24)
    day = (camera.clock.now, camera.clock.now + HOUR)
    camera.count("new.bmp", "y")
    found = camera.reconciled(between=day)
    assert (named(camera, found), found.others, found.gone, found.duplicates) == (["done new.bmp"], 2, (), 0)
    os.utime(camera.folder / "old.bmp", (1e9, 1e9 + 1))
    found = camera.reconciled(between=day)
    assert (named(camera, found), found.others) == (["done new.bmp", "changed old.bmp"], 1)
    camera.sql("DELETE FROM masks")
    assert [Path(line.path).name for line in camera.reconciled(between=day).flaws] == ["new.bmp"]


def test_half_a_copy_that_was_superseded_is_not_gone(camera: Camera) -> None:
    inode = Path(camera.take("a.bmp", "half")).stat().st_ino
    camera.take("a.bmp", "whole")
    assert (camera.folder / "a.bmp").stat().st_ino == inode
    found = camera.reconciled()
    assert found.gone == () and named(camera, found) == ["queued a.bmp"]


def test_reconcile_for_programs_and_without_writing_anything(camera: Camera) -> None:
    camera.count("a.bmp")
    camera.save("b\n.bmp")
    before = (camera.store.path.read_bytes(), look(camera.folder))
    told = camera.call("reconcile", "--json")
    assert (camera.store.path.read_bytes(), look(camera.folder)) == before
    found = json.loads(told.output)
    assert (found["files"], found["counts"], found["gaps"]) == (2, {"done": 1, "unknown": 1}, {"unknown": 1})
    assert [line["path"] for line in found["lines"]] == [str(camera.folder / "b\n.bmp")]
    assert len(json.loads(camera.call("reconcile", "--json", "--list").output)["lines"]) == 2
    assert f"unknown      {camera.folder}/b\\n.bmp: " in camera.call("reconcile", "--list").output


def test_a_folder_out_of_reach_is_no_empty_folder(camera: Camera) -> None:
    assert camera.call("reconcile").exit_code == 0  # empty, and the one that was set up
    camera.store.record_fact("camera_folder_identity", [1, 2])
    told = camera.call("reconcile")
    assert told.exit_code == 1 and "is another folder, and empty; is the share mounted?" in told.output
    camera.count("a.bmp")
    assert camera.call("reconcile").exit_code == 0  # pictures are known by their content, wherever they lie
    camera.folder.rename(camera.root / "elsewhere")
    told = camera.call("reconcile")
    assert told.exit_code == 1 and "cannot be listed (no such file or directory)" in told.output


def test_a_name_that_is_no_utf8_is_known_by_its_escaped_name(camera: Camera) -> None:
    path = os.fsdecode(bytes(camera.folder) + b"/gr\xfcn.bmp")
    Path(path).write_text("x")
    stored = str(camera.folder) + "/gr\\xfcn.bmp"
    camera.store.quarantine_file(stored, camera.stamp(path), "has a name", "S", next_look_at=START)
    found = camera.reconciled()
    assert [(line.status, line.path) for line in found.files] == [("quarantined", stored)]


# An image


def test_an_image_is_explained_from_file_to_number(camera: Camera) -> None:
    first = camera.count("a.bmp", "x")
    camera.clock.after(hours=1)
    second = camera.take("b.bmp", "x")
    told = camera.call("explain", 1)
    assert told.exit_code == 0
    digest = hashlib.sha256(b"x").hexdigest()
    for words in (
        f"image 1, {first}\n  done since 2026-11-23 09:00:00 UTC\n  content: {digest}\n  slide: S-17\n",
        f"path {first}: first seen 2026-11-23 09:00:00 UTC, announced by an event\n",
        f"path {second}: first seen 2026-11-23 10:00:00 UTC, announced by an event\n",
        "attempt 1: begun 2026-11-23 09:00:00 UTC by w, version ",
        "; done 2026-11-23 09:00:00 UTC\n",
        "analysis of 2026-11-23 09:00:00 UTC: 2 cells, 1 inside\n",
        "  model: starter 1, m1\n  engine: onnxruntime 1.30 cpu\n",
        "  settings: s1\n  version: 0.1.0\n  cell diameter: 120 px (told)\n  picture: 1024 x 768 px\n  flags: dark\n",
        "  seconds: total 0.5\n  masks: kept\n",
        "  cell 2 at (10.5, 20.25): 900 px, nucleus 600 px, N:C 2, at the edge, confidence 0.9\n",
    ):
        assert words in told.output
    found = json.loads(camera.call("explain", 1, "--json").output)
    assert (found["sha256"], found["analyses"][0]["masks"]) == (digest, "kept")
    assert found["paths"][1] == {"path": second, "first_seen": "2026-11-23T10:00:00+00:00", "rung": True}


def test_an_image_is_found_by_number_path_or_hash(camera: Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    path = camera.take("S-17/a.bmp", "x")
    camera.take("b.bmp", "y")
    digest = hashlib.sha256(b"x").hexdigest()
    monkeypatch.chdir(camera.folder / "S-17")
    for told in ("1", path, "a.bmp", "S-17/a.bmp", digest, digest[:6], digest[:6].upper()):
        assert camera.call("explain", told).output.startswith(f"image 1, {path}\n"), told


@pytest.mark.parametrize("told", ["3", "9" * 30, "c.bmp", "abcdef", hashlib.sha256(b"x").hexdigest()[:5]])
def test_an_unknown_image_is_answered_with_what_may_be_told(camera: Camera, told: str) -> None:
    camera.take("a.bmp", "x")
    for command in ("explain", "replay"):
        answer = camera.call(command, told)
        assert answer.exit_code == 1 and f"there is no image {told}; give the number of an image" in answer.output
        assert "reports show pseudonyms" in answer.output


def test_a_hash_that_several_begin_with_is_refused(camera: Camera) -> None:
    for number in range(2):
        camera.store.add_image(new(f"{number}.bmp", f"abcdef{number}"))
    assert "2 images have a content hash that begins with abcdef" in camera.call("explain", "abcdef").output
    assert camera.call("explain", "abcdef1").output.startswith("image 2, 1.bmp\n")


def test_a_name_that_was_used_again_means_what_it_holds_now(camera: Camera) -> None:
    path = camera.count("a.bmp", "x")
    camera.clock.after(days=1)
    Path(path).unlink()
    camera.take("a.bmp", "y")
    assert camera.call("explain", path).output.startswith("image 2, ")
    assert "holds it no longer" in camera.call("explain", 1).output


def test_what_is_open_pruned_or_from_an_earlier_version_is_said(camera: Camera) -> None:
    wait(camera.store, "half.bmp", "is empty")
    told = camera.call("explain", "1").output
    assert "waiting since 2026-11-23 09:00:00 UTC: is empty\n  content: never was a whole picture" in told
    assert "attempt" not in told
    camera.count("a.bmp")
    camera.sql("DELETE FROM attempts")
    camera.sql("DELETE FROM masks")
    told = camera.call("explain", "2").output
    assert "attempts: none written down" in told and "masks: missing" in told
    camera.store.record_fact("masks_pruned_before", (START + HOUR).isoformat())
    assert "masks: pruned" in camera.call("explain", "2").output
    assert (
        "image 1 has no analysis that could be done again: it is waiting, is empty" in camera.call("replay", 1).output
    )


# A number


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture that a whole station counted with a tiny model."""
    root = tmp_path_factory.mktemp("station")
    bench = Bench(root, tiny_bundle(), cell_diameter_px=DIAMETER_PX)
    (bench.folder / "a.png").write_bytes(png(discs(180, 240, GOLDEN_DISCS[0])))
    bench.run()
    assert bench.counts() == {"a.png": 3}
    bench.store.close()
    return root


@pytest.fixture
def counted(worked: Path, tmp_path: Path) -> Iterator[Camera]:
    """A copy of that station."""
    root = tmp_path / "station"
    shutil.copytree(worked, root)
    made = Camera(root)
    for table in ("images", "image_paths", "files", "models"):
        made.sql(f"UPDATE {table} SET path = replace(path, '{worked}', '{root}')")
    made.config.write_text(made.config.read_text() + '[engine]\nname = "onnxruntime"\n')
    yield made
    made.store.close()


def _paint_over(pixels: int) -> Callable[[Camera], None]:
    """As if so many pixels had been cytoplasm when it was counted."""

    def damage(counted: Camera) -> None:
        ((labels_png,),) = rows(counted.store.path, "SELECT labels_png FROM masks")
        labels = decode_mask(labels_png)  # type: ignore[arg-type]
        labels.flat[np.flatnonzero(labels == 0)[:pixels]] = 1
        counted.sql(f"UPDATE masks SET labels_png = x'{encode(labels).hex()}'")

    return damage


def test_the_same_model_gives_the_same_result(counted: Camera) -> None:
    before = (counted.store.path.read_bytes(), rows(counted.store.path, "SELECT * FROM attempts"))
    told = counted.call("replay", 1)
    assert told.exit_code == 0 and told.output.startswith(
        f"image 1, {counted.folder / 'a.png'}: the same\n  count: 3\n"
    )
    assert "whole-cell Dice 1.0000, nucleus Dice 1.0000" in told.output
    assert (counted.store.path.read_bytes(), rows(counted.store.path, "SELECT * FROM attempts")) == before
    found = json.loads(counted.call("replay", 1, "--json").output)
    assert (found["verdict"], found["wbc_count_before"], found["by_pixels"]) == ("the same", 3, True)


def _smaller(counted: Camera) -> None:
    counted.sql("DELETE FROM masks")
    counted.sql("UPDATE cells SET area_px = area_px - 40 WHERE cell_id = 1")


@pytest.mark.parametrize(
    ("damage", "verdict"),
    [
        (_paint_over(1), "alike"),
        (_paint_over(100), "different"),
        (lambda counted: counted.sql("UPDATE analyses SET wbc_count = 2"), "different"),
        (lambda counted: counted.sql("UPDATE analyses SET cell_diameter_px = 40"), "different"),
        (lambda counted: counted.sql("DELETE FROM masks"), "alike"),
        (_smaller, "different"),
    ],
)
def test_a_result_that_differs_is_told(counted: Camera, damage: Callable[[Camera], object], verdict: str) -> None:
    damage(counted)
    told = counted.call("replay", 1)
    assert (told.output.splitlines()[0], told.exit_code) == (
        f"image 1, {counted.folder / 'a.png'}: {verdict}",
        int(verdict == "different"),
    )
    pruned = not rows(counted.store.path, "SELECT 1 FROM masks")
    assert ("only count and areas were compared" in told.output) == pruned


def test_a_picture_that_moved_is_found_and_one_that_is_gone_is_named(counted: Camera) -> None:
    picture, copy = counted.folder / "a.png", counted.folder / "copy.png"
    copy.write_bytes(picture.read_bytes())
    digest = hashlib.sha256(copy.read_bytes()).hexdigest()
    counted.store.add_image(NewImage(str(copy), counted.stamp(str(copy)), digest, "S-17", START, rung=False))
    picture.write_bytes(png(discs(180, 240, GOLDEN_DISCS[1])))
    assert counted.call("replay", 1).output.startswith(f"image 1, {copy}: the same")
    copy.unlink()
    told = counted.call("replay", 1)
    assert told.exit_code == 1 and f"{picture} holds another picture now" in told.output
    assert f"{copy} cannot be read (no such file or directory); copy it back" in told.output


def test_a_model_that_is_gone_and_damaged_masks_are_named(counted: Camera) -> None:
    counted.sql("UPDATE masks SET cells_png = x'00'")
    assert "the masks of image 1 are damaged; restore a backup" in counted.call("replay", 1).output
    counted.sql("UPDATE analyses SET model_sha256 = 'abc'")
    told = counted.call("replay", 1)
    assert told.exit_code == 1
    assert "the model tiny (abc) is not installed any more; `station model install BUNDLE`" in told.output
