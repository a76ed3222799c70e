"""The day as JSON, for programs; also what the page is filled with, so that both show the same numbers."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime

from station.reports import ImageLine, Summary
from station.reports.figures import Control, Detail, Sheet, Tally, Tile


def render(summary: Summary) -> str:
    """One object: the days, the totals, the slides, the pictures, and under `day` all that the page shows."""
    return json.dumps(document(summary), indent=2, default=_moment) + "\n"


def document(summary: Summary) -> dict[str, object]:
    """What `render` writes, with moments as they are."""
    images = [_image(line) for line in summary.images]
    distinct = summary.distinct
    totals = {
        "from": summary.first.isoformat(),
        "to": summary.last.isoformat(),
        "time_zone": summary.time_zone,
        "images_counted": len(summary.counted),
        "images_open": len(summary.open),
        "images_reviewed": len(summary.corrected),
        "images_changed": sum(line.changed for line in summary.counted),
        "images_rejected": sum(line.rejected for line in summary.counted),
        "images_review_open": sum(line.review_open for line in summary.counted),
        "wbc_count": summary.wbc_count,
        "wbc_count_distinct": summary.wbc_count_distinct,
        "wbc_count_automatic": summary.wbc_count_automatic,
        "wbc_count_inside": summary.wbc_count_inside,
        "ingested_on_other_days": summary.ingested_on_other_days,
        "captured_on_other_days": summary.captured_on_other_days,
        "images_pruned_before": summary.pruned_before.isoformat() if summary.pruned_before else None,
        "models": list(summary.models),
        "slides": [
            {"slide": name, "images": images, "wbc_count": cells, "wbc_count_distinct": distinct[name]}
            for name, images, cells in summary.slides
        ],
    }
    return totals | ({"day": _detail(summary.detail)} if summary.detail else {}) | {"images": images}


def _image(line: ImageLine) -> dict[str, object]:
    """`count` and `inside` are what the totals sum: the corrected numbers where a person looked."""
    return asdict(line) | {"captured_at": line.captured_at.isoformat(), "count": line.count, "inside": line.inside}


def _detail(detail: Detail) -> dict[str, object]:
    plain = ("made_at", "version", "waiting", "period", "baseline")
    values = ("slides", "dots", "flags", "distributions")
    return {
        **{name: getattr(detail, name) for name in plain},
        **{name: [asdict(one) for one in getattr(detail, name)] for name in values},
        "quarantined": sum(tally.images for tally in detail.quarantined),
        "quarantined_by_reason": _tallies(detail.quarantined),
        "for_review": asdict(detail.for_review),
        "cut_by_border": asdict(detail.cut_by_border),
        "control": list(map(_control, detail.control)),
        "latency": detail.latency and asdict(detail.latency),
        "completeness": asdict(detail.completeness),
        "sheet": _sheet(detail.sheet),
    }


def _tallies(tallies: Iterable[Tally]) -> list[dict[str, object]]:
    return [asdict(tally) for tally in tallies]


def _control(control: Control) -> dict[str, object]:
    points = [asdict(point) | {"outside": point.outside} for point in control.points]
    return asdict(control) | {"points": points, "outside": sum(point.outside for point in control.points)}


def _sheet(sheet: Sheet) -> dict[str, object]:
    own = {"cells_in_all": sheet.cells_in_all, "fields_for_review": sheet.fields_for_review}
    return own | {"cells": list(map(_tile, sheet.cells)), "fields": list(map(_tile, sheet.fields))}


def _tile(tile: Tile) -> dict[str, object]:
    """Without its pixels."""
    return {name: value for name, value in asdict(tile).items() if name != "jpeg"}


def _moment(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{value!r} is no moment")
