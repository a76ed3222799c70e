"""What a station's cells and pictures measured when it was commissioned: later days are held against it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from station.contract.errors import StationError
from station.contract.manifest import Frozen
from station.database.daily import Field
from station.database.store import Store
from station.printing import plural

BASELINE: Final = "baseline"  # the fact that holds it, as JSON
LEAST_IMAGES: Final = 20  # with cells
QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)

OF_CELLS: Final = ("area_px", "nc_ratio", "confidence")  # also per picture: the mean over its cells
OF_PICTURES: Final = ("focus", "brightness", "contrast", "stain")  # keys of an analysis' quality

_BINS = 24


class Spread(Frozen):
    """How a quantity is distributed. Values beyond the edges are counted in the outermost bins."""

    count: int
    mean: float
    sd: float  # of a sample: divided by count - 1; 0 for a single value
    quantiles: tuple[float, ...]  # at QUANTILES
    edges: tuple[float, ...]
    counts: tuple[int, ...]


class Baseline(Frozen):
    """Of the local days `first` to `last`, counted by one model."""

    first: date
    last: date
    made_at: datetime
    images: int
    images_with_cells: int
    model: str
    model_sha256: str
    cells: dict[str, Spread]  # over single cells, keys of OF_CELLS
    fields: dict[str, Spread]  # over pictures, keys of `per_field`


def measure(fields: Sequence[Field], first: date, last: date, made_at: datetime) -> Baseline:
    """The baseline that these pictures give.

    Raises StationError where fewer than LEAST_IMAGES show a cell, or where more than one model counted them.
    """
    span = f"{first}" if first == last else f"{first} to {last}"
    with_cells = sum(bool(field.cells) for field in fields)
    if with_cells < LEAST_IMAGES:
        raise StationError(
            f"{span} holds {plural(with_cells, 'counted picture')} with a white cell, and a baseline needs at least "
            f"{LEAST_IMAGES}; name more days with --from and --to"
        )
    models = {field.model_sha256: field.model for field in fields}
    if len(models) > 1:
        raise StationError(
            f"the pictures of {span} were counted by {len(models)} models ({', '.join(sorted(models.values()))}), and "
            "a baseline is of one; name days that one model counted"
        )
    ((sha256, model),) = models.items()
    return Baseline(
        first=first,
        last=last,
        made_at=made_at,
        images=len(fields),
        images_with_cells=with_cells,
        model=model,
        model_sha256=sha256,
        cells=_spreads(of_cells(fields)),
        fields=_spreads(_columns(map(per_field, fields))),
    )


def keep(store: Store, baseline: Baseline) -> None:
    """Hold later days against this one, instead of an earlier one."""
    store.record_fact(BASELINE, baseline.model_dump_json())


def kept(store: Store) -> Baseline | None:
    """The baseline that was set, if any. Raises StationError where this version cannot read it."""
    told = store.fact(BASELINE)
    if told is None:
        return None
    try:
        return Baseline.model_validate_json(str(told))
    except ValidationError as cause:
        raise StationError(
            f"the baseline in {store.path} cannot be read by this version; `station baseline set` makes it anew"
        ) from cause


def of_cells(fields: Iterable[Field]) -> dict[str, list[float]]:
    """Every single cell's area, px, N:C ratio (of those that have one) and confidence, 0..1."""
    cells = [cell for field in fields for cell in field.cells]
    values = {name: [getattr(cell, name) for cell in cells] for name in OF_CELLS}
    return {name: [one for one in column if one is not None] for name, column in values.items()}


def per_field(field: Field) -> dict[str, float]:
    """What one picture comes to: its number of cells (as counted automatically), their means, its quality.

    What it does not tell, as the mean area of no cells, is left out.
    """
    means = {name: float(np.mean(values)) for name, values in of_cells([field]).items() if values}
    quality = {name: field.quality[name] for name in OF_PICTURES if name in field.quality}
    return {"cells_per_field": float(field.wbc_count)} | means | quality


def spread(values: Iterable[float]) -> Spread | None:
    """How finite values are distributed; None where there are none."""
    finite = np.array([value for value in values if math.isfinite(value)], np.float64)
    if not finite.size:
        return None
    edges = _edges(finite)
    return Spread(
        count=finite.size,
        mean=float(finite.mean()),
        sd=float(finite.std(ddof=1)) if finite.size > 1 else 0.0,
        quantiles=tuple(np.quantile(finite, QUANTILES).tolist()),
        edges=edges,
        counts=histogram(finite, edges),
    )


def histogram(values: Sequence[float] | NDArray[np.float64], edges: Sequence[float]) -> tuple[int, ...]:
    """How many values lie in each bin; those beyond the edges in the outermost ones."""
    counts, _ = np.histogram(np.clip(np.asarray(values, np.float64), edges[0], edges[-1]), edges)
    return tuple(counts.tolist())


def _edges(values: NDArray[np.float64]) -> tuple[float, ...]:
    low, high = np.quantile(values, (0.005, 0.995)).tolist()
    margin = 0.1 * (high - low) or 0.5 * (abs(low) or 1.0)
    start = max(0.0, low - margin) if low >= 0 else low - margin
    return tuple(np.linspace(start, high + margin, _BINS + 1).tolist())


def _columns(rows: Iterable[Mapping[str, float]]) -> dict[str, list[float]]:
    columns: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    return columns


def _spreads(columns: Mapping[str, Iterable[float]]) -> dict[str, Spread]:
    found = {name: spread(values) for name, values in columns.items()}
    return {name: one for name, one in found.items() if one is not None}
