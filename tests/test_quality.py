"""Each flag rises with its disturbance, and what a picture measured says by how much."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from networks import discs, one_hot, tiny_bundle, tiny_manifest
from numpy.typing import NDArray
from rich.console import Console
from unets import record_of

from station.contract.analysis import Analysis, Scale, finish, prepare
from station.contract.bundle import MANIFEST, MODEL_CARD, bundle_of, prove, read_bundle, write_bundle
from station.contract.flags import REVIEW
from station.contract.imaging import RGB
from station.contract.manifest import Manifest, Reference, Separation
from station.contract.quality import Quality, measure_quality, stain_distance
from station.demo.smear import SmearField, SmearRecipe, paint
from station.engines import open_engine
from trainer.cli import calibrate, main
from trainer.cli.duel import score_again
from trainer.datasets import open_dataset
from trainer.datasets.samples import DataError
from trainer.export import with_golden
from trainer.reference import Doubt, limits, marked, reference
from trainer.runs import RunFolder, SourceRecord

DIAMETER_PX = 60.0
TOLD = Scale(DIAMETER_PX, "told")


def field(seed: int, wbc: int = 3, **changes: object) -> SmearField:
    recipe = {"width": 480, "height": 360, "cell_diameter_px": DIAMETER_PX, "wbc": wbc, "seed": seed}
    return paint(SmearRecipe(**recipe | changes))  # type: ignore[arg-type]


def answer(labels: NDArray[np.uint8], manifest: Manifest) -> NDArray[np.float32]:
    """What a perfect network says of a field, whatever was done to its colours."""
    coloured = np.repeat(labels[..., None], 3, axis=2)
    frame = prepare(coloured, TOLD, manifest).frame
    small = cv2.resize(labels, (frame.network_width, frame.network_height), interpolation=cv2.INTER_NEAREST_EXACT)
    down, across = frame.padded_height - frame.network_height, frame.padded_width - frame.network_width
    return one_hot(np.pad(small, ((0, down), (0, across)))) * 0.97 + 0.01


@pytest.fixture(scope="module")
def model() -> Manifest:
    """One that knows what is normal from forty painted fields."""
    plain, measured = tiny_manifest(), []
    for seed in range(40):
        made = field(seed)
        prepared, likely = prepare(made.image, TOLD, plain), answer(made.labels, plain)
        measured.append(("painted", measure_quality(prepared.tile, likely)))
    return plain.model_copy(update={"reference": reference(measured, [])})


def analysed(image: RGB, labels: NDArray[np.uint8], manifest: Manifest, scale: Scale = TOLD) -> Analysis:
    return finish(prepare(image, scale, manifest), answer(labels, manifest), manifest)


def lit(image: RGB, gain: float) -> RGB:
    return np.clip(image * gain, 0, 255).astype(np.uint8)


def blurred(image: RGB, sigma: float) -> RGB:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def faded(image: RGB, share: float) -> RGB:
    """Stain that absorbs less: what is dark comes nearer to the light of the ground."""
    ground = np.percentile(image.reshape(-1, 3), 80, axis=0)
    return np.clip(ground * (np.maximum(image, 1) / ground) ** share, 0, 255).astype(np.uint8)


def turned(image: RGB, degrees: float) -> RGB:
    """Hue of all that is stained."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(int) + int(degrees / 2)) % 180
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)


Disturb = Callable[[RGB, float], RGB]


