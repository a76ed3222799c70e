"""The folder of plans: keys, two makers at once, and a maker that is killed. Real files, locks and processes."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from networks import tiny_manifest

from station.engines.tensorrt.plans import PlanKey, plan_for, read_plan
from station.engines.tensorrt.shapes import Profile, profiles_for

KEY = PlanKey(
    network_sha256="0" * 64,
    library="tensorrt",
    version="11.4.0.106",
    gpu="NVIDIA RTX A2000",
    compute_capability="8.6",
    precision="float32",
    profiles=(Profile(least=(1, 32, 32, 3), usual=(1, 416, 576, 3), most=(8, 640, 640, 3)),),
    workspace_bytes=1 << 30,
    flags=("STRONGLY_TYPED",),
)
CHANGES = {
    "network_sha256": "1" * 64,
    "library": "tensorrt-rtx",
    "version": "11.4.0.107",
    "gpu": "NVIDIA RTX A4000",
    "compute_capability": "8.9",
    "precision": "float16",
    "profiles": (Profile(least=(1, 32, 32, 3), usual=(1, 416, 576, 3), most=(4, 640, 640, 3)),),
    "workspace_bytes": 2 << 30,
    "flags": (),
}

# Takes the lock, tells so, and is then killed in the middle of its work: while it builds, or between two files.
MAKER = """
import os, sys, signal
from pathlib import Path
from station.engines.tensorrt import plans
from test_tensorrt_plans import KEY

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def half(path, data):
    path.with_name(path.name + plans.PART).write_bytes(data[: len(data) // 2])
    die()

when, whole, seen = sys.argv[2], plans._write, []

def counted(path, data):
    seen.append(path)
    (half if len(seen) == int(when) else whole)(path, data)

if when == "0":
    plans.plan_for(Path(sys.argv[1]), KEY, die)
plans._write = counted
plans.plan_for(Path(sys.argv[1]), KEY, lambda: b"half of a plan" * 1000)
"""


def made(data: bytes = b"the plan") -> bytes:
    return data


def never() -> bytes:
    raise AssertionError("it was to be taken from the folder")


@pytest.mark.parametrize("part", CHANGES)
def test_each_part_of_the_key_makes_another_plan(tmp_path: Path, part: str) -> None:
    assert set(CHANGES) == set(PlanKey.model_fields)
    other = KEY.model_copy(update={part: CHANGES[part]})
    assert other.short != KEY.short and len(KEY.short) == 16
    plan_for(tmp_path, KEY, made)
    assert read_plan(tmp_path, other) is None
    assert read_plan(tmp_path, KEY) == b"the plan"


def test_a_new_plan_replaces_those_of_the_same_network_and_precision_only(tmp_path: Path) -> None:
    others = [KEY.model_copy(update={part: CHANGES[part]}) for part in ("network_sha256", "precision", "version")]
    for key in (*others, KEY):
        plan_for(tmp_path, key, made)
    assert [read_plan(tmp_path, key) is not None for key in (*others, KEY)] == [True, True, False, True]
    assert len(list(tmp_path.glob("*.plan"))) == 3


def test_a_sidecar_that_is_none_goes_with_the_next_build(tmp_path: Path) -> None:
    (tmp_path / "0123456789abcdef.json").write_text("{}", encoding="utf-8")
    (tmp_path / "0123456789abcdef.plan").write_bytes(b"x")
    plan_for(tmp_path, KEY, made)
    assert sorted(path.stem for path in tmp_path.glob("*.plan")) == [KEY.short]


def test_of_two_makers_the_second_waits_and_takes_the_plan_of_the_first(tmp_path: Path) -> None:
    """The first is a thread that stands still while it builds; the second a real process."""
    building, go_on = threading.Event(), threading.Event()

    def slow() -> bytes:
        building.set()
        assert go_on.wait(60)
        return b"of the first"

    first = threading.Thread(target=plan_for, args=(tmp_path, KEY, slow))
    first.start()
    assert building.wait(60)
    code = (
        "import sys; from pathlib import Path; from station.engines.tensorrt.plans import plan_for;"
        "from test_tensorrt_plans import KEY, never; print('ready', flush=True);"
        "print(plan_for(Path(sys.argv[1]), KEY, never).decode())"
    )
    line = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent) as second:
        assert second.stdout is not None and second.stdout.readline() == "ready\n"
        assert read_plan(tmp_path, KEY) is None  # a reader does not wait, and deletes nothing of the one at work
        go_on.set()
        assert second.stdout.readline() == "of the first\n"
    first.join()
    assert second.returncode == 0


@pytest.mark.parametrize("when", [0, 1, 2], ids=["while it builds", "half a plan", "half a sidecar"])
def test_a_killed_maker_leaves_nothing_that_is_taken_for_a_plan(tmp_path: Path, when: int) -> None:
    line = [sys.executable, "-c", MAKER, str(tmp_path), str(when)]
    assert subprocess.run(line, cwd=Path(__file__).parent).returncode == -9
    assert read_plan(tmp_path, KEY) is None
    assert plan_for(tmp_path, KEY, made) == b"the plan"  # the lock went with the process
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{KEY.short}.json", f"{KEY.short}.plan", "lock"]


def test_a_maker_that_fails_releases_the_lock(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        plan_for(tmp_path, KEY, never)
    assert plan_for(tmp_path, KEY, made) == b"the plan"


@pytest.mark.parametrize("stride", [1, 16, 32, 48, 128])
def test_profiles_are_multiples_of_the_stride_and_in_order(stride: int) -> None:
    scale = tiny_manifest().scale.model_copy(update={"stride": stride})
    for profile in profiles_for(scale):
        for axis in (1, 2):
            sides = [shape[axis] for shape in (profile.least, profile.usual, profile.most)]
            assert all(side % stride == 0 for side in sides) and sides == sorted(sides) and sides[0] == stride
    assert [profile.most[0] for profile in profiles_for(scale)] == [8, 1]
    assert [p.most[0] for p in profiles_for(scale, batch=2, side_of_many=256, side_of_one=512)] == [2, 1]
