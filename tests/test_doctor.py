"""What the doctor says: every verdict from a real database, a real folder, and made-up facts of the machine."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from click.testing import CliRunner, Result
from networks import WEIGHTS_FILE, tiny_bundle, whole_bundle
from stores import DAY, HOUR, START, Clock, analysis, new, refuse, wait

from station.cli import main
from station.contract.bundle import Bundle, write_bundle
from station.database.lock import RunLock, holder
from station.database.records import WATCHED_SINCE, EngineTrial, FileStamp
from station.database.store import Store
from station.doctor.examination import Troubles, examine, examine_unopened
from station.doctor.finding import Finding
from station.doctor.machine import Access, Machine, access_of, kept_lately, this_machine
from station.doctor.model import examine_engines
from station.intake import FOLDER_IDENTITY
from station.places import FileSystem
from station.registry import install
from station.settings import Backup, Camera, Database, Engine, Limits, Report, Settings
from station.watching import as_stored

DISK = FileSystem("ext4", network=False, fuse=False, read_only=False, source="/dev/sda1")
SHARE = FileSystem("cifs", network=True, fuse=False, read_only=False, source="//pc/images")
STICK = FileSystem("fuseblk", network=False, fuse=True, read_only=False, source="/dev/sdc1")

WELL = Machine(
    now=START,
    utc_offset=timedelta(),
    camera=DISK,
    camera_writable=False,
    disk=DISK,
    free_bytes=50_000_000_000,
    database_bytes=1_000_000,
    backup_bytes=None,
    access=Access("lab", "lab"),
    watch_limit=8192,
    synchronised=True,
    running="process 7 on bench since 2026-11-23",
)


@pytest.fixture
def settings(tmp_path: Path, database: Path) -> Settings:
    (tmp_path / "camera").mkdir()
    camera = Camera(folder=tmp_path / "camera", settle_seconds=2, rescan_seconds=60)
    return Settings(camera=camera, database=Database(path=database), engine=Engine(name="onnxruntime", threads=1))


def asked(store: Store, settings: Settings, check: str, **facts: object) -> list[Finding]:
    """The findings of one check, with some facts of the machine changed."""
    machine = replace(WELL, **facts)  # type: ignore[arg-type]
    return [finding for finding in examine(store, settings, machine) if finding.check == check]


def one(store: Store, settings: Settings, check: str, **facts: object) -> tuple[str, str]:
    """Verdict and sentence of a check with one finding; whoever warns says what to do."""
    (finding,) = asked(store, settings, check, **facts)
    assert finding.advice or finding.verdict == "good" or check == "engine"
    return finding.verdict, finding.sentence


def save(settings: Settings, name: str, age_seconds: float = 3600) -> Path:
    path = settings.camera.folder / name
    path.write_bytes(b"BM")
    written = START.timestamp() - age_seconds
    os.utime(path, (written, written))
    return path


# Camera folder


def test_files_that_cannot_be_read_are_named_with_the_cause_once_they_stand_still(
    store: Store, settings: Settings
) -> None:
    locked = settings.camera.folder / "locked.bmp"
    locked.symlink_to("/proc/self/mem")  # nobody may read its first byte, not even root
    written = datetime.fromtimestamp(locked.stat().st_mtime, UTC)
    assert one(store, settings, "camera", now=written + timedelta(seconds=30))[0] == "good"
    later = written + timedelta(hours=1)
    _, finding = asked(store, settings, "camera", now=later)
    assert finding.verdict == "fault"
    assert finding.sentence.startswith(f"1 of the newest 1 file cannot be read: {locked} (")
    save(settings, "b.bmp")
    _, finding = asked(store, settings, "camera", now=max(later, START))
    assert finding.verdict == "warning" and finding.sentence.startswith("1 of the newest 2 files cannot be read")


def test_a_folder_with_files_that_can_be_read_is_good(store: Store, settings: Settings) -> None:
    save(settings, "a.bmp")
    found = asked(store, settings, "camera")
    assert [f.verdict for f in found] == ["good", "good"]
    assert found[0].sentence.endswith("camera holds 1 file") and found[1].sentence == "the newest 1 file can be read"


def test_a_folder_that_is_gone_or_not_mounted_is_a_fault(store: Store, settings: Settings) -> None:
    store.record_fact(FOLDER_IDENTITY, [1, 2])
    for note in ("NOT MOUNTED.txt", "Thumbs.db"):
        verdict, sentence = one(store, settings, "camera")
        assert verdict == "fault" and "is another folder, and empty; is the share mounted?" in sentence
        (settings.camera.folder / note).touch()
    shutil.rmtree(settings.camera.folder)
    settings.camera.folder.mkdir()
    settings.camera.folder.rmdir()
    verdict, sentence = one(store, settings, "camera")
    assert verdict == "fault" and "cannot be seen (no such file or directory)" in sentence
    assert asked(store, settings, "watches") == []


def test_the_station_need_not_write_in_the_folder(store: Store, settings: Settings) -> None:
    told = [f.sentence for f in asked(store, settings, "camera", camera_writable=True)]
    assert "this user may write in the camera folder; the station needs to read only" in told
    assert len(asked(store, settings, "camera")) == len(told) - 1


def test_what_the_camera_saves_to_decides_how_pictures_are_noticed(store: Store, settings: Settings) -> None:
    assert one(store, settings, "camera-disk") == ("good", "the camera folder lies on ext4, where events ring")
    for found, name in ((SHARE, r"cifs (//pc/images)"), (STICK, "fuseblk (/dev/sdc1)")):
        sentence = f"the camera folder lies on {name}, where no event can be relied on: it is listed every 5 s instead"
        assert one(store, settings, "camera-disk", camera=found) == ("good", sentence)


def arrive(store: Store, count: int, *, rung: bool = False, age_seconds: float = 10) -> None:
    """Files that were written some time before they are taken in."""
    stamp = FileStamp(9, int((START.timestamp() - age_seconds) * 1e9), 7)
    first = len(store.known_files())
    for number in range(first, first + count):
        store.add_image(replace(new(f"{number}.bmp", rung=rung), stamp=stamp))


def test_five_new_files_without_an_event_say_that_events_do_not_ring(store: Store, settings: Settings) -> None:
    arrive(store, 6, age_seconds=30)  # a single pass, or a restart: they lay there before
    assert one(store, settings, "events") == ("good", "too few new files to tell whether events ring here")
    store.record_fact(WATCHED_SINCE, (START - timedelta(seconds=20)).isoformat())
    arrive(store, 4)
    assert one(store, settings, "events") == ("good", "too few new files to tell whether events ring here")
    arrive(store, 1)
    assert one(store, settings, "events") == (
        "warning",
        "events do not ring here: none did for the last 5 new files; the folder is listed every 5 s instead",
    )
    assert one(store, settings, "events", camera=SHARE)[0] == "good"
    arrive(store, 1, rung=True)
    assert one(store, settings, "events") == ("good", "events rang for 1 of the last 12 files")


def test_files_that_lay_there_before_the_station_ran_say_nothing_of_events(store: Store, settings: Settings) -> None:
    arrive(store, 6, age_seconds=9 * 3600)
    assert one(store, settings, "events")[0] == "good"


def test_only_the_last_files_and_only_pictures_speak_for_events(store: Store, settings: Settings) -> None:
    store.record_fact(WATCHED_SINCE, (START - DAY).isoformat())
    arrive(store, 3, rung=True)
    arrive(store, 20)
    wait(store, "half.bmp")
    refuse(store, "text.bmp")
    verdict, sentence = one(store, settings, "events")
    assert verdict == "warning" and "for the last 20 new files" in sentence


def test_more_folders_than_the_kernel_watches_are_told_with_the_line_that_helps(
    store: Store, settings: Settings
) -> None:
    for number in range(9):
        (settings.camera.folder / f"slide {number}" / "more").mkdir(parents=True)
    assert one(store, settings, "watches") == ("good", "19 folders to watch, of 8192 that one user may")
    (finding,) = asked(store, settings, "watches", watch_limit=20)
    assert finding.verdict == "warning" and "19 folders to watch, and one user may watch 20" in finding.sentence
    assert "sysctl fs.inotify.max_user_watches=76" in finding.advice
    assert asked(store, settings, "watches", watch_limit=None) == []


# Database


def test_who_may_not_write_the_database_is_told_what_to_do(store: Store, settings: Settings) -> None:
    assert one(store, settings, "permissions") == ("good", "lab may write the database and its folder")
    path = settings.database.path
    verdict, sentence = one(store, settings, "permissions", access=Access("lab", "lab", (path,)))
    assert (verdict, sentence) == ("fault", f"lab may not write {path}")
    (finding,) = asked(store, settings, "permissions", access=Access("anna", "lab", (path.parent, path)))
    assert finding.verdict == "warning" and "sudo -u lab station doctor" in finding.advice
    wal = path.with_name("station.db-wal")
    (finding,) = asked(store, settings, "permissions", access=Access("root", "lab", (), (wal,)))
    assert finding.verdict == "warning" and f"chown lab {wal}" in finding.advice


def test_a_database_on_a_share_is_a_fault(store: Store, settings: Settings) -> None:
    assert one(store, settings, "database-disk") == ("good", "the database lies on ext4")
    assert one(store, settings, "database-disk", disk=SHARE)[0] == "fault"
    assert one(store, settings, "database-disk", disk=STICK)[0] == "warning"
    verdict, sentence = one(store, settings, "database-disk", disk=replace(DISK, read_only=True))
    assert verdict == "fault" and "/dev/sda1, which is mounted read-only" in sentence


def test_a_wrong_index_is_found_by_the_thorough_check_alone(store: Store, settings: Settings) -> None:
    arrive(store, 3)
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("PRAGMA writable_schema = ON")
        # An index that leaves a column out, in the place of one that has it: its entries are not the table's.
        other.execute(
            "UPDATE sqlite_schema SET sql = 'CREATE INDEX images_by_capture ON images (slide)' "
            "WHERE name = 'images_by_capture'"
        )
    with closing(Store.open_reader(store.path, clock=Clock())) as reader:
        assert one(reader, settings, "integrity") == ("good", "the database's pages are whole")
        found = [f for f in examine(reader, settings, WELL, thorough=True) if f.check == "integrity"]
    assert found[0].verdict == "fault" and "missing from index images_by_capture" in found[0].sentence
    assert "restore a backup" in found[0].advice


def test_the_disk_is_held_against_the_rate_of_the_last_week(store: Store, settings: Settings, clock: Clock) -> None:
    arrive(store, 3)  # long ago: of no weight for the rate
    clock.after(days=30)
    arrive(store, 7)
    facts = {"now": START + 30 * DAY, "database_bytes": 100_000_000}  # 10 MB a picture, 1 picture a day
    verdict, sentence = one(store, settings, "room", free_bytes=2_000_000_000, **facts)
    assert (verdict, sentence) == (
        "good",
        "2.0 GB are free on the disk of the database, enough for 200 days of 1 picture",
    )
    tight = facts | {"database_bytes": 10_000_000_000}  # 1 GB a picture
    assert one(store, settings, "room", free_bytes=13_900_000_000, **tight)[0] == "warning"
    assert one(store, settings, "room", free_bytes=14_000_000_000, **tight)[0] == "good"
    sentence = one(store, settings, "size", **facts)[1]
    assert sentence == f"the database {store.path} holds 10 pictures in 100.0 MB, 10.0 GB per 1,000 pictures"


@pytest.mark.parametrize(
    ("keep", "there", "days"),
    [
        (3, 0, 12),  # three more of 0.8 to 1.0 GB; from then on 0.1 GB a night for the database, 0.3 GB for its copies
        (3, 3, 16),
        (1, 3, 31),  # three go as soon as there is a new one
        (0, 3, 7),
    ],
)
def test_copies_on_the_disk_of_the_database_take_their_part_of_it(
    store: Store, settings: Settings, keep: int, there: int, days: int
) -> None:
    arrive(store, 7)
    nightly = settings.model_copy(update={"backup": Backup(keep=keep)})
    # 0.1 GB a picture, 1 picture a day
    facts = {"now": START + 7 * DAY, "free_bytes": 8_500_000_000, "database_bytes": 700_000_000}
    told = one(store, nightly, "room", backup_bytes=(700_000_000,) * there, **facts)
    sentence = (
        f"8.5 GB are free on the disk of the database, enough for {days} days of 1 picture with a backup each night "
        f"(now {there}, backup.keep = {keep}{'' if keep else ', so all stay'})"
    )
    assert told == ("good" if days >= 14 else "warning", sentence)
    assert one(store, nightly, "room", backup_bytes=None, **facts)[1].endswith("enough for 85 days of 1 picture")


def test_copies_fill_a_disk_also_while_no_pictures_come(store: Store, settings: Settings) -> None:
    facts = {"free_bytes": 5_000_000_000, "database_bytes": 1_000_000_000}
    assert "days" not in one(store, settings, "room", **facts)[1]
    verdict, sentence = one(store, settings, "room", backup_bytes=(), **facts)
    assert verdict == "warning" and "enough for 5 days of 0 pictures with a backup each night" in sentence


@pytest.mark.parametrize(
    ("free", "verdict"),
    [
        (199_999_999, "fault"),
        (200_000_000, "warning"),
        (999_999_999, "warning"),
        (1_000_000_000, "good"),
        (None, "warning"),
    ],
)
def test_a_disk_that_fills_is_told_before_it_is_full(
    store: Store, settings: Settings, free: int | None, verdict: str
) -> None:
    assert one(store, settings, "room", free_bytes=free)[0] == verdict
    stops_early = settings.model_copy(update={"limits": Limits(min_free_mb=5000)})
    assert one(store, stops_early, "room", free_bytes=4_999_999_999)[0] == "fault"


def test_a_young_station_is_not_taken_for_a_slow_one(store: Store, settings: Settings, clock: Clock) -> None:
    arrive(store, 10)
    facts = {"now": START + 2 * DAY, "database_bytes": 10_000_000}
    assert one(store, settings, "room", **facts)[1].endswith("enough for 9999 days of 5 pictures")


def test_a_backup_is_asked_for_until_there_is_a_new_one(store: Store, settings: Settings) -> None:
    (finding,) = asked(store, settings, "backup")
    assert finding.verdict == "warning" and "`station backup`" in finding.advice
    for age, verdict in ((8 * DAY + HOUR, "warning"), (8 * DAY, "good"), (HOUR, "good"), (-HOUR, "good")):
        store.record_fact("last_backup", (START - age).isoformat())
        assert one(store, settings, "backup")[0] == verdict
    assert one(store, settings, "backup") == ("good", "the last backup is 0 days old")
    store.record_fact("last_backup", "2029-11-23T02:30:00+00:00")
    verdict, sentence = one(store, settings, "backup")
    assert verdict == "warning" and "is dated 2029-11-23, which is yet to come: the clock was wrong, or is" in sentence


# Clock


def test_a_clock_that_nothing_keeps_right_is_a_warning(store: Store, settings: Settings) -> None:
    verdicts = {state: one(store, settings, "clock", synchronised=state)[0] for state in (True, False, None)}
    assert verdicts == {True: "good", False: "warning", None: "warning"}
    told, _ = [f for f in examine(store, settings, WELL, Troubles(clock="was set by 1 h")) if f.check == "clock"]
    assert (told.verdict, told.sentence) == ("warning", "was set by 1 h")


def test_a_camera_whose_clock_is_ahead_is_told(store: Store, settings: Settings) -> None:
    store.add_image(new("a.bmp", captured_at=START + timedelta(minutes=5)))
    assert asked(store, settings, "moments") == []
    store.add_image(new("b.bmp", captured_at=START + timedelta(minutes=61)))
    # Also an hour later, when that moment is past.
    verdict, sentence = one(store, settings, "moments", now=START + DAY)
    assert verdict == "warning"
    assert sentence == "1 of the last 2 files were captured after they were taken in, by up to 61 minutes"


def test_a_clock_that_was_set_back_is_told(store: Store, settings: Settings, clock: Clock) -> None:
    clock.after(days=90)
    store.add_image(new("a.bmp"))
    assert asked(store, settings, "moments", now=START + 90 * DAY) == []
    verdict, sentence = one(store, settings, "moments")
    assert verdict == "warning" and "a picture was taken in at 2027-02-21 09:00 UTC, which is still to come" in sentence


def test_the_zone_of_the_days_is_told_and_asked_for_where_nobody_named_one(store: Store, settings: Settings) -> None:
    hour = timedelta(hours=1)
    assert one(store, settings, "zone") == ("good", "days are those of UTC, where it is 09:00")
    assert one(store, settings, "zone", utc_offset=hour)[0] == "warning"
    berlin = settings.model_copy(update={"report": Report(time_zone="Europe/Berlin")})
    assert one(store, berlin, "zone", utc_offset=hour) == ("good", "days are those of Europe/Berlin, where it is 10:00")


# Work, model


def test_a_station_that_does_not_run_is_told(store: Store, settings: Settings) -> None:
    assert one(store, settings, "running") == ("good", f"a station runs: {WELL.running}")
    assert one(store, settings, "running", running=None)[0] == "warning"
    verdict, sentence = one(store, settings, "running", running="`station prune`, process 7 on bench")
    assert verdict == "warning" and "no station may run while another command works: `station prune`" in sentence


def test_what_is_put_aside_or_left_for_a_day_is_told(store: Store, settings: Settings) -> None:
    store.add_image(new("a.bmp"))
    path = settings.camera.folder / "half.bmp"
    path.touch()
    wait(store, str(path))
    assert one(store, settings, "open", now=START + DAY)[0] == "good"
    late = {"now": START + DAY + HOUR}
    assert one(store, settings, "open", **late) == ("warning", "2 pictures not counted for longer than a day")
    store.lease("w", 1)
    store.save_analysis(analysis(1))
    refuse(store, str(path))
    assert one(store, settings, "open", **late) == ("warning", "1 picture quarantined")
    path.unlink()  # it never was a picture, and is gone: nobody need look
    assert one(store, settings, "open", **late)[0] == "good"
    refuse(store, as_stored(f"{settings.camera.folder}/caf\udce9.bmp"))  # of such a name nobody can tell
    assert one(store, settings, "open", **late) == ("warning", "1 picture quarantined")
    settings.camera.folder.rename(settings.camera.folder.with_name("unmounted"))
    assert one(store, settings, "open", **late) == ("warning", "2 pictures quarantined")


def test_half_a_picture_whose_whole_took_its_place_is_no_open_item(store: Store, settings: Settings) -> None:
    store.add_image(new("a.bmp", "half"))
    store.add_image(new("a.bmp", "whole"))  # the same file, changed in place
    assert [item.status for item in store.open_items()] != []
    assert one(store, settings, "open")[0] == "good"


REFERENCE = EngineTrial("onnxruntime", "float32", 1, "onnxruntime 1.30", 20.0, 1.0)


@pytest.mark.parametrize(
    ("told", "other"),
    [
        ({"precision": "int8"}, EngineTrial("onnxruntime", "int8", 1, "onnxruntime 1.30", refusal="Dice 0.91")),
        ({"name": "openvino"}, EngineTrial("openvino", "float32", 1, "", refusal="openvino is not installed")),
    ],
)
def test_an_engine_or_precision_that_is_asked_for_in_vain_is_told_with_what_to_do(
    told: dict[str, str], other: EngineTrial
) -> None:
    (finding,) = examine_engines((REFERENCE, other), Engine.model_validate(told), None)
    assert finding.verdict == "warning" and str(other.refusal) in finding.sentence
    assert "engine.name and engine.precision" in finding.advice
    serves = replace(other, refusal=None, milliseconds=10.0, cell_dice=1.0)
    assert next(iter(examine_engines((REFERENCE, serves), Engine.model_validate(told), None))).verdict == "good"


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ({"name": "cuda"}, "there is no engine 'cuda'; known: auto, onnxruntime, openvino, tensorrt"),
        ({"name": "openvino", "precision": "float16"}, "the engine openvino does not compute in float16; it can in"),
    ],
)
def test_an_engine_with_which_nothing_is_counted_is_a_fault(told: dict[str, str], sentence: str) -> None:
    (finding,) = examine_engines((REFERENCE,), Engine.model_validate(told), None)
    assert finding.verdict == "fault" and finding.sentence.startswith(sentence)


def test_a_scale_with_which_nothing_is_counted_is_a_fault(store: Store, settings: Settings, tmp_path: Path) -> None:
    write_bundle(tmp_path / "whole.zip", whole_bundle())
    model, _ = install(tmp_path / "whole.zip", store, tmp_path / "models", settings.engine)
    store.activate_model(model.model_id)
    assert asked(store, settings, "scale") == []
    in_nanometres = settings.camera.model_copy(update={"um_per_px": 110.0})
    (finding,) = asked(store, settings.model_copy(update={"camera": in_nanometres}), "scale")
    assert finding.verdict == "fault" and "would make white cells 0.1 px large" in finding.sentence


def test_a_clock_that_was_kept_right_long_ago_is_not_kept_right(tmp_path: Path) -> None:
    told = tmp_path / "synchronized"
    assert not kept_lately(told, 1e9)
    told.touch()
    os.utime(told, (1e9, 1e9))
    assert kept_lately(told, 1e9 + 3600) and not kept_lately(told, 1e9 + 86_400)


def test_an_engine_whose_plan_is_being_built_is_waited_for() -> None:
    settings = Engine(name="tensorrt")
    found = list(examine_engines((REFERENCE, EngineTrial("tensorrt", "float16", 1, "tensorrt 10")), settings, None))
    assert [finding.verdict for finding in found] == ["warning", "warning"]
    assert (found[0].advice, found[1].advice) == ("", "the running station builds it, and counts on")


def test_a_model_is_read_whole_with_the_weights_that_no_station_needs(
    store: Store, settings: Settings, tmp_path: Path
) -> None:
    whole = whole_bundle()
    write_bundle(tmp_path / "whole.zip", whole)
    model, _ = install(tmp_path / "whole.zip", store, tmp_path / "models", settings.engine)
    store.activate_model(model.model_id)
    write_bundle(Path(model.path), Bundle(whole.manifest, dict(whole.files) | {WEIGHTS_FILE: b"x"}, whole.sha256))
    (finding,) = asked(store, settings, "model")
    assert finding.verdict == "fault" and f"damaged: {WEIGHTS_FILE}" in finding.sentence


def test_without_a_model_nothing_is_counted(store: Store, settings: Settings) -> None:
    assert one(store, settings, "model") == ("fault", "no model is active")
    assert asked(store, settings, "engine") == []


# The machine


def test_the_lock_says_whether_a_station_runs_and_asking_leaves_it_free(database: Path, clock: Clock) -> None:
    assert holder(database) is None
    with RunLock(database, clock=clock):
        assert f"process {os.getpid()} on " in (holder(database) or "")
    assert holder(database) is None
    with RunLock(database, clock=clock):  # the file is there, and nobody holds it
        pass


def test_files_of_another_user_beside_the_database_are_found(store: Store) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may give a file away")
    wait(store, "a.bmp")
    wal = store.path.with_name("station.db-wal")
    assert access_of(store.path).foreign == () and access_of(store.path).unwritable == ()
    os.chown(wal, 12345, -1)
    assert access_of(store.path).foreign == (wal,)


def test_this_machine_answers(store: Store, settings: Settings) -> None:
    machine = this_machine(settings, START)
    assert machine.now == START and machine.running is None and machine.camera_writable
    assert machine.free_bytes and machine.database_bytes >= store.path.stat().st_size > 0
    assert machine.disk == machine.camera and machine.synchronised in (True, False, None)


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="there is no second disk")
def test_backups_count_where_they_lie_on_the_disk_of_the_database(settings: Settings, tmp_path: Path) -> None:
    def backups(folder: Path) -> tuple[int, ...] | None:
        return this_machine(settings.model_copy(update={"backup": Backup(folder=folder)}), START).backup_bytes

    assert backups(tmp_path / "yet to be made") == ()
    for name, content in (("station-20261101T000000Z.db", "older"), ("station-20261102T000000Z.db", "newest")):
        (tmp_path / name).write_text(content)
    (tmp_path / "notes").write_text("no backup")
    assert backups(tmp_path) == (5, 6)
    with TemporaryDirectory(dir="/dev/shm") as elsewhere:
        assert backups(Path(elsewhere) / "backups") is None


# The command


@pytest.fixture
def config(tmp_path: Path, settings: Settings) -> Path:
    """A station with a tiny model."""
    path = tmp_path / "station.toml"
    path.write_text('[camera]\nfolder = "camera"\n[database]\npath = "station.db"\n[engine]\nname = "onnxruntime"\n')
    bundle = tmp_path / "tiny.zip"
    write_bundle(bundle, tiny_bundle())
    with closing(Store.open(settings.database.path, clock=lambda: datetime.now(UTC), create=True)) as store:
        model, _ = install(bundle, store, tmp_path / "models", settings.engine)
        store.activate_model(model.model_id)
    return path


def doctor(config: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["doctor", "--config", str(config), *options])


def test_the_command_gives_all_findings_to_people_and_to_programs(config: Path) -> None:
    told = doctor(config, "--json", "--thorough")
    findings = json.loads(told.stdout)
    assert told.exit_code == 0
    checks = list(dict.fromkeys(finding["check"] for finding in findings))
    assert checks == [
        *("camera", "camera-disk", "events", "watches", "permissions", "database-disk", "integrity", "size", "room"),
        *("backup", "clock", "zone", "running", "open", "model", "engine"),
    ]
    assert all(finding.keys() == {"check", "verdict", "sentence", "advice"} for finding in findings)
    plain = doctor(config)
    assert plain.exit_code == 0
    assert (
        "\nwarning: no station runs on this database\n    systemctl start station, or `station run`\n" in plain.stdout
    )
    assert "the engine onnxruntime float32: the only one that serves" in plain.stdout
    assert "does not know what is normal: no picture is marked for review\n    `trainer calibrate`" in plain.stdout


def test_a_fault_makes_the_exit_code_1(config: Path) -> None:
    (config.parent / "camera").rmdir()
    told = doctor(config)
    assert told.exit_code == 1 and "\nfault: " in f"\n{told.stdout}"


def test_a_damaged_database_is_a_finding_beside_the_others(config: Path) -> None:
    path = config.parent / "station.db"
    data = bytearray(path.read_bytes())
    data[4096 : 4096 * 12] = bytes(4096 * 11)
    path.write_bytes(data)
    told = doctor(config, "--json")
    findings = {finding["check"]: finding for finding in json.loads(told.stdout)}
    assert told.exit_code == 1 and findings["camera"]["verdict"] == "good"
    assert findings["integrity"]["verdict"] == "fault" and str(path) in findings["integrity"]["sentence"]


def test_without_a_database_the_folder_is_looked_over_all_the_same(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "station.toml"
    path.write_text('[camera]\nfolder = "camera"\n[database]\npath = "station.db"\n')
    told = doctor(path)
    assert told.exit_code == 1
    assert "fault: there is no database" in told.stdout and "good: the camera folder" in told.stdout
    assert not settings.database.path.exists()
    assert [f.verdict for f in examine_unopened(settings, WELL, "is gone") if f.verdict != "good"] == ["fault"]


def test_nothing_is_changed_by_looking(config: Path, settings: Settings) -> None:
    save(settings, "a.bmp")
    before = {path: path.stat().st_mtime_ns for path in config.parent.rglob("*")}
    doctor(config, "--thorough")
    after = {path: path.stat().st_mtime_ns for path in config.parent.rglob("*")}
    assert {path for path in after if not path.name.endswith(("-wal", "-shm"))} == before.keys()
    assert all(after[path] == before[path] for path in before if path.is_file())


def test_a_name_cannot_command_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "station.toml"
    path.write_text('[camera]\nfolder = "\\u001b[2J"\n[database]\npath = "station.db"\n')
    told = doctor(path).stdout
    assert "\x1b" not in told and r"\x1b[2J: cannot be listed" in told
