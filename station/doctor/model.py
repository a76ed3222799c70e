"""The model that counts and the engines that may run it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from station.contract.errors import BundleError
from station.database.records import EngineTrial, StoredModel
from station.doctor.finding import Finding
from station.engines import Option, problem
from station.registry import active_bundle
from station.selection import REFERENCE_OPTION, asked, choose, fits, gpu_trouble, pending
from station.settings import Engine as EngineSettings

_ANEW = "`station run` chooses anew at its start"
_IN_VAIN = f"put that right, or let engine.name and engine.precision be auto; {_ANEW}"


def examine_model(model: StoredModel | None) -> Finding:
    """Whether a model counts and its file is as it was when it proved itself."""
    if model is None:
        return Finding("model", "fault", "no model is active", "`station model install BUNDLE` gives one")
    try:
        manifest = active_bundle(model, weights=True).manifest
    except BundleError as cause:
        return Finding("model", "fault", str(cause))
    sentence = f"the model {model.name} ({model.sha256[:12]}) is as it was when it reproduced its golden pictures"
    if manifest.reference is None:
        silent = f"{sentence}, but does not know what is normal: no picture is marked for review"
        return Finding("model", "warning", silent, "`trainer calibrate` tells it; install what that writes")
    return Finding("model", "good", sentence)


def examine_engines(trials: Sequence[EngineTrial], settings: EngineSettings, trouble: str | None) -> Iterator[Finding]:
    """Which engine serves and why, what the settings ask for in vain, and what went wrong since the last start."""
    if not trials:
        yield Finding("engine", "warning", "no engine was tried yet with this model", "`station run` or `init` does it")
        return
    choice, waiting = choose(trials, settings), pending(asked(trials, settings))
    sentence = f"the engine {choice.option}: {choice.reason}"
    if fits(choice.option, settings):
        yield Finding("engine", "good", sentence)
    else:  # a plan that is waited for has its own advice
        yield Finding("engine", "warning", sentence, "" if waiting else _IN_VAIN)
    for option in waiting:
        yield Finding("engine", "warning", f"{option} has no plan yet", "the running station builds it, and counts on")
    for told in filter(None, (trouble, gpu_trouble(trials, settings))):
        yield Finding("engine", "warning", told, "deploy/gpu.md, and the log of the station")
    yield from _gone(choice.option)


def _gone(option: Option) -> Iterator[Finding]:
    reason = problem(option)
    if reason is not None and option != REFERENCE_OPTION:
        yield Finding("engine", "warning", f"{option} was chosen and cannot work any more: {reason}", _ANEW)
