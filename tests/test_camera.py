from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from station.demo.camera import encode_bmp, shoot, write_in_pieces
from station.demo.smear import SmearRecipe, paint

RECIPES = tuple(SmearRecipe(width=171, height=128, cell_diameter_px=50, wbc=1, seed=seed) for seed in (1, 2))


def test_a_file_grows_piece_by_piece_to_exactly_its_data(tmp_path: Path) -> None:
    path, data = tmp_path / "Image_0001.bmp", bytes(range(256)) * 4
    sizes: list[int] = []
    write_in_pieces(path, data, pieces=5, pause=lambda: sizes.append(path.stat().st_size))
    assert sizes == [204, 409, 614, 819]
    assert path.read_bytes() == data


def test_one_piece_needs_no_pause(tmp_path: Path) -> None:
    def never() -> None:
        raise AssertionError("paused")

    write_in_pieces(tmp_path / "a.bmp", b"abc", pieces=1, pause=never)
    assert (tmp_path / "a.bmp").read_bytes() == b"abc"


def test_more_pieces_than_bytes_still_write_the_data(tmp_path: Path) -> None:
    write_in_pieces(tmp_path / "a.bmp", b"abc", pieces=7, pause=lambda: None)
    assert (tmp_path / "a.bmp").read_bytes() == b"abc"


def test_no_pieces_are_refused_before_a_file_appears(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one piece"):
        write_in_pieces(tmp_path / "a.bmp", b"abc", pieces=0, pause=lambda: None)
    assert not (tmp_path / "a.bmp").exists()


def test_a_saved_picture_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a.bmp").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        write_in_pieces(tmp_path / "a.bmp", b"new", pieces=2, pause=lambda: None)
    assert (tmp_path / "a.bmp").read_bytes() == b"old"


def test_bmp_is_24_bit_with_the_length_its_header_says_and_keeps_every_pixel() -> None:
    # 171 px wide: rows are padded to a multiple of four bytes.
    image = np.random.default_rng(0).integers(0, 256, (128, 171, 3), dtype=np.uint8)
    data = encode_bmp(image)
    assert data[:2] == b"BM"
    assert int.from_bytes(data[2:6], "little") == len(data)
    assert int.from_bytes(data[28:30], "little") == 24
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(decoded[..., ::-1], image)


def test_bmp_refuses_a_grey_image() -> None:
    with pytest.raises(ValueError, match="24-bit"):
        encode_bmp(np.zeros((4, 4), np.uint8))


def test_shooting_fills_the_slide_folder_with_the_painted_fields(tmp_path: Path) -> None:
    slide = tmp_path / "2024-05-01" / "slide 7"
    shots = list(shoot(slide, RECIPES, pieces=3, pause=lambda: None))
    assert [path for path, _ in shots] == [slide / "Image_0001.bmp", slide / "Image_0002.bmp"]
    for (path, field), recipe in zip(shots, RECIPES, strict=True):
        assert np.array_equal(field.image, paint(recipe).image)
        assert np.array_equal(cv2.imread(str(path))[..., ::-1], field.image)


def test_each_field_is_whole_when_it_is_yielded_and_the_next_not_begun(tmp_path: Path) -> None:
    for path, field in shoot(tmp_path, RECIPES, pieces=4, pause=lambda: None):
        assert path.read_bytes() == encode_bmp(field.image)
        assert max(tmp_path.iterdir()) == path


def test_a_second_series_goes_on_behind_the_first(tmp_path: Path) -> None:
    (tmp_path / "Image_0001.bmp").write_bytes(b"first series")
    names = [path.name for path, _ in shoot(tmp_path, RECIPES, pieces=1, pause=lambda: None)]
    assert names == ["Image_0002.bmp", "Image_0003.bmp"]
    assert (tmp_path / "Image_0001.bmp").read_bytes() == b"first series"
