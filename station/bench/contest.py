"""All contenders in rounds, so that whatever else the machine does hits them alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Final, TypeAlias

from station.bench.alone import alone
from station.bench.fields import Fields, written
from station.bench.rows import Bench, Contender, Measured, Stage, spread
from station.bench.stand import Stand, load_average, machine, option_of
from station.bench.steps import Reference
from station.bench.turns import (
    NETWORK,
    EngineJob,
    NaiveJob,
    ReferenceJob,
    Turn,
    engine_turn,
    keras_turn,
    naive_turn,
    reference_turn,
)
from station.contract.errors import EngineError

NAIVE: Final = "naive loop"
KERAS: Final = "naive loop, Keras"

Tell: TypeAlias = Callable[[str, int], None]  # what is measured now, and how many more pictures are done


@dataclass(frozen=True, slots=True)
class Rules:
    """How large the contest is."""

    fields: int
    rounds: int
    keras: bool


def has_keras() -> bool:
    """Whether the extra `train` is installed."""
    return all(find_spec(name) is not None for name in ("trainer", "keras"))


def names_of(stand: Stand, rules: Rules) -> tuple[str, ...]:
    """Every contender, also those that cannot run here."""
    return (*(str(option_of(trial)) for trial in stand.trials), NAIVE, *[KERAS] * rules.keras)


def contest(stand: Stand, fields: Fields, rules: Rules, tell: Tell) -> Bench:
    """Measure every option that proved itself, and the naive loops, on one backlog.

    A contender that fails becomes a row with the reason. Raises BundleError or EngineError where the reference itself
    cannot count.
    """
    paths = tuple(written(stand.camera, fields, range(rules.fields)))
    course = _Course(stand, paths, _reference(stand, paths[: len(fields.bitmaps)]), tell)
    lost = {str(option_of(trial)): trial.refusal or "its plan is missing" for trial in stand.trials if not trial.serves}
    turns: dict[str, list[Turn]] = {}
    loads = [load_average()]
    for number in range(rules.rounds):
        names = [name for name in names_of(stand, rules) if name not in lost]
        for name in names[:: -1 if number % 2 else 1]:  # there and back, so that nobody is always the last
            try:
                turns.setdefault(name, []).append(course.turn(name))
            except EngineError as cause:
                lost[name] = str(cause)
        loads.append(load_average())
    whole = {name: taken for name, taken in turns.items() if name not in lost}
    return Bench(
        machine=machine(stand, loads),
        pictures=str(fields),
        fields=rules.fields,
        rounds=rules.rounds,
        contenders=tuple(_contenders(names_of(stand, rules), whole, lost, _auto(stand, whole))),
    )


@dataclass(frozen=True, slots=True)
class _Course:
    """What a turn begins with."""

    stand: Stand
    paths: tuple[Path, ...]
    reference: Reference
    tell: Tell

    def turn(self, name: str) -> Turn:
        self.tell(name, 0)
        database = self.stand.folder / "turn.db"
        try:
            return self._turn(name, database)
        finally:
            for path in self.stand.folder.glob(f"{database.name}*"):
                path.unlink()

    def _turn(self, name: str, database: Path) -> Turn:
        def tick() -> None:
            self.tell(name, 1)

        if name == NAIVE:
            return alone(naive_turn, self._naive_job(database), tick)
        if name == KERAS:
            turn = keras_turn(self._naive_job(database), tick)
            self.tell(name, len(self.paths))
            return turn
        option = next(option_of(trial) for trial in self.stand.trials if str(option_of(trial)) == name)
        settings = self.stand.settings(option, database)
        self.stand.lay_database(settings)
        return alone(engine_turn, EngineJob(settings, self.paths, self.stand.scale, self.reference), tick)

    def _naive_job(self, database: Path) -> NaiveJob:
        stand = self.stand
        return NaiveJob(stand.bundle_path, self.paths, stand.scale, stand.threads, database, self.reference)


def _reference(stand: Stand, paths: tuple[Path, ...]) -> Reference:
    return alone(reference_turn, ReferenceJob(stand.bundle_path, paths, stand.scale), lambda: None)


def _auto(stand: Stand, turns: Mapping[str, Sequence[Turn]]) -> str | None:
    """What `auto` takes, by the times that were measured here."""
    trials = [
        replace(trial, milliseconds=_network_ms(turns[name]))
        for trial in stand.trials
        if (name := str(option_of(trial))) in turns
    ]
    return str(stand.chosen(trials)) if trials else None


def _network_ms(turns: Sequence[Turn]) -> float:
    return 1000 / median(turn.network_per_second for turn in turns)


def _contenders(
    names: Sequence[str], turns: Mapping[str, Sequence[Turn]], lost: Mapping[str, str], auto: str | None
) -> Iterator[Contender]:
    for name in names:
        if name in lost:
            yield Contender(name=name, reason=lost[name])
        else:
            measured = _measured(turns[name], turns.get(NAIVE), turns.get(KERAS))
            yield Contender(name=name, is_auto=name == auto, measured=measured)


def _measured(turns: Sequence[Turn], naive: Sequence[Turn] | None, keras: Sequence[Turn] | None) -> Measured:
    last, peaks = turns[-1], [turn.peak_mb for turn in turns if turn.peak_mb is not None]
    return Measured(
        engine=last.engine,
        network_ms=spread([seconds for turn in turns for seconds in turn.network_seconds]),
        network_images_per_second=round(median(turn.network_per_second for turn in turns), 3),
        images_per_second=round(median(turn.per_second for turn in turns), 3),
        share_of_network=round(median(turn.per_second / turn.network_per_second for turn in turns), 4),
        cpu_ms=_ms([turn.cpu_seconds for turn in turns]),
        cpu_ms_beside=_beside(turns),
        peak_mb=max(peaks) if peaks else None,
        times_naive=_times(turns, naive),
        times_keras=_times(turns, keras),
        agreement=last.agreement,
        stages=tuple(_stages(turns)),
    )


def _times(turns: Sequence[Turn], others: Sequence[Turn] | None) -> float | None:
    """How many times as fast, within a round."""
    if not others:
        return None
    return round(median(turn.per_second / other.per_second for turn, other in zip(turns, others, strict=True)), 3)


def _beside(turns: Sequence[Turn]) -> float | None:
    beside = [turn.cpu_seconds - turn.network_cpu_seconds for turn in turns if turn.network_cpu_seconds is not None]
    return _ms(beside) if beside else None


def _stages(turns: Sequence[Turn]) -> Iterator[Stage]:
    for name in turns[0].stages:
        laps = [lap for turn in turns for lap in turn.stages[name]]
        network = [turn.network_cpu_seconds for turn in turns if turn.network_cpu_seconds is not None]
        cpu = network if name == NETWORK else [cpu for _, cpu in laps]
        yield Stage(name=name, wall_ms=spread([wall for wall, _ in laps]), cpu_ms=_ms(cpu))


def _ms(seconds: Sequence[float]) -> float:
    return round(1000 * median(seconds), 3)
