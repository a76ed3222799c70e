"""The line from files to results: order, batches, bounds, what a bad file or a broken engine does to the others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from networks import DIAMETER_PX, colour_network, discs, png, tiny_manifest
from numpy.typing import NDArray

from station.contract.analysis import Scale
from station.contract.errors import EngineError
from station.contract.imaging import RGB
from station.engines import Engine
from station.pipeline import Failure, Result, analyse_each, analyse_files

MANIFEST = tiny_manifest()


def told(_image: RGB) -> Scale:
    return Scale(DIAMETER_PX, "told")


class Recorder:
    """Answers by colour and notes the shapes of its batches; `gate`, if any, is awaited before each answer."""

    name = "recorder 1 float32"

    abreast = 1

    def __init__(self, batch: int = 1, gate: threading.Event | None = None) -> None:
        self.batch, self.gate = batch, gate
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        if self.gate is not None:
            assert self.gate.wait(20)
        self.shapes.append(tiles.shape)
        return colour_network(tiles)


def files(folder: Path, *counts: int, height: int = 180) -> list[Path]:
    """Pictures with so many cells each."""
    paths = []
    for number, cells_of in enumerate(counts):
        cells = [(40 + 70 * (n % 3), 50 + 80 * (n // 3), 30, 17) for n in range(cells_of)]
        paths.append(folder / f"{len(list(folder.iterdir())):02d}-{number}.png")
        paths[-1].write_bytes(png(discs(height, 240, cells)))
    return paths


def analysed(paths: list[Path], engine: Engine) -> list[Result | Failure]:
    return list(analyse_files(paths, told, MANIFEST, engine, 50))


class Choosy(Recorder):
    """Fails at pictures of one height."""

    def __init__(self, height: int, batch: int = 1) -> None:
        super().__init__(batch)
        self.height = height

    def __call__(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        if tiles.shape[1] == self.height:
            raise EngineError(f"no memory for {tiles.shape}")
        return super().__call__(tiles)


@pytest.mark.parametrize("batch", [1, 4])
def test_a_picture_at_which_the_engine_fails_stops_no_other(tmp_path: Path, batch: int) -> None:
    small, usual = files(tmp_path, 1, 1, 1, height=90), files(tmp_path, 2, 3, 1, 2)
    (tall,) = {tile_height(path) for path in small}
    bad = tmp_path / "text.png"
    bad.write_text("no picture")
    order = [usual[0], small[0], usual[1], bad, small[1], usual[2], small[2], usual[3]]
    outcomes = list(analyse_each(order, told, MANIFEST, Choosy(tall, batch), 50))
    assert [one.path for one in outcomes] == order
    assert [one.analysis.wbc_count if isinstance(one, Result) else "-" for one in outcomes] == [
        *(2, "-", 3, "-"),
        *("-", 1, "-", 2),
    ]
    assert "no memory for (" in str(outcomes[1]) and "is text, not a picture" in str(outcomes[3])


def test_an_engine_that_fails_at_all_of_them_is_not_asked_for_all(tmp_path: Path) -> None:
    paths = files(tmp_path, *[1] * 6)
    found = analyse_each(paths, told, MANIFEST, Choosy(tile_height(paths[0])), 50)
    assert isinstance(next(found), Failure) and isinstance(next(found), Failure)
    with pytest.raises(EngineError, match="no memory"):
        next(found)


def tile_height(path: Path) -> int:
    """Of a picture's tile, px."""
    (result,) = analysed([path], recorder := Recorder())
    assert isinstance(result, Result)
    return recorder.shapes[0][1]


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_outcomes_come_in_the_order_of_the_files_whatever_the_batch(tmp_path: Path, batch: int) -> None:
    counts = [3, 0, 5, 1, 2, 4, 6, 1, 0, 2, 3]
    outcomes = analysed(files(tmp_path, *counts), Recorder(batch))
    assert [outcome.analysis.wbc_count for outcome in outcomes if isinstance(outcome, Result)] == counts
    assert {outcome.engine for outcome in outcomes if isinstance(outcome, Result)} == {"recorder 1 float32"}


def test_what_is_ready_while_the_engine_is_busy_becomes_one_batch(tmp_path: Path) -> None:
    gate, asked = threading.Event(), count(1)
    engine = Recorder(4, gate)

    def opening_the_gate_at_the_last(image: NDArray[np.uint8]) -> Scale:
        if next(asked) == 9:
            gate.set()
        return told(image)

    paths = files(tmp_path, *[1] * 9)
    outcomes = list(analyse_files(paths, opening_the_gate_at_the_last, MANIFEST, engine, 50))
    assert len(outcomes) == 9 == sum(shape[0] for shape in engine.shapes)
    assert max(shape[0] for shape in engine.shapes) == 4


