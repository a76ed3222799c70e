"""Scales that nobody told, held against the masks: by hand, and `trainer evaluate --scale` on discs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from composing import DIAMETER_PX, SET, in_light, put_discs, put_sample
from networks import colour_network, tiny_bundle

from station.contract.bundle import write_bundle
from trainer.cli import main
from trainer.datasets.samples import DataError
from trainer.display import scale_table
from trainer.scales import PICTURES, Estimated, ScaleScore, estimated, scale_score

DRAWS = range(50)


def pictures(*found_px: float | None, own_px: float = 100.0) -> list[Estimated]:
    return [Estimated(SET, (own_px, own_px), px) for px in found_px]


def test_errors_are_against_the_picture_itself() -> None:
    mixed = [Estimated(SET, (50.0,), 55.0), Estimated(SET, (100.0, 120.0), 110.0), Estimated(SET, (), 80.0)]
    score = scale_score([*mixed, Estimated(SET, (70.0,), None)], DRAWS)
    assert (score.images, score.unknown, score.median_px, score.near) == (4, 0.25, 85.0, 1.0)
    assert score.errors == pytest.approx([0.005, 0.025, 0.05, 0.075, 0.095])  # quantiles of 10 % and 0 %


@pytest.mark.parametrize(
    ("found_px", "drawn"),
    [
        ([100.0] * 30, 1.0),
        ([111.9] * 30, 1.0),
        ([112.1] * 30, 0.0),
        ([87.9] * 30, 0.0),
        ([None] * 30, 0.0),  # a camera whose scale stays unknown
        ([None] * 10 + [100.0] * 20, 1.0),  # a draw of 20 out of 30 holds ten that tell it
        ([100.0] * 17 + [300.0] * 3, 1.0),  # few wrong ones move it little
    ],
)
def test_a_draw_is_near_or_not(found_px: list[float | None], drawn: float) -> None:
    score = scale_score(pictures(*found_px), DRAWS)
    assert (score.drawn, score.drawn_by_masks) == (drawn, 1.0)


def test_the_masks_say_what_could_be_reached_at_best() -> None:
    """Where cells of all sizes are mixed, chance decides which of them a draw holds."""
    mixed = [Estimated(SET, (px,), px) for px in np.linspace(60.0, 180.0, 60)]
    score = scale_score(mixed, DRAWS)
    assert score.drawn == score.drawn_by_masks and 0.5 < score.drawn < 1.0
    assert scale_score(mixed, DRAWS) == score != scale_score(mixed, range(100, 150))


def test_without_a_whole_cell_there_is_nothing_to_hold_against() -> None:
    with pytest.raises(DataError, match="no mask holds a whole white blood cell"):
        scale_score([Estimated(SET, (), 80.0)], DRAWS)


def test_a_share_of_draws_is_told_where_they_differ() -> None:
    for number, told in ((PICTURES, "–"), (PICTURES + 1, "100.0%")):
        score = scale_score(pictures(*[100.0] * number), DRAWS)
        assert [list(column.cells) for column in scale_table(50, {SET: score}).columns[-2:]] == [[told], [told]]


def test_the_command_shows_a_line_per_data_set(tmp_path: Path) -> None:
    samples = put_discs(tmp_path / SET)
    empty = np.zeros((320, 400), np.uint8)
    samples.append(put_sample(tmp_path / SET, "empty", in_light(empty), empty))
    write_bundle(tmp_path / "tiny.zip", tiny_bundle())
    line = ["evaluate", str(tmp_path / "tiny.zip"), str(tmp_path / SET), "--scale", "--fields", "9"]
    told = CliRunner().invoke(main, line, catch_exceptions=False)
    assert told.exit_code == 0, told.output
    title, heads, row = [words.split() for words in told.output.splitlines()]
    assert " ".join(title).endswith("9 draws of 20 pictures") and heads[:3] == ["set", "pictures", "unknown"]
    found = list(estimated(samples, tiny_bundle().manifest, colour_network))
    assert [one.found_px is None for one in found] == [False, False, True]
    score = scale_score(found, range(9))
    assert row[:4] == [SET, "3", "33.3%", f"{DIAMETER_PX:.0f}"]
    assert row[-2:] == ["–", "–"]  # of three pictures there is one draw, which says nothing of others
    assert isinstance(score, ScaleScore) and abs(score.errors[2]) < 0.03 and f"{score.errors[2]:+.1%}" in row
