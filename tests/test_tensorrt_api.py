"""Every name of TensorRT and CUDA that the engine uses exists in TensorRT 10.3, in 11.4 and in RTX 1.7 alike.

No such name can be checked by running it: the full library needs a GPU to do anything. `tests/tensorrt_api` holds what
the three libraries' bindings list; each file says how it was made.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT
from recorders import FakeCuda, Record
from tensorrt_double import fake_tensorrt

from station.engines.tensorrt.building import name_target
from station.engines.tensorrt.library import FULL, Library

PACKAGE = ROOT / "station" / "engines" / "tensorrt"
SOURCES = sorted(PACKAGE.glob("*.py"))
RECORDED = sorted((ROOT / "tests" / "tensorrt_api").glob("*.json"))

# What a variable or attribute of this name holds, wherever it stands in the package. "" is the module itself.
HOLDS = {
    "trt": "",
    "builder": "Builder",
    "network": "INetworkDefinition",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "parser": "OnnxParser",
    "parser_error": "ParserError",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "_context": "IExecutionContext",
}
# What calls of them return, so that chains are followed.
RETURNS = {
    "get_input": "ITensor",
    "get_output": "ITensor",
    "get_timing_cache": "ITimingCache",
}
NOT_TENSORRT = {"cuda.py", "plans.py", "orders.py", "shapes.py", "builder.py", "__init__.py"}


def owner(node: ast.expr) -> str | None:
    """The class whose attribute is read off `node`; None where it is nothing of TensorRT's."""
    if isinstance(node, ast.Name):
        return HOLDS.get(node.id)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return RETURNS.get(node.func.attr)
    if isinstance(node, ast.Attribute):
        if owner(node.value) == "":
            return node.attr  # trt.BuilderFlag.TF32
        return HOLDS.get(node.attr)  # self._context, library.trt
    return None


def used() -> Iterator[tuple[str, str]]:
    """(class, name) of each attribute of TensorRT that the package reads, writes or overrides."""
    for source in SOURCES:
        if source.name in NOT_TENSORRT:
            continue
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and (held := owner(node.value)) is not None:
                yield held, node.attr
            if isinstance(node, ast.ClassDef) and node.bases and isinstance(node.bases[0], ast.Attribute):
                yield from overridden(node, node.bases[0].attr)


def overridden(node: ast.ClassDef, base: str) -> Iterator[tuple[str, str]]:
    own = {"reason"}
    for method in node.body:
        if isinstance(method, ast.FunctionDef) and not method.name.startswith("_") and method.name not in own:
            yield base, method.name


USED = sorted({pair for pair in used() if not pair[1].startswith("__")})


# What is asked of RTX alone, behind a question for the library.
OF_RTX = {
    ("", "ComputeCapability"),
    ("IBuilderConfig", "num_compute_capabilities"),
    ("IBuilderConfig", "set_compute_capability"),
}


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda path: path.stem)
def test_every_name_of_tensorrt_exists_in_each_library(recorded: Path) -> None:
    names = json.loads(recorded.read_text(encoding="utf-8"))["names"]
    asked = USED if "rtx" in recorded.stem else [pair for pair in USED if pair not in OF_RTX]
    assert [pair for pair in asked if pair[1] not in names[pair[0]]] == []


def test_the_full_library_is_not_asked_for_what_rtx_alone_has() -> None:
    """On a Turing card, such as a T4."""
    nothing = SimpleNamespace()
    name_target(nothing, nothing, Library(nothing, FULL, "10.3.0"), "7.5")


def test_the_names_are_found_at_all() -> None:
    assert len(RECORDED) == 3
    assert len(USED) >= 50
    some = {
        ("", "Builder"),
        ("Builder", "build_serialized_network"),
        ("BuilderFlag", "TF32"),
        ("DataType", "HALF"),
        ("ICudaEngine", "get_tensor_profile_shape"),
        ("IExecutionContext", "execute_async_v3"),
        ("IExecutionContext", "set_optimization_profile_async"),
        ("ILogger", "log"),
        ("IProgressMonitor", "step_complete"),
        ("ITensor", "name"),
        ("ITimingCache", "serialize"),
        ("OnnxParser", "parse"),
        ("ParserError", "desc"),
        ("Runtime", "deserialize_cuda_engine"),
    }
    assert some <= set(USED)


def test_a_name_that_only_some_libraries_have_would_be_noticed() -> None:
    """The lists tell the libraries apart where they differ."""
    names = {path.stem: json.loads(path.read_text(encoding="utf-8"))["names"] for path in RECORDED}
    only = (("BuilderFlag", "FP16"), ("ICudaEngine", "device_memory_size"), ("Runtime", "get_engine_validity"))
    having = {name: [stem for stem in names if name in names[stem][held]] for held, name in only}
    assert having["FP16"] == having["device_memory_size"] == ["tensorrt-10.3.0"]
    assert having["get_engine_validity"] == ["tensorrt-rtx-1.7.1.116"]


def test_the_list_of_the_installed_library_is_what_it_says() -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    recorded = json.loads((ROOT / "tests/tensorrt_api/tensorrt-rtx-1.7.1.116.json").read_text(encoding="utf-8"))
    if trt.__version__ != recorded["version"]:
        pytest.skip(f"the list is of {recorded['version']}, installed is {trt.__version__}")
    for held, names in recorded["names"].items():
        found = trt
        for part in filter(None, held.split(".")):
            found = getattr(found, part)
        assert set(names) <= set(dir(found)), held


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda path: path.stem)
def test_the_double_has_no_name_that_a_library_lacks(recorded: Path) -> None:
    names = json.loads(recorded.read_text(encoding="utf-8"))["names"]
    double = fake_tensorrt(Record(), FakeCuda(Record()))
    for held in (name for name in vars(double) if not name.startswith("_")):
        assert held in names[""]
        thing = getattr(double, held)
        own = list(thing.__members__) if issubclass(thing, Enum) else [n for n in dir(thing) if not n.startswith("_")]
        assert set(own) <= set(names[held]), held


def test_every_name_of_cuda_exists_in_the_bindings() -> None:
    runtime = pytest.importorskip("cuda.bindings.runtime")
    text = (PACKAGE / "cuda.py").read_text(encoding="utf-8")
    names = set(re.findall(r"\bcuda[A-Z]\w+", text))
    assert len(names) >= 18
    places = (runtime, runtime.cudaError_t, runtime.cudaMemcpyKind)
    assert [name for name in sorted(names) if not any(hasattr(place, name) for place in places)] == []
    assert all(hasattr(runtime.cudaDeviceProp(), name) for name in ("name", "major", "minor", "totalGlobalMem"))
