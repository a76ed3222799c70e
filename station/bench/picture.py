"""The picture of a measurement: two bars for each contender, as an SVG that stands alone."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Final

from station.bench.rows import Bench, Contender

_WIDTH, _LEFT, _RIGHT, _TOP = 900, 250, 150, 74  # px
_ROW, _BAR = 44, 15  # px
_NETWORK, _WHOLE, _LOOP, _INK, _PALE = "#b9c9de", "#2b5c9e", "#8a8f98", "#1d2733", "#5b6673"
_LOOPS: Final = "naive loop"  # so the names of those begin that are no engine of the station


def picture(bench: Bench) -> str:
    """Pictures per second of each contender: end to end (dark) and of its network alone (pale)."""
    rows = bench.contenders
    most = max((_fastest(row) for row in rows), default=0.0) or 1.0
    height = _TOP + _ROW * len(rows) + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'font-family="system-ui, sans-serif" font-size="13" fill="{_INK}">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(16, 26, "Pictures per second", size=17, weight="600"),
        _text(16, 46, _subtitle(bench), fill=_PALE, size=12),
        *_legend(),
        *(part for number, row in enumerate(rows) for part in _row(row, _TOP + _ROW * number, most)),
        _text(16, height - 14, _footnote(bench), fill=_PALE, size=11),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _fastest(row: Contender) -> float:
    return max(row.measured.images_per_second, row.measured.network_images_per_second) if row.measured else 0.0


def _subtitle(bench: Bench) -> str:
    machine = bench.machine
    return f"{machine.processor}, {machine.cores} cores ({', '.join(machine.abilities) or 'plain'}); {machine.model}"


def _footnote(bench: Bench) -> str:
    loads = bench.machine.loads
    return (
        f"{bench.fields} fields ({bench.pictures}); median of {bench.rounds} round{'s' * (bench.rounds > 1)}; "
        f"load of the machine {min(loads):.1f} to {max(loads):.1f}"
    )


def _legend() -> Iterator[str]:
    for x, colour, words in (
        (_LEFT, _WHOLE, "end to end, into the database"),
        (_LEFT + 215, _NETWORK, "network alone"),
    ):
        yield f'<rect x="{x}" y="56" width="10" height="10" fill="{colour}"/>'
        yield _text(x + 15, 65, words, fill=_PALE, size=11)


def _row(row: Contender, y: int, most: float) -> Iterator[str]:
    name = f"{row.name} (auto)" if row.is_auto else row.name
    yield _text(_LEFT - 10, y + 20, name, anchor="end", weight="600" if row.is_auto else "400")
    if row.measured is None:
        yield _text(_LEFT, y + 20, _short(row.reason or ""), fill=_PALE, size=11)
        return
    one = row.measured
    gain = f", {one.times_naive:.2f} x naive" if one.times_naive and row.name != _LOOPS else ""
    dark = _LOOP if row.name.startswith(_LOOPS) else _WHOLE
    yield from _bar(y, one.images_per_second / most, dark, f"{one.images_per_second:.1f}{gain}")
    yield from _bar(
        y + _BAR + 2, one.network_images_per_second / most, _NETWORK, f"{one.network_images_per_second:.1f}"
    )


def _bar(y: int, share: float, colour: str, words: str) -> Iterator[str]:
    width = round(share * (_WIDTH - _LEFT - _RIGHT), 1)
    yield f'<rect x="{_LEFT}" y="{y}" width="{width}" height="{_BAR}" fill="{colour}"/>'
    yield _text(_LEFT + width + 6, y + 12, words, size=11)


def _short(reason: str, most: int = 90) -> str:
    return reason if len(reason) <= most else reason[: most - 3] + "..."


def _text(
    x: float, y: float, words: str, *, fill: str = _INK, size: int = 13, weight: str = "400", anchor: str = "start"
) -> str:
    look = f'fill="{fill}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}"'
    return f'<text x="{round(x, 1)}" y="{y}" {look}>{escape(words)}</text>'
