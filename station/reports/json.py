"""The day as JSON, for programs."""

from __future__ import annotations

import json
from dataclasses import asdict

from station.reports import Summary


def render(summary: Summary) -> str:
    """One object: the days, the totals, the slides, the pictures."""
    images = [asdict(line) | {"captured_at": line.captured_at.isoformat()} for line in summary.images]
    document = {
        "from": summary.first.isoformat(),
        "to": summary.last.isoformat(),
        "time_zone": summary.time_zone,
        "images_counted": len(summary.counted),
        "images_open": len(summary.open),
        "wbc_count": summary.wbc_count,
        "wbc_count_inside": summary.wbc_count_inside,
        "ingested_on_other_days": summary.ingested_on_other_days,
        "captured_on_other_days": summary.captured_on_other_days,
        "models": list(summary.models),
        "slides": [{"slide": s, "images": images, "wbc_count": cells} for s, images, cells in summary.slides],
        "images": images,
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
