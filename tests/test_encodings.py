"""What mask values mean: thresholds, colours, and tables that people write."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.datasets.encodings import INDEXED, Levels, MaskError, Palette, palette_of
from trainer.datasets.isnb import COLOURS

COLOURED = "255,255,255=background;0,0,255=cytoplasm;0,255,255=nucleus"


@pytest.mark.parametrize(
    ("rgb", "label"),
    [
        ((151, 151, 99), 1),
        ((255, 255, 0), 1),
        ((150, 151, 99), 0),
        ((151, 150, 99), 0),
        ((151, 151, 100), 0),
        ((99, 151, 99), 2),
        ((0, 255, 0), 2),
        ((100, 151, 99), 0),
        ((99, 150, 99), 0),
        ((99, 151, 100), 0),
        ((255, 0, 0), 0),
        ((255, 255, 255), 0),
        ((0, 0, 0), 0),
    ],
)
def test_the_thresholds_of_isnb_are_the_published_ones(rgb: tuple[int, int, int], label: int) -> None:
    assert COLOURS.labels(np.full((2, 3, 3), rgb, np.uint8)).tolist() == [[label] * 3] * 2


def test_a_grey_mask_is_all_background_to_colour_thresholds() -> None:
    assert not COLOURS.labels(np.array([[0, 128, 255]], np.uint8)).any()


def test_grey_levels_have_names() -> None:
    mask = np.array([[0, 9, 128, 255, 40]], np.uint8)
    named = palette_of("0=background, 9 = Red Cells,40=plasma,128=cytoplasm,255=nucleus")
    assert named.labels(mask).tolist() == [[0, 0, 1, 2, 0]]
    assert palette_of("0=Background,128=CYTOPLASM,255=Nucleus").labels(mask[:, [0, 2, 3]]).tolist() == [[0, 1, 2]]


def test_colours_have_names_also_where_the_mask_happens_to_be_grey() -> None:
    mask = np.array([[(255, 255, 255), (0, 0, 255), (0, 255, 255)]], np.uint8)
    assert palette_of(COLOURED).labels(mask).tolist() == [[0, 1, 2]]
    assert palette_of(COLOURED).labels(mask[..., 0][:, :1]).tolist() == [[0]]  # one channel: a field without a cell


def test_a_comma_may_divide_colours_too() -> None:
    assert palette_of(COLOURED.replace(";", ",")) == palette_of(COLOURED)


@pytest.mark.parametrize("text", ["0=background,128=cytoplasm,255=nucleus", COLOURED, COLOURED + "~12", "7=nucleus~3"])
def test_a_palette_is_written_as_it_is_read(text: str) -> None:
    assert str(palette_of(text)) == text


def test_the_tolerance_is_per_channel_and_takes_the_nearest_name() -> None:
    exact, near = palette_of(COLOURED), palette_of(COLOURED + "~20")
    mask = np.array([[(235, 255, 240), (20, 0, 255), (0, 240, 236)]], np.uint8)
    assert near.labels(mask).tolist() == [[0, 1, 2]]
    with pytest.raises(MaskError, match="without a name: 0,240,236 "):
        exact.labels(mask)
    with pytest.raises(MaskError, match=r"without a name: 0,240,234 \(33\.3%\)"):
        near.labels(np.array([[(235, 255, 240), (20, 0, 255), (0, 240, 234)]], np.uint8))


def test_values_without_a_name_are_told_with_their_shares_the_most_frequent_first() -> None:
    mask = np.zeros((100, 100), np.uint8)
    mask[:30], mask[30:35], mask[35, :7] = 9, 200, range(101, 108)
    told = r"200 \(5\.0%\), 101 \(under 0\.1%\), 102 .*, 104 \(under 0\.1%\) and 3 more \(under 0\.1%\); name them too"
    with pytest.raises(MaskError, match=told) as failure:
        palette_of("0=background,9=nucleus").labels(mask)
    assert "9 (" not in str(failure.value)


def test_a_table_of_grey_levels_does_not_fit_a_coloured_mask() -> None:
    mask = np.array([[(255, 0, 0), (0, 0, 0)]], np.uint8)
    with pytest.raises(MaskError, match=r"values 0,0,0 \(50\.0%\), 255,0,0 \(50\.0%\), the palette names grey levels"):
        palette_of("0=background,255=nucleus").labels(mask)
    with pytest.raises(MaskError, match="the palette names nothing yet"):
        Palette().labels(mask)
    for encoding in (INDEXED, Levels(64, 208)):
        with pytest.raises(MaskError, match=r"255,0,0 \(50\.0%\), this layout grey ones"):
            encoding.labels(mask)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "cannot be read at ''; write VALUE=NAME"),
        ("0:background", "cannot be read at '0:background'"),
        ("0=background,=nucleus", "'' is neither a grey level"),
        ("0=background,1,2=nucleus", "'1,2' is neither"),
        ("0=background,-1=nucleus", "'-1' is neither"),
        ("0=background,70000=nucleus", "'70000' is neither"),
        ("0,0,256=background", "'0,0,256' is neither"),
        ("0=background,1=kernel", "no region 'kernel'; known: background, plasma, red cells, cytoplasm, nucleus"),
        ("0=background,1=", "no region ''"),
        ("0=background,0=nucleus", "names 0 and 0"),
        ("0=background;1,2,3=nucleus", "mixes grey levels and colours"),
        ("0=background,1=nucleus~some", "the tolerance 'some'"),
        ("0=background,40=nucleus~20", "names 0 and 40, which a tolerance of 20 cannot tell apart"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, complaint: str) -> None:
    with pytest.raises(MaskError, match=complaint):
        palette_of(text)


def test_names_of_one_class_may_overlap() -> None:
    assert palette_of("0=plasma,10=red cells,255=nucleus~20").labels(np.array([[5]], np.uint8)).tolist() == [[0]]
