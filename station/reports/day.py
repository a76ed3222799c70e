"""The figures of a full report, from one reading of the database and a look at the camera folder."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Final
from zoneinfo import ZoneInfo

from station.baseline import Baseline, Spread, histogram, kept, of_cells, per_field, spread
from station.contract.errors import StationError
from station.database.daily import Field
from station.database.store import Store
from station.days import bounds, days_in_words
from station.printing import plural
from station.reports import ImageLine, Summary, summarise
from station.reports.completeness import completeness
from station.reports.figures import Control, Detail, Distribution, Dot, Point, Slide, Tally
from station.reports.intervals import limits, share
from station.reports.sheet import sheet
from station.settings import Settings
from station.version import package_version

# quantity -> its title and unit; all are means of pictures in a control chart
TITLES: Final[Mapping[str, tuple[str, str]]] = {
    "cells_per_field": ("White cells per field", ""),
    "area_px": ("Cell area", "px²"),
    "nc_ratio": ("Nucleus to cytoplasm area (N:C)", ""),
    "confidence": ("Confidence of the network", ""),
    "focus": ("Focus", ""),
    "brightness": ("Brightness", ""),
    "contrast": ("Contrast", ""),
    "stain": ("Stain: distance from the training set", ""),
}
_DISTRIBUTIONS = ("area_px", "nc_ratio")
_HOURLY_DAYS = 2  # up to so many days a point is an hour
_MOST_REASONS = 8


def detailed(
    store: Store, first: date, last: date, settings: Settings, now: datetime, *, names: bool = False
) -> Summary:
    """The summary of these local days with all that the page shows. `now` is the moment of the report, aware."""
    zone = settings.report.zone
    with store.at_one_moment() as still:  # the folder is held against the database as it is after that
        summary = summarise(still, first, last, zone, names=names)
        fields = still.fields_between(*bounds(first, last, zone))
    baseline, unread = _known_baseline(store)
    compared = baseline if baseline and _same_model(fields, baseline) else None
    most_megapixels = settings.limits.max_megapixels
    period = "hour" if (summary.last - summary.first).days < _HOURLY_DAYS else "day"
    detail = Detail(
        made_at=now.astimezone(zone),
        version=package_version(),
        slides=tuple(_slides(summary, settings.report.target_cells)),
        waiting=sum(line.status not in ("done", "quarantined") for line in summary.images),
        quarantined=tuple(_reasons(summary.images)),
        for_review=share(sum(line.for_review or line.review_open for line in summary.counted), len(summary.counted)),
        cut_by_border=share(summary.wbc_count - summary.wbc_count_inside, summary.wbc_count),
        flags=_tallied(flag for line in summary.counted for flag in line.flags),
        dots=tuple(sorted(_dots(summary.counted), key=lambda dot: dot.at.timestamp())),
        period=period,
        baseline=unread or _baseline_words(fields, baseline),
        control=tuple(_control(fields, zone, period, baseline)),
        distributions=tuple(_distributions(fields, compared)),
        latency=_latency(fields),
        completeness=completeness(store, settings.camera, now, bounds(first, last, zone)),
        sheet=sheet(store, fields, {line.image_id for line in summary.counted if line.review_open}, most_megapixels),
    )
    return replace(summary, detail=detail)


def _known_baseline(store: Store) -> tuple[Baseline | None, str]:
    """The baseline, and why it cannot be compared with if it is there and another version's."""
    try:
        return kept(store), ""
    except StationError as cause:
        return None, f"Nothing is compared: {cause}."


def _dots(lines: Iterable[ImageLine]) -> Iterator[Dot]:
    """A rejected picture says nothing of a field."""
    return (Dot(line.captured_at, line.count or 0) for line in lines if not line.rejected)


def _same_model(fields: Iterable[Field], baseline: Baseline) -> bool:
    return {field.model_sha256 for field in fields} <= {baseline.model_sha256}


def _slides(summary: Summary, target: int) -> Iterator[Slide]:
    doubtful = Counter(line.slide for line in summary.counted if line.for_review or line.review_open)
    distinct = summary.distinct
    for name, images, cells in summary.slides:
        once = distinct[name]
        yield Slide(name, images, doubtful[name], cells, once, target or None, once / target if target else None)


