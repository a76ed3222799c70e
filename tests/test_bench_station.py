"""`station bench`: a small contest that really runs, in processes of their own, and the figures that are made of it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from networks import DIAMETER_PX, discs, tiny_bundle

from station.bench.alone import alone, memory_mb
from station.bench.contest import KERAS, NAIVE, Rules, contest, names_of
from station.bench.fields import Fields, crowded, painted
from station.bench.latency import WAYS, Waits, beyond_settling, latency
from station.bench.picture import picture
from station.bench.rows import Bench, Contender, Latency, Memory, Soak, spread
from station.bench.soak import slope, soak
from station.bench.stand import Stand, stand_in
from station.contract.analysis import Scale, analyse, prepare
from station.contract.bundle import read_bundle, write_bundle
from station.contract.decoding import decode
from station.contract.errors import BundleError, EngineError
from station.contract.masks import decode_mask
from station.demo.camera import encode_bmp
from station.demo.smear import SmearRecipe, paint
from station.engines import Option, open_engine, options
from station.naive import count_all, onnx_predict
from station.registry import starter_path

STAGES = ["take in", "decode", "scale", "network", "separate", "encode", "store"]
pytestmark = pytest.mark.xdist_group("bench")  # the contest runs once
SVG = "{http://www.w3.org/2000/svg}"
RECIPES = [SmearRecipe(width=250, height=180, cell_diameter_px=DIAMETER_PX, wbc=n, seed=n) for n in (0, 2)]


@pytest.fixture(scope="module")
def fields() -> Fields:
    return painted(RECIPES)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "tiny.zip"
    write_bundle(path, tiny_bundle())
    return path


def stand_on(folder: Path, tiny: Path, *told: Option) -> Stand:
    folder.mkdir()
    return stand_in(folder, tiny, told, DIAMETER_PX, 1, lambda _option: None)


@pytest.fixture(scope="module")
def measured(
    tmp_path_factory: pytest.TempPathFactory, tiny: Path, fields: Fields
) -> tuple[Bench, list[tuple[str, int]]]:
    """(the contest of every engine and both loops, what was told on the way)."""
    stand = stand_on(tmp_path_factory.mktemp("bench") / "stand", tiny, *options(tiny_bundle()))
    told: list[tuple[str, int]] = []
    bench = contest(stand, fields, Rules(fields=4, rounds=2, keras=True), lambda name, done: told.append((name, done)))
    left = {path.name for path in stand.folder.iterdir()} - {"camera", "models", "seed.db"}
    assert not left, "a turn leaves its database"
    return bench, told


@pytest.fixture
def bench(measured: tuple[Bench, list[tuple[str, int]]]) -> Bench:
    return measured[0]


def rows(bench: Bench) -> Iterator[Contender]:
    return (row for row in bench.contenders if row.measured)


def row_of(bench: Bench, name: str) -> Contender:
    return next(row for row in bench.contenders if row.name == name)


def test_every_engine_and_both_loops_are_rows_measured_or_with_the_reason(bench: Bench) -> None:
    names = [row.name for row in bench.contenders]
    assert names == [*map(str, options(tiny_bundle())), NAIVE, KERAS]
    assert all((row.measured is None) == bool(row.reason) for row in bench.contenders)
    assert {"onnxruntime float32", NAIVE} <= {row.name for row in rows(bench)}
    assert "carries no weights" in str(row_of(bench, KERAS).reason)


def test_the_reference_agrees_with_itself_on_every_field(bench: Bench) -> None:
    one = row_of(bench, "onnxruntime float32").measured
    assert one and one.agreement and one.engine.startswith("onnxruntime 1.")
    assert (one.agreement.fields, one.agreement.equal_counts, one.agreement.least_cell_dice) == (2, 2, 1.0)


def test_one_engine_is_what_auto_takes(bench: Bench) -> None:
    (chosen,) = [row for row in bench.contenders if row.is_auto]
    gpu = [row for row in rows(bench) if row.name.startswith("tensorrt")]
    engines = gpu or [row for row in rows(bench) if row.name not in (NAIVE, KERAS)]
    assert chosen.name == min(engines, key=lambda row: row.measured.network_ms.p50).name  # type: ignore[union-attr]


def test_times_are_in_order_and_ratios_hold(bench: Bench) -> None:
    for row in rows(bench):
        assert row.measured is not None
        one = row.measured
        for times in (one.network_ms, *(stage.wall_ms for stage in one.stages)):
            assert 0 < times.p50 <= times.p95 <= times.p99
        assert one.network_ms.samples == bench.fields * bench.rounds
        assert one.images_per_second > 0 and one.cpu_ms > 0 and one.times_naive
        assert [stage.name for stage in one.stages] == ([] if row.name in (NAIVE, KERAS) else STAGES)
    naive = row_of(bench, NAIVE).measured
    assert naive and naive.times_naive == 1.0 and naive.cpu_ms_beside is None


def test_each_stage_is_timed_for_each_picture(bench: Bench) -> None:
    one = row_of(bench, "onnxruntime float32").measured
    assert one
    samples = {stage.name: stage.wall_ms.samples for stage in one.stages}
    assert samples["store"] == samples["decode"] == samples["network"] == bench.fields * bench.rounds


@pytest.mark.skipif(memory_mb("VmRSS") is None, reason="this kernel does not tell the memory of a process")
def test_the_peak_of_a_contender_is_that_of_its_own_process(bench: Bench) -> None:
    own = memory_mb("VmHWM")
    peaks = [row.measured.peak_mb for row in rows(bench) if row.measured]
    assert own and all(peak is not None and 20 < peak < 1000 for peak in peaks)


def test_progress_counts_every_picture_of_every_turn(measured: tuple[Bench, list[tuple[str, int]]]) -> None:
    bench, told = measured
    for row in rows(bench):
        assert sum(done for name, done in told if name == row.name) == bench.fields * bench.rounds


def test_the_file_gives_the_figures_back(bench: Bench) -> None:
    assert Bench.model_validate_json(bench.model_dump_json(indent=2)) == bench


def test_the_picture_names_every_contender_and_stays_inside_its_frame(bench: Bench) -> None:
    evil = Contender(name="<b> & co", reason="no & never <script>")
    drawn = ET.fromstring(picture(bench.model_copy(update={"contenders": (*bench.contenders, evil)})))
    words = [text.text or "" for text in drawn.iter(f"{SVG}text")]
    for row in (*bench.contenders, evil):
        assert any(one.startswith(row.name) for one in words), row.name
    _, _, width, height = map(float, drawn.attrib["viewBox"].split())
    for bar in drawn.iter(f"{SVG}rect"):
        assert 0 <= float(bar.get("x", 0)) + float(bar.attrib["width"]) <= width
        assert 0 <= float(bar.get("y", 0)) + float(bar.attrib["height"]) <= height


def test_the_naive_loop_counts_separate_discs_as_the_station_does(tmp_path: Path) -> None:
    bundle, cells = tiny_bundle(), ((60, 60, 30, 17), (170, 60, 29, 16), (110, 130, 30, 15))
    pictures = [discs(180, 240, cells[:count]) for count in (0, 1, 3)]
    paths = [tmp_path / f"{index}.bmp" for index in range(len(pictures))]
    for path, image in zip(paths, pictures, strict=True):
        path.write_bytes(encode_bmp(image))
    scale, engine = Scale(DIAMETER_PX, "told"), open_engine(bundle)
    height, width, _ = prepare(pictures[0], scale, bundle.manifest).tile.shape
    counted = count_all(paths, onnx_predict(bundle.network("float32"), 1), (width, height), tmp_path / "naive.db")
    ours = [analyse(image, scale, bundle.manifest, engine) for image in pictures]
    assert counted.counts == tuple(one.wbc_count for one in ours) == (0, 1, 3)
    assert len(counted.network_seconds) == 3 and sum(counted.network_seconds) < counted.seconds
    with closing(sqlite3.connect(tmp_path / "naive.db")) as connection:
        kept = connection.execute("SELECT name, wbc_count, mask FROM results ORDER BY name").fetchall()
    assert [(name, count) for name, count, _ in kept] == [("0.bmp", 0), ("1.bmp", 1), ("2.bmp", 3)]
    alike = decode_mask(kept[2][2]) == ours[2].drawing.labels
    assert alike.mean() > 0.97


def test_keras_counts_in_the_same_loop(tmp_path: Path) -> None:
    """The weights of the starter model and its ONNX network are one network."""
    pytest.importorskip("keras")
    from trainer.predict import main

    (tmp_path / "field.bmp").write_bytes(painted([SmearRecipe(width=360, height=300, wbc=2, seed=4)]).bitmaps[0])
    told = (starter_path(), tmp_path, tmp_path / "keras.db", 192, 160, 1)
    counted = main([*map(str, told)])
    predict = onnx_predict(read_bundle(starter_path()).network("float32"), 1)
    assert counted.counts == count_all([tmp_path / "field.bmp"], predict, (192, 160), tmp_path / "onnx.db").counts


def test_no_two_files_are_alike_and_each_differs_in_one_pixel(fields: Fields) -> None:
    files = [fields.numbered(number) for number in range(70)]
    assert len(set(files)) == 70 and files[3] == fields.numbered(3)
    differ = (decode(files[1]) != decode(fields.bitmaps[1])).any(axis=-1)
    assert differ.sum() <= 1


def test_a_bench_of_crowded_fields_has_as_many_cells_as_it_is_told() -> None:
    recipes = crowded(12)
    assert {paint(recipe).wbc_count for recipe in recipes[:3]} == {12} and recipes[0].touching_pairs == 2
    assert len(set(painted(recipes[:3]).bitmaps)) == 3


def test_percentiles_are_times_that_were_measured() -> None:
    found = spread([one / 1000 for one in range(100, 0, -1)])
    assert (found.samples, found.p50, found.p95, found.p99) == (100, 50.0, 95.0, 99.0)
    assert spread([0.25]).p50 == spread([0.25]).p99 == 250.0
    with pytest.raises(ValueError, match="no times"):
        spread([])


def test_the_slope_leaves_out_how_memory_fills_at_first() -> None:
    filling = [Memory(images=100, mb=10.0)]
    steady = [Memory(images=images, mb=300 + images / 500) for images in range(200, 1100, 100)]
    assert slope([*filling, *steady]) == pytest.approx(2.0)
    assert slope(filling) == 0.0


def test_memory_is_read_in_megabytes(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmPeak:\t  900000 kB\nVmHWM:\t  500000 kB\nVmRSS:\t  400000 kB\n")
    assert (memory_mb("VmHWM", status), memory_mb("VmRSS", status)) == (512.0, 409.6)
    assert memory_mb("VmHWM", tmp_path / "none") is None


def peak_after(size: int, tick: Callable[[], None]) -> float | None:
    tick()
    return memory_mb("VmHWM")


def die(code: int, tick: Callable[[], None]) -> None:
    tick()
    os._exit(code)


def refuse(reason: str, tick: Callable[[], None]) -> None:
    raise BundleError(reason)


@pytest.mark.skipif(memory_mb("VmRSS") is None, reason="this kernel does not tell the memory of a process")
def test_a_process_of_its_own_does_not_inherit_a_peak() -> None:
    np.ones(600_000_000, np.uint8).sum()
    ticks: list[int] = []
    peak, own = alone(peak_after, 0, lambda: ticks.append(1)), memory_mb("VmHWM")
    assert peak and own and own > 600 and peak < own / 2 and ticks == [1]


def test_a_runtime_that_takes_its_process_down_is_told(tiny: Path) -> None:
    with pytest.raises(EngineError, match=r"without an answer \(exit code 3\)"):
        alone(die, 3, lambda: None)
    with pytest.raises(BundleError, match=r"^it is broken$"):
        alone(refuse, "it is broken", lambda: None)


def test_latency_counts_from_the_complete_file_beyond_the_settle_time(
    tmp_path: Path, tiny: Path, fields: Fields
) -> None:
    option, ticks = Option("onnxruntime", "float32"), list[int]()
    stand = stand_on(tmp_path / "stand", tiny, option)
    report = latency(stand, option, fields, 2, 0.3, lambda: ticks.append(1))
    assert [way.name for way in report.ways] == list(WAYS) and sum(ticks) == 2 * len(WAYS)
    assert all(way.beyond_settling_ms.samples == 2 for way in report.ways)
    # A row before the file has stood still for the settle time would be below 0: a station that guesses.
    assert all(0 < way.beyond_settling_ms.p50 < 60_000 for way in report.ways)
    assert Latency.model_validate_json(report.model_dump_json()) == report


def test_the_settle_time_is_no_part_of_the_latency() -> None:
    (way,) = beyond_settling(Waits("an engine", {"renamed into place": (2.25, 2.1, 2.2)}), 2.0)
    assert (way.beyond_settling_ms.p50, way.beyond_settling_ms.p99) == (200.0, 250.0)


@pytest.mark.skipif(memory_mb("VmRSS") is None, reason="this kernel does not tell the memory of a process")
def test_a_soak_reads_the_memory_after_every_lot_and_leaves_no_picture(
    tmp_path: Path, tiny: Path, fields: Fields
) -> None:
    option, ticks = Option("onnxruntime", "float32"), list[int]()
    stand = stand_on(tmp_path / "stand", tiny, option)
    report = soak(stand, option, fields, 7, lambda: ticks.append(1), lot=3)
    assert [point.images for point in report.points] == [3, 6, 7] and sum(ticks) == 7
    assert report.peak_mb >= max(point.mb for point in report.points) - 1 and report.images_per_second > 0
    assert not list(stand.camera.iterdir())
    assert Soak.model_validate_json(report.model_dump_json()) == report


def test_an_engine_that_does_not_prove_itself_is_no_contender(tmp_path: Path, fields: Fields) -> None:
    """A network that sees nothing: even the reference is refused, and the contest says so."""
    blind = tiny_bundle(network=blind_onnx())
    path = tmp_path / "blind.zip"
    write_bundle(path, blind)
    stand = stand_on(tmp_path / "stand", path, Option("onnxruntime", "float32"))
    bench = contest(stand, fields, Rules(fields=2, rounds=1, keras=False), lambda _name, _done: None)
    assert "does not prove itself" in str(row_of(bench, "onnxruntime float32").reason)
    assert not any(row.is_auto for row in bench.contenders) and row_of(bench, NAIVE).measured
    assert names_of(stand, Rules(2, 1, False)) == ("onnxruntime float32", NAIVE)


def blind_onnx() -> bytes:
    """The tiny network with its classes turned round: cells where there are none."""
    import onnx
    from networks import BIAS, tiny_onnx

    network = onnx.load_from_string(tiny_onnx())
    turned = onnx.numpy_helper.from_array(np.ascontiguousarray(BIAS + np.array([1e6, 0, 0], np.float32)), "bias")
    kept = [tensor for tensor in network.graph.initializer if tensor.name != "bias"]
    del network.graph.initializer[:]
    network.graph.initializer.extend([*kept, turned])
    return bytes(network.SerializeToString())


def test_the_command_prints_tables_and_writes_both_files(tmp_path: Path, tiny: Path, station: Command) -> None:
    figures, drawing = tmp_path / "bench.json", tmp_path / "bench.svg"
    told = ("--model", tiny, "--engines", "onnxruntime", "--fields", 3, "--rounds", 1, "--threads", 1, "--no-keras")
    run = station("bench", *told, "--work", tmp_path, "-o", figures, "--picture", drawing)
    assert run.returncode == 0, run.stderr
    assert all(word in run.stdout for word in (*STAGES, NAIVE, "onnxruntime float32", "peak MB", "1 thread"))
    bench = Bench.model_validate_json(figures.read_text())
    assert (bench.fields, bench.rounds, bench.machine.threads, bench.machine.model) == (3, 1, 1, "tiny")
    assert ET.parse(drawing).getroot().tag == f"{SVG}svg"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bench.json", "bench.svg"]


def test_paths_are_from_here_although_it_measures_elsewhere(tmp_path: Path, tiny: Path, station: Command) -> None:
    """What measures is a process that starts where its parent is; with sudo that may be a home closed to it."""
    closed = tmp_path / "home"
    closed.mkdir()
    shutil.copy(tiny, closed / "tiny.zip")
    told = (
        "--model",
        "tiny.zip",
        "--engines",
        "onnxruntime",
        "--fields",
        2,
        "--rounds",
        1,
        "--no-keras",
        "-o",
        "b.json",
    )
    run = station("bench", *told, "-o", "b.json", cwd=closed)
    assert run.returncode == 0, run.stderr
    assert Bench.model_validate_json((closed / "b.json").read_text()).fields == 2


@pytest.mark.parametrize(
    ("told", "code", "words"),
    [
        (("--engines", "onyx"), 2, "there is no engine 'onyx'; known: onnxruntime, openvino, tensorrt"),
        (("--latency", 1, "--soak", 1), 2, "ask for one of them"),
        (("--soak", 1, "--picture", "soak.svg"), 2, "leave --latency and --soak away"),
        (("-o", "nowhere/bench.json"), 2, "there is no folder"),
        (("--fields", 1), 2, "--fields"),
        (("--cells", 400), 2, "--cells 400: 400 white cells do not fit into 1024x768 px"),
        (("--model", "nothing.zip"), 1, "nothing.zip cannot be read"),
    ],
)
def test_what_is_in_vain_is_said_at_once(
    tmp_path: Path, station: Command, told: tuple[object, ...], code: int, words: str
) -> None:
    run = station("bench", *told, cwd=tmp_path)
    assert (run.returncode, run.stdout.count("\n") < 3) == (code, True)
    assert words in " ".join(run.stderr.split())
