"""The scale of a camera from its pictures: by hand, and what it takes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from networks import discs, png, tiny_bundle
from stations import Bench

from station.cli import main
from station.contract.scale import camera_diameter
from station.database.records import CAMERA_SCALE

SETTINGS = """
[camera]
folder = "camera"
[database]
path = "station.db"
[engine]
name = "onnxruntime"
"""


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, tiny_bundle())
    (tmp_path / "station.toml").write_text(SETTINGS)
    yield made
    made.store.close()


def fill(bench: Bench, radii: list[float]) -> None:
    """A picture for each radius; none of a cell for 0."""
    for number, radius in enumerate(radii):
        cells = [(110, 90, radius, 0.55 * radius)] if radius else []
        (bench.folder / f"{number:02d}.png").write_bytes(png(discs(180, 240, cells)))


def calibrate(bench: Bench, *more: str) -> Result:
    config = bench.folder.with_name("station.toml")
    return CliRunner().invoke(main, ["calibrate", "--config", str(config), *more], env={"COLUMNS": "200"})


def test_the_diameter_of_a_camera_is_told_and_only_kept_when_asked(bench: Bench) -> None:
    fill(bench, [28, 30, 31, 32, 29, 0])
    result = calibrate(bench)
    assert result.exit_code == 0, result.output
    *_, last = result.stdout.splitlines()
    told = float(last.split("=")[1].split()[0])
    assert told == pytest.approx(60, rel=0.03)
    assert "5 pictures with a white cell" in last and "no cell" in result.stdout
    assert bench.store.fact(CAMERA_SCALE) is None
    kept = calibrate(bench, "--keep")
    assert kept.exit_code == 0 and f"kept: {told:g} px" in kept.stdout
    assert bench.store.fact(CAMERA_SCALE) == told


def test_pictures_are_measured_by_the_station_that_lies_here(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bench's model knows discs of colour, the starter white cells."""
    fill(bench, [28, 30, 31, 32, 29])
    monkeypatch.chdir(bench.folder.parent)
    told = CliRunner().invoke(main, ["calibrate", "camera"], env={"COLUMNS": "200"})
    assert told.exit_code == 0 and "5 pictures with a white cell" in told.stdout
    told = CliRunner().invoke(main, ["calibrate", "camera"], env={"WBC_STATION_CONFIG": "/nowhere.toml"})
    assert told.exit_code == 2 and "there is no settings file /nowhere.toml" in told.output


def test_slides_are_sub_folders_and_are_looked_into(bench: Bench) -> None:
    fill(bench, [28, 30, 31, 32, 29])
    for number in (0, 1, 2):
        (bench.folder / f"slide {number}").mkdir()
        (bench.folder / f"{number:02d}.png").rename(bench.folder / f"slide {number}" / "a.png")
    (bench.folder / "all.lif").write_bytes(b"a container")
    result = calibrate(bench)
    assert result.exit_code == 0 and "5 pictures with a white cell" in result.stdout, result.output


def test_a_scale_that_the_size_of_a_pixel_tells_is_not_overruled(bench: Bench) -> None:
    fill(bench, [30] * 5)
    bench.folder.with_name("station.toml").write_text(SETTINGS.replace("[database]", "um_per_px = 0.1\n[database]"))
    result = calibrate(bench, "--keep")
    assert result.exit_code == 1 and "camera.um_per_px tells the scale" in result.stderr
    assert bench.store.fact(CAMERA_SCALE) is None


def test_an_empty_camera_folder_is_said(bench: Bench) -> None:
    result = calibrate(bench)
    assert result.exit_code == 1 and f"there are no pictures in {bench.folder}" in result.stderr


def test_the_same_seed_chooses_the_same_pictures(bench: Bench) -> None:
    fill(bench, [20, 24, 28, 32, 36, 40])
    one, again, other = (calibrate(bench, "--most", "3", "--seed", seed).stdout for seed in ("1", "1", "2"))
    assert one == again != other
    assert "3 pictures" in one


def test_too_few_pictures_settle_nothing(bench: Bench) -> None:
    fill(bench, [30, 30, 30, 30])
    result = calibrate(bench, "--keep")
    assert result.exit_code == 1 and "4 pictures of 4 told a diameter, which is too few" in result.stderr
    assert bench.store.fact(CAMERA_SCALE) is None


def test_a_scale_in_the_settings_is_not_overruled(bench: Bench) -> None:
    fill(bench, [30] * 5)
    bench.folder.with_name("station.toml").write_text(
        SETTINGS.replace("[database]", "cell_diameter_px = 61\n[database]")
    )
    result = calibrate(bench, "--keep")
    assert result.exit_code == 1 and "is told in the settings" in result.stderr


def test_a_file_that_is_no_picture_is_named_and_stops_nothing(bench: Bench) -> None:
    fill(bench, [30] * 5)
    (bench.folder / "torn.png").write_bytes(png(discs(180, 240))[:60])
    result = calibrate(bench)
    assert result.exit_code == 0 and "torn.png" in result.stdout and "= 59.9 " in result.stdout


def test_the_typical_diameter_withstands_a_wrong_picture_and_scatters_less_than_the_median() -> None:
    rng = np.random.default_rng(0)
    draws = np.exp(rng.normal(math.log(150), 0.24, (400, 20)))
    ours, median = np.array([camera_diameter(draw) for draw in draws]), np.median(draws, axis=1)
    assert np.log(ours).std() < 0.9 * np.log(median).std()
    assert np.mean(np.abs(ours / 150 - 1) < 0.12) >= 0.95
    spoilt = camera_diameter([*draws[0][:-2], 15, 20])
    assert spoilt == pytest.approx(camera_diameter(draws[0]), rel=0.12)