class Pairs(Recorder):
    """Answers only two calls that are made at once."""

    abreast = 2

    def __init__(self) -> None:
        super().__init__()
        self.both = threading.Barrier(2)

    def __call__(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.both.wait(20)
        return super().__call__(tiles)


def test_as_many_pictures_are_in_the_network_at_once_as_the_engine_gains_from(tmp_path: Path) -> None:
    outcomes = analysed(files(tmp_path, 0, 1, 2, 3, 2, 1), Pairs())
    assert [one.analysis.wbc_count for one in outcomes if isinstance(one, Result)] == [0, 1, 2, 3, 2, 1]


def test_pictures_of_another_size_are_not_put_into_one_batch(tmp_path: Path) -> None:
    paths = files(tmp_path, 1, 1, 1) + files(tmp_path, 1, 1, 1, height=300)
    engine = Recorder(8)
    assert all(isinstance(outcome, Result) for outcome in analysed(paths[::2] + paths[1::2], engine))
    assert {shape[1:] for shape in engine.shapes} == {(128, 160, 3), (208, 160, 3)}


@pytest.mark.parametrize("batch", [1, 4])
def test_a_bad_file_among_others_is_one_failure(tmp_path: Path, batch: int) -> None:
    paths = files(tmp_path, 1, 2, 3, 1)
    paths[1].write_bytes(paths[1].read_bytes()[:-40])
    paths[3].unlink()
    outcomes = analysed(paths, Recorder(batch))
    assert [type(outcome) for outcome in outcomes] == [Result, Failure, Result, Failure]
    assert str(outcomes[3]) == f"{paths[3]}: cannot be read (no such file or directory)"


def test_files_are_asked_for_only_a_few_pictures_ahead(tmp_path: Path) -> None:
    asked: list[Path] = []

    def noting() -> Iterator[Path]:
        for path in files(tmp_path, *[1] * 20):
            asked.append(path)
            yield path

    for number, _ in enumerate(analyse_files(noting(), told, MANIFEST, Recorder(), 50)):
        assert len(asked) <= number + 4


@pytest.mark.parametrize(("room", "most_inside"), [(1, 2), (3 * 180 * 240, 4), (10**9, 18)])
def test_no_more_is_decoded_ahead_than_there_is_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, most_inside: int
) -> None:
    """Beside the pictures of the room the one whose turn it is may come in, whatever it measures."""
    monkeypatch.setattr("station.pipeline._MOST_PIXELS", room)
    paths, decoded = files(tmp_path, *[1] * 30), []
    paths[4].write_bytes(b"no picture")
    paths[9].write_bytes(paths[9].read_bytes()[:-40])

    def noting(_image: RGB) -> Scale:
        decoded.append(1)
        return Scale(DIAMETER_PX, "told")

    insides, pictures = [], 0
    for outcome in analyse_files(iter(paths), noting, MANIFEST, Recorder(8), 50):
        insides.append(len(decoded) - pictures)
        pictures += isinstance(outcome, Result)
    assert pictures == 28
    assert max(insides) <= most_inside


def test_an_engine_that_fails_ends_the_work_with_its_error(tmp_path: Path) -> None:
    class Broken(Recorder):
        def __call__(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
            if len(self.shapes) == 2:
                raise EngineError("the runtime is gone")
            return super().__call__(tiles)

    outcomes = analyse_files(files(tmp_path, 1, 2, 3, 4), told, MANIFEST, Broken(), 50)
    assert [type(next(outcomes)) for _ in range(2)] == [Result, Result]
    with pytest.raises(EngineError, match="the runtime is gone"):
        next(outcomes)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("decode", "network", "finish"))]


def test_an_answer_of_nan_is_an_error_and_no_empty_field(tmp_path: Path) -> None:
    class Nonsense(Recorder):
        def __call__(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
            return super().__call__(tiles) * np.float32("nan")

    with pytest.raises(EngineError, match="not finite"):
        analysed(files(tmp_path, 1), Nonsense())


def test_leaving_early_ends_the_threads(tmp_path: Path) -> None:
    outcomes = analyse_files(files(tmp_path, *[1] * 10), told, MANIFEST, Recorder(), 50)
    next(outcomes)
    outcomes.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("decode", "network", "finish"))]


def test_the_seconds_of_all_steps_are_told(tmp_path: Path) -> None:
    (outcome,) = analysed(files(tmp_path, 2), Recorder())
    assert isinstance(outcome, Result)
    steps = ["decode", "estimate", "scale", "network", "separate", "encode"]
    assert list(outcome.seconds) == [*steps, "total"]
    assert outcome.seconds["total"] == pytest.approx(sum(outcome.seconds[step] for step in steps), abs=1e-4)