@pytest.mark.parametrize(
    ("flag", "figure", "direction", "disturb", "levels"),
    [
        ("dark", "brightness", -1, lit, (0.9, 0.7, 0.4)),
        ("overexposed", "clipped", 1, lit, (1.3, 2.5, 6.0)),
        ("out-of-focus", "focus", -1, blurred, (1.0, 3.0, 6.0)),
        ("pale", "contrast", -1, faded, (0.9, 0.5, 0.15)),
        ("stain", "stain", 1, turned, (10, 40, 90)),
    ],
)
def test_a_flag_rises_with_its_disturbance(
    flag: str, figure: str, direction: int, disturb: Disturb, levels: tuple[float, ...], model: Manifest
) -> None:
    made = field(50)
    undisturbed = analysed(made.image, made.labels, model)
    disturbed = [analysed(disturb(made.image, level), made.labels, model) for level in levels]
    figures = [direction * one.quality[figure] for one in (undisturbed, *disturbed)]
    assert figures == sorted(figures) and figures[-1] > figures[0], figures
    assert flag not in undisturbed.flags
    assert flag in disturbed[-1].flags
    assert [one.wbc_count for one in disturbed] == [3, 3, 3]  # it is stored all the same


def test_normal_fields_are_not_flagged(model: Manifest) -> None:
    flags = [analysed(made.image, made.labels, model).flags for made in (field(seed) for seed in range(60, 80))]
    assert sum(set(own) != {"cell-at-edge"} and own != () for own in flags) <= 1, flags


def test_without_a_reference_there_are_figures_but_no_judgement() -> None:
    made = field(51)
    result = analysed(blurred(lit(made.image, 0.3), 5), made.labels, tiny_manifest())
    assert set(result.flags) <= {"cell-at-edge"}
    assert {"focus", "brightness", "contrast", "clipped"} == set(result.quality)


def test_an_empty_field_has_no_stain_but_a_focus(model: Manifest) -> None:
    made = field(52, wbc=0)
    result = analysed(made.image, made.labels, model)
    assert "stain" not in result.quality and "stain" not in result.flags
    assert "out-of-focus" in analysed(blurred(made.image, 6), made.labels, model).flags


@pytest.mark.parametrize(("grey", "words"), [(0, {"dark"}), (128, set()), (255, {"overexposed"})])
def test_a_picture_with_nothing_in_it_is_no_empty_field(grey: int, words: set[str], model: Manifest) -> None:
    """A closed shutter, a lost slide, a lamp too bright: the count is 0, and a person should look."""
    nothing = np.full((360, 480, 3), grey, np.uint8)
    result = analysed(nothing, np.zeros((360, 480), np.uint8), model)
    assert (result.wbc_count, result.quality["focus"]) == (0, 0.0)
    assert {"dark", "overexposed"}.intersection(result.flags) == words
    assert {"out-of-focus", REVIEW} <= set(result.flags)


