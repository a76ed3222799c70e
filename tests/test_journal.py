"""Priorities of log lines, as systemd's journal reads them, and none anywhere else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from networks import tiny_bundle
from stations import Bench

from station.journal import with_priority


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("error: the camera folder /srv/leica does not exist", "<3>error: the camera folder /srv/leica does not exist"),
        ("degraded: the disk is full", "<4>degraded: the disk is full"),
        ("quarantined: a.bmp: no picture", "<4>quarantined: a.bmp: no picture"),
        ("waiting: a.bmp: is empty", "<6>waiting: a.bmp: is empty"),
        ("errors.bmp: 3 white cells, 0.10 s", "<6>errors.bmp: 3 white cells, 0.10 s"),
        ("<0>.bmp: 3 white cells, 0.10 s", "<6><0>.bmp: 3 white cells, 0.10 s"),
    ],
)
def test_the_word_before_the_colon_is_the_priority(line: str, shown: str) -> None:
    assert with_priority(line) == shown


def _station(log: Path, journal: str | None, *arguments: object) -> list[str]:
    """The lines of a `station` whose outputs end in the file `log`; {} in `journal` stands for device:inode of that."""
    environment = {name: value for name, value in os.environ.items() if name != "JOURNAL_STREAM"}
    with log.open("w") as stream:
        found = os.fstat(stream.fileno())
        if journal is not None:
            environment["JOURNAL_STREAM"] = journal.format(f"{found.st_dev}:{found.st_ino}")
        line = [sys.executable, "-m", "station.cli", *map(str, arguments)]
        subprocess.run(line, stdout=stream, stderr=stream, env=environment, timeout=300)
    return log.read_text().splitlines()


@pytest.mark.parametrize(
    ("journal", "first"), [("{}", "<3>error:"), (None, "error:"), ("{}9", "error:"), ("", "error:")]
)
def test_a_failure_has_its_priority_in_the_journal_alone(tmp_path: Path, journal: str | None, first: str) -> None:
    told = _station(tmp_path / "log", journal, "status", "--config", tmp_path / "none.toml")
    assert told and told[0].startswith(first)


def test_the_log_of_a_run_has_priorities(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tiny_bundle())
    bench.station.model.close()
    bench.store.close()
    (bench.folder / "scan.bmp").write_text("no picture at all, whatever its name says")
    settings = tmp_path / "station.toml"
    settings.write_text(
        '[camera]\nfolder = "camera"\nsettle_seconds = 0.1\n'
        '[database]\npath = "station.db"\n[engine]\nname = "onnxruntime"\n'
    )
    told = _station(tmp_path / "log", "{}", "run", "--once", "--config", settings)
    assert any(line.startswith("<4>quarantined: ") and "scan.bmp" in line for line in told), told
    assert all(line.startswith(("<4>", "<6>")) for line in told)
