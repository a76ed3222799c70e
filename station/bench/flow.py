"""A backlog through the real loop into a real database, timed from the first look to the last committed row."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import perf_counter, process_time, thread_time
from typing import Any, TypeAlias

from station.bench.stand import Strict, assembled
from station.contract.errors import EngineError
from station.daemon import run_once
from station.database.records import AnalysisRecord
from station.database.store import Store
from station.intake import Intake, TickResult
from station.pipeline import Result
from station.settings import Settings
from station.vitals import share_heaps

Lap: TypeAlias = tuple[float, float]  # seconds by the clock, seconds of a processor


class TimedStore(Store):
    """A database that notes how long it takes to write an analysis."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.laps: list[Lap] = []

    def save_analysis(self, record: AnalysisRecord) -> None:
        began = perf_counter(), thread_time()
        super().save_analysis(record)
        self.laps.append((perf_counter() - began[0], thread_time() - began[1]))


class TimedIntake(Intake):
    """An intake that notes how long it takes per picture to read it, to judge it and to write it down."""

    def __init__(self, *parts: Any, **named: Any) -> None:
        super().__init__(*parts, **named)
        self.laps: list[Lap] = []

    def take(self, most: int) -> TickResult:
        began = perf_counter(), thread_time()
        result = super().take(most)
        if taken := len(result.taken):
            self.laps.append(((perf_counter() - began[0]) / taken, (thread_time() - began[1]) / taken))
        return result


class Flow:
    """A station before a folder of pictures. `tick` is called after each committed row."""

    def __init__(self, settings: Settings, store: TimedStore, tick: Callable[[], None]) -> None:
        share_heaps()  # as a station does, before an engine is opened
        self._tick = tick
        self._last = 0.0
        self._watcher = Strict(self._count)
        self.station = assembled(settings, store, self._watcher, kind=TimedIntake)
        self.counted = 0  # pictures, over all runs
        self.took = self.cpu_took = 0.0  # seconds of the last run, and of the processor in it

    @property
    def taking_in(self) -> list[Lap]:
        """Per look: seconds for one picture."""
        assert isinstance(self.station.intake, TimedIntake)
        return self.station.intake.laps

    def run(self, expected: int) -> None:
        """Count what lies in the folder. Raises EngineError where a picture or the engine fails."""
        self.station.intake.look_now()
        already, began, cpu_began = self.counted, perf_counter(), process_time()
        run_once(self.station, self._watcher.stop, threading.Event())
        self.cpu_took = process_time() - cpu_began
        self.took = self._last - began
        self._watcher.check()
        if self.counted - already != expected:
            raise EngineError(f"{self.counted - already} of {expected} pictures were counted")

    def close(self) -> None:
        self.station.intake.close()
        self.station.model.close()

    def _count(self, _result: Result) -> None:
        self.counted += 1
        self._last = perf_counter()
        self._tick()
