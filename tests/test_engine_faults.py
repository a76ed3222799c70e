"""What goes wrong with a GPU ends with counted pictures and one line in status: a station on a recording double."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner
from networks import discs, tiny_bundle
from recorders import Double, install, renew
from stations import Bench

import station.live
from station.cli.status import command as status
from station.demo.camera import encode_bmp
from station.engines import Setup, open_engine
from station.engines.tensorrt.builder import started
from station.settings import Engine

OUT_OF_MEMORY = "Error Code 2: OutOfMemory (Requested size was 100 bytes.)"


@dataclass
class Gpu:
    """A station on the double; `fault` happens between two of its starts."""

    bench: Bench
    double: Double
    patch: pytest.MonkeyPatch
    config: Path

    @property
    def plan(self) -> Path:
        (plan,) = (self.config.parent / "models" / "plans").glob("*.plan")
        return plan

    def count(self, name: str) -> str:
        """The engine that counted a picture with two cells."""
        cells = ((60, 60, 30, 17), (150, 100 + ord(name[0]) % 16, 28, 15))  # no two pictures are the same
        (self.bench.folder / name).write_bytes(encode_bmp(discs(180, 240, cells)))
        self.bench.run()
        result = self.bench.stored()[name]
        assert result.wbc_count == 2
        return result.engine

    def renewed(self) -> None:
        renew(self.patch, self.double)

    def degraded(self) -> list[str]:
        told = CliRunner().invoke(status, ["--config", str(self.config)])
        assert told.exit_code == 0, told.output
        return [line for line in told.output.splitlines() if line.startswith("degraded: ")]

    def engine_line(self) -> str:
        told = CliRunner().invoke(status, ["--config", str(self.config)])
        return next(line for line in told.output.splitlines() if line.startswith("engine: "))


def made(root: Path, patch: pytest.MonkeyPatch, name: str) -> Gpu:
    double = install(patch)
    bench = Bench(root, tiny_bundle(), Engine.model_validate({"name": name, "threads": 1}), cell_diameter_px=60.0)
    config = root / "station.toml"
    config.write_text(
        f'[camera]\nfolder = "{bench.folder}"\ncell_diameter_px = 60\n[database]\npath = "{root / "station.db"}"\n'
        f'[engine]\nname = "{name}"\nthreads = 1\n',
        encoding="utf-8",
    )
    return Gpu(bench, double, patch, config)


@pytest.fixture(params=["auto", "tensorrt"])
def gpu(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    gpu = made(tmp_path, monkeypatch, request.param)
    with closing(gpu.bench.store):
        yield gpu
        gpu.bench.station.model.close()


def truncated(gpu: Gpu) -> None:
    gpu.plan.write_bytes(gpu.plan.read_bytes()[:100])


def of_another_version(gpu: Gpu) -> None:
    gpu.double.record.version = "11.5.0.1"
    gpu.renewed()


def for_another_gpu(gpu: Gpu) -> None:
    gpu.double.record.gpu = "NVIDIA GeForce RTX 5090"
    gpu.renewed()


def library_gone(gpu: Gpu) -> None:
    for name in ("tensorrt", "tensorrt_rtx"):
        gpu.patch.setitem(sys.modules, name, None)


def driver_gone(gpu: Gpu) -> None:
    gpu.double.record.failing["cudaGetDeviceCount"] = 35


def memory_held(gpu: Gpu) -> None:
    gpu.double.record.deserializes = False
    gpu.double.record.reason = OUT_OF_MEMORY


FAULTS: dict[str, tuple[Callable[[Gpu], None], str]] = {
    "plan truncated": (truncated, "waits for its plan, which is being built"),
    "plan of another version": (of_another_version, "waits for its plan, which is being built"),
    "plan for another GPU": (for_another_gpu, "waits for its plan, which is being built"),
    "library missing": (library_gone, "TensorRT cannot be loaded"),
    "driver missing": (driver_gone, "there is no NVIDIA driver, or it is older"),
    "GPU memory held by another program": (memory_held, "out of GPU memory"),
}


def hanging_build(bundle: Path, precision: str, plans: Path) -> object:
    return started([sys.executable, "-c", "import signal; signal.pause()"])


def build_in_here(bundle: Path, precision: str, plans: Path) -> object:
    """The double lives in this process, so the plan is built in it; what the station waits for is another one."""
    open_engine(tiny_bundle(), "tensorrt", precision, Setup(plans=plans))
    build = started([sys.executable, "-c", ""])
    build.process.wait()
    return build


@pytest.mark.parametrize("fault", FAULTS)
def test_pictures_are_counted_and_status_says_in_one_line_what_is_wrong(gpu: Gpu, fault: str) -> None:
    assert gpu.count("a.bmp").startswith("tensorrt")
    assert gpu.degraded() == []
    provoke, words = FAULTS[fault]
    gpu.patch.setattr(station.live.LiveModel.__init__, "__kwdefaults__", {"start": hanging_build})
    provoke(gpu)
    gpu.bench.restart()
    assert not gpu.count("b.bmp").startswith("tensorrt")
    lines = [line for line in (*gpu.degraded(), gpu.engine_line()) if words in line]
    assert len(lines) == 1, (gpu.degraded(), gpu.engine_line())
    assert len(gpu.degraded()) <= 1


@pytest.mark.parametrize("fault", ["plan truncated", "plan of another version", "plan for another GPU"])
def test_a_lost_plan_is_built_anew_while_the_station_counts(gpu: Gpu, fault: str) -> None:
    gpu.count("a.bmp")
    gpu.patch.setattr(station.live.LiveModel.__init__, "__kwdefaults__", {"start": build_in_here})
    FAULTS[fault][0](gpu)
    gpu.bench.restart()
    gpu.count("b.bmp")
    assert gpu.count("c.bmp").startswith("tensorrt")
    assert gpu.degraded() == []


def test_a_gpu_whose_memory_was_held_serves_again_after_the_next_start(gpu: Gpu) -> None:
    gpu.count("a.bmp")
    memory_held(gpu)
    gpu.bench.restart()
    assert not gpu.count("b.bmp").startswith("tensorrt")
    gpu.double.record.deserializes = True
    gpu.bench.restart()
    assert gpu.count("c.bmp").startswith("tensorrt")
    assert gpu.degraded() == []


def test_memory_that_runs_out_at_work_is_one_line_and_costs_no_picture(gpu: Gpu) -> None:
    gpu.count("a.bmp")
    gpu.double.record.refusing.add("execute_async_v3")
    gpu.double.record.reason = OUT_OF_MEMORY
    assert not gpu.count("b.bmp").startswith("tensorrt")
    (line,) = gpu.degraded()
    assert "OutOfMemory" in line and line.endswith("answered instead")


def test_a_build_that_is_killed_half_way_leaves_the_reference_and_a_line(gpu: Gpu) -> None:
    builds = []

    def start(bundle: Path, precision: str, plans: Path) -> object:
        builds.append(hanging_build(bundle, precision, plans))
        return builds[-1]

    gpu.count("a.bmp")
    gpu.patch.setattr(station.live.LiveModel.__init__, "__kwdefaults__", {"start": start})
    truncated(gpu)
    gpu.bench.restart()
    assert not gpu.count("b.bmp").startswith("tensorrt")
    builds[0].process.send_signal(signal.SIGKILL)
    builds[0].process.wait()
    assert not gpu.count("c.bmp").startswith("tensorrt")
    (line,) = gpu.degraded()
    assert "the build was killed" in line
