"""`trainer bench`: figures that hang together, on painted fields or on a folder, and a file of them."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import cv2
import pytest
from click.testing import CliRunner, Result
from trainings import paint_fields

from trainer.bench import Bench
from trainer.cli import main

SMALL = ("--size", "32", "--batch", "2", "--steps", "3")

pytestmark = pytest.mark.filterwarnings("ignore:__array__")  # Keras on NumPy 2


def bench(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["bench", *map(str, arguments)], env={"COLUMNS": "200"})


def test_it_measures_steps_with_and_without_the_feed_and_the_feed_alone(tmp_path: Path) -> None:
    result = bench(*SMALL, "--backbones", "unet,mobilenet", "-o", tmp_path / "bench.json")
    assert result.exit_code == 0, result.output
    told = Bench.model_validate_json((tmp_path / "bench.json").read_text())
    assert (told.size_px, told.batch, told.data) == (32, 2, "24 painted fields")
    assert told.backend == "tensorflow" and "CPU:0" in told.device and "cores" in told.machine
    assert told.versions["keras"] == version("keras")

    threads = [rate.threads for rate in told.feed]
    assert threads[0] == 1 and threads[-1] == cv2.getNumberOfCPUs() and threads == sorted(set(threads))
    assert told.feed[0].ratio == 1 and all(rate.pictures_per_second > 0 for rate in told.feed)

    assert [rate.backbone for rate in told.training] == ["unet", "mobilenet"]
    for rate in told.training:
        assert (rate.precision, rate.compiled) == ("float32", False)
        assert rate.bare_seconds > 0 and rate.fed_seconds > 0 and 0 <= rate.waiting_share < 1
        assert 0.05 < rate.ratio < 20
        assert f"{2 / rate.fed_seconds:.4g}" in result.output and f"{rate.waiting_share:.1%}" in result.output
    for part in ("pictures/s, fed", "waiting for data", "XLA", "times one thread", told.machine, "backend tensorflow"):
        assert part in result.output


def test_it_measures_on_a_folder(tmp_path: Path) -> None:
    fields = paint_fields(tmp_path / "fields", count=3)
    result = bench(*SMALL, "--backbones", "unet", fields)
    assert result.exit_code == 0, result.output
    assert f"batches of 2, from {fields}" in result.output


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (["--backbones", "resnet"], 1, "there is no backbone 'resnet'; known: unet"),
        (["--size", "100"], 2, "crop_px: Input should be a multiple of 32"),
        (["no-such-folder"], 1, "no-such-folder"),
    ],
)
def test_what_cannot_be_measured_gets_a_sentence(arguments: list[str], exit_code: int, said: str) -> None:
    result = bench(*arguments)
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == exit_code
    assert said in result.stderr


def test_a_file_that_cannot_be_written_is_named_before_anything_is_measured(tmp_path: Path) -> None:
    result = bench(*SMALL, "-o", tmp_path / "gone" / "bench.json")
    assert result.exit_code == 2
    assert f"there is no folder {tmp_path / 'gone'}" in result.stderr
    assert "pictures/s" not in result.output
