"""Damaged files by the hundred: none ends the station or fills its memory, and each is counted or has its reason."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mutations import mutation
from originals import originals
from soaking import LONGEST_SECONDS, sized

from station.contract.decoding import decode
from station.contract.errors import ImageError
from station.contract.headers import read_header
from station.contract.tiff import open_tiff

FILES = sized(300, 2000)
MOST_MB_OF_A_FILE = 64  # with pictures of up to 2 megapixels: 16 bits, four channels, and what is made of them
MOST_MB_OF_THE_STATION = 400  # 110 are the imports'
_LIBRARIES = (
    "libpng ",
    "Corrupt JPEG data",
    "Invalid SOS parameters",
    "Warning: unknown JFIF",
    "Premature end of JPEG",
)


@dataclass(frozen=True)
class Run:
    """A station that met the files."""

    exit_code: int
    steps: list[str]
    stderr: list[str]

    @property
    def became(self) -> dict[str, Any]:
        assert self.exit_code == 0, f"ended by {self.exit_code} at seed {self.steps[-1]}\n" + "\n".join(
            self.stderr[-30:]
        )
        found: dict[str, Any] = json.loads(self.steps[-1])
        return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    line = [sys.executable, str(Path(__file__).with_name("fuzz_steps.py")), tmp_path_factory.mktemp("fuzz"), 0, FILES]
    ended = subprocess.run(
        [str(word) for word in line], capture_output=True, text=True, timeout=LONGEST_SECONDS, check=False
    )
    return Run(ended.returncode, ended.stdout.splitlines(), ended.stderr.splitlines())


def test_the_originals_are_pictures() -> None:
    for name, data in originals().items():
        assert sorted(decode(data).shape) == [3, 96, 128], name


def test_a_seed_gives_the_same_file_again() -> None:
    assert [mutation(seed) for seed in range(40)] == [mutation(seed) for seed in range(40)]
    assert len({mutation(seed).data for seed in range(40)}) > 35


def _tiff(style: str, tag: int, kind: int, value: int, place: int | None = None) -> bytes:
    """An original with one entry changed, or (`place`: the tag that gives way) with one more of a tag."""
    data = bytearray(originals()[style])
    at = open_tiff(bytes(data)).directories()[0][place or tag].at - 8
    data[at : at + 12] = struct.pack("<HHII", tag, kind, 1, value)
    return bytes(data)


def test_the_size_is_that_of_the_tag_that_a_decoder_takes() -> None:
    """Otherwise a second, modest width hides the one that the decoder makes room for."""
    twice = _tiff("tiff strips", 256, 4, 5, place=270)
    assert read_header(twice).width == decode(twice).shape[1] == 128


@pytest.mark.parametrize(("tag", "side"), [(322, 2**20), (323, 2**20), (322, 2**31)])
def test_no_room_is_made_for_tiles_far_larger_than_the_picture(tag: int, side: int) -> None:
    with pytest.raises(ImageError, match=r"its TIFF tiles of .* pixels are far larger than the picture"):
        decode(_tiff("tiff tiles", tag, 4, side))


def test_a_tile_may_be_larger_than_a_small_picture() -> None:
    assert read_header(_tiff("tiff tiles", 322, 4, 1024)).width == 128


def test_no_damaged_file_ends_the_decoder_or_the_station(run: Run) -> None:
    assert run.became["untouched"]
    assert [line for line in run.stderr if not line.startswith(_LIBRARIES)] == []


def test_no_damaged_file_takes_memory_above_the_limit(run: Run) -> None:
    assert run.became["one file, MB"] <= MOST_MB_OF_A_FILE
    assert run.became["station, MB"] <= MOST_MB_OF_THE_STATION


def test_each_damaged_file_is_counted_or_waits_or_is_quarantined_with_its_reason(run: Run) -> None:
    names = {mutation(seed).name for seed in range(FILES)}
    for moment, allowed in (("at once", {"done", "waiting", "quarantined"}), ("later", {"done", "quarantined"})):
        states = run.became[moment]
        assert states.keys() == names
        assert {name: state for name, state in states.items() if state[0] not in allowed} == {}
        assert {name: state for name, state in states.items() if bool(state[1]) == (state[0] == "done")} == {}
        assert {name: state for name, state in states.items() if (state[2] is None) == (state[0] == "done")} == {}


def test_the_damage_reaches_deep(run: Run) -> None:
    """Otherwise the tests above would pass by refusing everything at the first byte."""
    states = run.became["later"].values()
    reasons = Counter("".join(letter for letter in reason or "" if not letter.isdigit()) for _, reason, _ in states)
    assert reasons[""] > FILES / 10  # counted in spite of the damage
    assert sum(count for reason, count in reasons.items() if "cannot be decoded" in reason) > FILES / 20
    assert len(reasons) > 20
    kinds = len(reasons) - 1
    print(f"\n{FILES} damaged files: {reasons['']} counted, {FILES - reasons['']} quarantined for {kinds} reasons")
