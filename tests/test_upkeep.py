"""What a station knows is kept: backups that were read back, a restore that is whole or none, and pruning by age."""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import shutil
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from networks import discs, png, tiny_bundle
from stations import Bench
from stores import DAY, START, Clock, analysis, cell, new, pruned, refuse, results, rows, wait

from station.cli import main
from station.contract.corrections import RejectImage
from station.contract.errors import DatabaseError, StationError
from station.database import connection, schema
from station.database.backup import sizes
from station.database.connection import open_engine
from station.database.lock import RunLock
from station.database.records import FileStamp, NewImage
from station.database.store import Store
from station.intake import FOLDER_IDENTITY
from station.pruning import Plan, plan, prune_images, prune_masks, still_due
from station.reviewing import correct
from station.upkeep import LAST_BACKUP, back_up, backup_name, remove_surplus, restore

SOAKING = os.environ.get("WBC_SOAK") == "1"  # `make soak`: the full size
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def count(store: Store, path: str, captured_at: datetime = START, **changes: object) -> int:
    """A picture that is taken in and counted."""
    image_id = store.add_image(new(path, captured_at=captured_at)).image_id
    store.lease("w", 1)
    store.save_analysis(analysis(image_id, **changes))
    return image_id


def copy_of(store: Store, name: str = "copy.db") -> Path:
    target = store.path.with_name(name)
    back_up(store.path, target, spare_bytes=0, clock=Clock(), monotonic=lambda: 0.0)
    return target


def paths_in(database: Path) -> list[object]:
    return [row[0] for row in rows(database, "SELECT path FROM image_results ORDER BY image_id")]


def names_beside(database: Path) -> set[str]:
    return {path.name for path in database.parent.iterdir()}


@pytest.fixture
def config(database: Path, tmp_path: Path) -> Path:
    """The settings of a station whose database is `database`."""
    (tmp_path / "camera").mkdir()
    path = tmp_path / "station.toml"
    path.write_text(f'[camera]\nfolder = "camera"\n[database]\npath = "{database.name}"\n')
    return path


Call = Callable[..., tuple[int, str]]


