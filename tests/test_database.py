"""The database file: its schema, how it is written and read, who may, and copies of it. Real SQLite, real processes."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from importlib import resources
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from stores import (
    END,
    START,
    Clock,
    analysis,
    half_saved,
    leased,
    new,
    on_connect,
    refuse,
    results,
    rows,
    wait,
)

from station.contract.errors import DatabaseError
from station.database import schema
from station.database.backup import verified_copy, verify
from station.database.connection import open_engine
from station.database.lock import RunLock, holder, lock_file
from station.database.store import Store
from station.database.tables import Row

# The schema


def test_the_migrations_make_the_schema_that_the_tables_describe(store: Store) -> None:
    def differs(_context: object, _old: object, _new: object, found: object, wanted: object) -> bool | None:
        return False if isinstance(found, sa.Text) and isinstance(wanted, sa.String) else None  # one type to SQLite

    with open_engine(store.path, read_only=True).connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": differs})
        assert compare_metadata(context, Row.metadata) == []


def test_migrations_follow_each_other_by_the_numbers_in_their_names() -> None:
    """The newest schema and those known are told by the names, without Alembic."""
    scripts = ScriptDirectory(str(resources.files("station.database") / "migrations"))
    chain = [*reversed([*scripts.walk_revisions()])]
    assert [script.revision for script in chain] == [Path(script.path).name[:4] for script in chain]
    assert chain[-1].revision == schema.newest()


PROMISED = {
    "image_results": "image_id path sha256 slide captured_at ingested_at status reason wbc_count wbc_count_inside "
    "wbc_count_reviewed flags cell_diameter_px model engine",
    "image_paths": "image_id path first_seen",
    "cell_results": "image_id cell_id x y area_px nucleus_area_px cytoplasm_area_px nc_ratio touches_edge confidence "
    "source",
}


@pytest.mark.parametrize("name", PROMISED)
def test_readers_find_exactly_the_promised_columns(store: Store, name: str) -> None:
    assert [row[1] for row in rows(store.path, f"PRAGMA table_info({name})")] == PROMISED[name].split()


NOW, NEXT = schema.newest(), "9001"

SECOND = f"""
import sqlalchemy as sa
from alembic import op
revision, down_revision, branch_labels, depends_on = "{NEXT}", "{NOW}", None, None
def upgrade():
    for view in ("cell_results", "image_results", "counting_analyses", "newest_analyses"):
        op.execute("DROP VIEW " + view)
    op.add_column("images", sa.Column("more", sa.Text))
    with op.batch_alter_table("analyses") as table:
        table.alter_column("engine", nullable=True)
