"""Masks as files: what is written comes back, and nothing else passes for one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from networks import disc_labels, discs, png

from station.contract.errors import ImageError
from station.contract.masks import boxes, decode_mask, encode, encode_narrow


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (64, 64)])
def test_masks_come_back_from_png_as_they_were(kind: type[np.generic], shape: tuple[int, int]) -> None:
    mask = np.random.default_rng(0).integers(0, np.iinfo(kind).max, shape, kind, endpoint=True)
    back = decode_mask(encode(mask))
    assert back.dtype == kind
    assert np.array_equal(back, mask)


@pytest.mark.parametrize(
    "data",
    [b"", b"not a mask", encode(disc_labels(90, 90, [(45, 45, 30, 9)]))[:-40], png(discs(8, 8))],
    ids=["empty", "text", "cut", "colour"],
)
def test_what_is_no_mask_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError, match="is not a mask"):
        decode_mask(data)


def test_a_mask_is_never_read_from_a_lossy_file() -> None:
    with pytest.raises(ImageError):
        decode_mask(cv2.imencode(".jpg", np.full((20, 20), 2, np.uint8))[1].tobytes())


@pytest.mark.parametrize(("most", "kind"), [(0, np.uint8), (255, np.uint8), (256, np.uint16)])
def test_ids_are_kept_in_as_few_bits_as_they_need(most: int, kind: type[np.generic]) -> None:
    cells = np.array([[0, most], [0, 0]], np.uint16)
    back = decode_mask(encode_narrow(cells))
    assert back.dtype == kind
    assert np.array_equal(back, cells)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_each_cell_has_its_box_though_numbers_are_missing_and_cells_in_parts(kind: type[np.generic]) -> None:
    most = int(np.iinfo(kind).max)
    cells = np.zeros((40, 60), kind)
    cells[5:9, 50:60], cells[30, 2], cells[10:14, 20:30], cells[20:22, 25:40] = 2, most, 7, 7
    assert list(boxes(cells)) == [(2, (50, 5, 10, 4)), (7, (20, 10, 20, 12)), (most, (2, 30, 1, 1))]
    assert list(boxes(np.zeros((4, 3), kind))) == []