def _reasons(images: Iterable[ImageLine]) -> Iterator[Tally]:
    """The most frequent reasons of quarantine, and how many pictures have another one."""
    tallies = _tallied(line.reason or "no reason" for line in images if line.status == "quarantined")
    yield from tallies[:_MOST_REASONS]
    if others := sum(tally.images for tally in tallies[_MOST_REASONS:]):
        yield Tally("other reasons, named below picture by picture", others)


def _tallied(words: Iterable[str]) -> tuple[Tally, ...]:
    """The most frequent first, equals by name."""
    return tuple(Tally(*one) for one in sorted(Counter(words).items(), key=lambda one: (-one[1], one[0])))


def _baseline_words(fields: Sequence[Field], baseline: Baseline | None) -> str:
    if baseline is None:
        return "No baseline is set, so nothing is compared; `station baseline set --from D --to D` sets one."
    days = days_in_words(baseline.first, baseline.last)
    of = f"the baseline of {days} ({plural(baseline.images, 'picture')}, model {baseline.model}"
    if _same_model(fields, baseline):
        return f"Compared with {of})."
    others = [field for field in fields if field.model_sha256 != baseline.model_sha256]
    models = ", ".join(sorted({f"{field.model} ({field.model_sha256[:8]})" for field in others}))
    if len(others) < len(fields):
        return (
            f"{len(others)} of {plural(len(fields), 'picture')} are by {models}, another model than that of {of}, "
            f"{baseline.model_sha256[:8]}). The charts of drift have limits where all pictures are by the baseline's."
        )
    return (
        f"Not compared: {of}, {baseline.model_sha256[:8]}) is of another model than these pictures, {models}. "
        "Set a baseline of days that this model counted."
    )


# Over time


def _control(fields: Sequence[Field], zone: ZoneInfo, period: str, baseline: Baseline | None) -> Iterator[Control]:
    """A chart for each quantity; limits stand where all pictures of a point are of the baseline's model."""
    values: defaultdict[str, defaultdict[datetime, list[float]]] = defaultdict(lambda: defaultdict(list))
    strange = set()
    for field in fields:
        start = _start_of(period, field.captured_at.astimezone(zone))
        if baseline is None or field.model_sha256 != baseline.model_sha256:
            strange.add(start)
        for name, value in per_field(field).items():
            values[name][start].append(value)
    for name, (title, unit) in TITLES.items():
        usual = baseline.fields.get(name) if baseline else None
        points = tuple(
            _point(start.astimezone(zone), own, None if start in strange else usual)
            for start, own in sorted(values[name].items())
        )
        if points:
            compared = any(point.compared for point in points)
            yield Control(name, title, unit, usual.mean if usual and compared else None, points)


def _start_of(period: str, local: datetime) -> datetime:
    """When its hour or day began, UTC: the hour that a changed clock repeats is two hours."""
    start = local.replace(minute=0, second=0, microsecond=0)
    return (start if period == "hour" else start.replace(hour=0, fold=0)).astimezone(UTC)


def _point(start: datetime, values: Sequence[float], usual: Spread | None) -> Point:
    between = limits(usual.mean, usual.sd, usual.count, len(values)) if usual else None
    return Point(start, len(values), sum(values) / len(values), *(between or (None, None)))


# Over all


def _distributions(fields: Sequence[Field], baseline: Baseline | None) -> Iterator[Distribution]:
    columns = of_cells(fields)
    for name in _DISTRIBUTIONS:
        own, usual = spread(columns[name]), baseline.cells.get(name) if baseline else None
        if own is None:
            continue
        title, unit = TITLES[name]
        edges = usual.edges if usual else own.edges
        counts = histogram(columns[name], edges)
        plain = Distribution(name, title, unit, own.count, edges, counts, own.quantiles)
        yield replace(plain, baseline_counts=usual.counts, baseline_quantiles=usual.quantiles) if usual else plain


def _latency(fields: Iterable[Field]) -> Distribution | None:
    seconds = [field.seconds["total"] for field in fields if "total" in field.seconds]
    own = spread(seconds)
    if own is None:
        return None
    title = "Seconds of work on a picture, from reading it to its count, without waiting"
    return Distribution("seconds", title, "s", own.count, own.edges, own.counts, own.quantiles)