def test_a_picture_without_colour_is_marked(model: Manifest) -> None:
    """A camera left in grey mode: a network of stained cells finds nothing there, and would say so all day."""
    made = field(53)
    grey = cv2.cvtColor(cv2.cvtColor(made.image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    assert {"grey", REVIEW} <= set(analysed(np.asarray(grey, np.uint8), made.labels * 0, tiny_manifest()).flags)
    for image in (made.image, faded(made.image, 0.5), lit(made.image, 0.4)):
        assert "grey" not in analysed(image, made.labels, model).flags


def test_a_crop_is_too_small_to_lack_edges(model: Manifest) -> None:
    result = analysed(np.full((90, 90, 3), 200, np.uint8), np.zeros((90, 90), np.uint8), model)
    assert "focus" not in result.quality and REVIEW not in result.flags


def test_a_ground_that_is_nearly_white_is_overexposed(model: Manifest) -> None:
    made = field(57)
    tone = np.percentile(made.image.reshape(-1, 3), 80, axis=0)
    for lighter, is_marked in ((0.2, False), (0.9, True)):  # of the way from the ground to white
        gain = 1 + lighter * (255 / tone - 1)
        image = np.clip(made.image * gain, 0, 253).astype(np.uint8)
        assert ("overexposed" in analysed(image, made.labels, model).flags) is is_marked


def test_a_small_whole_cell_is_of_an_odd_size_and_two_cells_are_no_crowd() -> None:
    plain, made = tiny_manifest(), field(58, wbc=2, width=170, height=170, red_cells=0.0)
    assert "crowded" not in analysed(made.image, made.labels, plain).flags
    small = np.zeros((360, 480), np.uint8)
    cv2.circle(small, (240, 180), 13, 1, -1)  # 26 px of 60
    cv2.circle(small, (240, 180), 9, 2, -1)
    result = analysed(np.full((360, 480, 3), 200, np.uint8), small, plain)
    assert [cell.flags for cell in result.drawing.measured] == [("odd-size",)] and "odd-size" in result.flags


def test_a_cell_that_the_network_doubts_is_marked_and_so_is_its_picture(model: Manifest) -> None:
    made = field(53)
    strict = model.model_copy(update={"reference": reference_of(model).model_copy(update={"confidence": 0.9})})
    likely = answer(made.labels, strict)
    doubtful = 0.6 * likely + 0.4 / 3
    sure, unsure = (finish(prepare(made.image, TOLD, strict), one, strict) for one in (likely, doubtful))
    assert all("unsure" in cell.flags for cell in unsure.drawing.measured) and unsure.wbc_count == 3
    assert {"unsure", REVIEW} <= set(unsure.flags)
    assert not {"unsure", REVIEW} & set(sure.flags)


def test_what_looks_like_a_cell_to_some_degree_is_unclear(model: Manifest) -> None:
    made = field(54, wbc=0)
    likely = answer(made.labels, model)
    likely[40:60, 40:60] = (0.6, 0.2, 0.2)
    result = finish(prepare(made.image, TOLD, model), likely, model)
    assert (result.wbc_count, {"unclear", REVIEW} <= set(result.flags)) == (0, True)
    likely[40:60, 40:60] = (0.9, 0.05, 0.05)
    assert "unclear" not in finish(prepare(made.image, TOLD, model), likely, model).flags


def test_a_cell_of_an_implausible_size_is_marked() -> None:
    plain, made = tiny_manifest(), field(55)
    right = analysed(made.image, made.labels, plain)
    assert "odd-size" not in right.flags
    wrong = Scale(DIAMETER_PX / 2.6, "camera")
    prepared = prepare(made.image, wrong, plain)
    size = (prepared.frame.network_width, prepared.frame.network_height)
    small = cv2.resize(made.labels, size, interpolation=cv2.INTER_NEAREST_EXACT)
    padded = np.pad(small, ((0, prepared.tile.shape[0] - small.shape[0]), (0, prepared.tile.shape[1] - small.shape[1])))
    result = finish(prepared, one_hot(padded), plain)
    assert "odd-size" in result.flags
    assert any("odd-size" in cell.flags for cell in result.drawing.measured)


def test_a_field_full_of_cells_is_crowded() -> None:
    made = field(56, wbc=20, width=330, height=330, red_cells=0.0)
    assert "crowded" in analysed(made.image, made.labels, tiny_manifest()).flags


def test_a_manifest_without_reference_is_written_as_older_stations_read_it(model: Manifest, tmp_path: Path) -> None:
    assert "reference" not in tiny_manifest().model_dump_json()
    assert Manifest.model_validate_json(model.model_dump_json()) == model


def reference_of(manifest: Manifest) -> Reference:
    assert manifest.reference is not None
    return manifest.reference


def test_the_distance_of_a_stain_is_that_of_the_nearest_reference(model: Manifest) -> None:
    (stain,) = reference_of(model).stains
    other = stain.model_copy(update={"mean": tuple(value + 1 for value in stain.mean)})
    assert stain_distance(stain.mean, (other, stain)) == 0
    assert (stain_distance(stain.mean, (other,)) or 0) > 1
    assert stain_distance(None, (stain,)) is None and stain_distance(stain.mean, ()) is None


def doubts(*rows: tuple[bool, float, float]) -> list[Doubt]:
    return [Doubt(*row) for row in rows]


def test_limits_mark_most_of_the_wrong_counts_and_few_of_the_right() -> None:
    right = [(False, 0.004, 0.95)] * 94 + [(False, 0.04, 0.95)] * 6
    unclear, confidence = limits(doubts(*right, *[(True, 0.04, 0.95)] * 6, *[(True, 0.0, 0.83)] * 6))
    assert 0.004 <= unclear < 0.04 and 0.83 < confidence < 0.95
    assert marked(doubts(*right), unclear, confidence) == (0.06, 0.0)
    unclear, _ = limits(doubts(*right, *[(False, 0.04, 0.95)] * 2, *[(True, 0.04, 0.95)] * 12))
    assert unclear >= 0.04  # else 8 of 102 right ones were marked


@pytest.mark.parametrize("fields", [12, 18, 25, 93, 200])
def test_too_few_wrong_counts_leave_the_limits_as_strict_as_they_may_be(fields: int) -> None:
    """One wrong count, marked by any limit, says nothing of the next one."""
    right = [(False, number / 5000, 0.8 + number / 1000) for number in range(fields)]
    for few in ([], [(True, 0.2, 0.5)]):
        unclear, confidence = limits(doubts(*right, *few))
        falsely, rightly = marked(doubts(*right), unclear, confidence)
        assert 0.07 - 2.01 / fields < falsely <= 0.07 and rightly == 0.0
        assert marked(doubts(*right), unclear, 0.0)[0] <= 0.035


def test_too_few_pictures_tell_no_stain() -> None:
    one = Quality(focus=0.3, brightness=0.8, contrast=1.0, clipped=0.0, densities=(1.0, 1.0, 0.5, 0.3, 0.3, 0.2))
    with pytest.raises(DataError, match="few has 3 pictures with cells"):
        reference([("few", one)] * 3, [])


def put_fields(folder: Path, count: int) -> Path:
    for seed in range(count):
        made = field(seed, wbc=1, width=320, height=240, lobed=0.0)
        for kind, shown in (("images", cv2.cvtColor(made.image, cv2.COLOR_RGB2BGR)), ("masks", made.labels)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(folder / kind / f"{seed}.png"), shown)
    return folder


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (14, "calibrated: stations flag what is far from its training pictures"),
        (3, "flags are by the limits of the model that it comes from; `trainer calibrate` does it with more pictures"),
    ],
)
def test_a_training_ends_with_a_model_that_knows_what_is_normal(
    tmp_path: Path, model: Manifest, count: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrate, "FIELDS", 20)
    write_bundle(tmp_path / "new.zip", tiny_bundle())
    parent = bundle_of(model, {name: one for name, one in tiny_bundle().files.items() if name != MANIFEST})
    samples, said = open_dataset(put_fields(tmp_path / "data", count)), io.StringIO()
    calibrate.calibrate_trained(tmp_path / "new.zip", samples, {"data": 60.0}, parent, Console(file=said))
    assert words in said.getvalue()
    own = reference_of(read_bundle(tmp_path / "new.zip").manifest)
    assert (own == model.reference) is (count == 3) and (own.stains[0].dataset == "data") is (count == 14)
    if count == 3:
        assert read_bundle(tmp_path / "new.zip").manifest.separation == parent.manifest.separation


