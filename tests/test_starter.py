"""The shipped model keeps its promises: on photographs that it never saw, and on painted fields of other seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from station.contract.analysis import Scale, analyse
from station.contract.bundle import MODEL_CARD, prove, read_bundle
from station.contract.scale import estimate
from station.demo.smear import demo_fields, paint
from station.engines import Engine, open_engine
from station.registry import starter_path
from trainer.composites import compose
from trainer.counting import counted, tally
from trainer.cutouts import stock
from trainer.datasets import open_datasets
from trainer.datasets.samples import in_role
from trainer.evaluate import ImageScore, by_dataset, score_images, summary, told

BUNDLE = read_bundle(starter_path())


@pytest.fixture(scope="module")
def engine() -> Engine:
    return open_engine(BUNDLE)


@pytest.fixture(scope="module")
def scores(photographs: Path, engine: Engine) -> dict[str, Sequence[ImageScore]]:
    """The val rows of both sets, cell diameter told."""
    rows = in_role(open_datasets([photographs / "bccd", photographs / "zheng"]), photographs / "splits.csv", "val")
    return by_dataset(list(score_images(rows, told({"bccd": 162.0, "zheng": 75.0}), BUNDLE.manifest, engine)))


@pytest.mark.parametrize(
    ("dataset", "figure", "least"),
    [
        *(("bccd", "dice_nucleus", 0.965), ("bccd", "dice_cell", 0.958), ("bccd", "count_exact", 0.97)),
        *(("zheng", "dice_nucleus", 0.958), ("zheng", "dice_cell", 0.977)),
    ],
)
def test_photographs_that_it_never_saw(
    scores: dict[str, Sequence[ImageScore]], dataset: str, figure: str, least: float
) -> None:
    assert summary(scores[dataset])[figure] >= least


def test_fields_composed_of_cells_that_it_never_saw_are_counted(photographs: Path, engine: Engine) -> None:
    """A few of the 300 of `trainer evaluate --counting`; allidb2 is of a camera that it never saw either."""
    diameters = {"bccd": 162.0, "zheng": 75.0, "allidb2": 116.0}
    rows = in_role(open_datasets([photographs / name for name in diameters]), photographs / "splits.csv", "val")
    cells, grounds = stock(rows, diameters)
    found = list(counted((compose(seed, cells, grounds) for seed in range(12)), BUNDLE.manifest, engine))
    for scale, exact in (("told", 12), ("nothing told", 11)):
        own = tally([of_field["the station's", scale] for of_field in found])
        assert own.exact * 12 >= exact and own.f1 > 0.985 and own.merged == 0, (scale, own)


def test_its_card_and_manifest_carry_the_figures_that_are_measured(scores: dict[str, Sequence[ImageScore]]) -> None:
    for dataset, own in scores.items():
        noted = BUNDLE.manifest.metrics[f"val rows of {dataset}, scale told"]
        assert noted == pytest.approx(summary(own), abs=5e-4)  # processors round differently
        assert f"| val rows of {dataset}, scale told | {len(own)} |" in BUNDLE.files[MODEL_CARD].decode()


def test_it_is_small_and_proves_itself(engine: Engine) -> None:
    assert starter_path().stat().st_size <= 30e6
    assert len(prove(BUNDLE, engine)) == 3


@pytest.mark.parametrize("seed", [11, 12, 13])
def test_painted_days_of_other_seeds_are_counted(engine: Engine, seed: int) -> None:
    fields = [paint(recipe) for recipe in demo_fields(seed)]
    counts = [analyse(field.image, Scale(120.0, "told"), BUNDLE.manifest, engine).wbc_count for field in fields]
    exact = sum(count == field.wbc_count for count, field in zip(counts, fields, strict=True))
    assert exact >= 11, list(zip(counts, (field.wbc_count for field in fields), strict=True))


def test_a_scale_that_nobody_told_is_estimated_within_a_quarter(engine: Engine) -> None:
    field = paint(demo_fields(5)[5])
    assert estimate(field.image, BUNDLE.manifest, engine).cell_diameter_px == pytest.approx(120, rel=0.25)
