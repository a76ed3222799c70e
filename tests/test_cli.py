"""The commands as a user calls them: what they print, and with which exit code they end."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import zipfile
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import cv2
import numpy as np
import pytest
from conftest import Command
from networks import tiny_bundle
from stores import Clock

from station.cli import COMMANDS
from station.contract.bundle import write_bundle
from station.database.lock import RunLock
from station.database.records import CAMERA_SCALE
from station.database.store import Store
from station.demo.camera import encode_bmp
from station.demo.smear import SmearRecipe, paint
from station.registry import starter_path
from station.settings import read_settings

FIELD = paint(SmearRecipe(width=480, height=360, cell_diameter_px=100, wbc=2, seed=4))


@pytest.fixture
def fields(tmp_path: Path) -> Path:
    folder = tmp_path / "fields"
    folder.mkdir()
    (folder / "two.bmp").write_bytes(encode_bmp(FIELD.image))
    (folder / "none.bmp").write_bytes(encode_bmp(paint(SmearRecipe(480, 360, 100.0, wbc=0, seed=1)).image))
    return folder


@pytest.mark.parametrize("command", ["", *COMMANDS, "model install", "model activate", "model list", "model rollback"])
def test_every_command_has_help_with_an_example(station: Command, command: str) -> None:
    told = station(*command.split(), "--help")
    assert told.returncode == 0
    assert "Example:\n" in told.stdout


# station segment


def test_segment_prints_the_promised_object_and_writes_the_masks_it_counted(fields: Path, station: Command) -> None:
    options = ("--cell-diameter", 100, "--format", "jsonl", "--masks", fields / "m", "--overlays", fields / "o")
    told = station("segment", fields, *options)
    assert (told.returncode, told.stderr) == (0, "")
    none, two = map(json.loads, told.stdout.splitlines())
    assert (Path(none["path"]).name, none["wbc_count"], none["cells"], none["flags"]) == ("none.bmp", 0, [], [])
    assert two.keys() == {
        *("path", "sha256", "wbc_count", "cells", "flags", "quality", "cell_diameter_px", "cell_diameter_source"),
        *("model", "engine", "seconds"),
    }
    assert (two["wbc_count"], two["cell_diameter_px"], two["cell_diameter_source"]) == (2, 100, "told")
    labels, cells = (
        cv2.imread(str(fields / f"m/two.{kind}.png"), cv2.IMREAD_UNCHANGED) for kind in ("labels", "cells")
    )
    assert (labels.dtype, cells.dtype, labels.shape, cells.shape) == (np.uint8, np.uint16, (360, 480), (360, 480))
    assert np.array_equal(labels > 0, cells > 0)
    for cell in two["cells"]:
        inside = cells == cell["id"]
        assert cell["area_px"] == np.count_nonzero(inside)
        assert cell["nucleus_area_px"] == np.count_nonzero(labels[inside] == 2)
        assert cell["nc_ratio"] == pytest.approx(cell["nucleus_area_px"] / cell["cytoplasm_area_px"], abs=1e-3)
        assert (cell["x"], cell["y"]) == pytest.approx(np.argwhere(inside).mean(axis=0)[::-1], abs=0.01)
        assert cell["bbox"] == list(cv2.boundingRect(inside.astype(np.uint8)))
    assert cv2.imread(str(fields / "o/two.png")).shape == (360, 480, 3)
    dice = (
        2
        * np.count_nonzero((labels > 0) & (FIELD.labels > 0))
        / (np.count_nonzero(labels) + np.count_nonzero(FIELD.labels))
    )
    assert dice > 0.9


def test_segment_estimates_the_scale_of_each_picture_alone(fields: Path, station: Command) -> None:
    together = [json.loads(line) for line in station("segment", fields, "--format", "jsonl").stdout.splitlines()]
    alone = json.loads(station("segment", fields / "two.bmp", "--format", "jsonl").stdout)
    assert together[0]["cell_diameter_source"] == "default" and together[0]["flags"] == ["scale-unknown"]
    assert together[1] | {"seconds": 0} == alone | {"seconds": 0}
    assert alone["cell_diameter_source"] == "estimated"


def test_segment_takes_pixel_size_and_scale_from_settings(fields: Path, station: Command) -> None:
    settings = fields / "s.toml"
    settings.write_text('[camera]\nfolder = "."\num_per_px = 0.135\n[database]\npath = "../s.db"\n')
    told = json.loads(station("segment", fields / "two.bmp", "--format", "jsonl", "--config", settings).stdout)
    assert (told["cell_diameter_px"], told["cell_diameter_source"]) == (100.0, "camera")
    assert told["cells"][0]["area_um2"] == pytest.approx(told["cells"][0]["area_px"] * 0.135**2, abs=0.01)


def test_segment_counts_at_the_scale_that_the_station_settled(fields: Path, station: Command) -> None:
    settings = fields / "s.toml"
    settings.write_text('[camera]\nfolder = "."\n[database]\npath = "../s.db"\n')
    with closing(Store.open(fields.parent / "s.db", clock=Clock(), create=True)) as store:
        store.record_fact(CAMERA_SCALE, 97.5)
    counted = json.loads(station("segment", fields / "two.bmp", "--format", "jsonl", "--config", settings).stdout)
    assert (counted["cell_diameter_px"], counted["cell_diameter_source"]) == (97.5, "camera")


def test_two_inputs_of_one_stem_are_refused_before_work(fields: Path, station: Command) -> None:
    cv2.imwrite(str(fields / "two.png"), FIELD.image)
    told = station("segment", fields, "--masks", fields / "m")
    assert told.returncode == 2
    assert "several inputs are called 'two'" in told.stderr
    assert not (fields / "m").exists()


def test_a_link_in_a_circle_does_not_stop_the_others(fields: Path, station: Command, tmp_path: Path) -> None:
    (fields / "loop.bmp").symlink_to(fields / "loop.bmp")
    told = station("segment", fields, "--cell-diameter", 120, "--format", "jsonl", "--masks", tmp_path)
    assert told.returncode == 1 and "loop.bmp: cannot be read (" in told.stderr and "Traceback" not in told.stderr
    lines = [json.loads(line) for line in told.stdout.splitlines()]
    assert len(lines) == len(list(fields.iterdir())) == 1 + sum("wbc_count" in line for line in lines)


def test_a_folder_that_gives_nothing_is_named_and_the_others_are_counted(
    fields: Path, station: Command, tmp_path: Path
) -> None:
    slides = tmp_path / "slides"
    (slides / "S-1").mkdir(parents=True)
    (slides / "S-1" / "two.bmp").write_bytes((fields / "two.bmp").read_bytes())
    told = station("segment", fields / "two.bmp", slides, "--cell-diameter", 100, "--format", "jsonl")
    assert told.returncode == 1 and len(told.stdout.splitlines()) == 1
    assert (
        told.stderr == f"error: there are no pictures in {slides}; those in its sub-folders are not taken: name these\n"
    )
    told = station("segment", slides)
    assert told.returncode == 2 and "those in its sub-folders are not taken" in told.stderr


@pytest.mark.parametrize(("cut", "code", "words"), [("interrupt", 130, "interrupted\n"), ("close", 141, "")])
def test_a_command_that_is_cut_off_says_so_by_its_exit_code(fields: Path, cut: str, code: int, words: str) -> None:
    for number in range(20):
        (fields / f"{number}.bmp").write_bytes((fields / "two.bmp").read_bytes())
    program = Path(sys.executable).with_name("station")
    line = [program, "segment", fields, "--cell-diameter", "100", "--format", "jsonl"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        assert json.loads(process.stdout.readline())["wbc_count"] == 2
        if cut == "interrupt":
            process.send_signal(signal.SIGINT)
        process.stdout.close()
        told = process.stderr.read()
    assert process.returncode == code and told.endswith(words) and "Traceback" not in told


@pytest.mark.parametrize("option", ["--masks", "--overlays"])
def test_segment_never_writes_over_an_input(fields: Path, station: Command, option: str) -> None:
    picture = cv2.imencode(".png", FIELD.image)[1].tobytes()
    for name in ("a.png", "a.labels.png"):
        (fields / name).write_bytes(picture)
    told = station("segment", fields / "a.png", fields / "a.labels.png", option, fields)
    assert (told.returncode, "is an input and would be overwritten" in told.stderr) == (2, True)
    assert {(fields / name).read_bytes() for name in ("a.png", "a.labels.png")} == {picture}


def test_segment_on_a_full_disk_says_so(fields: Path) -> None:
    line = [sys.executable, "-m", "station.cli", "segment", str(fields / "none.bmp"), "--cell-diameter", "100"]
    with Path("/dev/full").open("w") as full:
        told = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, text=True)
    assert told.returncode == 1
    assert "No space left on device" in told.stderr and "Traceback" not in told.stderr


@pytest.mark.parametrize("value", ["nan", "4", "inf", "wide"])
def test_a_diameter_that_makes_no_sense_is_wrong_usage(fields: Path, station: Command, value: str) -> None:
    told = station("segment", fields / "two.bmp", "--cell-diameter", value)
    assert (told.returncode, "Traceback" in told.stderr) == (2, False)


def test_a_settings_file_that_the_environment_names_must_be_there(
    fields: Path, station: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WBC_STATION_CONFIG", "/nowhere/station.toml")
    told = station("segment", fields / "two.bmp")
    assert (told.returncode, "there is no settings file /nowhere/station.toml" in told.stderr) == (2, True)


def test_a_name_cannot_command_the_terminal(fields: Path, station: Command) -> None:
    (fields / "two.bmp").rename(fields / "a\n\x1b[31mb.bmp")
    (fields / "none.bmp").write_text("no picture")
    told = station("segment", fields, "--cell-diameter", 100)
    assert "a\\n\\x1b[31mb.bmp" in told.stdout
    assert "\x1b" not in told.stdout + told.stderr


def test_segment_prints_plain_lines_where_it_is_piped(fields: Path, station: Command) -> None:
    odd = fields / ("a rather long name that no terminal of eighty columns could hold on one of its lines [bold].bmp")
    (fields / "two.bmp").rename(odd)
    told = station("segment", odd, "--cell-diameter", 100)
    assert (told.returncode, told.stderr) == (0, "")
    head, line = told.stdout.splitlines()
    assert "cells" in head and line.split("  ")[0].strip() == str(odd) and "100 (told)" in line


# Settings


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[camera]\nfoldr = 1\n", "the setting 'camera.foldr' is unknown; known: folder, cell_diameter_px, um_per_px"),
        ("[camra]\n", "the setting 'camra' is unknown; known: camera, database, engine, report, limits"),
        ('[camera]\nfolder = "x"\n', "the setting 'database' is missing"),
        ("[camera\n", "is not valid TOML"),
        ('[camera]\nfolder = "x"\nsettle_seconds = -1\n[database]\npath = "d"\n', "camera.settle_seconds"),
        ('[camera]\nfolder = "x"\n[database]\npath = "d"\n[report]\ntime_zone = "Mars"\n', "'Mars' is no time zone"),
        ('[camera]\nfolder = "x"\nsettle_seconds = inf\n[database]\npath = "d"\n', "should be a finite number"),
        (
            '[camera]\nfolder = "x"\ncell_diameter_px = "atuo"\n[database]\npath = "d"\n',
            "camera.cell_diameter_px: a number of px above 4 and up to 2000, or \"auto\" (found 'atuo')",
        ),
        (
            '[camera]\nfolder = "~nosuchuser/x"\n[database]\npath = "d"\n',
            "camera.folder: there is no home ~nosuchuser on this machine (found '~nosuchuser/x')",
        ),
        ('[camera]\nfolder = "x"\n[database]\npath = "\\u0000"\n', "database.path: no file can be called so"),
        (
            '[camera]\nfolder = "x"\n[database]\npath = "d"\n[backup]\nkeep = true\n',
            "backup.keep: Input should be a valid integer (found True)",
        ),
        (
            '[camera]\nfolder = "x"\nrescan_seconds = true\n[database]\npath = "d"\n',
            "camera.rescan_seconds: Input should be a valid number (found True)",
        ),
        (
            '[camera]\nfolder = "x"\nsettle_seconds = 1e300\n[database]\npath = "d"\n',
            "camera.settle_seconds: Input should be less than or equal to 86400",
        ),
    ],
)
def test_a_wrong_setting_is_named_with_the_way_out(tmp_path: Path, station: Command, text: str, sentence: str) -> None:
    path = tmp_path / "station.toml"
    path.write_text(text)
    told = station("run", "--once", "--config", path)
    assert told.returncode == 2
    assert str(path) in told.stderr and sentence in told.stderr and "Traceback" not in told.stderr


def test_whole_numbers_do_for_seconds_and_windows_begins_files_with_a_mark(tmp_path: Path) -> None:
    text = '[camera]\nfolder = "x"\nsettle_seconds = 3\ncell_diameter_px = 120\n[database]\npath = "d"\n'
    (tmp_path / "station.toml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    camera = read_settings(tmp_path / "station.toml").camera
    assert (camera.settle_seconds, camera.cell_diameter_px) == (3.0, 120.0)


@pytest.mark.parametrize("name", ["𠮷 😀", 'a "b" \\c\x7f', "line\nbreak"])
def test_init_writes_settings_for_any_folder_that_has_a_name(tmp_path: Path, station: Command, name: str) -> None:
    (tmp_path / name).mkdir()
    told = station("init", tmp_path / "home", "--camera", tmp_path / name, "--engine", "onnxruntime")
    assert told.returncode == 0, told.stderr
    assert read_settings(tmp_path / "home" / "station.toml").camera.folder == tmp_path / name


def test_init_refuses_a_folder_whose_name_no_settings_file_can_hold(tmp_path: Path, station: Command) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    odd.mkdir()
    told = station("init", tmp_path / "home", "--camera", odd)
    assert (told.returncode, "caf\\xe9 cannot stand in a settings file" in told.stderr) == (2, True)
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(("option", "value"), [("--precision", "fp16"), ("--engine", "cuda")])
def test_segment_names_the_engines_and_precisions_that_there_are(
    fields: Path, station: Command, option: str, value: str
) -> None:
    told = station("segment", fields / "two.bmp", option, value)
    assert told.returncode == 2 and f"'{value}' is not one of 'auto'" in told.stderr


@pytest.mark.parametrize(
    ("camera", "database"),
    [
        (".", "station.db"),
        ("camera", "camera/station.db"),
        ("camera", "camera/S-17/station.db"),
        ("camera", "camera"),
        ("camera", "link/station.db"),
        ("camera", "station-link.db"),
        ("link", "camera/station.db"),
    ],
)
def test_the_database_is_kept_out_of_the_camera_folder(
    tmp_path: Path, station: Command, camera: str, database: str
) -> None:
    pictures = tmp_path / "camera"
    pictures.mkdir()
    (tmp_path / "link").symlink_to(pictures)
    (tmp_path / "station-link.db").symlink_to(pictures / "station.db")
    path = tmp_path / "station.toml"
    path.write_text(f'[camera]\nfolder = "{camera}"\n[database]\npath = "{database}"\n')
    told = station("init", tmp_path)
    assert told.returncode == 2
    assert f"database.path is {tmp_path / database}, camera.folder is {tmp_path / camera}" in told.stderr
    assert not any(pictures.iterdir())


def test_a_station_that_has_its_database_there_goes_on_and_is_told(tmp_path: Path, station: Command) -> None:
    """After an upgrade its counts must stay within reach."""
    path = tmp_path / "station.toml"
    path.write_text('[camera]\nfolder = "."\n[database]\npath = "station.db"\n[engine]\nname = "onnxruntime"\n')
    with closing(Store.open(tmp_path / "station.db", clock=Clock(), create=True)):
        pass
    assert station("init", tmp_path).returncode == 0
    assert station("status", "--config", path).returncode == 0
    told = json.loads(station("doctor", "--json", "--config", path).stdout)
    (finding,) = [one for one in told if one["check"] == "place"]
    assert finding["verdict"] == "warning" and "database.path" in finding["advice"]


def test_init_makes_no_station_in_the_camera_folder(tmp_path: Path, station: Command) -> None:
    told = station("init", tmp_path, "--camera", tmp_path)
    assert (told.returncode, "the station should never write" in told.stderr) == (2, True)
    assert not any(tmp_path.iterdir())


def test_a_camera_folder_whose_links_lead_in_a_circle_is_not_there(tmp_path: Path, station: Command) -> None:
    (tmp_path / "camera").symlink_to(tmp_path / "camera")
    (tmp_path / "station.toml").write_text('[camera]\nfolder = "camera"\n[database]\npath = "station.db"\n')
    told = station("run", "--once", "--config", tmp_path / "station.toml")
    assert (told.returncode, "does not exist; is the share mounted?" in told.stderr) == (2, True)


def test_missing_settings_and_a_missing_camera_folder_are_named(home: Path, station: Command) -> None:
    told = station("status", "--config", home / "nothing.toml")
    assert (told.returncode, "there is no settings file" in told.stderr) == (2, True)
    (home / "camera").rmdir()
    told = station("run", "--once", "--config", home / "station.toml")
    assert (told.returncode, "does not exist; is the share mounted?" in told.stderr) == (2, True)


# Models


def test_a_bundle_with_one_changed_byte_is_refused(home: Path, station: Command, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.zip"
    with zipfile.ZipFile(starter_path()) as source, zipfile.ZipFile(damaged, "w") as target:
        for name in source.namelist():
            data = bytearray(source.read(name))
            if name == "network.onnx":
                data[len(data) // 2] ^= 1
            target.writestr(name, bytes(data))
    told = station("model", "install", damaged, "--config", home / "station.toml")
    assert told.returncode == 1
    assert f"{damaged} is damaged: network.onnx does not have the hash" in told.stderr
    assert station("model", "list", "--config", home / "station.toml").stdout.count("starter") == 1


def test_models_are_installed_activated_and_rolled_back(home: Path, station: Command, tmp_path: Path) -> None:
    write_bundle(tmp_path / "tiny.zip", tiny_bundle())
    config = ("--config", home / "station.toml")
    assert "it counts from the next picture on" in station("model", "install", tmp_path / "tiny.zip", *config).stdout
    tiny = Path(station("model", "path", *config).stdout.strip())
    assert tiny.parent == home / "models" and tiny.is_file()
    assert station("model", "rollback", *config).stdout.startswith("active: starter")
    told = station("model", "rollback", *config)
    assert (told.returncode, "there is no earlier model" in told.stderr) == (1, True)
    bundle = Path(station("model", "path", "2", *config).stdout.strip())
    whole = bundle.read_bytes()
    bundle.write_bytes(b"torn")
    told = station("model", "activate", 2, *config)
    assert told.returncode == 1 and "active: " not in told.stdout and str(bundle) in told.stderr
    assert station("model", "path", *config).stdout != f"{bundle}\n"
    bundle.write_bytes(whole)
    assert station("model", "activate", 2, *config).returncode == 0
    starter = Path(station("model", "path", "starter", *config).stdout.strip())
    whole = starter.read_bytes()
    starter.write_bytes(b"torn")
    told = station("model", "rollback", *config)
    assert told.returncode == 1 and "there is no whole model to go back to (1 damaged one)" in told.stderr
    assert station("model", "path", *config).stdout.strip() == str(bundle)
    write_bundle(tmp_path / "third.zip", tiny_bundle("third"))
    station("model", "install", tmp_path / "third.zip", *config)
    starter.write_bytes(whole)
    whole = bundle.read_bytes()
    bundle.write_bytes(b"torn")
    told = station("model", "rollback", *config)
    assert told.stdout.startswith("active: starter") and "passed over: tiny" in told.stderr
    bundle.write_bytes(whole)
    told = station("model", "activate", "other", *config)
    assert (told.returncode, "no installed model is called 'other'; installed: 1 (starter)" in told.stderr) == (1, True)


def test_a_pixel_size_that_makes_no_sense_is_named(fields: Path, station: Command) -> None:
    for size in ("1000", "0.00001"):
        (fields / "s.toml").write_text(f'[camera]\nfolder = "."\num_per_px = {size}\n[database]\npath = "../s.db"\n')
        told = station("segment", fields / "two.bmp", "--config", fields / "s.toml")
        assert (told.returncode, "camera.um_per_px = " in told.stderr) == (2, True)


def test_a_damaged_installed_model_is_said_and_put_right_by_installing_it_again(home: Path, station: Command) -> None:
    (file,) = (home / "models").iterdir()
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    config = ("--config", home / "station.toml")
    for command in (("run", "--once", *config), ("init", home)):
        told = station(*command)
        assert told.returncode == 1
        assert "is damaged" in told.stderr and "`station model install BUNDLE`" in told.stderr
    assert station("model", "install", starter_path(), *config).returncode == 0
    assert station("run", "--once", *config).returncode == 0


# Database


def test_a_database_of_a_newer_version_is_refused(home: Path, station: Command) -> None:
    with closing(sqlite3.connect(home / "station.db")) as connection:
        connection.execute("update alembic_version set version_num = '9999'")
        connection.commit()
    for command in (("run", "--once"), ("report",), ("status",)):
        told = station(*command, "--config", home / "station.toml")
        assert told.returncode == 1
        assert "was made by a newer version (schema 9999" in told.stderr and "Traceback" not in told.stderr


def test_init_keeps_what_exists(home: Path, station: Command) -> None:
    before = (home / "station.toml").read_text()
    again = station("init", home, "--cell-diameter", 75)
    assert again.returncode == 0
    assert (home / "station.toml").read_text() == before
    assert "were not used" in again.stderr
    assert station("model", "list", "--config", home / "station.toml").stdout.count("starter") == 1


def test_a_failed_init_leaves_nothing_in_the_way(tmp_path: Path, station: Command) -> None:
    assert station("init", tmp_path / "s", "--time-zone", "Mars").returncode == 2
    assert station("init", tmp_path / "s", "--time-zone", "UTC", "--engine", "onnxruntime").returncode == 0


def test_init_does_not_make_the_camera_folder_of_a_station_that_exists(home: Path, station: Command) -> None:
    """It would be an empty one in the place of a share that is not mounted."""
    (home / "camera").rmdir()
    told = station("init", home)
    assert (told.returncode, "does not exist; mount or make it first" in told.stderr) == (2, True)
    assert not (home / "camera").exists()


def test_init_refuses_a_camera_folder_that_is_not_there(tmp_path: Path, station: Command) -> None:
    told = station("init", tmp_path / "s", "--camera", tmp_path / "share")
    assert (told.returncode, "does not exist; mount or make it first" in told.stderr) == (2, True)


# Report and status


def test_report_and_status_tell_what_run_did(home: Path, station: Command) -> None:
    (home / "camera/S-1").mkdir()
    (home / "camera/S-1/Meier.bmp").write_bytes(encode_bmp(FIELD.image))
    (home / "camera/text.bmp").write_text("no picture")
    config = ("--config", home / "station.toml")
    assert station("run", "--once", *config).returncode == 1
    status = json.loads(station("status", "--json", *config).stdout)
    assert (status["counts"]["done"], status["counts"]["quarantined"], status["model"]) == (1, 1, "starter")
    assert "is text, not a picture" in station("status", *config).stdout
    table = station("report", *config).stdout
    assert "1 picture counted, 2 white cells" in table and "Meier" not in table and "1 not counted" in table
    (home / "camera/text.bmp").unlink()  # the way out of an exit code 1
    assert station("run", "--once", *config).returncode == 0
    told = station("status", *config).stdout
    assert told.startswith("1 done\n") and "is text" not in told
    assert "besides, 1 time a file held half a picture, or none, and was replaced or is gone; --json" in told
    told = station("report", "--format", "json", "--names", "-o", home / "day.json", *config)
    assert told.stdout == f"wrote {home / 'day.json'}\n"
    assert json.loads((home / "day.json").read_text())["slides"] == [
        {"slide": "S-1", "images": 1, "wbc_count": 2, "wbc_count_distinct": 2}
    ]


def test_status_says_whether_a_station_runs(home: Path, station: Command) -> None:
    config = ("--config", home / "station.toml")
    assert "not running: `station run`" in station("status", *config).stdout
    told = json.loads(station("status", "--json", *config).stdout)
    assert (told["running"], told["cell_diameter"]) == (None, "120 px, told")
    with RunLock(home / "station.db", clock=Clock()):
        assert f"running: process {os.getpid()} on" in station("status", *config).stdout
        assert f"process {os.getpid()} on" in json.loads(station("status", "--json", *config).stdout)["running"]
    with RunLock(home / "station.db", clock=Clock(), command="restore"):
        told = station("status", *config).stdout
        assert f"not running, and may not meanwhile: `station restore`, process {os.getpid()} on" in told


def test_a_backup_is_read_where_no_station_is(home: Path, station: Command, tmp_path: Path) -> None:
    backup = tmp_path / "elsewhere" / "copy.db"
    backup.parent.mkdir()
    assert station("backup", "-o", backup, "--config", home / "station.toml").returncode == 0
    told = station("restore", backup, "--check", cwd=backup.parent)
    assert (told.returncode, told.stdout) == (0, f"{backup}: whole; no pictures\n")
    assert station("restore", backup, "--yes", cwd=backup.parent).returncode == 2
    (tmp_path / "field.bmp").write_bytes(encode_bmp(FIELD.image))
    told = station("restore", tmp_path / "field.bmp", "--check", cwd=tmp_path)
    assert told.returncode == 1 and "or name a station's database or a backup of one" in told.stderr


def test_what_is_missing_in_a_command_is_said_in_its_own_words(home: Path, station: Command) -> None:
    config = ("--config", home / "station.toml")
    told = station("correct", 8, "--split", 1, *config)
    assert told.returncode == 2 and "--split takes a cell and a place in each part: --split 1 120,90" in told.stderr
    told = station("sign", "--slide", "td1b93e1", "--who", "Ada", *config)
    assert told.returncode == 1 and "`station report --names` the names" in told.stderr


@pytest.mark.parametrize(
    "options",
    [
        *(("--date", "2026-01-01", "--from", "2026-01-01"), ("--from", "2026-01-01"), ("--date", "tomorrow")),
        *(("--date", "9999-12-31"), ("--date", "0001-01-01")),
    ],
)
def test_report_refuses_days_that_make_no_sense(home: Path, station: Command, options: tuple[str, ...]) -> None:
    assert station("report", *options, "--config", home / "station.toml").returncode == 2


def test_yesterday_is_the_stations_and_names_the_file(home: Path, station: Command) -> None:
    path = home / "station.toml"
    path.write_text(path.read_text().replace('"UTC"', '"Pacific/Kiritimati"'))
    told = station("report", "--date", "yesterday", "-o", home / "report-{date}.txt", "--config", path)
    day = datetime.now(ZoneInfo("Pacific/Kiritimati")).date() - timedelta(days=1)
    assert told.stdout == f"wrote {home / f'report-{day}.txt'}\n"
    assert (home / f"report-{day}.txt").read_text().startswith(f"{day} (Pacific/Kiritimati): 0 pictures")
    today = f"{day + timedelta(days=1)} (Pacific/Kiritimati)"
    assert station("report", "--date", "today", "--config", path).stdout.startswith(today)


def test_a_report_that_cannot_be_written_whole_leaves_the_one_before(
    home: Path, station: Command, tmp_path: Path
) -> None:
    """A page cut off by a full disk passed for a finished one, and `--missing` never made it anew."""
    folder = tmp_path / "reports"
    folder.mkdir()
    place, linked = folder / "day.html", folder / "link.html"
    linked.symlink_to(place)
    told = ("report", "--format", "html", "-o", linked, "--config", home / "station.toml")
    assert station(*told).returncode == 0
    before = place.read_text()
    code = (
        "import resource, sys; from pathlib import Path; from station.cli.report import _write;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); _write(Path(sys.argv[1]), 'x' * 5000)"
    )
    cut = subprocess.run([sys.executable, "-c", code, linked], capture_output=True, text=True)
    assert f"{linked} cannot be written (File too large); name another place with -o" in cut.stderr
    assert place.read_text() == before and linked.is_symlink()
    assert {path.name for path in folder.iterdir()} == {"day.html", "link.html"}
    assert "White cells" in station(*told[:4], "/dev/stdout", *told[5:]).stdout


def test_pages_that_were_missed_are_written_and_none_twice(home: Path, station: Command) -> None:
    """The machine was off at some midnights; yesterday's page is made anew, for it may have been made by day."""
    path, now = home / "station.toml", datetime.now(UTC)
    for back in (2, 4, 30):
        picture = home / "camera" / f"{back}.bmp"
        picture.write_bytes(
            encode_bmp(paint(SmearRecipe(width=160, height=120, cell_diameter_px=50, wbc=1, seed=back)).image)
        )
        os.utime(picture, ((now - timedelta(days=back)).timestamp(),) * 2)
    assert station("run", "--once", "--config", path).returncode == 0
    target = home / "report-{date}.txt"
    days = {back: (now - timedelta(days=back)).date() for back in (1, 2, 3, 4, 30)}
    told = station("report", "--missing", 14, "-o", target, "--config", path)
    assert told.returncode == 0, told.stderr
    assert told.stdout.splitlines() == [f"wrote {home / f'report-{days[back]}.txt'}" for back in (4, 2, 1)]
    assert ": 1 picture counted" in (home / f"report-{days[4]}.txt").read_text()
    again = station("report", "--missing", 14, "-o", target, "--config", path)
    assert again.stdout == f"wrote {home / f'report-{days[1]}.txt'}\n"
    for wrong in (("-o", home / "one.txt"), (), ("--date", "yesterday", "-o", target)):
        assert station("report", "--missing", 3, *wrong, "--config", path).returncode == 2


def test_the_demo_counts_its_painted_fields(tmp_path: Path, station: Command) -> None:
    told = station("demo", tmp_path / "out")
    assert told.returncode == 0, told.stdout
    (day,) = (tmp_path / "out").iterdir()
    assert len(list((day / "overlays").glob("*.png"))) == 12
    assert "12 of 12 fields counted exactly" in told.stdout
    assert (day / "report.txt").read_text() in told.stdout