def test_too_few_pictures_and_no_parent_leave_a_model_that_flags_no_doubt(tmp_path: Path) -> None:
    write_bundle(tmp_path / "new.zip", tiny_bundle())
    samples, said = open_dataset(put_fields(tmp_path / "data", 3)), io.StringIO()
    calibrate.calibrate_trained(tmp_path / "new.zip", samples, {"data": 60.0}, None, Console(file=said))
    assert "no light or doubt is flagged" in said.getvalue()
    assert read_bundle(tmp_path / "new.zip").manifest.reference is None


def test_a_bundle_is_calibrated(tmp_path: Path) -> None:
    write_bundle(tmp_path / "old.zip", tiny_bundle())
    put_fields(tmp_path / "data", 14)
    how = ("--cell-diameter", "60", "--fields", "20", "-o", str(tmp_path / "new.zip"))
    result = CliRunner().invoke(main, ["calibrate", str(tmp_path / "old.zip"), str(tmp_path / "data"), *how])
    assert result.exit_code == 0, result.output
    assert "of 20 composed fields" in result.output
    old, new = read_bundle(tmp_path / "old.zip"), read_bundle(tmp_path / "new.zip")
    assert old.manifest.reference is None
    assert reference_of(new.manifest).stains[0].dataset == "data"
    measured = {"reference", "separation", "golden"}
    assert new.manifest.model_dump(exclude=measured) == old.manifest.model_dump(exclude=measured)
    told = f"seeds stand {new.manifest.separation.prominence:g} cell diameters above their saddle"
    assert told in result.output


