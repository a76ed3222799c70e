"""A standby answers where the first engine fails, and says so; sound answers pass through untouched."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest
from networks import colour_network
from numpy.typing import NDArray

from station.contract.errors import EngineError
from station.engines import TileUnfit
from station.standby import GIVES_UP_AFTER, WithStandby, first_alone

TILES = np.random.default_rng(1).integers(0, 256, (2, 8, 8, 3), np.uint8)


class Scripted:
    """Answers by colour, or as the script says for the n-th call: an error, or a value in one pixel."""

    batch, abreast = 4, 1

    def __init__(self, name: str, *script: str | float) -> None:
        self.name, self.script, self.calls, self.sizes = name, list(script), 0, list[int]()

    def __call__(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.sizes.append(len(tiles))
        word = self.script[self.calls] if self.calls < len(self.script) else "sound"
        self.calls += 1
        if word == "fails":
            raise EngineError(f"{self.name} failed: out of memory")
        if word == "unfit":
            raise TileUnfit(f"{self.name} failed: it was made for smaller ones")
        answer = colour_network(tiles)
        if isinstance(word, float):
            answer[-1, -1, -1, -1] = word
        return answer


def guarded(*script: str | float) -> tuple[WithStandby, Scripted, Scripted, list[str]]:
    first, standby, told = Scripted("gpu 1", *script), Scripted("cpu 2"), list[str]()
    return WithStandby(first, lambda: standby, told.append), first, standby, told


def test_a_sound_engine_answers_alone() -> None:
    engine, first, standby, told = guarded()
    assert np.array_equal(engine(TILES), colour_network(TILES))
    assert (engine.name, engine.batch, first.calls, standby.calls, told) == ("gpu 1", 4, 1, 0, [])


@pytest.mark.parametrize("word", ["fails", float("nan"), float("inf"), float("-inf")])
def test_what_fails_or_is_not_finite_is_answered_by_the_standby_and_told(word: str | float) -> None:
    engine, first, _, told = guarded(word)
    assert np.array_equal(engine(TILES), colour_network(TILES))
    assert engine.name == "cpu 2"
    reason = "failed: out of memory" if word == "fails" else "answered with numbers that are not finite"
    assert told == [f"gpu 1 {reason}; cpu 2 answered instead"]
    engine(TILES)
    assert (engine.name, first.calls, len(told)) == ("gpu 1", 2, 1)


def test_the_standby_is_asked_for_one_picture_at_a_time_however_many_the_first_engine_takes() -> None:
    engine, first, standby, _ = guarded("fails")
    assert np.array_equal(engine(TILES), colour_network(TILES))
    assert (first.sizes, standby.sizes) == ([2], [1, 1])


def test_an_engine_that_fails_again_and_again_is_not_asked_any_more() -> None:
    engine, first, standby, told = guarded(*["fails"] * 9)
    for _ in range(6):
        engine(TILES)
    assert (first.calls, standby.calls) == (GIVES_UP_AFTER, 6 * len(TILES))
    assert told[-1].endswith("it is not asked again before the next start")
    assert len(told) == GIVES_UP_AFTER


def test_an_engine_that_is_given_up_is_let_go_and_pictures_come_one_by_one() -> None:
    first, standby = Scripted("gpu 1", *["fails"] * 9), Scripted("cpu 2")
    engine, kept = WithStandby(first, lambda: standby, lambda _sentence: None), weakref.ref(first)
    del first
    for _ in range(GIVES_UP_AFTER):
        assert (kept() is None, engine.batch) == (False, 4)
        engine(TILES)
    gc.collect()
    assert (kept() is None, engine.batch) == (True, 1)
    assert np.array_equal(engine(TILES), colour_network(TILES)) and engine.name == "cpu 2"


def test_tiles_that_do_not_fit_are_no_failure() -> None:
    engine, first, standby, told = guarded(*["unfit"] * 2 * GIVES_UP_AFTER)
    for _ in range(2 * GIVES_UP_AFTER):
        assert np.array_equal(engine(TILES), colour_network(TILES)) and engine.name == "cpu 2"
    engine(TILES)
    assert (engine.name, engine.batch, told) == ("gpu 1", 4, [])
    assert (first.calls, standby.calls) == (2 * GIVES_UP_AFTER + 1, 2 * GIVES_UP_AFTER * len(TILES))


def test_what_is_told_names_the_engine_that_answered_of_several() -> None:
    told: list[str] = []
    middle = WithStandby(Scripted("cpu 2", "fails"), lambda: Scripted("cpu 3"), told.append)
    engine = WithStandby(Scripted("gpu 1", *["fails"] * 2), lambda: middle, told.append)
    for expected in ("cpu 3", "cpu 2"):
        assert np.array_equal(engine(TILES[:1]), colour_network(TILES[:1])) and engine.name == expected
    assert told == [
        "cpu 2 failed: out of memory; cpu 3 answered instead",
        "gpu 1 failed: out of memory; cpu 3 answered instead",
        "gpu 1 failed: out of memory; cpu 2 answered instead",
    ]


def test_a_command_tells_its_first_trouble_alone() -> None:
    told: list[str] = []
    tell = first_alone(told.append)
    for sentence in ("one", "two", "one"):
        tell(sentence)
    assert told == ["one"]


def test_a_failure_now_and_then_is_forgiven() -> None:
    engine, first, _, told = guarded(*["fails", "sound"] * 5)
    for _ in range(10):
        engine(TILES)
    assert (first.calls, len(told)) == (10, 5)


def test_the_name_is_that_of_the_engine_that_answered_this_thread() -> None:
    engine, *_ = guarded("sound", "fails")
    engine(TILES)
    names: list[str] = []

    def other() -> None:
        engine(TILES)
        names.append(engine.name)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert (engine.name, names) == ("gpu 1", ["cpu 2"])


def test_where_the_standby_fails_too_it_is_an_error() -> None:
    standby = Scripted("cpu 2", "fails")
    with pytest.raises(EngineError, match="cpu 2 failed"):
        WithStandby(Scripted("gpu 1", "fails"), lambda: standby, lambda _sentence: None)(TILES)


def test_the_standby_is_asked_for_one_picture_at_a_time_however_many_ask() -> None:
    at_once, most, second = list[int](), list[int](), threading.Event()

    class Counting(Scripted):
        def __call__(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
            at_once.append(1)
            most.append(len(at_once))
            if len(at_once) > 1:
                second.set()
            second.wait(0.2)  # time for another call to come in, if it can
            at_once.pop()
            return super().__call__(tiles)

    engine = WithStandby(Scripted("gpu 1", "fails", "fails"), lambda: Counting("cpu 2"), lambda _sentence: None)
    askers = [threading.Thread(target=engine, args=(TILES[:1],)) for _ in range(2)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert most == [1, 1]
