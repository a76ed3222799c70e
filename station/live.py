"""The model that counts now: loaded with its engine, changed while the station runs, and never without an engine.

Where the chosen engine fails, the reference answers and the reason is kept to be told. A plan that a GPU lacks is built
in a process of its own, and taken over with the next picture after it proved itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from station.contract.bundle import Bundle
from station.contract.errors import BundleError, EngineError
from station.database.records import EngineTrial, StoredModel
from station.database.store import Store
from station.engines import Option, Setup
from station.engines.tensorrt.builder import Build, start_build
from station.registry import Loaded, active_bundle, loaded, plans_folder
from station.selection import REFERENCE_OPTION, choose, pending, try_one
from station.settings import Engine as EngineSettings
from station.standby import WithStandby

StartBuild = Callable[[Path, str, Path], Build]  # bundle, precision, folder of plans


class LiveModel:
    """The active model of the database, loaded; a newly activated one is taken over with the next picture."""

    def __init__(self, store: Store, settings: EngineSettings, *, start: StartBuild = start_build) -> None:
        self._store, self._settings, self._start = store, settings, start
        self._model: StoredModel | None = None
        self._loaded: Loaded | None = None
        self._build: tuple[Option, Build] | None = None
        self._told: deque[str] = deque()  # filled by any thread

    def current(self) -> Loaded:
        """The model to work with now. Raises BundleError where none is active or its file is damaged."""
        model = self._store.active_model()
        if model is None:
            raise BundleError("no model is active; `station model install BUNDLE` or `station init` gives one")
        if self._loaded is None or self._loaded.sha256 != model.sha256:
            self.close()
            self._loaded = self._load(model)
            self._model = model
        elif self._build is not None:
            self._look_after_build()
        return self._loaded

    def has_changed(self) -> bool:
        """Whether `current` would give something else than it did last."""
        model = self._store.active_model()
        ended = self._build is not None and self._build[1].poll() != "running"
        return ended or self._loaded is None or model is None or model.sha256 != self._loaded.sha256

    def troubles(self) -> list[str]:
        """What went wrong with engines since the last call, oldest first."""
        return [self._told.popleft() for _ in range(len(self._told))]

    def close(self) -> None:
        """Stop a build that is under way."""
        if self._build is not None:
            self._build[1].stop()
            self._build = None

    def _load(self, model: StoredModel) -> Loaded:
        bundle, trials = active_bundle(model), self._store.trials(model.sha256)
        plans = plans_folder(Path(model.path))
        for option in pending(trials)[:1]:
            self._build = option, self._start(Path(model.path), option.precision, plans)
        return self._opened(bundle, choose(trials, self._settings).option, plans)

    def _opened(self, bundle: Bundle, option: Option, plans: Path) -> Loaded:
        setup = Setup(threads=self._settings.threads, plans=plans, build=False)

        def reference() -> Loaded:
            return loaded(bundle, REFERENCE_OPTION, setup)

        if option == REFERENCE_OPTION:
            return reference()
        try:
            first = loaded(bundle, option, setup)
        except (EngineError, BundleError) as cause:
            self._told.append(f"{option} cannot serve: {cause}; {REFERENCE_OPTION} does")
            return reference()
        return replace(first, engine=WithStandby(first.engine, lambda: reference().engine, self._told.append))

    def _look_after_build(self) -> None:
        assert self._build is not None and self._model is not None
        option, build = self._build
        state = build.poll()
        if state == "running":
            return
        self._build = None
        bundle, plans = active_bundle(self._model), plans_folder(Path(self._model.path))
        setup = Setup(threads=self._settings.threads, plans=plans, build=False)
        trial = try_one(bundle, option, setup)
        if not trial.serves:
            trial = replace(trial, refusal=trial.refusal or f"its plan could not be built: {state}")
            self._told.append(f"{option} cannot serve: {trial.refusal}")
        trials = _with(self._store.trials(bundle.sha256), trial)
        self._store.keep_trials(bundle.sha256, trials)
        if trial.serves:
            self._loaded = self._opened(bundle, choose(trials, self._settings).option, plans)


def _with(trials: Sequence[EngineTrial], newer: EngineTrial) -> tuple[EngineTrial, ...]:
    own = newer.engine, newer.precision
    return (*(trial for trial in trials if (trial.engine, trial.precision) != own), newer)
