"""Which engine serves a model on this machine: each option is proved and timed once, and the choice says why.

The golden gate stands before every option: one that does not reproduce the golden masks and counts never serves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Final

from station.contract.analysis import Scale, prepare
from station.contract.bundle import Bundle, GoldenResult
from station.contract.decoding import decode
from station.contract.errors import BundleError, EngineError, PlanMissing
from station.contract.imaging import RGB
from station.crashes import DIED
from station.database.records import EngineTrial
from station.engines import (
    AUTO,
    ENGINES,
    PRECISIONS,
    REFERENCE,
    Engine,
    Option,
    Setup,
    installed,
    open_engine,
    options,
    problem,
)
from station.processor import this_processor
from station.proof import prove_engine
from station.settings import Engine as EngineSettings

REFERENCE_OPTION: Final = Option(REFERENCE, "float32")
GPU_ENGINE: Final = "tensorrt"

# Calls of which the fastest is kept, after the proof has warmed the engine up: other work of the machine only makes
# one slower, for seconds at a time, and by the median of five bfloat16 came out before int8 now and then.
_TIMED = 7


@dataclass(frozen=True, slots=True)
class Choice:
    """The option that serves, and why, in words."""

    option: Option
    reason: str


def wanted(bundle: Bundle, settings: EngineSettings) -> tuple[Option, ...]:
    """What the settings ask for, of what the bundle allows; the reference comes first and is always among it.

    Raises EngineError as `demand_sense` does.
    """
    demand_sense(settings)
    fitting = [option for option in options(bundle) if fits(option, settings) and option != REFERENCE_OPTION]
    return REFERENCE_OPTION, *fitting


def demand_sense(settings: EngineSettings) -> None:
    """Raises EngineError where no engine is called so, or cannot compute in the precision told."""
    if settings.name not in (AUTO, *ENGINES):
        raise EngineError(f"there is no engine '{settings.name}'; known: {AUTO}, {', '.join(ENGINES)}")
    able = ENGINES.get(settings.name, PRECISIONS)
    if settings.precision not in (AUTO, *able):
        raise EngineError(
            f"the engine {settings.name} does not compute in {settings.precision}; it can in {', '.join(able)}"
        )


def try_all(
    bundle: Bundle,
    settings: EngineSettings,
    setup: Setup,
    *,
    step: Callable[[Option], None] = lambda _option: None,
) -> tuple[tuple[EngineTrial, ...], tuple[GoldenResult, ...]]:
    """Prove and time what the settings ask for; the trials, and how the golden pictures came out on the reference.

    `step` is called before each trial. Raises BundleError or EngineError where the reference itself fails: then the
    model must not be installed.
    """
    first, *others = wanted(bundle, settings)
    step(first)
    reference, golden = _try_reference(bundle, setup, calls=_TIMED if others else 1)
    trials = [reference]
    for option in others:
        step(option)
        trials.append(try_one(bundle, option, setup))
    return tuple(trials), golden


def try_stale(
    trials: Sequence[EngineTrial],
    bundle: Bundle,
    settings: EngineSettings,
    setup: Setup,
    *,
    step: Callable[[Option], None] = lambda _option: None,
) -> tuple[EngineTrial, ...]:
    """What is known of the engines that the settings ask for, tried again only where that does not hold any more.

    `step` is called before each trial. Raises BundleError or EngineError where the reference itself fails.
    """
    due = stale(trials, bundle, settings)
    again = []
    for option in due:
        step(option)
        is_reference = option == REFERENCE_OPTION
        again.append(_try_reference(bundle, setup)[0] if is_reference else try_one(bundle, option, setup))
    kept = (trial for trial in _current(trials, bundle, settings) if _option(trial) not in due)
    return *kept, *again


def try_one(bundle: Bundle, option: Option, setup: Setup, *, waits: bool = True) -> EngineTrial:
    """One option: proved and timed, refused with the reason, or (where it `waits`) waiting for its plan."""
    blank = EngineTrial(option.engine, option.precision, setup.threads, found(option))
    try:
        if (reason := problem(option)) is not None:
            raise EngineError(reason)
        with setup.guard(named(option)):
            engine = open_engine(bundle, option.engine, option.precision, setup)
            golden = prove_engine(bundle, engine, option.precision)
            return _timed(blank, engine, golden, bundle)
    except PlanMissing as cause:
        return blank if waits else replace(blank, refusal=str(cause))
    except (BundleError, EngineError) as cause:
        return replace(blank, refusal=str(cause))


def choose(trials: Sequence[EngineTrial], settings: EngineSettings) -> Choice:
    """The option that serves: TensorRT where it proved itself, else the fastest; of a told engine, its fastest.

    Where nothing that was asked for serves, the reference does, and the reason says what was wrong.
    """
    fitting = asked(trials, settings)
    serving = [trial for trial in fitting if trial.serves]
    if not serving:
        return Choice(REFERENCE_OPTION, f"{_asked_for(settings)} cannot serve here: {_refusals(fitting)}")
    gpu = [trial for trial in serving if trial.engine == GPU_ENGINE]
    best = min(gpu or serving, key=_milliseconds)
    return Choice(_option(best), _reason(best, serving, gpu_first=bool(gpu) and settings.name == AUTO))


def choose_current(trials: Sequence[EngineTrial], bundle: Bundle, settings: EngineSettings) -> Option:
    """As `choose`, by those trials alone that still hold: nothing is tried.

    Without one `auto` is the reference, and a named engine its first precision.
    """
    holding = _current(trials, bundle, settings)
    if asked(holding, settings):
        return choose(holding, settings).option
    told = settings.name != AUTO or settings.precision != AUTO
    fitting = [option for option in wanted(bundle, settings) if told and fits(option, settings)]
    return fitting[0] if fitting else REFERENCE_OPTION


def standbys(trials: Sequence[EngineTrial], option: Option, settings: EngineSettings) -> tuple[Option, ...]:
    """Who answers where the option fails: the fastest engine of the processor by another runtime, then the reference.

    Only what proved itself, in the precision that is told.
    """
    if option == REFERENCE_OPTION:
        return ()
    others = [trial for trial in trials if trial.serves and _may_stand_in(_option(trial), option, settings)]
    fastest = sorted(others, key=_milliseconds)[:1]
    return tuple(dict.fromkeys((*map(_option, fastest), REFERENCE_OPTION)))


def asked(trials: Sequence[EngineTrial], settings: EngineSettings) -> tuple[EngineTrial, ...]:
    """Those of what the settings ask for."""
    return tuple(trial for trial in trials if fits(_option(trial), settings))


def pending(trials: Sequence[EngineTrial]) -> tuple[Option, ...]:
    """Options whose plan has still to be built."""
    return tuple(_option(trial) for trial in trials if not trial.serves and trial.refusal is None)


def stale(trials: Sequence[EngineTrial], bundle: Bundle, settings: EngineSettings) -> tuple[Option, ...]:
    """Of what the settings ask for now, what was never tried, or with other threads, another runtime or processor.

    A GPU that was refused although it answers is asked again: its memory may have been held by another program.
    """
    holding = [_option(one) for one in _current(trials, bundle, settings) if not _may_have_recovered(one)]
    return tuple(option for option in wanted(bundle, settings) if option not in holding)


def found(option: Option) -> str:
    """What a trial of the option holds for: its runtime, and the processor that computes, or why it cannot work here.

    A disk may move to another computer, where int8 comes out otherwise; a plan knows its GPU by itself.
    """
    if (reason := problem(option)) is not None:
        return reason
    runtime = installed(option.engine)
    if option.engine == GPU_ENGINE:
        return runtime
    processor = this_processor()
    return ", ".join((runtime, processor.name, *processor.abilities))


def named(option: Option) -> str:
    """The option with what a trial of it holds for: another runtime is another engine."""
    return f"{option}, {found(option)}"


def gpu_trouble(trials: Sequence[EngineTrial], settings: EngineSettings) -> str | None:
    """Why no GPU serves although one may be expected to: TensorRT is installed, and `auto` would take it."""
    gpu = [trial for trial in asked(trials, settings) if trial.engine == GPU_ENGINE]
    refused = [trial for trial in gpu if trial.refusal]
    if settings.name != AUTO or len(refused) < len(gpu) or not refused or not installed(GPU_ENGINE):
        return None
    return f"the GPU does not serve: {_refusals(refused[:1])}"


def _current(trials: Sequence[EngineTrial], bundle: Bundle, settings: EngineSettings) -> tuple[EngineTrial, ...]:
    """Those of what the settings ask for that were made with these threads, this runtime and this processor."""
    tried = {_option(trial): trial for trial in trials if trial.threads == settings.threads}
    return tuple(tried[one] for one in wanted(bundle, settings) if one in tried and tried[one].found == found(one))


def _may_have_recovered(trial: EngineTrial) -> bool:
    if trial.engine != GPU_ENGINE or trial.refusal is None or trial.refusal.startswith(DIED):
        return False
    return problem(_option(trial)) is None


def fits(option: Option, settings: EngineSettings) -> bool:
    """Whether it is what the settings ask for."""
    return settings.name in (AUTO, option.engine) and settings.precision in (AUTO, option.precision)


def _may_stand_in(other: Option, option: Option, settings: EngineSettings) -> bool:
    """A runtime that fails may fail in its other precisions too."""
    by_another = other.engine not in (GPU_ENGINE, option.engine)
    return other == REFERENCE_OPTION or (by_another and settings.precision in (AUTO, other.precision))


def _option(trial: EngineTrial) -> Option:
    return Option(trial.engine, trial.precision)


def _milliseconds(trial: EngineTrial) -> float:
    return trial.milliseconds or 0.0


def _try_reference(
    bundle: Bundle, setup: Setup, *, calls: int = _TIMED
) -> tuple[EngineTrial, tuple[GoldenResult, ...]]:
    """Its trial, and how the golden pictures came out. Raises BundleError or EngineError where it fails."""
    option = REFERENCE_OPTION
    engine = open_engine(bundle, option.engine, option.precision, setup)
    golden = prove_engine(bundle, engine, option.precision)
    blank = EngineTrial(option.engine, option.precision, setup.threads, found(option))
    return _timed(blank, engine, golden, bundle, calls=calls), golden


def _timed(
    trial: EngineTrial, engine: Engine, golden: Sequence[GoldenResult], bundle: Bundle, *, calls: int = _TIMED
) -> EngineTrial:
    """The trial of an engine that proved itself, asked for as many pictures at once as it gains from."""
    image, scale = _first_picture(bundle)
    tiles = prepare(image, scale, bundle.manifest).tile[None]
    seconds = []
    with ThreadPoolExecutor(engine.abreast) as callers:
        for _ in range(calls):
            started = perf_counter()
            deque(callers.map(engine, [tiles] * engine.abreast), maxlen=0)
            seconds.append((perf_counter() - started) / engine.abreast)
    milliseconds = round(min(seconds) * 1000, 2)
    return replace(trial, milliseconds=milliseconds, cell_dice=min(result.cell_dice for result in golden))


def _first_picture(bundle: Bundle) -> tuple[RGB, Scale]:
    golden = bundle.manifest.golden[0]
    return decode(bundle.files[golden.image]), Scale(golden.cell_diameter_px, "told")


def _reason(best: EngineTrial, serving: Sequence[EngineTrial], *, gpu_first: bool) -> str:
    own = f"{best.milliseconds:.0f} ms for the network of a golden picture"
    others = sorted((t for t in serving if t is not best), key=_milliseconds)
    if not others:
        return f"the only one that serves: {own}"
    beside = ", ".join(f"{_option(t)} {t.milliseconds:.0f} ms" for t in others)
    return f"{'a GPU answers' if gpu_first else 'the fastest'}: {own}; {beside}"


def _asked_for(settings: EngineSettings) -> str:
    words = [word for word in (settings.name, settings.precision) if word != AUTO]
    return " ".join(words) or AUTO


def _refusals(asked: Sequence[EngineTrial]) -> str:
    told = [f"{_option(t)}: {t.refusal or 'its plan is being built'}" for t in asked]
    return "; ".join(told) or "the model was not tried on it yet, or holds no network for it"
