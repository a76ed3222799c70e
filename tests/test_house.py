"""The house: who may import whom is checked by import-linter; here stands what it cannot see."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

CATCH_ALLS = {"utils", "util", "helpers", "common", "base", "manager", "misc"}


def _modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import station", {"trainer", "numpy", "tensorflow", "keras"}),
        ("import station.cli", {"trainer", "numpy", "cv2", "onnxruntime", "tensorflow", "sqlalchemy", "rich"}),
        ("import station.cli.status, station.cli.report", {"scipy", "onnxruntime", "openvino"}),
        ("import station.cli.run", {"trainer", "tensorflow", "keras", "onnx"}),
        ("import station.engines", {"onnxruntime"}),
        ("import trainer.cli", {"tensorflow", "keras", "cv2"}),
    ],
)
def test_a_door_loads_no_more_than_it_needs(statement: str, absent: set[str]) -> None:
    assert not absent & _modules_after(statement)


def test_a_station_without_the_training_extra_says_what_to_install(tmp_path: Path) -> None:
    """As after `pip install wbc-station`: Keras is hidden from a real process."""
    code = (
        "import sys, importlib.util as u; real = u.find_spec;"
        "u.find_spec = lambda name, *rest: None if name == 'keras' else real(name, *rest);"
        "from trainer.cli import main; main(['fit', 'data', '--runs', sys.argv[1]])"
    )
    told = subprocess.run([sys.executable, "-c", code, str(tmp_path / "runs")], capture_output=True, text=True)
    assert told.returncode == 1
    assert "this needs keras" in told.stderr and "pip install 'wbc-station[train]'" in told.stderr
    assert not (tmp_path / "runs").exists()


def test_no_module_is_a_drawer_for_everything() -> None:
    names = {path.stem for package in ("station", "trainer") for path in (ROOT / package).rglob("*.py")}
    assert not CATCH_ALLS & names


def test_the_map_in_the_readme_is_the_house() -> None:
    """Every file and folder on the first two levels stands in README's map."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for package in ("station", "trainer"):
        for entry in sorted((ROOT / package).iterdir()):
            if entry.name not in {"__init__.py", "__pycache__", "py.typed"}:
                assert entry.name in text, entry


def test_the_import_rules_hold() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    told = subprocess.run([linter], cwd=ROOT, capture_output=True, text=True)
    assert told.returncode == 0, told.stdout
