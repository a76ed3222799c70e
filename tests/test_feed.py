"""Batches: what they look like, that truth goes with the picture, and that they can be drawn again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from composing import SET, put_discs
from numpy.typing import NDArray

from station.contract.imaging import frame_for, to_network_scale
from trainer.datasets.encodings import INDEXED
from trainer.datasets.samples import DataError, Sample
from trainer.feed import Picture, Pool, batch, class_weights, pools
from trainer.recipe import Augmentation, Recipe

PLAIN = Augmentation(gamma=(1, 1), gain=(1, 1), offset=0, saturation=(1, 1), hue_degrees=0, blur_share=0, noise_share=0)
STILL = PLAIN.model_copy(update={"scale": (1.0, 1.0), "rotation_degrees": 0.0})
CODED = np.eye(3, dtype=np.uint8) * 255  # label -> a colour of its own: red, green, blue


def recipe_of(**changes: object) -> Recipe:
    plain = {"name": "x", "crop_px": 64, "batch": 4, "painted_share": 0.0, "augment": PLAIN}
    return Recipe.model_validate(plain | changes)


def put(folder: Path, dataset: str, name: str, labels: NDArray[np.uint8]) -> Sample:
    """A picture on disk whose colours are its labels."""
    folder.mkdir(parents=True, exist_ok=True)
    image, mask = folder / f"{dataset}-{name}.png", folder / f"{dataset}-{name}-mask.png"
    assert cv2.imwrite(str(image), np.ascontiguousarray(CODED[labels][..., ::-1]))
    assert cv2.imwrite(str(mask), labels)
    return Sample(dataset, name, image, mask, name, INDEXED)


def cells(rng: np.random.Generator, height: int, width: int, diameter: float) -> NDArray[np.uint8]:
    """Cells with nuclei out of their centre, so that no mirror image is its own original."""
    labels = np.zeros((height, width), np.uint8)
    for x, y in rng.uniform(0, 1, (10, 2)) * (width, height):
        cv2.circle(labels, (int(x), int(y)), round(diameter / 2), 1, -1)
        cv2.circle(labels, (int(x + diameter / 7), int(y + diameter / 9)), round(diameter / 4), 2, -1)
    return labels


def uniform(name: str, colour: tuple[int, int, int], share: float, pictures: int = 1) -> Pool:
    image, labels = np.full((90, 90, 3), colour, np.uint8), np.zeros((90, 90), np.uint8)
    return Pool(name, (Picture(image, labels, np.argwhere(labels)),) * pictures, share)


@pytest.fixture
def sources(tmp_path: Path) -> list[Pool]:
    rng = np.random.default_rng(3)
    samples = [put(tmp_path, "set", str(i), cells(rng, 150, 200, 50)) for i in range(3)]
    return pools(samples, {"set": 50.0}, recipe_of(), seed=0)


def one_hot_labels(truth: NDArray[np.float32]) -> NDArray[np.intp]:
    return np.asarray(truth.argmax(axis=-1))


def check_agreement(images: NDArray[np.float32], truth: NDArray[np.float32]) -> None:
    """Away from edges, where the colours mix, colour and label of a pixel are the same."""
    pure = images.max(axis=-1) > 0.9 * 255
    assert pure.mean() > 0.8
    assert set(np.unique(one_hot_labels(truth)[pure])) == {0, 1, 2}
    assert np.array_equal(images.argmax(axis=-1)[pure], one_hot_labels(truth)[pure])


@pytest.mark.parametrize("augment", [Augmentation(), PLAIN])
def test_batches_have_the_shapes_and_ranges_of_the_network(sources: list[Pool], augment: Augmentation) -> None:
    images, truth = batch(sources, recipe_of(batch=3, crop_px=96, augment=augment), 0, 0, 0)
    assert (images.shape, images.dtype) == ((3, 96, 96, 3), np.float32)
    assert (truth.shape, truth.dtype) == ((3, 96, 96, 3), np.float32)
    assert images.min() >= 0
    assert 100 < images.max() <= 255
    assert set(np.unique(truth)) == {0, 1}
    assert (truth.sum(axis=-1) == 1).all()


def test_the_same_step_gives_the_same_batch_in_any_order(sources: list[Pool]) -> None:
    recipe = recipe_of(augment=Augmentation())
    first = batch(sources, recipe, 5, 2, 7)
    batch(sources, recipe, 5, 2, 6)
    again = batch(sources, recipe, 5, 2, 7)
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])


@pytest.mark.parametrize(("seed", "epoch", "step"), [(6, 2, 7), (5, 3, 7), (5, 2, 8)])
def test_another_seed_epoch_or_step_gives_another_batch(sources: list[Pool], seed: int, epoch: int, step: int) -> None:
    recipe = recipe_of()
    assert not np.array_equal(batch(sources, recipe, 5, 2, 7)[0], batch(sources, recipe, seed, epoch, step)[0])


def test_another_recipe_gives_another_batch(sources: list[Pool]) -> None:
    images, _ = batch(sources, recipe_of(name="x"), 5, 2, 7)
    assert not np.array_equal(images, batch(sources, recipe_of(name="y"), 5, 2, 7)[0])


def test_no_crop_comes_twice(sources: list[Pool]) -> None:
    recipe = recipe_of()
    drawn = [
        crop.tobytes() for epoch in (0, 1) for step in range(4) for crop in batch(sources, recipe, 0, epoch, step)[0]
    ]
    assert len(set(drawn)) == len(drawn) == 32


def test_the_truth_follows_the_picture(sources: list[Pool]) -> None:
    for step in range(20):
        check_agreement(*batch(sources, recipe_of(), 0, 0, step))


def test_a_truth_that_does_not_follow_is_noticed(sources: list[Pool], monkeypatch: pytest.MonkeyPatch) -> None:
    true_warp = cv2.warpAffine

    def careless(picture: NDArray[np.uint8], matrix: NDArray[np.float64], *rest: object, **how: object) -> object:
        warped = true_warp(picture, matrix, *rest, **how)  # type: ignore[call-overload]
        return warped if picture.ndim == 3 else np.roll(warped, 2, axis=1)

    monkeypatch.setattr("trainer.feed.cv2.warpAffine", careless)
    with pytest.raises(AssertionError):
        check_agreement(*batch(sources, recipe_of(), 0, 0, 0))


@pytest.mark.parametrize("diameter", [30.0, 64.0, 160.0])
def test_the_truth_follows_the_picture_to_network_scale(tmp_path: Path, diameter: float) -> None:
    side = round(4 * diameter)
    sample = put(tmp_path, "set", "a", cells(np.random.default_rng(1), side, side + 7, diameter))
    ((pool,), recipe) = pools([sample], {"set": diameter}, recipe_of(), seed=0), recipe_of()
    (picture,) = pool.pictures
    check_agreement(picture.image.astype(np.float32), np.eye(3, dtype=np.float32)[picture.labels])
    check_agreement(*batch([pool], recipe, 0, 0, 0))


@pytest.mark.parametrize("diameter", [40.0, 64.0, 162.0])
@pytest.mark.parametrize("wanted", [48.0, 64.0])
def test_cells_are_brought_to_the_diameter_of_the_recipe(tmp_path: Path, diameter: float, wanted: float) -> None:
    labels = np.zeros((200, 240), np.uint8)
    cv2.circle(labels, (120, 100), round(diameter / 2), 2, -1)
    recipe = recipe_of(cell_diameter_px=wanted, crop_px=256, augment=STILL, near_label_share=1.0)
    (pool,) = made = pools([put(tmp_path, "set", "a", labels)], {"set": diameter}, recipe, seed=0)
    area = np.count_nonzero(pool.pictures[0].labels)
    assert 2 * np.sqrt(area / np.pi) == pytest.approx(wanted, rel=0.04)
    _, truth = batch(made, recipe, 0, 0, 0)
    for crop in one_hot_labels(truth):
        width = max(np.count_nonzero(crop, axis=1).max(), np.count_nonzero(crop, axis=0).max())
        assert width >= wanted * 0.96


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_crops_are_scaled_by_what_the_recipe_says(factor: float) -> None:
    labels = np.zeros((400, 400), np.uint8)
    cv2.circle(labels, (200, 200), 40, 2, -1)
    pool = Pool("one", (Picture(CODED[labels], labels, np.array([[200, 200]])),), 1.0)
    augment = STILL.model_copy(update={"scale": (factor, factor)})
    recipe = recipe_of(crop_px=256, cell_diameter_px=10, near_label_share=1.0, augment=augment)
    _, truth = batch([pool], recipe, 0, 0, 0)
    areas = np.count_nonzero(one_hot_labels(truth), axis=(1, 2))
    assert areas == pytest.approx(np.full(4, np.count_nonzero(labels) * factor**2), rel=0.05)


def test_crops_are_mirrored_half_of_the_time() -> None:
    labels = np.zeros((300, 300), np.uint8)
    labels[:, 150:] = 2
    pool = Pool("one", (Picture(CODED[labels], labels, np.array([[150, 150]])),), 1.0)
    recipe = recipe_of(batch=100, crop_px=128, cell_diameter_px=30, near_label_share=1.0, augment=STILL)
    images, truth = batch([pool], recipe, 0, 0, 0)
    check = one_hot_labels(truth)[:, 64]
    assert (check[:, 0] != check[:, -1]).all()
    assert 30 < np.count_nonzero(check[:, 0] == 2) < 70
    assert np.array_equal(images.argmax(axis=-1)[:, 64], check)


def test_a_thin_rim_of_cytoplasm_survives_shrinking(tmp_path: Path) -> None:
    labels = np.zeros((400, 400), np.uint8)
    cv2.circle(labels, (200, 200), 80, 1, -1)
    cv2.circle(labels, (200, 200), 76, 2, -1)  # a rim of 4 px, 1.6 px at network scale
    (pool,) = pools([put(tmp_path, "set", "a", labels)], {"set": 160.0}, recipe_of(), seed=0)
    small = pool.pictures[0].labels
    rim, expected = np.count_nonzero(small == 1), np.count_nonzero(labels == 1) * 0.4**2
    assert rim == pytest.approx(expected, rel=0.25)
    grown = cv2.dilate((small == 2).astype(np.uint8), np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8))
    assert np.count_nonzero(small[grown > 0] == 0) < 0.05 * rim  # nowhere does a nucleus meet the background


def test_data_sets_share_alike_what_painted_fields_leave(tmp_path: Path) -> None:
    rng, ticks = np.random.default_rng(0), []
    labels = [cells(rng, 80, 80, 40) for _ in range(6)]
    samples = [put(tmp_path, "large" if i else "small", str(i), one) for i, one in enumerate(labels)]
    recipe = recipe_of(painted_share=0.3, painted_fields=2)
    made = pools(samples, {"large": 40.0, "small": 40.0}, recipe, 0, lambda: ticks.append(1))
    assert [(pool.name, len(pool.pictures)) for pool in made] == [("large", 5), ("small", 1), ("painted", 2)]
    assert [pool.share for pool in made] == pytest.approx([0.35, 0.35, 0.3])
    assert len(ticks) == 8


def test_pools_are_drawn_by_their_share() -> None:
    made = [uniform("a", (200, 0, 0), 0.2), uniform("b", (0, 200, 0), 0.3, pictures=9), uniform("c", (0, 0, 200), 0.5)]
    images, _ = batch(made, recipe_of(batch=800, crop_px=32), 0, 0, 0)
    drawn = np.bincount(images.mean(axis=(1, 2)).argmax(axis=-1), minlength=3) / 800
    assert drawn == pytest.approx([0.2, 0.3, 0.5], abs=0.06)


@pytest.mark.parametrize(
    "changes", [{"painted_share": 0.0, "painted_fields": 3}, {"painted_share": 0.3, "painted_fields": 0}]
)
def test_painted_fields_can_be_left_out(tmp_path: Path, changes: dict[str, float]) -> None:
    sample = put(tmp_path, "set", "a", cells(np.random.default_rng(0), 80, 80, 40))
    made = pools([sample], {"set": 40.0}, recipe_of(**changes), 0)
    assert [pool.name for pool in made] == ["set"]
    assert batch(made, recipe_of(**changes), 0, 0, 0)[0].shape == (4, 64, 64, 3)


def test_painted_fields_come_from_the_seed_at_the_scale_of_the_recipe(tmp_path: Path) -> None:
    sample = put(tmp_path, "set", "a", cells(np.random.default_rng(0), 80, 80, 40))
    recipe = recipe_of(painted_share=0.3, painted_fields=6, cell_diameter_px=48.0)
    one, same, other = (pools([sample], {"set": 40.0}, recipe, seed)[-1] for seed in (0, 0, 1))
    assert one.name == "painted"
    assert all(np.array_equal(a.image, b.image) for a, b in zip(one.pictures, same.pictures, strict=True))
    assert not any(np.array_equal(a.image, b.image) for a, b in zip(one.pictures, other.pictures, strict=True))
    diameters = []
    for picture in (*one.pictures, *other.pictures):
        _, _, stats, _ = cv2.connectedComponentsWithStats((picture.labels > 0).astype(np.uint8))
        height, width = picture.labels.shape
        inner = [s for s in stats[1:] if s[0] and s[1] and s[0] + s[2] < width and s[1] + s[3] < height]
        diameters += [2 * np.sqrt(s[4] / np.pi) for s in inner]
    assert np.median(diameters) == pytest.approx(48, rel=0.12)


COMPOSED = {"painted_share": 0.2, "painted_fields": 1, "composed_share": 0.3, "cell_diameter_px": 48.0}


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> list[Pool]:
    samples = put_discs(tmp_path_factory.mktemp("discs"))
    return pools(samples, {SET: 120.0}, recipe_of(**COMPOSED, composed_fields=24), seed=0)


def wider_than_any_at_network_scale(picture: Picture) -> bool:
    """Composed fields are 4.5 to 9 cells wide: another width says that red cells were enlarged, or shrunk."""
    return not 4.4 * 48 < picture.labels.shape[1] < 9.1 * 48


def test_composed_fields_take_their_share(composed: list[Pool]) -> None:
    assert [(pool.name, len(pool.pictures)) for pool in composed] == [(SET, 2), ("painted", 1), ("composed", 24)]
    assert [pool.share for pool in composed] == pytest.approx([0.5, 0.2, 0.3])


def test_composed_fields_are_at_the_scale_of_the_recipe_with_their_labels(composed: list[Pool]) -> None:
    with_cells = [picture for picture in composed[-1].pictures if picture.labels.any()]
    assert len(with_cells) > 12
    areas = []
    for picture in with_cells:
        assert not wider_than_any_at_network_scale(picture)
        assert set(np.unique(picture.labels)) == {0, 1, 2}
        assert picture.labels[tuple(picture.labelled.T)].all()
        darkest = cv2.blur(picture.image, (9, 9)).min(axis=-1)  # nuclei are, in any light
        assert picture.labels[np.unravel_index(darkest.argmin(), darkest.shape)] == 2
        _, _, stats, _ = cv2.connectedComponentsWithStats((picture.labels > 0).astype(np.uint8))
        areas += [stat[4] for stat in stats[1:]]
    assert 2 * np.sqrt(np.median(areas) / np.pi) == pytest.approx(48, rel=0.1)


def test_fields_at_a_wrong_scale_have_no_labels(composed: list[Pool]) -> None:
    wrong = [picture for picture in composed[-1].pictures if wider_than_any_at_network_scale(picture)]
    assert wrong
    assert not any(picture.labels.any() or len(picture.labelled) for picture in wrong)


def test_composed_fields_come_from_the_seed(tmp_path: Path) -> None:
    samples = put_discs(tmp_path)
    recipe = recipe_of(**COMPOSED, composed_fields=2)
    ticks: list[int] = []
    one, same, other = (pools(samples, {SET: 120.0}, recipe, seed, lambda: ticks.append(1))[-1] for seed in (0, 0, 1))
    assert len(ticks) == 3 * (2 + 1 + 2)
    assert all(np.array_equal(a.image, b.image) for a, b in zip(one.pictures, same.pictures, strict=True))
    assert not any(np.array_equal(a.image, b.image) for a, b in zip(one.pictures, other.pictures, strict=True))


@pytest.mark.parametrize("changes", [{"composed_share": 0.0, "composed_fields": 3}, {"composed_share": 0.3}])
def test_without_a_share_or_a_number_no_field_is_composed(tmp_path: Path, changes: dict[str, float]) -> None:
    sample = put(tmp_path, "set", "a", cells(np.random.default_rng(0), 80, 80, 40))  # of which none could be
    assert [pool.name for pool in pools([sample], {"set": 40.0}, recipe_of(**changes), 0)] == ["set"]


def test_pictures_of_which_nothing_can_be_composed_are_refused(tmp_path: Path) -> None:
    sample = put(tmp_path, "set", "a", cells(np.random.default_rng(0), 80, 80, 40))
    with pytest.raises(DataError, match="no field can be composed of these pictures"):
        pools([sample], {"set": 40.0}, recipe_of(composed_share=0.3, composed_fields=3), 0)


@pytest.mark.parametrize(("share", "least", "most"), [(1.0, 0.9, 1.0), (0.0, 0.0, 0.3)])
def test_crops_are_drawn_near_labels_as_often_as_the_recipe_says(share: float, least: float, most: float) -> None:
    labels = np.zeros((600, 600), np.uint8)
    cv2.circle(labels, (80, 500), 20, 2, -1)
    pool = Pool("one", (Picture(CODED[labels], labels, np.argwhere(labels)),), 1.0)
    recipe = recipe_of(batch=64, cell_diameter_px=40, near_label_share=share)
    _, truth = batch([pool], recipe, 0, 0, 0)
    assert least <= one_hot_labels(truth).any(axis=(1, 2)).mean() <= most


def test_threads_make_the_batches_that_one_thread_makes(sources: list[Pool]) -> None:
    recipe = recipe_of(augment=Augmentation(stain_scale=0.2, jpeg_share=0.5))
    alone = [batch(sources, recipe, 1, 0, step) for step in range(12)]
    with ThreadPoolExecutor(4) as makers:
        together = list(makers.map(lambda step: batch(sources, recipe, 1, 0, step), range(12)))
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one[0], other[0]) and np.array_equal(one[1], other[1])


STRETCH = {"scale_policy": "stretch", "stretch_px": 96, "augment": STILL}


def test_a_stretched_picture_is_whole_and_as_the_station_stretches_it(tmp_path: Path) -> None:
    labels = cells(np.random.default_rng(1), 150, 220, 50)
    made = pools([put(tmp_path, "set", "a", labels)], {"set": 50.0}, recipe_of(**STRETCH), seed=0)
    frame = frame_for(150, 220, 50.0, recipe_of(**STRETCH).network_scale(32))
    whole = to_network_scale(CODED[labels], frame).astype(np.float32)
    images, truth = batch(made, recipe_of(**STRETCH, batch=12), 0, 0, 0)
    assert images.shape == truth.shape == (12, 96, 96, 3)
    straight = [np.allclose(image, whole, atol=0.01) for image in images]
    assert [np.allclose(image, whole[:, ::-1], atol=0.01) for image in images] == [not one for one in straight]
    assert 0 < sum(straight) < 12
    check_agreement(images, truth)


def test_what_cells_measure_plays_no_part_where_pictures_are_stretched(tmp_path: Path) -> None:
    sample = put(tmp_path, "set", "a", cells(np.random.default_rng(1), 150, 220, 50))
    small, large = (
        batch(pools([sample], {"set": px}, recipe_of(**STRETCH), 0), recipe_of(**STRETCH), 0, 0, 0) for px in (10, 300)
    )
    assert np.array_equal(small[0], large[0])


def test_stretched_pictures_are_turned_and_zoomed_about_their_middle(tmp_path: Path) -> None:
    labels = np.zeros((120, 200), np.uint8)
    cv2.circle(labels, (100, 60), 20, 2, -1)
    augment = STILL.model_copy(update={"scale": (0.8, 1.25), "rotation_degrees": 20.0})
    recipe = recipe_of(**STRETCH | {"batch": 20, "augment": augment})
    _, truth = batch(pools([put(tmp_path, "set", "a", labels)], {"set": 40.0}, recipe, 0), recipe, 0, 0, 0)
    areas = []
    for crop in one_hot_labels(truth):
        rows, columns = np.nonzero(crop)
        assert (rows.mean(), columns.mean()) == pytest.approx((47.5, 47.5), abs=1.5)
        areas.append(len(rows))
    assert max(areas) > 1.4 * min(areas)


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.5, 30, 70), (1.0, 100, 100)])
def test_pictures_stand_on_their_heads_as_often_as_the_recipe_says(share: float, least: int, most: int) -> None:
    labels = np.zeros((64, 64), np.uint8)
    labels[40:] = 2
    pool = Pool("one", (Picture(CODED[labels], labels, np.array([[32, 32]])),), 1.0)
    augment = STILL.model_copy(update={"upside_down_share": share})
    recipe = recipe_of(scale_policy="stretch", stretch_px=64, batch=100, augment=augment)
    images, truth = batch([pool], recipe, 0, 0, 0)
    turned = one_hot_labels(truth)[:, 0, 32] == 2
    assert least <= turned.sum() <= most
    assert np.array_equal(images.argmax(axis=-1), one_hot_labels(truth))


def test_painted_fields_are_stretched_too(tmp_path: Path) -> None:
    sample = put(tmp_path, "set", "a", cells(np.random.default_rng(0), 80, 80, 40))
    recipe = recipe_of(**STRETCH, painted_share=0.3, painted_fields=2)
    painted = pools([sample], {"set": 40.0}, recipe, 0)[-1]
    assert {picture.labels.shape for picture in painted.pictures} == {(96, 96)}


def test_a_picture_that_cannot_be_brought_to_network_scale_is_named(tmp_path: Path) -> None:
    sample = put(tmp_path, "set", "a", cells(np.random.default_rng(0), 300, 300, 40))
    with pytest.raises(DataError, match=r"set-a\.png: is too large for its cells: at a cell diameter of 4 px"):
        pools([sample], {"set": 4.0}, recipe_of(), 0)


def banded(name: str, shares: tuple[int, int, int], share: float) -> Pool:
    """One picture with so many rows of each class."""
    labels = np.repeat(np.arange(3, dtype=np.uint8), shares)[:, None].repeat(10, axis=1)
    return Pool(name, (Picture(CODED[labels], labels, np.argwhere(labels)),), share)


def test_balanced_weights_are_inverse_to_the_classes_in_the_batches() -> None:
    sources = [banded("a", (80, 10, 10), 0.75), banded("b", (20, 20, 10), 0.25)]
    present = 0.75 * np.array([0.8, 0.1, 0.1]) + 0.25 * np.array([0.4, 0.4, 0.2])
    weights = class_weights(sources, recipe_of(class_weights="balanced"))
    assert weights is not None
    assert np.array(weights) * present == pytest.approx(np.full(3, weights[0] * present[0]))
    assert np.mean(weights) == pytest.approx(1)


def test_weights_that_are_told_are_taken_and_by_default_there_are_none() -> None:
    sources = [banded("a", (80, 10, 10), 1.0)]
    assert class_weights(sources, recipe_of(class_weights=(0.5, 1, 1.5))) == (0.5, 1, 1.5)
    assert class_weights(sources, recipe_of()) is None


def test_a_class_that_is_in_no_mask_cannot_be_balanced() -> None:
    sources = [banded("a", (80, 0, 10), 0.5), banded("b", (80, 0, 20), 0.5)]
    with pytest.raises(DataError, match=r"no training mask has a pixel of cytoplasm, .* give three numbers"):
        class_weights(sources, recipe_of(class_weights="balanced"))


def test_colours_vary_and_turning_them_off_leaves_them_as_they_are() -> None:
    made = [uniform("a", (180, 120, 150), 1.0)]
    plain, _ = batch(made, recipe_of(batch=16), 0, 0, 0)
    assert plain == pytest.approx(np.broadcast_to((180, 120, 150), plain.shape), abs=0.01)
    varied, _ = batch(made, recipe_of(batch=16, augment=Augmentation()), 0, 0, 0)
    means = varied.mean(axis=(1, 2))
    assert (means.std(axis=0) > 5).all()
    assert (np.abs(means.mean(axis=0) - (180, 120, 150)) < 25).all()


def test_hue_and_saturation_leave_grey_grey() -> None:
    augment = PLAIN.model_copy(update={"hue_degrees": 180.0, "saturation": (0.0, 2.0)})
    images, _ = batch([uniform("a", (90, 90, 90), 1.0)], recipe_of(batch=16, augment=augment), 0, 0, 0)
    assert images == pytest.approx(np.full_like(images, 90), abs=0.1)
