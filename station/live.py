"""The model that counts now: loaded with its engine, changed while the station runs, and never without an engine.

Where the chosen engine fails, another one answers and the reason is kept to be told. A plan that a GPU lacks is built
in a process of its own, and taken over with the next picture after it proved itself.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from station.contract.bundle import Bundle
from station.contract.errors import BundleError, EngineError
from station.crashes import DIED, MOST_AT_WORK, Crashes
from station.database.records import EngineTrial, StoredModel
from station.database.store import Store
from station.engines import Option
from station.engines.tensorrt.builder import DONE, RUNNING, Build, start_build
from station.registry import Loaded, active_bundle, opened, plans_folder, renew_trials, setup_beside
from station.selection import REFERENCE_OPTION, asked, choose, named, pending, standbys, try_one
from station.settings import Engine as EngineSettings

StartBuild = Callable[[Path, str, Path], Build]  # bundle, precision, folder of plans


class LiveModel:
    """The active model of the database, loaded; a newly activated one is taken over with the next picture."""

    def __init__(
        self,
        store: Store,
        settings: EngineSettings,
        *,
        start: StartBuild | None = start_build,
        step: Callable[[Option], None] = lambda _option: None,
    ) -> None:
        """`start`: none for a station that ends before a plan could be built. `step` is called before each trial."""
        self._store, self._settings, self._start, self._step = store, settings, start, step
        self._crashes = Crashes(store)
        self._model: StoredModel | None = None
        self._trials: tuple[EngineTrial, ...] = ()  # by which the engine of the loaded one was chosen
        self._serving: str | None = None  # the engine, with its runtime; none for the reference
        self._loaded: Loaded | None = None
        self._build: tuple[Option, Build] | None = None
        self._damaged: tuple[str, tuple[int, int] | None] | None = None  # an active model that cannot be loaded
        self._told: deque[str | None] = deque()  # filled by any thread

    def current(self) -> Loaded:
        """The model to work with now. Raises BundleError where none is active or its file is damaged."""
        model = self._store.active_model()
        if model is None:
            raise BundleError("no model is active; `station model install BUNDLE` or `station init` gives one")
        if self._loaded is None or self._is_outdated(model):
            self._take_over(model)
            assert self._loaded is not None
        else:
            self._forget_damaged(model)
            if self._build is not None:
                self._look_after_build()
        return self._loaded

    def _take_over(self, model: StoredModel) -> None:
        """Load a model. Where its file is damaged the one before it goes on counting, until the file is another one."""
        try:
            self._loaded = self._load(model)
        except BundleError as cause:
            if self._loaded is None:
                raise
            self._go_on(self._loaded, model, cause)
        else:
            self._model, self._damaged = model, None

    def _go_on(self, loaded: Loaded, damaged: StoredModel, cause: BundleError) -> None:
        """With what is loaded, until the file of the damaged model is another one."""
        self._damaged = damaged.sha256, _stamp(damaged)
        self._told.append(f"{cause}; {loaded.name} goes on counting")

    def _forget_damaged(self, active: StoredModel) -> None:
        """A damaged model that is active no more troubles nobody."""
        if self._is_over(active):
            self._damaged = None
            self._told.append(None)

    def _is_over(self, active: StoredModel) -> bool:
        return self._damaged is not None and self._damaged[0] != active.sha256

    def has_changed(self) -> bool:
        """Whether `current` would give something else than it did last, or say so."""
        model = self._store.active_model()
        ended = self._build is not None and self._build[1].poll() != RUNNING
        return ended or self._loaded is None or model is None or self._is_outdated(model) or self._is_over(model)

    def died(self) -> None:
        """The station died while it counted. An engine with which it does so again and again serves no more."""
        model = self._store.active_model()
        trials = self._store.trials(model.sha256) if model else ()
        option = choose(trials, self._settings).option
        if model is None or option == REFERENCE_OPTION or not self._crashes.died_at_work(named(option)):
            return
        refusal = f"{DIED} {MOST_AT_WORK} times in a row while it counted"
        (trial,) = (one for one in trials if (one.engine, one.precision) == (option.engine, option.precision))
        self._store.keep_trials(model.sha256, _with(trials, replace(trial, refusal=refusal)))
        self._told.append(f"{option} cannot serve: {refusal}; `station model install` tries it again")

    def worked(self) -> None:
        """A picture was counted by it."""
        if self._serving is not None:
            self._crashes.worked(self._serving)

    def troubles(self) -> list[str | None]:
        """What went wrong with engines since the last call, oldest first; None where all is well again."""
        return [self._told.popleft() for _ in range(len(self._told))]

    def close(self) -> None:
        """Let go of the build, and stop it where it is under way."""
        if self._build is not None:
            self._build[1].stop()
            self._build = None

    def _is_outdated(self, model: StoredModel) -> bool:
        """Whether another model is active, or engines were tried again by another program."""
        if self._damaged is not None and self._damaged[0] == model.sha256:
            return self._damaged[1] != _stamp(model)
        return self._model is None or (model.sha256, self._store.trials(model.sha256)) != (
            self._model.sha256,
            self._trials,
        )

    def _load(self, model: StoredModel) -> Loaded:
        bundle, home, is_first = active_bundle(model), Path(model.path), self._model is None
        if not is_first:
            self._told.append(None)  # what was wrong with the one before; then the engine of this one has its say
        self.close()
        self._let_go()
        # At the start the station has tried them a moment ago.
        self._trials = trials = self._store.trials(model.sha256) if is_first else self._tried(bundle, home)
        self._begin_next_build(trials, home)
        return self._opened(bundle, trials, home)

    def _tried(self, bundle: Bundle, home: Path) -> tuple[EngineTrial, ...]:
        """How the engines came out, those anew of which that does not hold any more.

        They may have been tried under other settings, with another runtime, or while the model before this one held the
        GPU's memory. What fails here leaves what is known: the station counts, if need be on the reference.
        """
        try:
            renew_trials(bundle, home, self._store, self._settings, self._crashes.guard, step=self._step)
        except (BundleError, EngineError) as cause:
            self._told.append(str(cause))
        return self._store.trials(bundle.sha256)

    def _let_go(self) -> None:
        """Of the engine that serves, before the next one is opened: two at once may be more than a GPU's memory holds.

        Nothing is lost by it: the reference can be opened at any time.
        """
        self._loaded = None
        gc.collect()  # a picture that failed holds on to the engine in a circle

    def _begin_next_build(self, trials: Sequence[EngineTrial], home: Path) -> None:
        for option in pending(asked(trials, self._settings))[:1]:
            self._begin_build(option, home)

    def _begin_build(self, option: Option, home: Path) -> None:
        if self._start is None:
            self._told.append(f"{option} has no plan yet; `station model install` or a station that stays builds it")
        elif self._build is None:
            self._build = option, self._start(home, option.precision, plans_folder(home))

    def _opened(self, bundle: Bundle, trials: Sequence[EngineTrial], home: Path) -> Loaded:
        option = choose(trials, self._settings).option
        self._serving = None if option == REFERENCE_OPTION else named(option)
        return opened(
            bundle,
            (option, *standbys(trials, option, self._settings)),
            setup_beside(home, self._settings, self._crashes.guard),
            self._told.append,
            # It was there when the engine proved itself: lost, damaged, or for another GPU or library.
            plan_missing=lambda missing: self._begin_build(missing, home),
        )

    def _look_after_build(self) -> None:
        assert self._build is not None and self._model is not None and self._loaded is not None
        option, build = self._build
        state = build.poll()
        if state == RUNNING:
            return
        self.close()
        try:
            bundle, home = active_bundle(self._model), Path(self._model.path)
        except BundleError as cause:  # damaged meanwhile: what was loaded of it is sound
            self._go_on(self._loaded, self._model, cause)
            return
        self._let_go()
        trial = try_one(bundle, option, setup_beside(home, self._settings, self._crashes.guard), waits=state != DONE)
        if not trial.serves:
            trial = replace(trial, refusal=trial.refusal or f"its plan could not be built: {state}")
            self._told.append(f"{option} cannot serve: {trial.refusal}")
        trials = _with(self._store.trials(bundle.sha256), trial)
        self._store.keep_trials(bundle.sha256, trials)
        self._trials = self._store.trials(bundle.sha256)
        if trial.serves:
            self._told.append(None)
        self._loaded = self._opened(bundle, trials, home)
        self._begin_next_build(trials, home)


def _stamp(model: StoredModel) -> tuple[int, int] | None:
    """Of a model's file: when it was written, ns, and its bytes; none where there is no file."""
    try:
        status = Path(model.path).stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _with(trials: Sequence[EngineTrial], newer: EngineTrial) -> tuple[EngineTrial, ...]:
    own = newer.engine, newer.precision
    return (*(trial for trial in trials if (trial.engine, trial.precision) != own), newer)
