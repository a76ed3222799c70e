"""Recipes: the shipped ones, own files, options, and the digest that names a training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest

from station.contract.manifest import NetworkScale
from trainer.recipe import LATER, Augmentation, Recipe, RecipeError, read_recipe, shipped


def own(tmp_path: Path, text: str) -> str:
    path = tmp_path / "own.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", ["station", "refine", "varied", "paper", "brief"])
def test_the_shipped_recipes_are_read(name: str) -> None:
    assert name in shipped()
    assert read_recipe(name).name == name


def test_every_shipped_recipe_is_known_to_these_tests() -> None:
    assert shipped() == ["brief", "paper", "refine", "station", "varied"]


def test_a_file_names_only_what_it_changes(tmp_path: Path) -> None:
    text = 'name = "own"\nbatch = 4\n[augment]\ngamma = [1.0, 1.0]\n'
    recipe = read_recipe(own(tmp_path, text))
    assert recipe == Recipe(name="own", batch=4, augment=Augmentation(gamma=(1.0, 1.0)))


def test_options_replace_fields_and_those_not_given_do_not(tmp_path: Path) -> None:
    path = own(tmp_path, 'name = "own"\nbackbone = "unet"\nepochs = 3\n')
    recipe = read_recipe(path, backbone=None, loss="dice", epochs=7)
    assert (recipe.backbone, recipe.loss, recipe.epochs) == ("unet", "dice", 7)
    assert read_recipe(path).epochs == 3


def test_an_unknown_name_is_answered_with_the_shipped_ones() -> None:
    with pytest.raises(RecipeError, match="no recipe 'staton'; shipped ones: brief, paper, refine, station"):
        read_recipe("staton")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('name = "x"\nlerning_rate = 1\n', "lerning_rate: Extra inputs are not permitted"),
        ('name = "x"\n[augment]\ngama = [1, 1]\n', r"augment\.gama: Extra inputs"),
        ('name = "x"\ncrop_px = 100\n', "crop_px: Input should be a multiple of 32"),
        ('name = "x"\nbatch = 0\n', "batch: Input should be greater than or equal to 1"),
        ('name = "x"\nheld_out = 1.0\n', "held_out: Input should be less than 1"),
        ('name = "x"\nlearning_rate = "fast"\n', "learning_rate: Input should be a valid number"),
        ('name = "x"\nstretch_px = 250\n', "stretch_px: Input should be a multiple of 32"),
        ('name = "x"\nscale_policy = "crop"\n', "scale_policy: Input should be 'cells' or 'stretch'"),
        ('name = "x"\nclass_weights = [1, 0, 1]\n', r"class_weights: three numbers above 0 .* \(found \[1, 0, 1\]\)"),
        ('name = "x"\nclass_weights = [1, 2]\n', 'class_weights: three numbers above 0 .* or "balanced"'),
        ('name = "x"\ncomposed_share = 1.2\n', "composed_share: Input should be less than or equal to 1"),
        ('name = "x"\nclass_weights = "even"\n', 'class_weights: three numbers above 0 .* or "balanced"'),
        ('name = "x"\n[augment]\ngamma = [1.2, 0.8]\n', r"augment: gamma = \(1\.2, 0\.8\): the first is the least"),
        ('name = "x"\n[augment]\njpeg_quality = [90, 40]\n', r"augment: jpeg_quality = \(90, 40\): the first is"),
        ('name = "x"\n[augment]\njpeg_quality = [0, 40]\n', r"augment\.jpeg_quality\.0: Input should be greater"),
        ('name = "x"\n[augment]\nscale = [0, 1.4]\n', r"augment\.scale\.0: Input should be greater than 0"),
        ('name = "x"\n[augment]\nblur_share = 3\n', r"augment\.blur_share: Input should be less than or equal to 1"),
        ('name = "x"\n[augment]\nblur_sigma_px = 0.1\n', r"augment\.blur_sigma_px: Input should be greater"),
        ('name = "x"\n[augment]\nnoise_sigma = -1\n', r"augment\.noise_sigma: Input should be greater"),
        ("batch = 4\n", "name: Field required"),
        ("name = \n", "Invalid value"),
    ],
)
def test_a_wrong_recipe_is_one_sentence_with_file_and_key(tmp_path: Path, text: str, sentence: str) -> None:
    path = own(tmp_path, text)
    with pytest.raises(RecipeError, match=sentence) as failure:
        read_recipe(path)
    assert str(failure.value).startswith(f"recipe {path}: ")
    assert failure.value.exit_code == 2


def test_a_wrong_option_is_the_same_sentence() -> None:
    with pytest.raises(RecipeError, match="recipe station: epochs: "):
        read_recipe("station", epochs=0)


OTHER_VALUES: dict[str, object] = {
    "name": "other",
    "backbone": "unet",
    "loss": "dice",
    "cell_diameter_px": 48.0,
    "crop_px": 64,
    "batch": 3,
    "steps_per_epoch": 7,
    "epochs": 2,
    "patience": 1,
    "frozen_epochs": 2,
    "learning_rate": 2e-3,
    "held_out": 0.3,
    "painted_share": 0.5,
    "painted_fields": 5,
    "near_label_share": 0.1,
    "bn_momentum": 0.5,
    "bn_batches": 1,
    "scale_policy": "stretch",
    "stretch_px": 128,
    "schedule": "constant",
    "class_weights": "balanced",
    "composed_share": 0.3,
    "composed_fields": 7,
    "composed_size": (0.5, 1.2),
    "composed_density": (0.5, 1.0),
    "held_out_composed": 4,
    "held_out_elsewhere": True,
    "mixed_precision": "float32",
}
OTHER_AUGMENTATION: dict[str, object] = {
    "scale": (0.9, 1.1),
    "rotation_degrees": 10.0,
    "gamma": (1.0, 1.1),
    "gain": (1.0, 1.1),
    "offset": 0.0,
    "saturation": (1.0, 1.1),
    "hue_degrees": 0.0,
    "blur_share": 0.0,
    "blur_sigma_px": 2.0,
    "noise_share": 0.0,
    "noise_sigma": 0.1,
    "upside_down_share": 0.5,
    "stain_scale": 0.1,
    "stain_shift": 0.1,
    "jpeg_share": 0.1,
    "jpeg_quality": (30, 95),
}


def test_every_field_is_known_to_these_tests() -> None:
    assert {*OTHER_VALUES, "augment"} == set(Recipe.model_fields)
    assert set(OTHER_AUGMENTATION) == set(Augmentation.model_fields)


@pytest.mark.parametrize("field", OTHER_VALUES)
def test_the_digest_changes_with_each_field(field: str) -> None:
    one, other = Recipe(name="x"), Recipe.model_validate({"name": "x", field: OTHER_VALUES[field]})
    assert one.digest != other.digest
    assert one.digest == Recipe(name="x").digest


@pytest.mark.parametrize("field", OTHER_AUGMENTATION)
def test_the_digest_changes_with_each_augmentation(field: str) -> None:
    other = Augmentation.model_validate({field: OTHER_AUGMENTATION[field]})
    assert Recipe(name="x").digest != Recipe(name="x", augment=other).digest


@pytest.mark.parametrize("text", ['name = "x"\nepochs = 3\nbatch = 2\n', '# note\nbatch = 2\nname = "x"\nepochs = 3'])
def test_the_digest_depends_on_values_not_on_how_the_file_is_written(tmp_path: Path, text: str) -> None:
    assert read_recipe(own(tmp_path, text)).digest == Recipe(name="x", epochs=3, batch=2).digest


OLD_AUGMENT = Augmentation(gamma=(1.0, 1.0), blur_share=0.5)


@pytest.mark.parametrize(
    ("recipe", "digest"),
    [
        (Recipe(name="x"), "2232ce3b0d03aedc5dfe3923bb0ed4511c31def70bf8bab9f87fcbebcb7842c6"),
        (
            Recipe(name="own", batch=4, painted_share=0.0, augment=OLD_AUGMENT),
            "97ad0192ab17d7453744c3886c1ca02912b8eee0c8b85d53eb862016a110ea05",
        ),
    ],
)
def test_recipes_keep_the_digest_that_they_had_before_fields_were_added(recipe: Recipe, digest: str) -> None:
    assert recipe.digest == digest


class Marked(Recipe):
    dropout: Annotated[float, LATER] = 0.0


class Unmarked(Recipe):
    dropout: float = 0.0


def test_a_field_that_comes_later_leaves_the_digest_alone_until_it_is_used() -> None:
    assert Marked(name="x").digest == Marked(name="x", dropout=0.0).digest == Recipe(name="x").digest
    assert Marked(name="x", dropout=0.5).digest != Recipe(name="x").digest
    assert Unmarked(name="x").digest != Recipe(name="x").digest


def test_a_recipe_comes_back_from_json_with_its_digest() -> None:
    augment = Augmentation(jpeg_share=0.1, jpeg_quality=(30, 60))
    recipe = Recipe(name="x", class_weights=(1, 2.5, 3), schedule="constant", augment=augment)
    back = Recipe.model_validate_json(recipe.model_dump_json())
    assert (back, back.digest) == (recipe, recipe.digest)


def test_the_learning_rate_falls_along_half_a_cosine() -> None:
    recipe = Recipe(name="x", learning_rate=0.01, epochs=4, steps_per_epoch=25)
    rates = [recipe.learning_rate_at(step) for step in (0, 25, 50, 75, 100, 130)]
    assert rates == pytest.approx([0.01, 0.01 * (0.5 + 8**-0.5), 0.005, 0.01 * (0.5 - 8**-0.5), 0, 0])


def test_a_constant_learning_rate_stays() -> None:
    recipe = Recipe(name="x", learning_rate=0.01, epochs=4, steps_per_epoch=25, schedule="constant")
    assert {recipe.learning_rate_at(step) for step in (0, 50, 99, 130)} == {0.01}


def test_a_recipe_tells_the_station_how_to_bring_pictures_to_its_network() -> None:
    cells = Recipe(name="x", cell_diameter_px=48.0)
    assert cells.network_scale(16) == NetworkScale(cell_diameter_px=48.0, stride=16)
    stretch = Recipe(name="x", scale_policy="stretch", stretch_px=128)
    assert (stretch.network_scale(32).policy, stretch.network_scale(32).stretch_px) == ("stretch", 128)
    assert (cells.input_px, stretch.input_px) == (192, 128)


def test_the_paper_is_followed() -> None:
    paper = read_recipe("paper")
    assert (paper.scale_policy, paper.stretch_px, paper.held_out) == ("stretch", 256, 0.2)
    assert (paper.loss, paper.learning_rate, paper.schedule) == ("cross_entropy", 1e-3, "constant")
    assert (paper.patience, paper.epochs, paper.batch) == (10, 100, 8)
    assert (paper.painted_share, paper.bn_batches, paper.frozen_epochs, paper.class_weights) == (0, 0, 0, None)
    off = {"gamma": (1, 1), "gain": (1, 1), "saturation": (1, 1), "hue_degrees": 0, "blur_share": 0, "noise_share": 0}
    assert paper.augment == Augmentation(
        scale=(0.8, 1.25), rotation_degrees=20.0, offset=0.15, upside_down_share=0.5, **off
    )
