"""Dataset layouts: small folders as their authors lay them out, and the real public pictures where present."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest
import tifffile
from layouts import FAR, GREYS, LABELS, NAMES, OTHERS, OWN, file_of, opened, put, put_pair
from PIL import Image

from trainer.datasets import LAYOUTS, open_dataset, open_datasets
from trainer.datasets.division import demand_apart, hold_out, joined_by_content
from trainer.datasets.encodings import INDEXED, Levels, palette_of
from trainer.datasets.samples import DataError, Sample, data_digest, grouped, in_role, median_diameter, read_labels

Split = Literal["train", "val"]


@pytest.fixture
def folder(tmp_path: Path, layout: str) -> Path:
    home = tmp_path / "mine"
    for number, names in enumerate((NAMES, OTHERS, FAR)):
        put_pair(home, layout, names[layout], 120 + 40 * number)
    return home


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_is_recognised_and_its_pictures_are_paired(folder: Path, layout: str) -> None:
    samples = opened(folder, layout)
    assert [sample.id for sample in samples] == sorted(names[layout] for names in (NAMES, OTHERS, FAR))
    assert {sample.dataset for sample in samples} == {"mine" if layout in OWN else layout}
    for sample in samples:
        assert sample.image == file_of(folder, layout, sample.id, "images")
        image, labels = sample.read()
        assert (image.shape, image.dtype) == ((40, 50, 3), np.uint8)
        assert np.array_equal(labels, LABELS)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pictures_are_read_as_red_green_blue(folder: Path, layout: str) -> None:
    put(file_of(folder, layout, NAMES[layout], "images"), np.full((40, 50, 3), (20, 100, 220), np.uint8))
    sample = next(sample for sample in opened(folder, layout) if sample.id == NAMES[layout])
    assert sample.read()[0].mean(axis=(0, 1)) == pytest.approx((220, 100, 20), abs=4)


@pytest.mark.parametrize("layout", GREYS)
def test_three_channel_masks_are_read_like_grey_ones(folder: Path, layout: str) -> None:
    grey = np.array(GREYS[layout], np.uint8)[LABELS]
    put(file_of(folder, layout, NAMES[layout], "masks"), np.repeat(grey[..., None], 3, axis=2))
    for sample in opened(folder, layout):
        assert np.array_equal(sample.read()[1], LABELS)


@pytest.mark.parametrize("layout", ["bccd", "zheng", "allidb2"])
def test_anti_aliased_outlines_are_divided_by_thresholds(folder: Path, layout: str) -> None:
    background, cytoplasm, nucleus = GREYS[layout]
    ramp = np.repeat(np.r_[np.linspace(background, cytoplasm, 25), np.linspace(cytoplasm, nucleus, 25)][None], 40, 0)
    put(file_of(folder, layout, NAMES[layout], "masks"), ramp.round().astype(np.uint8))
    sample = next(sample for sample in opened(folder, layout) if sample.id == NAMES[layout])
    row = sample.read()[1][0]
    assert set(row) == {0, 1, 2}
    assert (np.diff(row.astype(int)) >= 0).all()
    assert np.count_nonzero(row == 0) > 8
    assert np.count_nonzero(row == 2) > 8


def test_the_thresholds_are_the_documented_ones() -> None:
    greys = np.array([[0, 63, 64, 155, 161, 207, 208, 255]], np.uint8)
    assert Levels(64, 208).labels(greys).tolist() == [[0, 0, 1, 1, 1, 1, 2, 2]]


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout != "isnb"])
def test_a_missing_mask_is_named(folder: Path, layout: str) -> None:
    mask = file_of(folder, layout, NAMES[layout], "masks")
    mask.unlink()
    with pytest.raises(DataError, match="has no mask") as failure:
        opened(folder, layout)
    assert str(mask) in str(failure.value)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_mask_of_another_size_is_named(folder: Path, layout: str) -> None:
    mask = file_of(folder, layout, NAMES[layout], "masks")
    put(mask, np.zeros((30, 20), np.uint8))
    sample = next(sample for sample in opened(folder, layout) if sample.id == NAMES[layout])
    with pytest.raises(DataError, match="50 x 40 against 20 x 30 px") as failure:
        sample.read()
    assert str(mask) in str(failure.value)
    for check in (joined_by_content, lambda samples: demand_apart(samples, [])):  # before any work, in test parts too
        with pytest.raises(DataError, match="50 x 40 against 20 x 30 px"):
            check(opened(folder, layout))


@pytest.mark.parametrize("layout", ["pairs"])
@pytest.mark.parametrize("kind", ["images", "masks"])
@pytest.mark.parametrize("content", [b"", b"no picture at all"])
def test_a_file_that_is_no_picture_is_named(folder: Path, layout: str, kind: str, content: bytes) -> None:
    broken = file_of(folder, layout, NAMES[layout], kind)  # type: ignore[arg-type]
    broken.write_bytes(content)
    sample = next(sample for sample in opened(folder, layout) if sample.id == NAMES[layout])
    with pytest.raises(DataError) as failure:
        sample.read()
    assert str(broken) in str(failure.value)


@pytest.mark.parametrize("layout", ["pairs"])
def test_an_unknown_layout_is_answered_with_the_known_ones(folder: Path, layout: str) -> None:
    with pytest.raises(DataError, match=f"no layout 'tlemcen'; known: {', '.join(LAYOUTS)}"):
        open_dataset(folder, "tlemcen")


def test_folders_without_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        open_dataset(tmp_path / "nowhere")
    with pytest.raises(DataError, match="none of the known layouts") as failure:
        open_dataset(tmp_path)
    assert "images/<id>.<ext> beside masks/<id>.png" in str(failure.value)
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    with pytest.raises(DataError, match="holds no pictures in the layout 'pairs'"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("layout", ["bccd", "pairs"])
def test_counts_come_from_the_table_where_there_is_one(folder: Path, layout: str) -> None:
    assert {sample.wbc_count for sample in open_dataset(folder)} == {None}
    name, key = (NAMES[layout], "id") if layout == "pairs" else (f"{NAMES[layout]}.jpg", "image")
    (folder / "counts.csv").write_text(f"{key},wbc_count\n{name},7\n")
    counts = {sample.id: sample.wbc_count for sample in open_dataset(folder)}
    assert counts == {NAMES[layout]: 7, OTHERS[layout]: None, FAR[layout]: None}


@pytest.mark.parametrize("layout", ["pairs"])
def test_a_table_without_its_columns_is_named(folder: Path, layout: str) -> None:
    (folder / "groups.csv").write_text("name;group\nother;1\n")
    with pytest.raises(DataError, match=r"groups\.csv must have the columns group, id"):
        open_dataset(folder)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_neighbouring_numbers_are_one_group(folder: Path, layout: str) -> None:
    if layout in OWN:
        (folder / "groups.csv").write_text(f"id,group\n{NAMES[layout]},slide\n{OTHERS[layout]},slide\n")
    group = {sample.id: sample.group for sample in opened(folder, layout)}
    assert (group[NAMES[layout]] == group[OTHERS[layout]]) == (layout != "zheng")
    assert group[FAR[layout]] not in (group[NAMES[layout]], group[OTHERS[layout]])


@pytest.mark.parametrize(
    ("layout", "names"),
    [
        ("bccd", ("BloodImage_00223", "BloodImage_00254", "BloodImage_00242", "BloodImage_00240")),
        ("bccd", ("BloodImage_00204", "BloodImage_00277")),
        ("bccd", ("BloodImage_00165", "BloodImage_00193")),
        ("zheng", ("051", "073")),
        ("allidb2", ("Im025_1", "Im031_1")),
        ("allidb2", ("Im170_0", "Im209_0")),
    ],
)
def test_what_shows_the_same_field_or_cell_is_one_group(tmp_path: Path, layout: str, names: Sequence[str]) -> None:
    for name in names:
        put_pair(tmp_path, layout, name)
    assert len({sample.group for sample in open_dataset(tmp_path)}) == 1


@pytest.mark.parametrize("layout", OWN)
def test_ids_of_a_table_may_have_the_ending_of_the_file_and_an_empty_group_joins_nothing(
    folder: Path, layout: str
) -> None:
    names = [file_of(folder, layout, name[layout], "images").name for name in (NAMES, OTHERS, FAR)]
    (folder / "groups.csv").write_text("id,group\n" + "".join(f"{name},slide\n" for name in names[:2]))
    (folder / "counts.csv").write_text(f"id,wbc_count\n{names[2]},7\n")
    assert [(s.group, s.wbc_count) for s in opened(folder, layout)] == [
        ("mine/slide", None),
        ("mine/far", 7),
        ("mine/slide", None),
    ]
    (folder / "groups.csv").write_text("id,group\n" + "".join(f"{name},\n" for name in names))
    assert len({sample.group for sample in opened(folder, layout)}) == 3


@pytest.mark.parametrize("layout", ["pairs"])
def test_a_table_of_which_no_row_fits_is_refused(folder: Path, layout: str) -> None:
    (folder / "groups.csv").write_text("id,group\nany name.tif,slide\nother.tif,slide\n")
    with pytest.raises(DataError, match=r"groups\.csv: rows of which no picture .* 2, such as 'any name\.tif'"):
        open_dataset(folder)


@pytest.mark.parametrize("layout", ["pairs"])
def test_roles_and_groups_come_from_the_splits_table(folder: Path, layout: str, tmp_path: Path) -> None:
    splits = tmp_path / "splits.csv"
    splits.write_text("dataset,image,role,group\nmine,any name.png,train,g1\nmine,other.png,val,g2\nelse,far.png,val,g")
    samples = open_dataset(folder)
    assert [(s.id, s.group) for s in in_role(samples, splits, "train")] == [("any name", "g1")]
    assert [(s.id, s.group) for s in in_role(samples, splits, "val")] == [("other", "g2")]
    with pytest.raises(DataError, match="role 'val' to no picture of mine; leave that folder out"):
        in_role(samples[:1], splits, "val")


@pytest.mark.parametrize("layout", ["pairs"])
def test_a_set_is_never_left_out_in_silence(folder: Path, layout: str, tmp_path: Path) -> None:
    samples = open_dataset(folder)
    others = [dataclasses.replace(sample, dataset="others") for sample in samples]
    splits = tmp_path / "splits.csv"
    splits.write_text("dataset,image,role,group\nmine,any name.png,train,\n")
    assert [(s.id, s.group) for s in in_role(samples, splits, "train")] == [(samples[0].id, samples[0].group)]
    with pytest.raises(DataError, match="role 'train' to no picture of others"):
        in_role([*samples, *others], splits, "train")
    splits.write_text("dataset,image,role,group\nmine,any name.png,Train,a\n")
    with pytest.raises(DataError, match=r"the role of any name\.png is 'Train', not one of train, val, test"):
        in_role(samples, splits, "train")


@pytest.mark.parametrize("layout", ["pairs"])
def test_identical_pixels_join_their_groups(folder: Path, layout: str) -> None:
    put_pair(folder, layout, "z copy", 120)
    samples = open_dataset(folder)
    assert len({sample.group for sample in samples}) == 4
    joined = {sample.id: sample.group for sample in joined_by_content(samples)}
    assert joined["z copy"] == joined["any name"]
    assert len(set(joined.values())) == 3


def partition(samples: Iterable[Sample]) -> set[frozenset[str]]:
    """Which pictures lie together, whatever their groups are called."""
    members: dict[str, set[str]] = {}
    for sample in samples:
        members.setdefault(sample.group, set()).add(sample.id)
    return set(map(frozenset, members.values()))


def test_groups_are_joined_along_a_chain(tmp_path: Path) -> None:
    pictures = {"1": (10, "a"), "2": (20, "b"), "3": (20, "a"), "4": (30, "c"), "5": (30, "b"), "6": (40, "d")}
    for name, (shade, _) in pictures.items():
        put_pair(tmp_path, "pairs", name, shade)
    lines = [f"{name},{group}" for name, (_, group) in pictures.items()]
    (tmp_path / "groups.csv").write_text("\n".join(["id,group", *lines]))
    joined = [sample.group for sample in joined_by_content(open_dataset(tmp_path))]
    assert len(set(joined[:5])) == 1
    assert joined[5].endswith("/d")


@pytest.mark.parametrize("layout", ["pairs"])
@pytest.mark.parametrize("kind", ["images", "masks"])
def test_the_digest_changes_with_one_pixel(folder: Path, layout: str, kind: str) -> None:
    samples = open_dataset(folder)
    before = data_digest(samples)
    assert data_digest(samples[::-1]) == before
    assert data_digest(samples[1:]) != before
    path = file_of(folder, layout, OTHERS[layout], kind)  # type: ignore[arg-type]
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    picture[3, 4] = 1
    put(path, np.asarray(picture, np.uint8))
    assert data_digest(samples) != before


def test_the_median_diameter_leaves_out_cells_at_the_border(tmp_path: Path) -> None:
    labels = np.zeros((300, 400), np.uint8)
    whole, cut = ((150, 100), (150, 160), (150, 230)), ((0, 150), (399, 150), (260, 0), (260, 299))
    for centre, radius in (*zip(whole, (20, 25, 30), strict=True), *((centre, 50) for centre in cut)):
        cv2.circle(labels, centre, radius, 1, -1)
    put(tmp_path / "images" / "a.png", np.zeros((300, 400, 3), np.uint8))
    put(tmp_path / "masks" / "a.png", labels)
    assert median_diameter(open_dataset(tmp_path)) == pytest.approx(50, abs=1.5)
    put(tmp_path / "masks" / "a.png", labels * 0)
    with pytest.raises(DataError, match="no mask holds a whole white blood cell"):
        median_diameter(open_dataset(tmp_path))


def made_up(seed: int) -> list[Sample]:
    """Two data sets with groups of one to six pictures."""
    rng = np.random.default_rng(seed)
    return [
        Sample(name, f"{group}-{i}", Path("a.png"), Path("b.png"), f"{name}/{group}", INDEXED)
        for name in ("small", "large")
        for group in range(int(rng.integers(3, 12)) * (1 if name == "small" else 4))
        for i in range(int(rng.integers(1, 7)))
    ]


def of_a_cell(_sample: Sample) -> frozenset[int]:
    return frozenset({0, 1, 2})


def check_hold_out(samples: list[Sample], share: float, seed: int) -> None:
    kept, held = hold_out(samples, share, seed, of_a_cell)
    assert sorted(map(id, kept + held)) == sorted(map(id, samples))
    assert not {s.group for s in kept} & {s.group for s in held}
    for name, own in grouped(samples).items():
        count = sum(s.dataset == name for s in held)
        largest = max(sum(s.group == group for s in own) for group in {s.group for s in own})
        assert 1 <= count < share * len(own) + largest
        assert count < len(own)
    assert hold_out(samples, share, seed, of_a_cell) == (kept, held)


@pytest.mark.parametrize("share", [0.05, 0.12, 0.4])
def test_groups_never_straddle_the_division(share: float) -> None:
    for seed in range(40):
        check_hold_out(made_up(seed), share, seed)
    assert len({tuple(s.id for s in hold_out(made_up(0), share, seed, of_a_cell)[1]) for seed in range(8)}) > 4


def of_groups(**sizes: int) -> list[Sample]:
    return [
        Sample("mine", f"{group}-{i}", Path("a.png"), Path("b.png"), f"mine/{group}", INDEXED)
        for group, size in sizes.items()
        for i in range(size)
    ]


@pytest.mark.parametrize(
    "sizes",
    [
        {"a": 180, "b": 20},
        {"a": 300, "b": 40, "c": 30, "d": 30},
        {"a": 120} | {f"s{i}": 9 for i in range(9)},
        {"a": 195, "b": 5},
    ],
    ids=str,
)
def test_one_large_slide_is_not_held_out_where_smaller_ones_do(sizes: dict[str, int]) -> None:
    for seed in range(20):
        kept, held = hold_out(of_groups(**sizes), 0.1, seed, of_a_cell)
        assert {s.group for s in held} and "mine/a" not in {s.group for s in held}
        assert len(held) <= 0.2 * sum(sizes.values())
    kept, held = hold_out(of_groups(a=100, b=101), 0.1, 0, of_a_cell)
    assert (len(kept), len(held)) == (101, 100)


def test_a_group_keeps_its_side_when_others_come_to_it() -> None:
    """A retraining is chosen by its held-out pictures: those that its parent learnt from would speak for the parent."""
    moved = 0
    for seed in range(20):
        before, after = (of_groups(**{f"s{i}": 10 for i in range(count)}) for count in (20, 22))
        learnt = {s.id for s in hold_out(before, 0.1, seed, of_a_cell)[0]}
        moved += len({s.group for s in hold_out(after, 0.1, seed, of_a_cell)[1] if s.id in learnt})
    assert moved <= 20  # of 60 that are held out; drawn anew it would be some 54


def test_a_group_that_reaches_over_two_sets_stays_on_one_side() -> None:
    """As when two sets hold the same pixels."""
    for seed in range(20):
        samples = made_up(seed)
        shared = [dataclasses.replace(s, group="both") if s.id.startswith("0-") else s for s in samples]
        kept, held = hold_out(shared, 0.4, seed, of_a_cell)
        assert not {s.group for s in kept} & {s.group for s in held}


def test_what_is_held_out_shows_cells_where_few_fields_do() -> None:
    fields = [Sample("marrow", str(i), Path("a.png"), Path("b.png"), f"marrow/{i}", INDEXED) for i in range(12)]

    def three_of_twelve(sample: Sample) -> frozenset[int]:
        return frozenset({0, 1, 2}) if int(sample.id) % 4 == 0 else frozenset({0})

    def none(_sample: Sample) -> frozenset[int]:
        return frozenset({0})

    for seed in range(20):
        kept, held = hold_out(fields, 0.1, seed, three_of_twelve)
        assert any(three_of_twelve(sample) > {0} for sample in held)
        assert kept and len(kept) + len(held) == 12
        assert held[:1] == hold_out(fields, 0.1, seed, three_of_twelve)[1][:1]
        assert len(hold_out(fields, 0.1, seed, none)[1]) == len(hold_out(fields, 0.1, seed, of_a_cell)[1]) == 2


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_named_layout_that_is_not_there_is_said(tmp_path: Path, layout: str) -> None:
    if layout == "regions":
        (tmp_path / "classes.csv").write_text("value,name\n0,plasma\n")
    with pytest.raises(DataError, match=r"has no folder images/|holds no pictures"):
        open_dataset(tmp_path, layout)


@pytest.mark.parametrize("layout", ["pairs"])
def test_a_table_as_excel_writes_it_is_read_and_nonsense_is_named(folder: Path, layout: str) -> None:
    name = NAMES[layout]
    (folder / "counts.csv").write_text(f"\ufeffid,wbc_count\n{name},3\n", encoding="utf-8")
    assert {s.id: s.wbc_count for s in open_dataset(folder)}[name] == 3
    (folder / "counts.csv").write_text(f"id,wbc_count\n{name},two\n")
    with pytest.raises(DataError, match=rf"the wbc_count of {name} is 'two', not a whole number"):
        open_dataset(folder)
    (folder / "counts.csv").write_bytes(b"id,wbc_count\n\xff\xfe,2\n")
    with pytest.raises(DataError, match="is not a CSV table in UTF-8"):
        open_dataset(folder)


@pytest.mark.parametrize("layout", ["pairs"])
def test_grey_masks_in_the_layout_of_labels_are_refused(folder: Path, layout: str) -> None:
    """Read by thresholds they would be all nucleus."""
    put(file_of(folder, layout, NAMES[layout], "masks"), np.full((60, 80), 128, np.uint8))  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"values 128 \(100\.0%\), this layout grey ones up to 2; .* --palette"):
        read_labels({s.id: s for s in open_dataset(folder)}[NAMES[layout]].mask, INDEXED)


@pytest.mark.parametrize("layout", ["pairs"])
def test_masks_of_16_bits_are_read_by_their_numbers(folder: Path, layout: str) -> None:
    """As ImageJ writes them; scaled to 8 bits they would be all background."""
    mask = file_of(folder, layout, NAMES[layout], "masks")
    put(mask, LABELS.astype(np.uint16))  # type: ignore[arg-type]
    assert np.array_equal(read_labels(mask, INDEXED), LABELS)
    put(mask, LABELS.astype(np.uint16) * 300)  # type: ignore[arg-type]
    assert np.array_equal(read_labels(mask, palette_of("0=plasma,300=cytoplasm,600=nucleus")), LABELS)
    with pytest.raises(DataError, match=r"300 \(\d"):
        read_labels(mask, Levels(64, 208))


def test_a_mask_in_a_tiff_is_read_as_a_picture_is(tmp_path: Path) -> None:
    """No alpha is multiplied into its values, which made cytoplasm of each nucleus; no hole is taken for ground."""
    grey, path = np.kron(LABELS, np.ones((40, 40), np.uint8)) * 100, tmp_path / "mask.tif"
    levels = palette_of("0=background,100=cytoplasm,200=nucleus")
    with_alpha = np.dstack([grey, grey, grey, np.full_like(grey, 128)])
    tifffile.imwrite(path, with_alpha, photometric="rgb", extrasamples=["unassalpha"])
    assert np.array_equal(read_labels(path, levels), grey // 100)
    tifffile.imwrite(path, grey, compression="zlib", rowsperstrip=8)
    assert np.array_equal(read_labels(path, levels), grey // 100)
    with tifffile.TiffFile(path) as file:
        start, length = file.pages[0].dataoffsets[1], file.pages[0].databytecounts[1]  # type: ignore[union-attr]
    content = bytearray(path.read_bytes())
    content[start : start + length] = bytes(length)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"mask\.tif: is damaged: strip or tile 1 .*; save the mask anew"):
        read_labels(path, levels)


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_a_mask_is_turned_as_its_picture_is(tmp_path: Path, kind: str) -> None:
    """By programs that copy what the camera noted of its own position."""
    noted = Image.Exif()
    noted[0x0112] = 3  # upside down
    image = np.full((*LABELS.shape, 3), 200, np.uint8)
    image[LABELS > 0] = 90
    for folder, pixels, ending in (("images", image, "png"), ("masks", LABELS, kind)):
        (tmp_path / "set" / folder).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / "set" / folder / f"a.{ending}", exif=noted)
    (sample,) = open_dataset(tmp_path / "set")
    shown, labels = sample.read()
    assert np.array_equal(shown, image[::-1, ::-1]) and np.array_equal(labels, LABELS[::-1, ::-1])


@contextmanager
def nobody() -> Iterator[None]:
    """Root may read everything."""
    if is_root := os.geteuid() == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


@pytest.mark.parametrize("layout", ["pairs"])
def test_a_folder_that_may_not_be_read_is_named(folder: Path, layout: str) -> None:
    for closed in (folder / "images", folder):
        closed.chmod(0)
        with nobody(), pytest.raises(DataError, match=r"cannot be read \(permission denied\)"):
            open_dataset(folder)
    folder.chmod(0o700)
    (folder / "images").chmod(0o700)


@pytest.mark.parametrize("layout", ["pairs"])
def test_two_pictures_of_one_id_are_refused(folder: Path, layout: str) -> None:
    put(folder / "images" / "other.bmp", np.zeros((40, 50, 3), np.uint8))
    with pytest.raises(DataError, match=r"images/other\.bmp is not the only file called 'other'"):
        open_dataset(folder)


@pytest.mark.parametrize("layout", ["isnb"])
def test_isnb_pairs_by_order_what_has_no_partner_by_name(folder: Path, layout: str) -> None:
    for number, name in enumerate(("far", "other")):  # `any name` keeps its partner
        file_of(folder, layout, name, "masks").rename(folder / "mask" / f"outlines {number}.bmp")
    told: list[str] = []
    pairs = {sample.id: sample.mask.stem for sample in open_dataset(folder, warn=told.append)}
    assert pairs == {"any name": "any name", "far": "outlines 0", "other": "outlines 1"}
    assert len(told) == 1 and "paired by order, such as far.bmp with outlines 0.bmp" in told[0]


def test_isnb_counts_the_numbers_in_names_that_it_pairs_by_order(tmp_path: Path) -> None:
    for number in range(1, 13):
        put_pair(tmp_path, "isnb", str(number))
        file_of(tmp_path, "isnb", str(number), "masks").rename(tmp_path / "mask" / f"{number}_mask.bmp")
    assert all(sample.mask.stem == f"{sample.id}_mask" for sample in open_dataset(tmp_path))


@pytest.mark.parametrize("layout", ["isnb"])
@pytest.mark.parametrize("kind", ["images", "masks"])
def test_isnb_refuses_unequal_numbers(folder: Path, layout: str, kind: Literal["images", "masks"]) -> None:
    file_of(folder, layout, "other", kind).unlink()
    with pytest.raises(
        DataError, match=r"has [01] pictures and [01] masks that share no name \((images|mask)/other\.bmp\)"
    ):
        open_dataset(folder)


@pytest.mark.parametrize("layout", ["isnb"])
def test_an_isnb_field_may_have_no_cell(folder: Path, layout: str) -> None:
    put(file_of(folder, layout, "other", "masks"), np.full((40, 50, 3), (200, 10, 120), np.uint8))
    assert {s.id: bool(s.read()[1].any()) for s in open_dataset(folder)} == {
        "any name": True,
        "far": True,
        "other": False,
    }


@pytest.mark.parametrize("layout", ["regions"])
@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ("value,name\n0,plasma\n20,cytoplasm\n30,nucleus\n", r"without a name: 10 \(20\.0%\)"),
        ("value,name\n0,plasma\n10,erythrocytes\n", "no region 'erythrocytes'; known: background, plasma, red cells"),
        ("value,name\ndark,nucleus\n", "'dark' is neither a grey level"),
        ("value,name\n0,plasma\n0,nucleus\n", "names 0 and 0, which a tolerance of 0 cannot tell apart"),
        ("grey,region\n0,plasma\n", "must have the columns name, value"),
    ],
)
def test_regions_are_declared_by_the_folder_and_never_guessed(
    folder: Path, layout: str, table: str, complaint: str
) -> None:
    (folder / "classes.csv").write_text(table)
    with pytest.raises(DataError, match=complaint):
        open_dataset(folder)[0].read()


@pytest.mark.parametrize("layout", ["regions"])
def test_regions_may_be_colours(folder: Path, layout: str) -> None:
    colours = np.array([[255, 255, 255], [255, 0, 0], [255, 255, 0]], np.uint8)  # blue, green, red
    for name in (NAMES, OTHERS, FAR):
        put(file_of(folder, layout, name[layout], "masks"), colours[LABELS])
    rows = ('"255,255,255",background', '"0,0,255",Cytoplasm', '"0,255,255",nucleus')
    (folder / "classes.csv").write_text("\n".join(["value,name", *rows]))
    assert all(np.array_equal(sample.read()[1], LABELS) for sample in open_dataset(folder))


@pytest.mark.parametrize("layout", ["zheng", "pairs"])
def test_a_palette_tells_the_values_of_any_layout(folder: Path, layout: str) -> None:
    for name in (NAMES, OTHERS, FAR):
        put(file_of(folder, layout, name[layout], "masks"), np.array((9, 5, 7), np.uint8)[LABELS])
    for sample in open_dataset(folder, f"{layout}:9=background,5=cytoplasm,7=nucleus"):
        assert np.array_equal(sample.read()[1], LABELS)
    with pytest.raises(DataError, match="cannot be read at '5:cytoplasm'"):
        open_dataset(folder, f"{layout}:9=background,5:cytoplasm")


def test_the_digest_of_data_that_was_trained_on_stays(tmp_path: Path) -> None:
    """Runs and comparisons go on by it; the encoding is part of it."""
    image, mask = tmp_path / "a.png", tmp_path / "b.png"
    image.write_bytes(b"picture")
    mask.write_bytes(b"mask")
    encodings = (
        INDEXED,
        Levels(64, 208),
        palette_of("0=background,99=nucleus"),
        palette_of("0=background,99=nucleus~9"),
    )
    digests = [data_digest([Sample("set", "a", image, mask, "g", encoding)]) for encoding in encodings]
    assert digests[0] == "a57cb5c888b1ebe37abdc5ec7d7a792b4d36a09a2225c4647b4cb8ab35651316"
    assert digests[1] == "3ae81cbaf966a448c729d5277122a38b80efe01e7397199e95b4c23b604616cd"
    assert len(set(digests)) == len(digests)


def test_two_sets_of_one_name_are_refused(tmp_path: Path) -> None:
    for parent in ("a", "b"):
        put_pair(tmp_path / parent / "fields", "pairs", "1", 10)
    with pytest.raises(DataError, match="two data sets are called 'fields'"):
        open_datasets([tmp_path / "a/fields", tmp_path / "b/fields"])


def test_the_order_in_which_sets_are_told_changes_nothing(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        put_pair(tmp_path / name, "pairs", "1", 10)
    folders = [tmp_path / name for name in ("c", "a", "b")]
    told = open_datasets(folders)
    assert [sample.dataset for sample in told] == ["a", "b", "c"] and told == open_datasets(folders[::-1])


def test_one_group_cannot_be_divided() -> None:
    with pytest.raises(DataError, match="3 pictures in 1 groups are too few"):
        hold_out([dataclasses.replace(s, group="g") for s in made_up(0)[:3]], 0.12, 0, of_a_cell)


@pytest.mark.parametrize(
    ("layout", "train", "val", "diameter"), [("bccd", 249, 45, 162), ("zheng", 199, 46, 75), ("allidb2", 168, 20, 116)]
)
def test_the_real_sets_have_the_documented_numbers(
    photographs: Path, layout: str, train: int, val: int, diameter: float
) -> None:
    samples = open_dataset(photographs / layout)
    assert {sample.dataset for sample in samples} == {layout}
    roles: dict[Split, list[Sample]] = {r: in_role(samples, photographs / "splits.csv", r) for r in ("train", "val")}
    assert (len(roles["train"]), len(roles["val"]), len(samples)) == (train, val, train + val)
    # Without the table the layout ties together the same pictures.
    assert partition(samples) == partition([*roles["train"], *roles["val"]])
    assert not {s.group for s in roles["train"]} & {s.group for s in roles["val"]}
    assert median_diameter(samples) == pytest.approx(diameter, rel=0.1)
    for sample in samples[:: len(samples) // 10]:
        image, labels = sample.read()
        assert image.shape[:2] == labels.shape
        assert set(np.unique(labels)) == {0, 1, 2}


def test_the_real_counts_are_read(photographs: Path) -> None:
    counts = {sample.id: sample.wbc_count for sample in open_dataset(photographs / "bccd")}
    assert sorted(c for c in counts.values() if c is not None) == [1] * 281 + [2] * 13
    assert counts["BloodImage_00313"] == 2  # two that touch: counting components would give one
    assert {sample.wbc_count for sample in open_dataset(photographs / "zheng")} == {1}


def test_groups_of_the_real_sets_never_straddle_the_division(photographs: Path) -> None:
    found = open_datasets([photographs / "bccd", photographs / "zheng", photographs / "allidb2"])
    samples = in_role(found, photographs / "splits.csv", "train")
    assert len(samples) == 249 + 199 + 168
    for seed in range(10):
        check_hold_out(samples, 0.12, seed)
