"""`trainer backbones`: what it lists and fetches, with and without the extras."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from trainer.backbones import BACKBONES
from trainer.cli import main


def test_without_keras_hub_the_extra_is_named(tmp_path: Path) -> None:
    """As after `pip install '.[train]'`: keras-hub is hidden from a real process, if it is there at all."""
    code = (
        "import sys, importlib.util as u; real = u.find_spec;"
        "u.find_spec = lambda name, *rest: None if name == 'keras_hub' else real(name, *rest);"
        "from trainer.cli import main; main(['backbones', '--fetch', 'resnet34', '--weights-dir', sys.argv[1]])"
    )
    told = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert told.returncode == 1
    for part in ("ResNet34_notop.weights.h5", "hf://timm/resnet34.a1_in1k of keras-hub", "wbc-station[pretrained]"):
        assert part in told.stderr
    assert "Traceback" not in told.stderr and not list(tmp_path.iterdir())


def test_a_download_that_fails_is_a_sentence(tmp_path: Path) -> None:
    """The proxy that this process is told to use refuses every connection."""
    code = "from trainer.cli import main; main(['backbones', '--fetch', 'mobilenet_v2', '--weights-dir', 'own'])"
    nowhere = {f"{scheme}_proxy": "http://127.0.0.1:9" for scheme in ("http", "https")}
    told = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, **nowhere, "KERAS_HOME": str(tmp_path / "keras")},
    )
    assert told.returncode == 1
    assert "error: MobileNetV2_notop.weights.h5 could not be fetched" in told.stderr
    assert "keras.applications.MobileNetV2" in told.stderr and "into own" in told.stderr
    assert "Traceback" not in told.stderr and not (tmp_path / "own").exists()


@pytest.fixture
def listed(tmp_path: Path) -> str:
    (tmp_path / "MobileNetV2_notop.weights.h5").touch()
    arguments = ["backbones", "--weights-dir", str(tmp_path)]
    result = CliRunner().invoke(main, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 0
    return result.output


def test_the_backbones_are_listed_with_their_costs_and_weights(listed: str) -> None:
    lines = {line.split()[0]: line for line in listed.splitlines() if line.split()}
    assert set(BACKBONES) <= lines.keys()
    for part in ("16", "1.97 M", "7.0", "3.9", "none exist"):
        assert part in lines["unet"]
    for part in ("32", "67.39 M", "40.1", "134.8", "ResNet152_notop.weights.h5 (missing)"):
        assert part in lines["resnet152"]
    assert "MobileNetV2_notop.weights.h5 (here)" in lines["mobilenet_v2"]
    assert "the preset resnet_18_imagenet of keras-hub" in lines["resnet18"]


def test_without_the_training_extra_names_and_weights_are_listed(tmp_path: Path) -> None:
    code = (
        "import sys, importlib.util as u; real = u.find_spec;"
        "u.find_spec = lambda name, *rest: None if name == 'keras' else real(name, *rest);"
        "from trainer.cli import main; main(['backbones', '--weights-dir', sys.argv[1]], standalone_mode=False);"
        "print(sorted({'keras', 'tensorflow'} & sys.modules.keys()))"
    )
    told = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    lines = told.stdout.splitlines()
    assert lines[-1] == "[]"
    (vgg16,) = (line for line in lines if "vgg16" in line)
    assert vgg16.split()[:5] == ["vgg16", "16", "-", "-", "-"] and "VGG16_notop.weights.h5 (missing)" in vgg16
    assert "parameters, GFLOPs and MB: this needs keras" in told.stdout and "wbc-station[train]" in told.stdout
