"""How cells are told apart is measured: on fields with exact truth, and so that no parameter lies at the brink."""

from __future__ import annotations

import numpy as np
import pytest
from composing import DIAMETER_PX, disc_cutout, flat_ground, in_light
from networks import colour_network, disc_labels, tiny_bundle

from station.contract.manifest import Separation
from trainer.apart import AREAS_AT_EDGE, PROMINENCES, Divided, Parts, divided, fields, separation
from trainer.composites import Composite

BEFORE = Separation(smoothing=0.03, prominence=0.5, min_area_at_edge=0.9)


def seen(true: int, *parts: Parts) -> Divided:
    """A field; the last parts hold for all higher prominences."""
    return Divided(true, (*parts, *[parts[-1]] * (len(PROMINENCES) - len(parts))))


def test_of_equally_good_prominences_the_middle_one_is_taken() -> None:
    split_when_low = seen(1, Parts(2, ()), Parts(2, ()), Parts(1, ()))
    merged_when_high = seen(2, *[Parts(2, ())] * 7, Parts(1, ()))
    how, exact = separation([split_when_low, merged_when_high], BEFORE)
    assert (how.prominence, exact) == (PROMINENCES[4], 1.0)
    assert how.smoothing == BEFORE.smoothing


def test_the_area_at_the_border_lies_between_platelets_and_cut_cells() -> None:
    platelet, cell = seen(0, Parts(0, (0.1,))), seen(1, Parts(0, (0.25,)))
    how, exact = separation([platelet, cell], BEFORE)
    assert exact == 1.0 and how.min_area_at_edge == pytest.approx(0.18)


def test_the_greater_number_of_fields_decides_where_not_all_can_be_right() -> None:
    large_platelet, cells = seen(0, Parts(0, (0.26,))), [seen(1, Parts(0, (0.2,)))] * 3
    how, exact = separation([large_platelet, *cells], BEFORE)
    assert exact == 0.75 and how.min_area_at_edge <= 0.2


def test_parts_at_the_border_are_measured_however_small_they_are() -> None:
    """A nucleus' colour at the border, a quarter of a cell's diameter wide, and a whole cell."""
    labels = disc_labels(360, 480, [(240, 180, DIAMETER_PX / 2, 36), (0, 180, DIAMETER_PX / 8, DIAMETER_PX / 8)])
    instances = np.where(disc_labels(360, 480, [(240, 180, DIAMETER_PX / 2, 36)]) > 0, 1, 0).astype(np.uint16)
    field = Composite(in_light(labels), labels, instances, DIAMETER_PX, (), (), "discs")
    (one,) = divided([field], tiny_bundle().manifest, colour_network)
    assert one.true == 1 and len(one.parts) == len(PROMINENCES)
    assert {part.inside for part in one.parts} == {1}
    assert one.parts[0].at_edge == (pytest.approx(0.03, abs=0.015),)
    assert AREAS_AT_EDGE[0] <= 0.03


def test_fields_are_composed_and_painted_and_the_same_each_time() -> None:
    one, again = (list(fields(4, [disc_cutout()], [flat_ground()])) for _ in range(2))
    assert [field.dataset for field in one] == ["discs"] * 4 + ["painted"] * 2
    assert all(np.array_equal(a.image, b.image) for a, b in zip(one, again, strict=True))
