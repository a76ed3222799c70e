"""Which engine serves: real engines on a tiny network, and the rule of the choice on made trials."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType

import pytest
from networks import tiny_bundle
from recorders import install

from station.contract.bundle import Bundle
from station.contract.errors import BundleError, EngineError
from station.database.records import EngineTrial
from station.engines import Option, Setup, problem
from station.processor import Processor
from station.selection import (
    REFERENCE_OPTION,
    asked,
    choose,
    found,
    pending,
    stale,
    standbys,
    try_all,
    try_one,
    try_stale,
    wanted,
)
from station.settings import Engine as EngineSettings

AUTO = EngineSettings()
OPENVINO = Option("openvino", "float32")


def trial(engine: str, precision: str, milliseconds: float | None = None, refusal: str | None = None) -> EngineTrial:
    dice = None if milliseconds is None else 0.9995
    return EngineTrial(engine, precision, 0, "1.0", milliseconds, dice, refusal)


REFERENCE = trial("onnxruntime", "float32", 100.0)
INT8 = trial("onnxruntime", "int8", 40.0)
BF16 = trial("openvino", "bfloat16", 50.0)
GPU = trial("tensorrt", "float16", 60.0)


def with_wrong_golden() -> Bundle:
    """A bundle whose first golden picture expects a cell too many."""
    bundle = tiny_bundle()
    first, *others = bundle.manifest.golden
    golden = (first.model_copy(update={"wbc_count": first.wbc_count + 1}), *others)
    return Bundle(bundle.manifest.model_copy(update={"golden": golden}), bundle.files, bundle.sha256)


def test_the_reference_is_proved_and_timed_first_and_others_after_it() -> None:
    tried: list[Option] = []
    trials, golden = try_all(tiny_bundle(), AUTO, Setup(threads=1), step=tried.append)
    assert tried[0] == REFERENCE_OPTION and tuple(tried) == wanted(tiny_bundle(), AUTO)
    assert [result.wbc_count for result in golden] == [3, 2]
    assert [Option(t.engine, t.precision) for t in trials] == tried
    assert trials[0].serves and trials[0].cell_dice == 1.0 and (trials[0].milliseconds or 0) > 0
    for option, one in zip(tried, trials, strict=True):
        assert one.found == found(option)
        assert one.serves or one.refusal == problem(option)


def test_what_the_settings_name_is_tried_beside_the_reference_alone() -> None:
    settings = EngineSettings(name="openvino", precision="float32")
    assert wanted(tiny_bundle(), settings) == (REFERENCE_OPTION, OPENVINO)


@pytest.mark.parametrize(
    ("name", "precision", "sentence"),
    [
        ("abacus", "auto", "there is no engine 'abacus'; known: auto, onnxruntime, openvino, tensorrt"),
        ("openvino", "float16", "the engine openvino does not compute in float16; it can in float32, bfloat16, int8"),
    ],
)
def test_what_no_engine_can_is_refused_in_words(name: str, precision: str, sentence: str) -> None:
    settings = EngineSettings.model_validate({"name": name, "precision": precision})
    with pytest.raises(EngineError, match=sentence):
        wanted(tiny_bundle(), settings)


@pytest.mark.skipif(problem(OPENVINO) is not None, reason=str(problem(OPENVINO)))
def test_an_engine_that_does_not_reproduce_the_golden_pictures_is_refused_with_the_reason() -> None:
    one = try_one(with_wrong_golden(), OPENVINO, Setup(threads=1))
    assert not one.serves
    assert one.refusal and "has 3 cells where 4 were expected" in one.refusal


def test_a_model_that_the_reference_does_not_reproduce_is_an_error() -> None:
    with pytest.raises(BundleError, match="has 3 cells where 4 were expected"):
        try_all(with_wrong_golden(), AUTO, Setup(threads=1))


def test_the_fastest_that_serves_is_chosen_and_the_reason_tells_all_times() -> None:
    choice = choose((REFERENCE, INT8, BF16), AUTO)
    assert choice.option == Option("onnxruntime", "int8")
    assert choice.reason == (
        "the fastest: 40 ms for the network of a golden picture; openvino bfloat16 50 ms, onnxruntime float32 100 ms"
    )


def test_a_gpu_comes_before_a_faster_processor() -> None:
    choice = choose((REFERENCE, INT8, GPU), AUTO)
    assert choice.option == Option("tensorrt", "float16")
    assert choice.reason.startswith("a GPU answers: 60 ms")


def test_of_a_named_engine_its_fastest_precision_serves() -> None:
    slow = trial("openvino", "float32", 90.0)
    assert choose((REFERENCE, INT8, slow, BF16), EngineSettings(name="openvino")).option == Option(
        "openvino", "bfloat16"
    )
    told = EngineSettings(name="openvino", precision="float32")
    assert choose((REFERENCE, slow), told).option == OPENVINO


def test_an_engine_that_cannot_serve_is_replaced_by_the_reference_and_the_reason_says_why() -> None:
    refused = trial("tensorrt", "float32", refusal="no NVIDIA driver answers")
    choice = choose((REFERENCE, refused), EngineSettings(name="tensorrt"))
    assert choice.option == REFERENCE_OPTION
    assert choice.reason == "tensorrt cannot serve here: tensorrt float32: no NVIDIA driver answers"


def test_a_plan_that_is_missing_is_pending_and_the_processor_serves_meanwhile() -> None:
    waiting = trial("tensorrt", "float16")
    assert pending((REFERENCE, INT8, waiting)) == (Option("tensorrt", "float16"),)
    assert choose((REFERENCE, INT8, waiting), AUTO).option == Option("onnxruntime", "int8")


def test_a_plan_that_nobody_asks_for_is_not_waited_for() -> None:
    trials = REFERENCE, trial("tensorrt", "float16")
    for name, precision, waits in (("auto", "auto", 1), ("onnxruntime", "auto", 0), ("auto", "float32", 0)):
        settings = EngineSettings.model_validate({"name": name, "precision": precision})
        assert len(pending(asked(trials, settings))) == waits


def test_behind_a_gpu_stands_the_fastest_engine_of_the_processor_and_the_reference_last() -> None:
    gpu, slow = Option("tensorrt", "float16"), trial("openvino", "float32", 150.0)
    refused = trial("onnxruntime", "int8", refusal="another count")
    assert standbys((REFERENCE, refused, BF16, slow, GPU), gpu, AUTO) == (
        Option("openvino", "bfloat16"),
        REFERENCE_OPTION,
    )
    assert standbys((REFERENCE, refused, slow, GPU), gpu, AUTO) == (REFERENCE_OPTION,)
    assert standbys((), gpu, AUTO) == (REFERENCE_OPTION,)


def test_a_standby_has_another_runtime_and_the_precision_that_is_told() -> None:
    trials, bf16 = (REFERENCE, INT8, BF16), Option("openvino", "bfloat16")
    assert standbys(trials, bf16, AUTO) == (Option("onnxruntime", "int8"), REFERENCE_OPTION)
    assert standbys(trials, Option("onnxruntime", "int8"), AUTO) == (bf16, REFERENCE_OPTION)
    assert standbys(trials, OPENVINO, EngineSettings(precision="float32")) == (REFERENCE_OPTION,)
    assert standbys(trials, REFERENCE_OPTION, AUTO) == ()


def test_trials_hold_until_runtime_threads_or_settings_change() -> None:
    bundle, settings = tiny_bundle(), EngineSettings(threads=1)
    trials, _ = try_all(bundle, settings, Setup(threads=1))
    everything = wanted(bundle, settings)
    assert stale(trials, bundle, settings) == ()
    assert stale(trials, bundle, EngineSettings(threads=2)) == everything
    assert stale([replace(one, found="another version") for one in trials], bundle, settings) == everything
    assert stale(trials[1:], bundle, settings) == everything[:1]


def test_only_what_does_not_hold_any_more_is_tried_again() -> None:
    bundle, settings, tried = tiny_bundle(), EngineSettings(name="openvino", threads=1), list[Option]()
    trials, _ = try_all(bundle, settings, Setup(threads=1))
    old = [replace(one, found="another version") if one.precision == "bfloat16" else one for one in trials]
    again = try_stale(old, bundle, settings, Setup(threads=1), step=tried.append)
    assert tried == [Option("openvino", "bfloat16")]
    assert again[:-1] == tuple(one for one in trials if one.precision != "bfloat16")
    assert again[-1].found == found(tried[0])


def test_a_gpu_that_is_refused_for_good_is_asked_again_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    bundle, settings, gpu = tiny_bundle(), EngineSettings(threads=1), Option("tensorrt", "float32")
    trials, _ = try_all(bundle, settings, Setup(threads=1))
    refused = [replace(one, refusal="another count") if one.engine == "tensorrt" else one for one in trials]
    assert stale(refused, bundle, settings) == (gpu,)


def test_on_another_processor_its_engines_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    bundle, settings = tiny_bundle(), EngineSettings(threads=1)
    trials, _ = try_all(bundle, settings, Setup(threads=1))
    able = tuple(one for one in wanted(bundle, settings) if one.engine != "tensorrt" and problem(one) is None)
    for other in (Processor("another", 2), Processor("another", 2, vnni=True)):
        monkeypatch.setattr("station.selection.this_processor", lambda other=other: other)
        assert stale(trials, bundle, settings) == able
        trials = try_stale(trials, bundle, settings, Setup(threads=1))
        assert stale(trials, bundle, settings) == ()


def test_half_an_openvino_is_refused_with_the_reason_and_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", ModuleType("openvino"))
    bundle, settings = tiny_bundle(), EngineSettings(threads=1)
    trials, _ = try_all(bundle, settings, Setup(threads=1))
    refusals = [str(one.refusal) for one in trials if one.engine == "openvino"]
    assert len(refusals) == 2 and all("not OpenVINO, or not all of it" in refusal for refusal in refusals)
    assert trials[0].serves and stale(trials, bundle, settings) == ()
