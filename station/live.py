"""The model that counts now: loaded with its engine, changed while the station runs, and never without an engine.

Where the chosen engine fails, another one answers and the reason is kept to be told. A plan that a GPU lacks is built
in a process of its own, and taken over with the next picture after it proved itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from station.contract.bundle import Bundle
from station.contract.errors import BundleError
from station.database.records import EngineTrial, StoredModel
from station.database.store import Store
from station.engines import Option, Setup
from station.engines.tensorrt.builder import DONE, RUNNING, Build, start_build
from station.registry import Loaded, active_bundle, opened, plans_folder
from station.selection import asked, choose, pending, standbys, try_one
from station.settings import Engine as EngineSettings

StartBuild = Callable[[Path, str, Path], Build]  # bundle, precision, folder of plans


class LiveModel:
    """The active model of the database, loaded; a newly activated one is taken over with the next picture."""

    def __init__(self, store: Store, settings: EngineSettings, *, start: StartBuild = start_build) -> None:
        self._store, self._settings, self._start = store, settings, start
        self._model: StoredModel | None = None
        self._loaded: Loaded | None = None
        self._build: tuple[Option, Build] | None = None
        self._told: deque[str | None] = deque()  # filled by any thread

    def current(self) -> Loaded:
        """The model to work with now. Raises BundleError where none is active or its file is damaged."""
        model = self._store.active_model()
        if model is None:
            raise BundleError("no model is active; `station model install BUNDLE` or `station init` gives one")
        if self._loaded is None or self._loaded.sha256 != model.sha256:
            self._loaded = self._load(model)
            self._model = model
        elif self._build is not None:
            self._look_after_build()
        return self._loaded

    def has_changed(self) -> bool:
        """Whether `current` would give something else than it did last."""
        model = self._store.active_model()
        ended = self._build is not None and self._build[1].poll() != RUNNING
        return ended or self._loaded is None or model is None or model.sha256 != self._loaded.sha256

    def troubles(self) -> list[str | None]:
        """What went wrong with engines since the last call, oldest first; None where all is well again."""
        return [self._told.popleft() for _ in range(len(self._told))]

    def close(self) -> None:
        """Let go of the build, and stop it where it is under way."""
        if self._build is not None:
            self._build[1].stop()
            self._build = None

    def _load(self, model: StoredModel) -> Loaded:
        bundle, trials = active_bundle(model), self._store.trials(model.sha256)
        self.close()
        self._begin_next_build(trials, Path(model.path))
        self._let_go()
        return self._opened(bundle, trials, Path(model.path))

    def _let_go(self) -> None:
        """Of the engine that serves, before the next one is opened: two at once may be more than a GPU's memory holds.

        Nothing is lost by it: the reference can be opened at any time.
        """
        self._loaded = None

    def _begin_next_build(self, trials: Sequence[EngineTrial], home: Path) -> None:
        for option in pending(asked(trials, self._settings))[:1]:
            self._begin_build(option, home)

    def _begin_build(self, option: Option, home: Path) -> None:
        if self._build is None:
            self._build = option, self._start(home, option.precision, plans_folder(home))

    def _opened(self, bundle: Bundle, trials: Sequence[EngineTrial], home: Path) -> Loaded:
        option = choose(trials, self._settings).option
        return opened(
            bundle,
            (option, *standbys(trials, option, self._settings)),
            self._setup(home),
            self._told.append,
            # It was there when the engine proved itself: lost, damaged, or for another GPU or library.
            plan_missing=lambda missing: self._begin_build(missing, home),
        )

    def _setup(self, home: Path) -> Setup:
        return Setup(threads=self._settings.threads, plans=plans_folder(home), build=False)

    def _look_after_build(self) -> None:
        assert self._build is not None and self._model is not None
        option, build = self._build
        state = build.poll()
        if state == RUNNING:
            return
        self.close()
        bundle, home = active_bundle(self._model), Path(self._model.path)
        self._let_go()
        trial = try_one(bundle, option, self._setup(home), waits=state != DONE)
        if not trial.serves:
            trial = replace(trial, refusal=trial.refusal or f"its plan could not be built: {state}")
            self._told.append(f"{option} cannot serve: {trial.refusal}")
        trials = _with(self._store.trials(bundle.sha256), trial)
        self._store.keep_trials(bundle.sha256, trials)
        if trial.serves:
            self._told.append(None)
        self._loaded = self._opened(bundle, trials, home)
        self._begin_next_build(trials, home)


def _with(trials: Sequence[EngineTrial], newer: EngineTrial) -> tuple[EngineTrial, ...]:
    own = newer.engine, newer.precision
    return (*(trial for trial in trials if (trial.engine, trial.precision) != own), newer)