@pytest.mark.parametrize("area", [None, 0.9])
def test_the_figures_of_a_training_are_those_of_the_calibrated_bundle(tmp_path: Path, area: float | None) -> None:
    """Its run, its manifest and its card say how the model counts that is handed on."""
    samples = open_dataset(put_fields(tmp_path / "data", 8))
    folder, path, row = RunFolder(tmp_path / "run"), tmp_path / "new.zip", "held-out rows of data, scale told"
    folder.path.mkdir()
    sources = {"data": SourceRecord(images=7, held_out=1, cell_diameter_px=60)}
    before = record_of("unet").model_copy(update={"sources": sources, "metrics": {row: {"count_exact": 1.0}}})
    folder.save(before)
    how = Separation() if area is None else Separation(min_area=area, min_area_at_edge=area)  # no cell is so large
    manifest = tiny_bundle().manifest.model_copy(update={"separation": how, "metrics": before.metrics})
    write_bundle(path, bundle_of(manifest, tiny_bundle().files | {MODEL_CARD: b"# tiny"}))
    score_again(path, samples, folder, Console(file=io.StringIO()))
    made, record = read_bundle(path), folder.load()
    assert made.manifest.metrics == record.metrics and (record == before) is (area is None)
    if area is not None:
        assert record.metrics[row]["count_exact"] == 0
        assert f"| {row} | 1 |" in made.files[MODEL_CARD].decode() and "| 0.0% |" in made.files[MODEL_CARD].decode()


def test_golden_results_follow_the_parameters_by_which_cells_are_told_apart(tmp_path: Path) -> None:
    """Else a model that counts a rim at the border no more would be refused wherever it is installed."""
    loose = tiny_manifest().separation.model_copy(update={"min_area_at_edge": 0.01})
    pictured = discs(180, 240, [(110, 90, 30, 17), (0, 40, 12, 11)])
    card = b"# tiny\n\n## Figures\n| rows |\n|---|\n| 5 |\n\n## Not good for\n- anything\n"
    files = {**tiny_bundle().files, MODEL_CARD: card}
    bare = bundle_of(tiny_bundle().manifest.model_copy(update={"separation": loose}), files)
    old = with_golden(bare, [(pictured, 60.0)])
    strict = loose.model_copy(update={"min_area_at_edge": 0.18})
    calibrate.write_manifest(old, old.manifest.model_copy(update={"separation": strict}), tmp_path / "new.zip")
    new = read_bundle(tmp_path / "new.zip")
    assert [[golden.wbc_count for golden in one.manifest.golden] for one in (old, new)] == [[2], [1]]
    prove(new, open_engine(new))
    calibrate.write_manifest(new, new.manifest.model_copy(update={"separation": loose}), tmp_path / "third.zip")
    for path in ("new.zip", "third.zip"):
        told = read_bundle(tmp_path / path).files[MODEL_CARD].decode()
        assert told.count("| 5 |\n\nThe counts above were taken before `trainer calibrate` changed") == 1
        assert told.endswith("told apart.\n\n## Not good for\n- anything\n")
