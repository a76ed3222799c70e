"""The look-ahead: whatever the number of threads, results come in order, few at a time, and nothing runs on."""

from __future__ import annotations

import threading
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest
from trainings import paint_fields

from station.contract.errors import StationError
from trainer.ahead import MOST_BYTES, Reach, ahead, reach
from trainer.datasets import open_dataset
from trainer.feed import Batch, batch, pools
from trainer.recipe import Recipe

STEPS = 20


def running() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ahead")]


@pytest.mark.parametrize("far", [Reach(1, 2), Reach(2, 4), Reach(5, 7), Reach(8, 100)])
def test_batches_come_in_order_and_are_those_of_the_feed(tmp_path: Path, far: Reach) -> None:
    recipe = Recipe(name="x", cell_diameter_px=32, crop_px=64, batch=3, painted_fields=2)
    sources = pools(open_dataset(paint_fields(tmp_path / "fields", 3)), {"fields": 50.0}, recipe, seed=0)

    def make(step: int) -> Batch:
        return batch(sources, recipe, 7, 2, step)

    with ahead(make, range(3, STEPS), far) as made:
        results = [one for one, _ in made]
    assert len(results) == STEPS - 3
    for (images, truth), step in zip(results, range(3, STEPS), strict=True):
        expected_images, expected_truth = batch(sources, recipe, 7, 2, step)
        assert np.array_equal(images, expected_images) and np.array_equal(truth, expected_truth)
    assert not running()


def test_results_that_take_unlike_long_come_in_order_all_the_same() -> None:
    turn = [threading.Event() for _ in range(4)]

    def make(number: int) -> int:  # the last is ready first
        if number < 3:
            turn[number + 1].wait(60)
        turn[number].set()
        return number

    with ahead(make, range(4), Reach(4, 4)) as made:
        assert [number for number, _ in made] == [0, 1, 2, 3]


def test_no_more_than_the_window_is_begun_before_it_is_taken() -> None:
    begun: list[int] = []
    with ahead(lambda number: begun.append(number), range(50), Reach(4, 6)) as made:
        for taken, _ in enumerate(made, start=1):
            assert len(begun) <= taken + 6
    assert sorted(begun) == list(range(50))


def test_waiting_is_told() -> None:
    began = perf_counter()
    with ahead(lambda number: sum(range(200_000 + number)), range(20), Reach(1, 2)) as made:
        waited = [seconds for _, seconds in made]
    elapsed = perf_counter() - began
    assert 0.5 * elapsed < sum(waited) <= elapsed  # whoever only takes does nothing but wait

    release = threading.Event()
    with ahead(lambda number: release.set() if number else None, range(2), Reach(1, 2)) as made:
        next(made)
        assert release.wait(60)
        assert next(made)[1] < 0.5 * elapsed  # it lay ready


def test_a_failure_reaches_the_taker_in_its_turn_and_ends_all() -> None:
    def make(number: int) -> int:
        if number == 5:
            raise StationError("image 5 cannot be read; put it back")
        return number

    taken = []
    with (
        pytest.raises(StationError, match="image 5 cannot be read; put it back"),
        ahead(make, range(1000), Reach(3, 4)) as made,
    ):
        for number, _ in made:
            taken.append(number)
    assert taken == [0, 1, 2, 3, 4]
    assert not running()


def test_nothing_runs_on_when_the_taker_leaves_early() -> None:
    begun: list[int] = []

    def make(number: int) -> int:
        begun.append(number)
        return sum(range(100_000))

    with ahead(make, range(10_000), Reach(1, 1000)) as made:
        next(made)
    assert not running()
    assert len(begun) < 500  # what nobody will take is not even begun
    with pytest.raises(KeyboardInterrupt), ahead(lambda number: number, range(10), Reach(3, 8)) as made:
        next(made)
        raise KeyboardInterrupt
    assert not running()


@pytest.mark.parametrize(
    ("bytes_each", "threads", "expected"),
    [
        (1_000, 4, Reach(4, 8)),
        (25_000_000, 16, Reach(16, 20)),
        (100_000_000, 16, Reach(5, 5)),
        (10 * int(MOST_BYTES), 16, Reach(2, 2)),
        (1_000, 1, Reach(1, 2)),
    ],
)
def test_what_lies_ready_fits_into_memory(bytes_each: int, threads: int, expected: Reach) -> None:
    assert reach(bytes_each, threads) == expected
    assert reach(1_000).threads >= 1  # one per core, if nobody says otherwise