@pytest.fixture
def call(config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Calls a command of that station, at a terminal where an answer is typed; exit code and all that was said."""

    def run(*words: object, typed: str | None = None) -> tuple[int, str]:
        with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
            if typed is not None:
                ours, theirs = os.openpty()
                os.write(ours, f"{typed}\n".encode())
                patch.setattr(sys, "stdin", os.fdopen(theirs))
            main([*map(str, words), "--config", str(config)])
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out + said.err

    return run


# The drill


def test_after_a_lost_database_everything_before_the_backup_is_back_and_the_station_goes_on(
    store: Store, clock: Clock
) -> None:
    stop, done, committed = threading.Event(), threading.Semaphore(0), []

    def write() -> None:
        while not stop.is_set():
            committed.append(count(store, f"{len(committed)}.bmp"))
            done.release()

    def wait_for(more: int) -> int:
        for _ in range(more):
            assert done.acquire(timeout=60)
        return len(committed)

    writer = threading.Thread(target=write)
    writer.start()
    before = wait_for(10)
    copy = copy_of(store)
    wait_for(5)
    stop.set()
    writer.join()
    store.close()
    os.truncate(store.path, 0)
    told = restore(copy, store.path, clock=clock)
    assert told.damage == "the file is empty" and told.kept is not None and told.kept.stat().st_size == 0
    with closing(Store.open(store.path, clock=clock)) as again:
        kept = len(results(again))
        assert before <= kept <= len(committed)
        assert [row.path for row in results(again)] == [f"{number}.bmp" for number in range(kept)]
        assert {row.wbc_count for row in results(again)[:before]} == {2}
        again.release_leases()
        assert again.add_image(new("0.bmp")).kind == "known"  # not counted again
        assert count(again, "later.bmp") == kept + 1
    assert rows(store.path, "PRAGMA integrity_check") == [("ok",)]
    assert rows(store.path, "PRAGMA journal_mode") == [("wal",)]


# Backup


def test_a_backup_is_a_copy_that_the_database_knows_of(store: Store, clock: Clock, tmp_path: Path) -> None:
    count(store, "a.bmp")
    target = tmp_path / "backups" / backup_name(store.path, clock())
    seconds = iter([1.0, 3.5])
    made = back_up(store.path, target, spare_bytes=0, clock=clock, monotonic=lambda: next(seconds))
    assert made.path == tmp_path / "backups" / "station-20261123T090000Z.db"
    assert (made.size, made.seconds) == (target.stat().st_size, 2.5)
    assert paths_in(target) == ["a.bmp"]
    assert store.fact(LAST_BACKUP) == START.isoformat()
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_the_oldest_backups_go_and_nothing_else_does(store: Store, tmp_path: Path) -> None:
    others = {"other-20200101T000000Z.db", "station-20200101T000000Z.db.txt", "station-2020.db", "notes", "station.db"}
    others |= {"station-before-prune-20200101T000000Z.db", "station-20260101T000000Z.db.part"}
    folder = tmp_path / "backups"
    folder.mkdir()
    for name in {*others, "station-20200101T000000Z.db.part", "station-20200102T000000Z.db.77.part"}:
        (folder / name).touch()
        last_byte = START - (DAY / 2 if name in others else 2 * DAY)
        os.utime(folder / name, (last_byte.timestamp(), last_byte.timestamp()))
    ours = [folder / f"station-2026110{day}T000000Z.db" for day in range(1, 6)]
    for path in ours:
        path.touch()
    assert remove_surplus(ours[-1], store.path, 0, START) == ()
    assert remove_surplus(ours[-1], store.path, 3, START) == (ours[0], ours[1])
    assert {path.name for path in folder.iterdir()} == others | {path.name for path in ours[2:]}
    # The clock was set back: what was made last has the oldest name, and stays.
    assert remove_surplus(ours[2], store.path, 1, START) == (ours[3], ours[4])
    assert {path.name for path in folder.iterdir()} == others | {ours[2].name}


def test_of_two_that_back_up_at_once_the_newer_copy_stays(store: Store, tmp_path: Path) -> None:
    """Each tidies up when both are there: one would take away the other's, and so would the other."""
    folder = tmp_path / "backups"
    folder.mkdir()
    first, second = (folder / f"station-20261123T00000{number}Z.db" for number in (1, 2))
    for number, path in enumerate((first, second)):
        path.touch()
        os.utime(path, (START.timestamp() - 9 + number,) * 2)
    assert remove_surplus(first, store.path, 1, START) == ()
    assert remove_surplus(second, store.path, 1, START) == (first,)
    assert list(folder.iterdir()) == [second]


def test_a_copy_that_another_program_writes_to_the_same_name_is_left_to_it(store: Store, tmp_path: Path) -> None:
    theirs = tmp_path / "copy.db.1.part"
    theirs.write_text("theirs")
    back_up(store.path, tmp_path / "copy.db", spare_bytes=0, clock=lambda: START, monotonic=lambda: 0.0)
    assert {path.name for path in tmp_path.glob("copy*")} == {"copy.db", theirs.name}


def test_copies_from_when_the_clock_was_ahead_do_not_outlast_the_others(store: Store, tmp_path: Path) -> None:
    names = [*(f"station-202611{day}T023000Z.db" for day in (20, 21, 22)), "station-20291123T023000Z.db"]
    paths = [tmp_path / "backups" / name for name in names]
    paths[0].parent.mkdir()
    for path in paths:
        path.touch()
    assert remove_surplus(paths[2], store.path, 3, START) == (paths[3],)
    assert remove_surplus(paths[2], store.path, 2, START) == (paths[0],)


def test_a_whole_copy_stays_one_though_the_database_cannot_be_told_of_it(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "BUSY_SECONDS", 0.1)
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        made = back_up(store.path, tmp_path / "copy.db", spare_bytes=0, clock=lambda: START, monotonic=lambda: 0.0)
    assert made.path.is_file() and made.unnoted is not None and "locked" in made.unnoted
    assert store.fact(LAST_BACKUP) is None


@contextmanager
def files_end_at(most: int) -> Iterator[None]:
    """No file grows beyond so many bytes, as if its disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_backup_that_cannot_be_written_names_the_place_and_leaves_nothing(
    store: Store, clock: Clock, tmp_path: Path
) -> None:
    count(store, "a.bmp")
    (tmp_path / "file").touch()
    (tmp_path / "there.db").write_text("mine")
    before = names_beside(store.path)

    def refused(target: Path, words: str, spare_bytes: float = 0) -> None:
        with pytest.raises(DatabaseError, match=words) as told:
            back_up(store.path, target, spare_bytes=spare_bytes, clock=clock, monotonic=lambda: 0.0)
        assert str(target.parent) in str(told.value)
        assert names_beside(store.path) == before

    refused(tmp_path / "there.db", "exists already; name another file")
    refused(tmp_path / "not" / "there" / "copy.db", r"can be written there \(No such file or directory")
    refused(tmp_path / "file" / "copy.db", r"can be written there \(File exists")
    refused(tmp_path / "copy.db", "no room for a backup .* make room there, or name another folder", 1e18)
    with files_end_at(50_000):
        refused(tmp_path / "copy.db", r"can be written to .*copy\.db .*is its folder there, .*, and is there room")
    assert (tmp_path / "there.db").read_text() == "mine"
    assert store.fact(LAST_BACKUP) is None


def test_a_backup_before_an_update_does_not_update(store: Store, tmp_path: Path) -> None:
    store.close()
    with closing(sqlite3.connect(store.path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    copy = copy_of(store)
    for path in (store.path, copy):
        assert rows(path, "SELECT version_num FROM alembic_version") == [("0001",)]


def test_the_backup_command_fills_the_folder_of_the_settings(store: Store, call: Call, tmp_path: Path) -> None:
    count(store, "a.bmp")
    old = [tmp_path / "backups" / f"station-202001{day:02}T000000Z.db" for day in range(1, 15)]
    old[0].parent.mkdir()
    for path in old:
        path.touch()
    code, said = call("backup")
    (made,) = set(old[0].parent.iterdir()) - set(old)
    assert code == 0 and f"{made}: " in said and "s, verified" in said
    assert f"removed {old[0]}: backup.keep = 14" in said and not old[0].exists() and old[1].exists()
    assert call("backup", "-o", tmp_path / "own.db")[0] == 0 and old[1].exists()
    assert paths_in(made) == paths_in(tmp_path / "own.db") == ["a.bmp"]
    code, said = call("backup", "-o", tmp_path / "camera" / "own.db")
    assert code == 2 and "lies in the camera folder" in said and not any((tmp_path / "camera").iterdir())


# Restore


def test_a_restore_is_refused_while_anybody_has_the_database(store: Store, clock: Clock) -> None:
    count(store, "a.bmp")
    copy = copy_of(store)
    before = names_beside(store.path)
    with pytest.raises(DatabaseError, match="is locked: another program holds it; close that program"):
        restore(copy, store.path, clock=clock)
    assert names_beside(store.path) - before == {"station.db.lock"}
    store.close()
    with RunLock(store.path, clock=clock), pytest.raises(DatabaseError, match="another station runs on this database"):
        restore(copy, store.path, clock=clock)
    with pytest.raises(DatabaseError, match="is the database itself"):
        restore(store.path, store.path, clock=clock)
    assert paths_in(store.path) == ["a.bmp"]


def _damaged(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def _foreign(path: Path) -> None:
    path.unlink()
    rows(path, "CREATE TABLE bookmarks (url)")


def _newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_damaged, "malformed|is damaged"),
        (_foreign, "is no database of this station: it holds bookmarks"),
        (_newer, "was made by a newer version"),
        (lambda path: os.truncate(path, 0), "is an empty database; name a backup"),
        (lambda path: path.write_text("Patient: see below\n" * 99), "file is not a database"),
    ],
)
def test_what_is_no_backup_is_not_restored(
    store: Store, clock: Clock, spoil: Callable[[Path], object], words: str
) -> None:
    copy = copy_of(store)
    count(store, "a.bmp")
    store.close()
    before = names_beside(store.path) | {"station.db.lock"}
    spoil(copy)
    with pytest.raises(DatabaseError, match=words) as told:
        restore(copy, store.path, clock=clock)
    assert str(copy) in str(told.value)
    assert paths_in(store.path) == ["a.bmp"] and names_beside(store.path) == before


class Saboteur:
    """Lets the n-th of the file operations that Python makes fail, as a bad disk would."""

    def __init__(self) -> None:
        self.left = -1
        sys.addaudithook(self)  # for good: there is no way to take one off

    def __call__(self, event: str, _arguments: object) -> None:
        if self.left >= 0 and event in ("os.rename", "os.link", "os.remove", "os.chmod", "os.chown", "os.listdir"):
            self.left -= 1
            if self.left < 0:
                raise OSError(5, "Input/output error")


@pytest.fixture(scope="module")
def saboteur() -> Saboteur:
    return Saboteur()


def killed(store: Store, home: Path) -> Path:
    """The database as a station leaves it that is killed now: with a log, which holds the last picture alone."""
    rows(store.path, "PRAGMA wal_checkpoint(TRUNCATE)")
    count(store, "last.bmp")
    home.mkdir()
    for ending in ("", "-wal"):
        shutil.copy(f"{store.path}{ending}", home)
    return home / store.path.name


def bytes_beside(database: Path) -> dict[str, bytes]:
    """All files but the lock, what an attempt could not remove, and the index that any reader makes of a log."""
    found = {path.name: path.read_bytes() for path in database.parent.iterdir() if ".restoring" not in path.name}
    return {name: data for name, data in found.items() if not name.endswith((".lock", "-shm"))}


def restore_with_a_fault(saboteur: Saboteur, step: int, copy: Path, database: Path) -> tuple[bool, bool]:
    """Whether there was a fault, and whether the restore said so."""
    saboteur.left = step
    try:
        restore(copy, database, clock=Clock())
    except StationError as error:
        assert "is as it was, and not replaced (Input/output error" in str(error)
        return True, True
    else:
        return saboteur.left < 0, False
    finally:
        saboteur.left = -1


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "damaged"])
def test_a_restore_that_fails_at_any_step_leaves_the_database_as_it_was(
    store: Store, tmp_path: Path, saboteur: Saboteur, whole: bool
) -> None:
    copy = copy_of(store)
    origin = killed(store, tmp_path / "killed")
    if not whole:
        os.truncate(origin, 16384)
    before, refusals = bytes_beside(origin), 0
    for step in range(40):
        database = Path(shutil.copytree(origin.parent, tmp_path / str(step))) / origin.name
        fault, refused = restore_with_a_fault(saboteur, step, copy, database)
        refusals += refused
        if not refused:
            assert paths_in(database) == []
        elif whole:  # the log may have been brought in by then
            assert paths_in(database) == ["last.bmp"] and bytes_beside(database).keys() <= before.keys()
        else:
            assert bytes_beside(database) == before
        if not fault:
            break
    assert refusals >= 5 and step < 39
    assert not [name for name in names_beside(database) if ".restoring" in name]


def test_a_full_disk_leaves_the_database_as_it_was(store: Store, clock: Clock) -> None:
    for number in range(5):
        count(store, f"{number}.bmp", labels_png=bytes(40_000))
    copy = copy_of(store)
    store.close()
    before = names_beside(store.path) | {"station.db.lock"}
    with files_end_at(100_000), pytest.raises(DatabaseError, match=r"can be written to .*station\.db\.restoring"):
        restore(copy, store.path, clock=clock)
    assert names_beside(store.path) == before and len(paths_in(store.path)) == 5


def test_what_was_there_is_kept_with_its_log(store: Store, clock: Clock, tmp_path: Path) -> None:
    copy = copy_of(store)
    database = killed(store, tmp_path / "killed")
    assert b"last.bmp" not in database.read_bytes()
    database.chmod(0o640)
    done = restore(copy, database, clock=clock)
    assert done.damage is None and done.kept == database.with_name("station.db.before-restore-20261123T090000Z.db")
    assert names_beside(database) == {"station.db", "station.db.lock", done.kept.name}
    assert database.stat().st_mode & 0o777 == 0o640
    assert paths_in(done.kept) == ["last.bmp"] and paths_in(database) == []


def test_a_database_that_a_link_leads_to_is_replaced_where_it_lies(store: Store, clock: Clock, tmp_path: Path) -> None:
    copy = copy_of(store)
    large = killed(store, tmp_path / "large")
    link = tmp_path / "linked.db"
    link.symlink_to(large)
    with RunLock(link, clock=clock), pytest.raises(DatabaseError, match="station runs on this database already"):
        restore(copy, large, clock=clock)
    done = restore(copy, link, clock=clock)
    assert link.is_symlink() and done.kept is not None and not done.kept.is_symlink()
    assert done.kept.parent == large.parent
    assert paths_in(link) == paths_in(large) == [] and paths_in(done.kept) == ["last.bmp"]
    assert names_beside(large) == {"station.db", "station.db.lock", done.kept.name}


def test_a_damaged_database_is_moved_aside_with_its_log_which_is_never_applied_to_the_new_one(
    store: Store, clock: Clock, tmp_path: Path
) -> None:
    copy = copy_of(store)
    database = killed(store, tmp_path / "killed")
    log = database.with_name("station.db-wal").read_bytes()
    os.truncate(database, 16384)
    done = restore(copy, database, clock=clock)
    assert done.damage and "malformed" in done.damage and done.kept is not None
    assert done.kept.stat().st_size == 16384
    assert done.kept.with_name(done.kept.name + "-wal").read_bytes() == log
    assert not database.with_name("station.db-wal").exists()
    assert paths_in(database) == []


def test_a_lost_database_and_a_backup_of_an_older_schema(database: Path, clock: Clock, tmp_path: Path) -> None:
    old = tmp_path / "old.db"
    engine = open_engine(old)
    with engine.connect() as connection, connection.begin():
        schema.migrate_within(connection, "0001")
    engine.dispose()
    bytes_before = old.read_bytes()
    assert restore(old, database, clock=clock).kept is None
    assert old.read_bytes() == bytes_before
    assert names_beside(database) == {"old.db", "old.db-shm", "old.db-wal", "station.db", "station.db.lock"}
    with closing(Store.open_reader(database, clock=clock)) as store:
        assert results(store) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_what_root_restores_on_a_fresh_machine_is_the_stations(store: Store, clock: Clock, tmp_path: Path) -> None:
    copy, fresh = copy_of(store), tmp_path / "fresh"
    fresh.mkdir()
    os.chown(fresh, 12345, 12345)
    restore(copy, fresh / "station.db", clock=clock)
    owners = {path.name: (path.stat().st_uid, path.stat().st_gid) for path in fresh.iterdir()}
    assert owners == dict.fromkeys(("station.db", "station.db.lock"), (12345, 12345))


def test_the_restore_command_checks_asks_and_says_what_it_did(store: Store, call: Call) -> None:
    count(store, "a.bmp", START)
    wait(store, "b.bmp")
    copy = copy_of(store)
    count(store, "c.bmp")
    store.close()
    words = f"{copy}: whole; 2 pictures (1 done, 1 waiting), captured from 2026-09-21 "
    code, told = call("restore", copy, "--check")
    assert code == 0 and words in told and "to 2026-11-23 09:00 UTC" in told
    assert "there is nobody to ask; say --yes" in call("restore", copy)[1]
    assert call("restore", copy, typed="n")[0] == 1
    assert paths_in(store.path) == ["a.bmp", "b.bmp", "c.bmp"]
    code, told = call("restore", copy, typed="y")
    assert code == 0 and "kept what was there as " in told and "damaged" not in told
    assert paths_in(store.path) == ["a.bmp", "b.bmp"]
    for kept in store.path.parent.glob("*.before-restore-*"):
        kept.unlink()  # the second one would be called the same if it came within the same second
    os.truncate(store.path, 5000)
    code, told = call("restore", copy, "--yes")
    assert code == 0 and "is damaged (" in told and "moved aside" in told
    assert paths_in(store.path) == ["a.bmp", "b.bmp"]


# Pruning


def ids(planned: Plan) -> tuple[int, ...]:
    return tuple(image.image_id for image in planned.images)


def masks(store: Store) -> list[tuple[object, ...]]:
    return rows(store.path, "SELECT analysis_id FROM masks ORDER BY analysis_id")


def test_masks_go_by_the_age_of_the_analysis_and_counts_stay(store: Store, clock: Clock) -> None:
    count(store, "a.bmp", START + DAY)
    clock.after(days=10)
    count(store, "b.bmp", START - DAY)
    before = results(store), rows(store.path, "SELECT * FROM cells")
    planned = plan(store, START + DAY)
    assert (planned.masks, planned.mask_bytes, planned.images) == ((1,), len(b"\x89PNG\0labels\0\xff"), ())
    pruned(store, planned)
    assert masks(store) == [(2,)]
    assert (results(store), rows(store.path, "SELECT * FROM cells")) == before
    assert store.fact("masks_pruned_before") == (START + DAY).isoformat()
    pruned(store, plan(store, START))  # nothing is as old
    assert store.fact("masks_pruned_before") == (START + DAY).isoformat()
    clock.after(days=10)
    count(store, "c.bmp")
    pruned(store, replace(plan(store, START + 30 * DAY), before=START))  # the latest of several counts
    assert masks(store) == [] and store.fact("masks_pruned_before") == (START + DAY).isoformat()
    assert store.fact("images_pruned_before") is None


def test_a_picture_that_comes_back_stays_whether_the_station_looked_at_it_or_not(
    store: Store, clock: Clock, tmp_path: Path
) -> None:
    folder = tmp_path / "camera"
    folder.mkdir()
    texts = {name: f"the content of {name}" for name in ("a.bmp", "b.bmp", "c.bmp", "d.bmp")}
    for name, text in texts.items():
        content, stamp = hashlib.sha256(text.encode()).hexdigest(), FileStamp(len(text), 1, 1)
        store.add_image(NewImage(str(folder / name), stamp, content, "S", START, rung=False))
        store.save_analysis(analysis(store.lease("w", 1)[0].image_id))
    (folder / "copy.bmp").write_text(texts["a.bmp"])  # with a time of its own, while no station runs
    planned = plan(store, START + DAY / 2, folder)
    assert (ids(planned), planned.still_there) == ((2, 3, 4), 1)
    (folder / "b.bmp").write_text(texts["b.bmp"])  # while somebody is asked whether that is meant
    (folder / "another.bmp").write_text("of the same bytes!!!!")
    due = still_due(planned, store, folder)
    assert (ids(due), due.still_there) == ((3, 4), 2)
    pruned(store, due)
    assert [row.image_id for row in results(store)] == [1, 2]


def test_a_picture_with_which_somebody_works_after_the_backup_stays(store: Store, tmp_path: Path) -> None:
    """One is corrected, one analysed again, of one the file is back and the station has recognised it."""
    folder = tmp_path / "camera"
    folder.mkdir()
    for name in ("corrected.bmp", "again.bmp", "back.bmp", "gone.bmp"):
        count(store, str(folder / name))
    planned = plan(store, START + DAY / 2, folder)
    assert ids(planned) == (1, 2, 3, 4)
    prune_masks(store, planned)
    assert correct(store, 1, RejectImage(), "Ada").written
    assert store.add_analysis(analysis(2, model_sha256="m2"))
    stamp = replace(new(str(folder / "back.bmp")).stamp, inode=77)
    assert store.add_image(replace(new(str(folder / "back.bmp")), stamp=stamp)).kind == "known"
    assert prune_images(store, planned) == 1
    assert [row.image_id for row in results(store)] == [1, 2, 3]
    assert rows(store.path, "SELECT image_id FROM corrections") == [(1,)]


def test_no_picture_goes_while_a_file_is_copied_into_the_folder(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "camera"
    folder.mkdir()
    for name in ("a.bmp", "b.bmp"):
        count(store, str(folder / name))
    copy = folder / "a copy.bmp"
    copy.write_bytes(b"half of it")
    copied_at = copy.stat().st_ctime
    os.utime(copy, (1e9, 1e9))  # copying programs set the time of the original
    found = plan(store, START + DAY / 2, folder, whole_since=copied_at - 62)
    assert (found.images, found.arriving, len(found.masks)) == ((), 1, 2)
    assert still_due(plan(store, START + DAY / 2, folder), store, folder, whole_since=copied_at - 62).images == ()
    found = plan(store, START + DAY / 2, folder, whole_since=copied_at + 1)
    assert (ids(found), found.arriving) == ((1, 2), 0)
    (folder / "b.bmp").write_bytes(b"")  # known but for its inode, as after another mount: it is not read
    size_of = "UPDATE files SET size = 0, mtime_ns = ?, inode = 7 WHERE path = ?"
    with closing(sqlite3.connect(store.path)) as connection, connection:
        connection.execute(size_of, ((folder / "b.bmp").stat().st_mtime_ns, str(folder / "b.bmp")))
    assert plan(store, START + DAY / 2, folder, whole_since=0).arriving == 1  # the copy alone


def test_nothing_goes_while_a_file_may_be_one_of_the_old_ones_and_cannot_be_read(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "camera"
    folder.mkdir()
    store.add_image(NewImage(str(folder / "a.bmp"), FileStamp(0, 1, 1), "content", "S", START, rung=False))
    store.save_analysis(analysis(store.lease("w", 1)[0].image_id))
    assert ids(plan(store, START + DAY / 2, folder)) == (1,)
    (folder / "b.bmp").symlink_to("/proc/self/mem")  # told to be empty, and refuses to be read
    with pytest.raises(DatabaseError, match=r"b\.bmp cannot be read \(.*, so it is not known which old picture it may"):
        plan(store, START + DAY / 2, folder)


def test_only_counted_pictures_that_left_the_folder_go(store: Store, clock: Clock, tmp_path: Path) -> None:
    folder = tmp_path / "camera"
    folder.mkdir()
    for name in ("there.bmp", "renamed.bmp", "linked twice.bmp"):
        (folder / name).write_text(name)
    moved = (folder / "renamed.bmp").stat()
    stamp = FileStamp(moved.st_size, moved.st_mtime_ns, moved.st_ino)
    for name in ("gone.bmp", "there.bmp", "young.bmp", "also gone.bmp"):
        count(store, str(folder / name), START + DAY if name == "young.bmp" else START)
    store.add_image(NewImage(str(folder / "before.bmp"), stamp, "moved", "S", START, False))
    store.lease("w", 1)
    store.save_analysis(analysis(5))
    count(store, str(folder / "first name.bmp"))
    store.add_image(new(str(folder / "linked twice.bmp"), f"content of {folder / 'first name.bmp'}"))
    store.add_image(new(str(folder / "queued.bmp")))
    wait(store, str(folder / "waiting.bmp"))
    refuse(store, str(folder / "refused.bmp"))
    planned = plan(store, START + DAY / 2, folder)
    assert (ids(planned), planned.still_there) == ((1, 4), 3)
    pruned(store, planned)
    assert [row.image_id for row in results(store)] == [2, 3, 5, 6, 7, 8, 9]
    assert rows(store.path, "SELECT count(*) FROM images WHERE status IN ('waiting', 'quarantined')") == [(2,)]
    for table in ("analyses", "image_paths", "files", "attempts"):
        assert rows(store.path, f"SELECT count(*) FROM {table} WHERE image_id IN (1, 4)") == [(0,)]
    assert rows(store.path, "PRAGMA foreign_key_check") == []
    assert rows(store.path, "SELECT count(*) FROM cells") == [(2 * 4,)]
    assert store.fact("images_pruned_before") == (START + DAY / 2).isoformat()


def test_nothing_follows_from_a_folder_that_is_not_the_stations(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "camera"
    count(store, str(folder / "a.bmp"))
    with pytest.raises(StationError, match="is the share mounted"):
        plan(store, START + DAY, folder)
    folder.mkdir()
    store.record_fact(FOLDER_IDENTITY, [1, 2])
    with pytest.raises(StationError, match=r"is another folder .* is the share mounted"):
        plan(store, START + DAY, folder)


def test_a_picture_that_is_there_is_not_counted_again_and_one_that_comes_back_is_counted_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tiny_bundle(), cell_diameter_px=60)
    for number, name in enumerate(("goes.png", "stays.png", "moves.png")):
        (bench.folder / name).write_bytes(png(discs(180, 240, [(60 + 9 * number, 60, 30, 17)])))
    bench.run()
    assert bench.counts() == dict.fromkeys(("goes.png", "stays.png", "moves.png"), 1)
    (bench.folder / "goes.png").rename(tmp_path / "goes.png")
    (bench.folder / "moves.png").rename(bench.folder / "moved.png")
    planned = plan(bench.store, datetime(2100, 1, 1, tzinfo=UTC), bench.folder)
    pruned(bench.store, planned)
    bench.run()
    assert bench.counts() == dict.fromkeys(("stays.png", "moved.png"), 1)
    assert rows(bench.store.path, "SELECT image_id FROM analyses ORDER BY id") == [(2,), (3,)]
    (tmp_path / "goes.png").rename(bench.folder / "goes.png")
    bench.run()
    assert bench.counts() == dict.fromkeys(("stays.png", "moved.png", "goes.png"), 1)
    assert rows(bench.store.path, "SELECT image_id FROM analyses ORDER BY id") == [(2,), (3,), (4,)]


@pytest.fixture
def aged(database: Path, tmp_path: Path) -> Path:
    """A database of nine pictures of long ago that left the folder; nobody has it open."""
    clock = Clock()
    clock.now = LONG_AGO
    with closing(Store.open(database, clock=clock, create=True)) as store:
        for number in range(9):
            count(store, str(tmp_path / "camera" / f"{number}.bmp"), LONG_AGO, labels_png=bytes(30_000))
    return database


def test_the_prune_command_takes_masks_alone_and_says_what_that_freed(aged: Path, call: Call) -> None:
    before = aged.stat().st_size
    code, said = call("prune", "--older-than", 30, "--dry-run")
    assert code == 0 and "analyses whose masks go: 9 (270 kB)" in said
    assert rows(aged, "SELECT count(*) FROM masks") == [(9,)]
    code, said = call("prune", "--older-than", 30)
    assert code == 0 and "pictures that go" not in said
    freed = int(said.rpartition("freed ")[2].split(" kB")[0])
    assert 270 < freed < 450 and f"{freed} kB of it free for new pictures" in said
    assert rows(aged, "SELECT count(*), sum(wbc_count) FROM image_results") == [(9, 18)]
    assert aged.stat().st_size >= before
    with RunLock(aged, clock=Clock()):
        assert "another station runs" in call("prune", "--older-than", 30, "--vacuum")[1]
    assert call("prune", "--older-than", 30, "--vacuum")[0] == 0
    assert aged.stat().st_size < before - 270_000
    assert rows(aged, "PRAGMA integrity_check") == [("ok",)]


def test_counts_go_only_when_their_number_is_typed_and_after_a_backup(
    aged: Path, config: Path, call: Call, tmp_path: Path
) -> None:
    (tmp_path / "camera" / "7.bmp").touch()
    arguments = ("prune", "--older-than", 30, "--all")
    code, said = call(*arguments, "--dry-run")
    assert code == 0 and "no picture goes, for 1 file in the camera folder may still be copied" in said
    config.write_text(config.read_text().replace("[database]", "settle_seconds = 0\nrescan_seconds = 1e-6\n[database]"))
    code, said = call(*arguments, "--dry-run")
    assert code == 0 and "pictures that go with their counts: 8\n" in said
    assert "kept because a file of them is in the camera folder: 1\n" in said
    assert call(*arguments)[0] == 2
    code, said = call(*arguments, typed="9")
    assert code == 1 and "nothing was removed: the answer was not 8" in said
    (tmp_path / "backups").write_text("a file in the way")
    code, said = call(*arguments, "--yes")
    assert code == 1 and "no copy of the database can be written there" in said
    assert rows(aged, "SELECT count(*) FROM image_results") == rows(aged, "SELECT count(*) FROM masks") == [(9,)]
    (tmp_path / "backups").unlink()
    code, said = call(*arguments, typed="8")
    assert code == 0
    (copy,) = (tmp_path / "backups").glob("station-before-prune-*.db")
    assert f"backup with all of them: {copy}" in said
    assert rows(copy, "SELECT count(*), sum(wbc_count) FROM image_results") == [(9, 18)]
    assert paths_in(aged) == [str(tmp_path / "camera" / "7.bmp")]
    ((moment,),) = rows(aged, "SELECT value FROM facts WHERE name = 'images_pruned_before'")
    told = json.loads(str(moment))[:10]
    days = ("--from", f"{START - 100 * DAY:%Y-%m-%d}", "--to", f"{START:%Y-%m-%d}")
    assert f"pictures captured before {told}" in call("report", *days)[1]
    assert "were pruned" not in call("report", "--date", "2099-01-01")[1]
    code, said = call("explain", 1)
    assert code == 1 and f"images captured before {told}" in said and "were pruned, backups may hold them" in said


def growth(store: Store, empty: int) -> float:
    """Bytes of the database per 1,000 images, with all that hangs on them; 0 without images.

    `empty` bytes are there without any: each table and index takes a page.
    """
    images = sum(store.counts_by_status().values())
    return 1000 * (sizes(store.path).used - empty) / images if images else 0.0


def test_growth_is_that_of_counted_pictures_with_their_masks(store: Store) -> None:
    """What README says of 1,000 pictures; the size of a PNG matters here, not what it shows."""
    empty = sizes(store.path).used
    assert growth(store, empty) == 0
    number_of_images = 1000 if SOAKING else 30
    chance = random.Random(1)
    for number in range(number_of_images):
        path = f"/srv/leica/2026-11-23/S-{number // 50:03}/Image_{number:04}.bmp"
        drawn = {"labels_png": chance.randbytes(3500), "cells_png": chance.randbytes(2500)}
        image_id = store.add_image(replace(new(path), sha256=f"{number:064x}")).image_id
        store.lease("w", 1)
        store.save_analysis(analysis(image_id, cells=tuple(map(cell, range(1, 6))), **drawn))
    found = growth(store, empty)
    print(f"{found / 1e6:.1f} MB per 1,000 pictures, measured over {number_of_images}")
    assert 6e6 < found < 12e6
