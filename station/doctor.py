"""Checks with a verdict each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from station.contract.errors import BundleError
from station.database.records import EngineTrial, StoredModel
from station.engines import AUTO, Option, problem
from station.registry import active_bundle
from station.selection import REFERENCE_OPTION, choose, gpu_trouble, pending
from station.settings import Engine as EngineSettings

Verdict: TypeAlias = Literal["good", "warning", "fault"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence and how grave it is: a fault keeps the station from counting, a warning from counting well."""

    verdict: Verdict
    sentence: str


def examine_model(model: StoredModel | None) -> Finding:
    """Whether a model counts and its file is as it was when it proved itself."""
    if model is None:
        return Finding("fault", "no model is active; `station model install BUNDLE` gives one")
    try:
        active_bundle(model)
    except BundleError as cause:
        return Finding("fault", str(cause))
    return Finding("good", f"the model {model.name} ({model.sha256[:12]}) is as it was installed")


def examine_engines(trials: Sequence[EngineTrial], settings: EngineSettings, trouble: str | None) -> Iterator[Finding]:
    """Which engine serves and why, what the settings ask for in vain, and what went wrong since the last start."""
    if not trials:
        yield Finding("warning", "no engine was tried yet with this model; `station run` or `station init` does it")
        return
    choice = choose(trials, settings)
    asked_in_vain = settings.name != AUTO and choice.option.engine != settings.name
    yield Finding("warning" if asked_in_vain else "good", f"the engine {choice.option}: {choice.reason}")
    for option in pending(trials):
        yield Finding("warning", f"{option} has no plan yet; the running station builds it, and counts meanwhile")
    for sentence in filter(None, (trouble, gpu_trouble(trials, settings))):
        yield Finding("warning", sentence)
    yield from _gone(choice.option)


def _gone(option: Option) -> Iterator[Finding]:
    reason = problem(option)
    if reason is not None and option != REFERENCE_OPTION:
        yield Finding("warning", f"{option} was chosen and cannot work any more: {reason}; the next start chooses anew")
