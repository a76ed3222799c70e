"""The model that counts and the engines that may run it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from station.contract.errors import BundleError, EngineError, SettingsError
from station.contract.manifest import Manifest, NetworkScale
from station.database.records import EngineTrial, StoredModel
from station.doctor.finding import Finding
from station.engines import Option, problem
from station.registry import active_bundle, told_scale
from station.selection import REFERENCE_OPTION, asked, choose, demand_sense, fits, gpu_trouble, pending
from station.settings import Camera
from station.settings import Engine as EngineSettings

_ANEW = "`station run` chooses anew at its start"
_IN_VAIN = f"put that right, or let engine.name and engine.precision be auto; {_ANEW}"


def examine_model(model: StoredModel | None, camera: Camera) -> Iterator[Finding]:
    """Whether a model counts, its file is as it was when it proved itself, and it is shown a scale that makes sense."""
    if model is None:
        yield Finding("model", "fault", "no model is active", "`station model install BUNDLE` gives one")
        return
    try:
        manifest = active_bundle(model, weights=True).manifest
    except BundleError as cause:
        yield Finding("model", "fault", str(cause))
        return
    yield _known_to(model, manifest)
    yield from examine_scale(camera, manifest.scale)


def _known_to(model: StoredModel, manifest: Manifest) -> Finding:
    sentence = f"the model {model.name} ({model.sha256[:12]}) is as it was when it reproduced its golden pictures"
    if manifest.reference is None:
        silent = f"{sentence}, but does not know what is normal: no picture is marked for review"
        return Finding("model", "warning", silent, "`trainer calibrate` tells it; install what that writes")
    return Finding("model", "good", sentence)


def examine_scale(camera: Camera, network: NetworkScale) -> Iterator[Finding]:
    """Whether the settings tell a scale that makes no sense: with it `station run` counts nothing."""
    try:
        told_scale(camera, network)
    except SettingsError as cause:
        yield Finding("scale", "fault", str(cause))


def examine_engines(trials: Sequence[EngineTrial], settings: EngineSettings, trouble: str | None) -> Iterator[Finding]:
    """Which engine serves and why, what the settings ask for in vain, and what went wrong since the last start."""
    try:
        demand_sense(settings)
    except EngineError as cause:
        yield Finding(
            "engine", "fault", str(cause), "correct engine.name or engine.precision: nothing counts until then"
        )
        return
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
