"""The model that counts: its engine is chosen, changed when a plan is ready, and replaced where it fails.

No GPU is needed: where a plan is built, the second engine of a processor stands for TensorRT.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from networks import noise_tiles, tiny_bundle
from numpy.typing import NDArray
from stores import Clock

import station.selection
from station.contract.bundle import write_bundle
from station.contract.errors import BundleError, EngineError
from station.database.records import EngineTrial, StoredModel
from station.database.store import Store
from station.engines import Option, problem
from station.engines.openvino import OpenVinoEngine
from station.live import LiveModel
from station.registry import install
from station.selection import found
from station.settings import Engine as EngineSettings

OTHER = Option("openvino", "float32")
pytestmark = pytest.mark.skipif(problem(OTHER) is not None, reason=str(problem(OTHER)))

SETTINGS = EngineSettings(precision="float32", threads=1)


@dataclass
class FakeBuild:
    """A build whose end the test decides."""

    state: str = "running"
    stopped: bool = False

    def poll(self) -> str:
        return self.state

    def stop(self) -> None:
        self.stopped = True


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store.open(tmp_path / "station.db", clock=Clock(), create=True)) as opened:
        yield opened


def installed(store: Store, folder: Path, name: str = "tiny") -> StoredModel:
    write_bundle(folder / f"{name}.zip", tiny_bundle(name))
    model, _ = install(folder / f"{name}.zip", store, folder / "models", SETTINGS)
    store.activate_model(model.model_id)
    return model


def with_trial(store: Store, model: StoredModel, option: Option, **changes: object) -> None:
    """The trials of a model, with another outcome for one option."""
    others = [t for t in store.trials(model.sha256) if (t.engine, t.precision) != (option.engine, option.precision)]
    blank = EngineTrial(option.engine, option.precision, SETTINGS.threads, found(option))
    store.keep_trials(model.sha256, [*others, replace(blank, **changes)])  # type: ignore[arg-type]


def runtime(live: LiveModel) -> str:
    return live.current().engine.name.split()[0]


def test_the_engine_that_proved_to_be_the_fastest_serves(store: Store, tmp_path: Path) -> None:
    model = installed(store, tmp_path)
    for milliseconds, expected in ((0.001, "openvino"), (9999.0, "onnxruntime")):
        with_trial(store, model, OTHER, milliseconds=milliseconds, cell_dice=1.0)
        live = LiveModel(store, SETTINGS)
        assert runtime(live) == expected
        assert live.troubles() == []


def test_while_a_plan_is_built_the_reference_serves_and_then_the_new_engine(store: Store, tmp_path: Path) -> None:
    model = installed(store, tmp_path)
    with_trial(store, model, OTHER)
    build, asked = FakeBuild(), list[tuple[Path, str]]()

    def start(bundle: Path, precision: str, plans: Path) -> FakeBuild:
        asked.append((bundle, precision))
        assert plans == bundle.parent / "plans"
        return build

    named = SETTINGS.model_copy(update={"name": OTHER.engine})
    live = LiveModel(store, named, start=start)  # type: ignore[arg-type]
    assert runtime(live) == "onnxruntime"
    assert asked == [(Path(model.path), "float32")] and not live.has_changed()
    assert runtime(live) == "onnxruntime" and len(asked) == 1
    build.state = "done"
    assert live.has_changed()
    assert runtime(live) == "openvino"
    assert not live.has_changed() and live.troubles() == [None]  # whatever was wrong is well again
    (kept,) = [trial for trial in store.trials(model.sha256) if trial.engine == OTHER.engine]
    assert kept.serves and kept.cell_dice == 1.0


def test_the_engine_that_serves_is_let_go_before_the_one_with_the_new_plan_is_tried(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_trial(store, installed(store, tmp_path), OTHER)
    build, held, answer = FakeBuild(), list[bool](), OpenVinoEngine.__call__
    live = LiveModel(store, SETTINGS, start=lambda *_: build)  # type: ignore[arg-type,return-value]
    serving = weakref.ref(live.current().engine.session)  # type: ignore[attr-defined]

    def noting(engine: OpenVinoEngine, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        held.append(serving() is not None)
        return answer(engine, tiles)

    monkeypatch.setattr(OpenVinoEngine, "__call__", noting)
    build.state = "done"
    live.current()
    assert held and not any(held)


def test_a_build_that_fails_leaves_the_reference_and_a_reason(store: Store, tmp_path: Path) -> None:
    model = installed(store, tmp_path)
    gpu = Option("tensorrt", "float32")
    with_trial(store, model, gpu)
    build = FakeBuild()
    live = LiveModel(store, SETTINGS.model_copy(update={"name": "tensorrt"}), start=lambda *_: build)  # type: ignore[arg-type,return-value]
    assert runtime(live) == "onnxruntime"
    build.state = "killed for want of memory"
    assert runtime(live) == "onnxruntime"
    (sentence,) = live.troubles()
    assert sentence.startswith("tensorrt float32 cannot serve: ")
    (kept,) = [trial for trial in store.trials(model.sha256) if trial.engine == "tensorrt"]
    assert kept.refusal and not kept.serves
    assert not live.has_changed()


def test_a_plan_that_the_settings_do_not_ask_for_is_not_built(store: Store, tmp_path: Path) -> None:
    model, asked = installed(store, tmp_path), list[object]()
    with_trial(store, model, Option("tensorrt", "float32"))
    for name in ("onnxruntime", "openvino", "tensorrt"):
        settings = SETTINGS.model_copy(update={"name": name})
        LiveModel(store, settings, start=lambda *told: asked.append(told) or FakeBuild()).current()  # type: ignore[arg-type,func-returns-value,return-value]
        assert bool(asked) == (name == "tensorrt")


@pytest.mark.parametrize(("milliseconds", "expected"), [(0.001, "openvino"), (9999.0, "onnxruntime")])
def test_where_a_gpu_cannot_be_opened_any_more_that_is_told_and_the_fastest_engine_of_the_processor_serves(
    store: Store, tmp_path: Path, milliseconds: float, expected: str
) -> None:
    model = installed(store, tmp_path)
    # As the GPU was with yesterday's driver.
    with_trial(store, model, Option("tensorrt", "float32"), milliseconds=1.0, cell_dice=1.0)
    with_trial(store, model, OTHER, milliseconds=milliseconds, cell_dice=1.0)
    live = LiveModel(store, EngineSettings(threads=1))
    assert runtime(live) == expected
    (sentence,) = live.troubles()
    assert sentence is not None and sentence.startswith("tensorrt float32 cannot serve: ")
    assert sentence.endswith(f"; {live.current().engine.name} serves")


def test_where_that_engine_fails_too_the_reference_serves(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = installed(store, tmp_path)
    with_trial(store, model, Option("tensorrt", "float32"), milliseconds=1.0, cell_dice=1.0)
    with_trial(store, model, OTHER, milliseconds=0.001, cell_dice=1.0)
    live = LiveModel(store, EngineSettings(threads=1))
    engine = live.current().engine
    live.troubles()
    monkeypatch.setattr(OpenVinoEngine, "__call__", out_of_memory)
    engine(noise_tiles(1, 32, 32))
    assert engine.name.startswith("onnxruntime")
    (sentence,) = live.troubles()
    assert sentence == f"openvino failed: out of memory; {engine.name} answered instead"
    # It does not even open where it does not reproduce the golden pictures any more.
    again = LiveModel(store, EngineSettings(threads=1))
    assert runtime(again) == "onnxruntime"
    assert [str(one).partition(":")[0] for one in again.troubles()] == [
        "openvino float32 cannot serve",
        "tensorrt float32 cannot serve",
    ]


def out_of_memory(engine: OpenVinoEngine, tiles: object) -> None:
    raise EngineError("openvino failed: out of memory")


def test_a_model_that_is_damaged_leaves_the_one_before_it_at_work(store: Store, tmp_path: Path) -> None:
    installed(store, tmp_path)
    live = LiveModel(store, SETTINGS)
    before = live.current()
    Path(installed(store, tmp_path, "other").path).write_bytes(b"torn")
    assert live.has_changed() and live.current() is before
    (told,) = live.troubles()
    assert "the active model cannot be used" in str(told) and str(told).endswith("; tiny goes on counting")
    assert not live.has_changed() and live.current() is before and live.troubles() == []
    with pytest.raises(BundleError, match="the active model cannot be used"):
        LiveModel(store, SETTINGS).current()
    store.rollback_model()
    assert live.has_changed() and live.current() is before and live.troubles() == [None]
    assert not live.has_changed()


def test_a_model_that_is_damaged_while_its_plan_is_built_goes_on_counting(store: Store, tmp_path: Path) -> None:
    model = installed(store, tmp_path)
    with_trial(store, model, OTHER)
    build = FakeBuild()
    live = LiveModel(store, SETTINGS, start=lambda *_: build)  # type: ignore[arg-type,return-value]
    before = live.current()
    whole = Path(model.path).read_bytes()
    Path(model.path).write_bytes(b"torn")
    build.state = "done"
    assert live.current() is before and live.current() is before
    (told,) = live.troubles()
    assert str(told).endswith("; tiny goes on counting")
    Path(model.path).write_bytes(whole)
    assert live.has_changed() and live.current().name == "tiny" and live.troubles()[0] is None


def test_a_model_that_is_taken_over_is_tried_anew_where_what_is_known_does_not_hold(
    store: Store, tmp_path: Path
) -> None:
    """It was installed when the settings named another engine."""
    installed(store, tmp_path)
    live = LiveModel(store, SETTINGS)
    live.current()
    write_bundle(tmp_path / "other.zip", tiny_bundle("other"))
    reference_alone = EngineSettings(name="onnxruntime", threads=1)
    other, _ = install(tmp_path / "other.zip", store, tmp_path / "models", reference_alone)
    store.activate_model(other.model_id)
    assert {trial.engine for trial in store.trials(other.sha256)} == {"onnxruntime"}
    assert live.current().name == "other" and not live.has_changed()
    assert {trial.engine for trial in store.trials(other.sha256)} >= {"onnxruntime", OTHER.engine}


@pytest.mark.parametrize("failure", [EngineError("no memory"), BundleError("other masks")], ids=["engine", "masks"])
def test_a_trial_that_fails_while_a_model_is_taken_over_stops_no_count(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    installed(store, tmp_path)
    live = LiveModel(store, SETTINGS)
    live.current()
    write_bundle(tmp_path / "other.zip", tiny_bundle("other"))
    other, _ = install(tmp_path / "other.zip", store, tmp_path / "models", SETTINGS.model_copy(update={"threads": 2}))
    store.activate_model(other.model_id)

    def failing(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(station.selection, "_try_reference", failing)
    assert live.current().name == "other"
    assert live.troubles() == [None, str(failure)]
    live.current().engine(noise_tiles(1, 32, 32))


def test_a_damaged_model_is_taken_over_once_its_file_is_whole_again(store: Store, tmp_path: Path) -> None:
    installed(store, tmp_path)
    live = LiveModel(store, SETTINGS)
    live.current()
    other = Path(installed(store, tmp_path, "other").path)
    whole = other.read_bytes()
    other.unlink()
    assert live.current().name == "tiny"
    other.write_bytes(whole)
    live.troubles()
    assert live.has_changed() and live.current().name == "other" and live.troubles() == [None]


def test_a_station_that_ends_soon_begins_no_build(store: Store, tmp_path: Path) -> None:
    with_trial(store, installed(store, tmp_path), OTHER)
    live = LiveModel(store, SETTINGS, start=None)
    live.current()
    (told,) = live.troubles()
    assert str(told).startswith(f"{OTHER} has no plan yet; `station model install` or a station that stays")


def test_a_newly_activated_model_ends_the_build_for_the_old_one(store: Store, tmp_path: Path) -> None:
    with_trial(store, installed(store, tmp_path), OTHER)
    build = FakeBuild()
    live = LiveModel(store, SETTINGS, start=lambda *_: build)  # type: ignore[arg-type,return-value]
    live.current()
    installed(store, tmp_path, "other")
    assert live.has_changed()
    assert live.current().name == "other"
    assert build.stopped


def test_a_count_goes_on_when_the_chosen_engine_fails(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = installed(store, tmp_path)
    with_trial(store, model, OTHER, milliseconds=0.001, cell_dice=1.0)
    live = LiveModel(store, SETTINGS)
    engine = live.current().engine
    engine(noise_tiles(1, 32, 32))
    assert engine.name.startswith("openvino")
    monkeypatch.setattr(OpenVinoEngine, "__call__", out_of_memory)
    engine(noise_tiles(1, 32, 32))
    assert engine.name.startswith("onnxruntime")
    assert live.troubles() == [f"openvino failed: out of memory; {engine.name} answered instead"]


def test_without_an_active_model_it_says_how_to_get_one(store: Store) -> None:
    with pytest.raises(BundleError, match="no model is active; `station model install BUNDLE`"):
        LiveModel(store, SETTINGS).current()
