"""Results made ahead of their use by several threads, handed out in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from time import perf_counter
from typing import TypeAlias, TypeVar

import cv2

Made = TypeVar("Made")
Waited: TypeAlias = tuple[Made, float]  # a result, and the seconds that its taker waited for it

MOST_BYTES = 512e6  # of results that lie ready or are being made


@dataclass(frozen=True, slots=True)
class Reach:
    """How many threads work ahead, and how many results they may have begun or ready that nobody took yet."""

    threads: int
    window: int


def reach(result_bytes: int, threads: int | None = None) -> Reach:
    """A thread for each core, or so many; twice as many results ahead, but no more than fit `MOST_BYTES`.

    Two at least, so that one is made while another is used.
    """
    working = threads or cv2.getNumberOfCPUs()
    window = max(2, min(2 * working, int(MOST_BYTES / result_bytes)))
    return Reach(min(working, window), window)


@contextmanager
def ahead(make: Callable[[int], Made], numbers: Sequence[int], far: Reach) -> Iterator[Iterator[Waited[Made]]]:
    """`make(number)` of each number in turn.

    What `make` raises is raised where its result is taken. On leaving, no thread of it is running any more.
    """
    with ThreadPoolExecutor(far.threads, thread_name_prefix="ahead") as makers:
        try:
            yield _in_order(makers, make, numbers, far.window)
        finally:
            makers.shutdown(cancel_futures=True)


def _in_order(
    makers: ThreadPoolExecutor, make: Callable[[int], Made], numbers: Sequence[int], window: int
) -> Iterator[Waited[Made]]:
    left = iter(numbers)
    coming = deque(makers.submit(make, number) for number in islice(left, window))
    while coming:
        asked = perf_counter()
        made = coming.popleft().result()
        waited = perf_counter() - asked
        coming.extend(makers.submit(make, number) for number in islice(left, 1))
        yield made, waited