"""


def test_a_database_is_copied_before_an_update_and_keeps_its_schema_if_that_breaks(
    store: Store, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add_image(new("a.bmp"))
    store.lease("w", 1)
    store.save_analysis(analysis(1))
    folder, copy = tmp_path / "migrations", tmp_path / f"station.db.before-{NEXT}"
    shutil.copytree(str(resources.files("station.database") / "migrations"), folder)
    second = folder / "versions" / f"{NEXT}_second.py"
    second.write_text(SECOND + "    raise RuntimeError('broken')")
    monkeypatch.setattr(schema, "_migrations", lambda: folder)
    with pytest.raises(DatabaseError, match=f"has the older schema {NOW}; `station init` or `run` updates it"):
        Store.open_reader(store.path, clock=clock)
    with pytest.raises(RuntimeError, match="broken"):
        Store.open(store.path, clock=clock)
    for path in (store.path, copy):
        assert rows(path, "SELECT version_num, path FROM alembic_version, images") == [(NOW, "a.bmp")]
        assert "more" not in [row[1] for row in rows(path, "PRAGMA table_info(images)")]
    second.write_text(SECOND)
    copy.unlink()
    with _lock(store.path):
        lock_file(store.path).write_text("process 1 on station since yesterday\n")  # it was not started anew yet
        with pytest.raises(DatabaseError, match=r"a station works on it \(process 1 .*: start it anew first"):
            Store.open(store.path, clock=clock)
    assert not copy.exists()
    with _lock(store.path):  # as `station run` holds it
        Store.open(store.path, clock=clock).close()
    assert rows(store.path, "SELECT path, more FROM images") == [("a.bmp", None)]
    for table, count in (("cells", 2), ("masks", 1)):  # remaking `analyses` must not take along what refers to it
        assert rows(store.path, f"SELECT count(*) FROM {table}") == [(count,)]
    assert rows(copy, "SELECT version_num, path FROM alembic_version, images") == [(NOW, "a.bmp")]


# Connections


def test_a_writer_keeps_what_it_was_told(database: Path) -> None:
    with open_engine(database).connect() as connection:
        names = ("journal_mode", "synchronous", "foreign_keys")
        found = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]
    assert found == ["wal", 2, 1]  # 2 is FULL: a count that was shown survives a power cut


def write_all(store: Store) -> None:
    """Every writing method once, each with something to do."""
    wait(store, "a.bmp")
    refuse(store, "b.bmp")
    store.add_image(new("a.bmp"))
    store.lease("w", 1)
    store.give_back(1)
    store.release_leases()
    store.fail(1, "NaN")
    store.save_analysis(analysis(1))
    model = store.add_model(name="one", sha256="1", path="1.zip", description="")
    store.activate_model(model.model_id)
    with pytest.raises(DatabaseError):
        store.rollback_model()
    store.record_fact("scale", 120.0)


def read_all(store: Store) -> list[object]:
    plain = (store.known_files, store.active_model, store.models, store.counts_by_status, store.open_items)
    return [*(read() for read in plain), results(store), store.ingested_elsewhere(START, END), store.fact("scale")]


def test_every_write_is_one_immediate_transaction(database: Path, clock: Clock) -> None:
    said: list[str] = []
    with on_connect(lambda connection: connection.set_trace_callback(said.append)):
        store = Store.open(database, clock=clock, create=True)
    write_all(store)
    read_all(store)
    store.close()
    begun, late = "", []
    for statement in said:
        word = statement.split()[0]
        if word in ("BEGIN", "COMMIT", "ROLLBACK"):
            begun = statement
        elif word not in ("SELECT", "PRAGMA") and begun != "BEGIN IMMEDIATE":
            late.append(statement)
    assert late == []
    assert (said.count("BEGIN IMMEDIATE"), said.count("BEGIN")) == (1 + 12, 8)  # 1 is the opening


def test_a_writer_waits_for_another_program(store: Store) -> None:
    freed = threading.Event()
    with closing(sqlite3.connect(store.path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(0.4, lambda: freed.set() or other.execute("COMMIT"))
        timer.start()
        assert store.add_image(new("a.bmp")).kind == "new" and freed.is_set()
        timer.join()


def test_readers_neither_wait_for_a_writer_nor_see_its_half_work(store: Store, clock: Clock) -> None:
    write_all(store)
    before = read_all(store)
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE images SET status = 'leased'")
        with closing(Store.open_reader(store.path, clock=clock)) as reader:
            assert read_all(store) == read_all(reader) == before


def _newer(path: Path) -> None:
    Store.open(path, clock=Clock(), create=True).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")


@pytest.mark.parametrize("opening", [Store.open, Store.open_reader])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_newer, rf"was made by a newer version \(schema 9999, this package knows up to {NOW}\); install that"),
        (lambda path: rows(path, "CREATE TABLE bookmarks (url)"), "no database of this station: it holds bookmarks"),
        (lambda path: path.write_text("Patient: see below\n" * 99), "file is not a database: restore a backup, or"),
        (lambda path: None, "there is no database .*; `station init` makes one, database.path names another"),
    ],
)
def test_what_cannot_be_used_is_refused_in_words(
    database: Path, clock: Clock, opening: Callable[..., Store], make: Callable[[Path], object], words: str
) -> None:
    make(database)
    there = database.exists()
    with pytest.raises(DatabaseError, match=words) as caught:
        opening(database, clock=clock)
    assert str(database) in str(caught.value)
    assert database.exists() == there


@pytest.mark.parametrize("folder", ["/proc", "/proc/missing"])  # where nobody may make a file
def test_a_folder_that_is_missing_or_not_writable_is_named(folder: str, clock: Clock) -> None:
    path = Path(folder) / "station.db"
    with pytest.raises(DatabaseError, match=rf"{path} cannot be used .* is its folder there, and may this user write"):
        Store.open(path, clock=clock, create=True)
    with pytest.raises(DatabaseError, match=rf"{path}\.lock cannot be made .* is the folder there"):
        _lock(path).__enter__()


def test_a_reader_changes_nothing(store: Store, clock: Clock) -> None:
    store.add_image(new("a.bmp"))
    store.close()
    before = store.path.read_bytes()
    with closing(Store.open_reader(store.path, clock=clock)) as reader:
        assert len(results(reader)) == 1
        with pytest.raises(DatabaseError, match="readonly database: give this user the right to write there"):
            reader.lease("w", 1)
    assert store.path.read_bytes() == before


def test_a_refused_database_is_left_as_it_was(database: Path, clock: Clock) -> None:
    rows(database, "CREATE TABLE bookmarks (url)")
    before = database.read_bytes()
    with pytest.raises(DatabaseError, match="no database of this station"):
        Store.open(database, clock=clock)
    assert database.read_bytes() == before


def test_a_database_that_is_removed_while_it_is_open_takes_no_more_counts(store: Store) -> None:
    store.add_image(new("a.bmp"))
    store.path.rename(store.path.with_name("moved.db"))
    with pytest.raises(DatabaseError, match="was removed or replaced while it was open; start again"):
        store.add_image(new("b.bmp"))


def test_an_empty_file_is_no_database_yet(database: Path, clock: Clock) -> None:
    database.touch()
    with pytest.raises(DatabaseError, match="is empty; `station init` or `run` fills it"):
        Store.open_reader(database, clock=clock)


def test_many_threads_may_use_one_store(store: Store) -> None:
    def work(number: int) -> None:
        for turn in range(5):
            store.record_fact(f"{number} {turn}", turn)
            store.counts_by_status()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rows(store.path, "SELECT count(*) FROM facts") == [(40,)]


# One station, and copies


@pytest.mark.parametrize("folder", ["a#b", "a?b", "a%41b"])
def test_a_copy_is_made_whatever_the_folder_is_called(tmp_path: Path, clock: Clock, folder: str) -> None:
    path = tmp_path / folder / "station.db"
    path.parent.mkdir()
    with closing(Store.open(path, clock=clock, create=True)) as store:
        store.add_image(new("a.bmp"))
        copy = verified_copy(path, path.with_name("copy.db"))
    assert rows(copy, "SELECT path FROM images") == [("a.bmp",)]
    assert [entry.name for entry in tmp_path.iterdir()] == [folder]


def _lock(database: Path) -> RunLock:
    return RunLock(database, clock=Clock())


def _station(pipe: Connection, database: Path) -> None:
    """Leases, and dies just before a save is committed."""
    saving = False

    def trace(statement: str) -> None:
        if saving and statement == "COMMIT":
            os.kill(os.getpid(), signal.SIGKILL)

    with _lock(database), on_connect(lambda connection: connection.set_trace_callback(trace)):
        store = Store.open(database, clock=Clock())
        store.lease("w", 8)
        pipe.send("leased")
        pipe.recv()
        saving = True
        store.save_analysis(analysis(1))


def test_the_second_station_names_the_first_and_takes_over_when_that_one_dies(store: Store) -> None:
    store.add_image(new("a.bmp"))
    context, file = multiprocessing.get_context("spawn"), store.path.with_name("station.db.lock")
    ours, theirs = context.Pipe()
    first = context.Process(target=_station, args=(theirs, store.path), daemon=True)
    first.start()
    assert ours.poll(60)
    for _ in range(2):  # being refused must not free the lock
        words = rf"process {first.pid} on \S+ since 2026-11-23T09:00:00\+00:00\); stop it first"
        with pytest.raises(DatabaseError, match=words):
            _lock(store.path).__enter__()
    inode = file.stat().st_ino
    ours.send("go on")
    first.join(60)
    assert first.exitcode == -signal.SIGKILL
    assert not half_saved(store)
    with _lock(store.path):
        assert f"process {os.getpid()} " in file.read_text()
        store.release_leases()
        assert leased(store) == [(1, 2)]
    assert file.stat().st_ino == inode  # were it removed, two processes could lock two files of one name


@contextmanager
def another_user(number: int) -> Iterator[None]:
    os.seteuid(number)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_a_lock_that_may_not_be_written_is_told_with_its_owner() -> None:
    with TemporaryDirectory() as folder:  # pytest's own may not be entered by others
        Path(folder).chmod(0o755)
        database = Path(folder) / "station.db"
        lock = database.with_name("station.db.lock")
        for refusing in (Path(folder), lock):
            words = f"12345 may not write {lock}: {refusing} belongs to root; .* let root `chown 12345 {refusing}`"
            with another_user(12345), pytest.raises(DatabaseError, match=words) as told:
                _lock(database).__enter__()
            assert "is the folder there" not in str(told.value)
            lock.touch(0o644)
    with pytest.raises(DatabaseError, match="is the folder there"):
        _lock(database).__enter__()


def test_a_copy_of_a_live_database_holds_what_lies_in_its_log(store: Store, tmp_path: Path) -> None:
    for number in range(50):
        store.add_image(new(f"{number}.bmp"))
    before = {path.name for path in tmp_path.iterdir()}
    assert b"49.bmp" not in store.path.read_bytes()  # a copy of the main file would miss it
    assert verified_copy(store.path, tmp_path / "copy.db") == tmp_path / "copy.db"
    assert rows(tmp_path / "copy.db", "SELECT count(*) FROM image_results") == [(50,)]
    for source, target in ((store.path, tmp_path / "no" / "copy.db"), (tmp_path / "no.db", tmp_path / "other.db")):
        with pytest.raises(DatabaseError, match="unable to open"):
            verified_copy(source, target)
    assert {path.name for path in tmp_path.iterdir()} ^ before == {"copy.db"}


def _damage(database: Path, find: bytes, put: bytes) -> None:
    data = database.read_bytes()
    at = data.index(find)
    database.write_bytes(data[:at] + put + data[at + len(put) :])


def _lost_pages(database: Path) -> None:
    _damage(database, f"{7:0>200}".encode(), b"\xff" * 9000)


def _broken_promise(database: Path) -> None:
    """Empty values where none may be: copied without a word, and found by reading the copy back."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = replace(sql, 'reason TEXT', 'reason TEXT NOT NULL')")


