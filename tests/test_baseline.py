"""What a station measured when it was commissioned: set, shown, refused where it would mislead."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from statistics import fmean, stdev
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner, Result
from painted_days import MORNING, NIGHT, Day, small

from station.baseline import BASELINE, Baseline, histogram, kept, measure, spread
from station.cli import main
from station.contract.errors import StationError
from station.reports import bounds
from station.reports.figures import Point

FIRST, LAST = date(2026, 11, 16), date(2026, 11, 18)
SPAN = ("--from", "2026-11-16", "--to", "2026-11-18")


@pytest.fixture
def day(tmp_path: Path) -> Iterator[Day]:
    made = Day(tmp_path)
    (tmp_path / "station.toml").write_text(
        '[camera]\nfolder = "camera"\n[database]\npath = "station.db"\n[report]\ntime_zone = "Europe/Berlin"\n'
    )
    yield made
    made.store.close()


def measured(day: Day) -> Baseline:
    fields = day.store.fields_between(*bounds(FIRST, LAST, ZoneInfo("Europe/Berlin")))
    return measure(fields, FIRST, LAST, NIGHT)


def called(day: Day, *words: str) -> Result:
    return CliRunner().invoke(main, ["baseline", *words, "--config", str(day.root / "station.toml")])


def test_it_is_what_the_rows_say(day: Day) -> None:
    day.usual(quality={"focus": 0.5})
    day.picture(small(0)[0], MORNING - timedelta(days=7), file=False)
    day.picture(small(3)[0], MORNING, file=False)  # another day
    baseline = measured(day)
    areas = [
        cell.area_px for field in day.store.fields_between(MORNING - timedelta(days=8), MORNING) for cell in field.cells
    ]
    assert (baseline.images, baseline.images_with_cells, baseline.model) == (31, 30, "model m")
    assert baseline.cells["area_px"].count == len(areas) == 60
    assert baseline.cells["area_px"].mean == pytest.approx(fmean(areas))
    assert baseline.cells["area_px"].sd == pytest.approx(stdev(areas))
    assert baseline.fields["cells_per_field"].mean == pytest.approx(60 / 31)
    assert (baseline.fields["area_px"].count, baseline.fields["focus"].count) == (30, 30)
    assert (baseline.fields["focus"].mean, baseline.fields["focus"].sd) == (0.5, 0.0)


def test_values_beyond_the_edges_are_in_the_outermost_bins_and_none_is_lost() -> None:
    assert histogram([-5.0, 0.5, 1.5, 99.0], (0.0, 1.0, 2.0)) == (2, 2)
    one = spread([1.0, 2.0, 3.0, 4.0, float("nan")])
    assert one is not None
    assert (one.count, one.mean, one.quantiles[2], sum(one.counts)) == (4, 2.5, 2.5, 4)
    assert spread([]) is None
    same = spread([3.0, 3.0])
    assert same is not None and (same.sd, sum(same.counts)) == (0.0, 2)


def test_set_keeps_it_and_show_shows_it(day: Day) -> None:
    day.usual()
    made, shown = called(day, "set", *SPAN), called(day, "show")
    assert (made.exit_code, shown.exit_code) == (0, 0), made.output + shown.output
    assert made.output == shown.output
    assert shown.output.startswith("2026-11-16 to 2026-11-18: 30 pictures, 30 of them with 60 cells, by model m (mmmm")
    assert "N:C ratio" in shown.output
    found = kept(day.store)
    assert found is not None
    assert found.model_copy(update={"made_at": NIGHT}) == measured(day)


def test_a_later_one_takes_its_place(day: Day) -> None:
    day.usual()
    assert called(day, "set", *SPAN).exit_code == 0
    assert called(day, "set", "--from", "2026-11-16", "--to", "2026-11-17").exit_code == 0
    found = kept(day.store)
    assert found is not None and (found.last, found.images) == (date(2026, 11, 17), 20)


def test_too_few_pictures_with_cells_are_refused_and_nothing_is_kept(day: Day) -> None:
    day.usual(each=6)
    for _ in range(5):
        day.picture(small(0)[0], MORNING - timedelta(days=6), file=False)
    refused = called(day, "set", *SPAN)
    assert refused.exit_code == 1
    assert "2026-11-16 to 2026-11-18 holds 18 counted pictures with a white cell" in refused.output
    assert "at least 20; name more days" in refused.output
    shown = called(day, "show")
    assert (shown.exit_code, kept(day.store)) == (1, None)
    assert "no baseline is set; `station baseline set" in shown.output


def test_two_models_are_refused(day: Day) -> None:
    day.usual(days=2)
    day.picture(small(2)[0], MORNING - timedelta(days=6), file=False, model="n")
    with pytest.raises(StationError, match="counted by 2 models \\(model m, model n\\), and a baseline is of one"):
        measured(day)


@pytest.mark.parametrize(
    "words", [("--from", "2026-11-18", "--to", "2026-11-16"), ("--from", "0001-01-01", "--to", "0001-01-02")]
)
def test_days_that_are_none_are_wrong_usage(day: Day, words: tuple[str, ...]) -> None:
    assert called(day, "set", *words).exit_code == 2


def test_one_that_cannot_be_read_says_so(day: Day) -> None:
    day.store.record_fact(BASELINE, '{"first": "2026-11-16"}')
    shown = called(day, "show")
    assert shown.exit_code == 1
    assert "cannot be read by this version; `station baseline set` makes it anew" in shown.output


def test_rounding_alone_is_not_outside_the_limits() -> None:
    """Brightness of a camera with a fixed exposure is the same in all pictures, and sums of equal values differ."""
    for value in (round(step / 765, 4) for step in range(400, 766)):
        known = spread([value] * 20)
        assert known is not None
        point = Point(MORNING, 7, sum([value] * 7) / 7, known.mean - 3 * known.sd, known.mean + 3 * known.sd)
        assert not point.outside
    assert Point(MORNING, 7, 0.51, 0.5, 0.5).outside