@pytest.mark.parametrize("damage", [_lost_pages, _broken_promise])
def test_a_damaged_database_is_not_copied_over_a_good_copy(
    store: Store, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    for number in range(100):
        store.add_image(new(f"{number}.bmp", f"{number:0>200}"))
    copy = verified_copy(store.path, tmp_path / "copy.db")
    store.close()
    good = copy.read_bytes()
    damage(store.path)
    with pytest.raises(DatabaseError, match=r"station\.db.* cannot be used .*restore a backup|is damaged"):
        verified_copy(store.path, copy)
    assert copy.read_bytes() == good
    assert not list(tmp_path.glob("*.part*"))


def test_one_changed_byte_is_found(store: Store) -> None:
    store.add_image(new("a.bmp"))
    store.close()
    verify(store.path)
    _damage(store.path, b"content of a.bmp", b"C")  # in the table, or in the index of its contents
    with pytest.raises(DatabaseError, match=r"is damaged \(.*index.*\); restore a backup"):
        verify(store.path)


def test_who_only_asks_whether_a_station_runs_keeps_none_from_starting(tmp_path: Path) -> None:
    with _lock(tmp_path / "station.db"):
        pass
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            holder(tmp_path / "station.db")

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for _ in range(300):
            with _lock(tmp_path / "station.db"):
                pass
    finally:
        ended.set()
        asking.join()
