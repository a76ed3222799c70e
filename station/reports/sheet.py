"""The contact sheet: contours on real pixels, lowest confidence first, read from the camera folder."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from station.contract.decoding import decode
from station.contract.errors import ImageError
from station.contract.imaging import RGB
from station.contract.masks import decode_mask
from station.contract.thumbnail import Masks, cell_jpeg, field_jpeg
from station.database.daily import Field, FieldCell
from station.database.store import Store
from station.originals import Missing, first_with
from station.reports.figures import Sheet, Tile
from station.watching import cause

MOST_CELLS, MOST_FIELDS = 48, 12  # with the sizes below at most 3 MB of a page
_CELL_SIDE, _FIELD_SIDE = 144, 400  # px
_MOST_OF_ONE = 4  # cells of one picture: a single bad one must not fill the sheet
_THREADS = 2

_Wanted = tuple[Field, FieldCell | None]  # a cell, or the whole field


def sheet(store: Store, fields: Sequence[Field], waiting: Container[int], max_megapixels: float) -> Sheet:
    """The least certain cells, and the pictures marked for review that wait for a look: ids in `waiting`."""
    doubtful = [field for field in fields if field.image_id in waiting]
    cells: list[_Wanted] = [*_least_certain(fields)]
    shown: list[_Wanted] = [(field, None) for field in sorted(doubtful, key=_doubt)[:MOST_FIELDS]]
    tiles = _tiles(store, [*cells, *shown], max_megapixels)
    return Sheet(
        cells=tuple(tiles[: len(cells)]),
        cells_in_all=sum(len(field.cells) for field in fields),
        fields=tuple(tiles[len(cells) :]),
        fields_for_review=len(doubtful),
    )


def _least_certain(fields: Iterable[Field]) -> Iterator[_Wanted]:
    cells = [(field, cell) for field in fields for cell in field.cells]
    taken: Counter[int] = Counter()
    for field, cell in sorted(cells, key=lambda one: (one[1].confidence, one[0].image_id, one[1].cell_id)):
        if taken[field.image_id] < _MOST_OF_ONE:
            taken[field.image_id] += 1
            yield field, cell
        if taken.total() == MOST_CELLS:
            return


def _doubt(field: Field) -> tuple[float, int]:
    return min((cell.confidence for cell in field.cells), default=1.0), field.image_id


def _tiles(store: Store, wanted: Sequence[_Wanted], max_megapixels: float) -> list[Tile]:
    """In the order in which they are wanted; each picture is decoded once, two at a time."""
    by_picture: defaultdict[int, list[_Wanted]] = defaultdict(list)
    for one in wanted:
        by_picture[one[0].image_id].append(one)
    paths = store.paths_of(by_picture)
    draw = partial(_drawn, store, paths, max_megapixels)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="sheet") as threads:
        made = [tile for tiles in threads.map(draw, by_picture.values()) for tile in tiles]
    by_place = {(tile.image_id, tile.cell_id): tile for tile in made}
    return [by_place[field.image_id, cell.cell_id if cell else None] for field, cell in wanted]


def _drawn(
    store: Store, paths: dict[int, tuple[str, ...]], max_megapixels: float, wanted: Sequence[_Wanted]
) -> list[Tile]:
    """The tiles of one picture."""
    field = wanted[0][0]
    try:
        image = _read(field, (field.path, *paths.get(field.image_id, ())), max_megapixels)
        masks = _masks(store, field)
        return [_tile(image, masks, *one) for one in wanted]
    except ImageError as failure:
        return [_labelled(*one, None, str(failure)) for one in wanted]


def _tile(image: RGB, masks: Masks | None, field: Field, cell: FieldCell | None) -> Tile:
    jpeg = cell_jpeg(image, masks, cell.bbox, _CELL_SIDE) if cell else field_jpeg(image, masks, _FIELD_SIDE)
    return _labelled(field, cell, jpeg, None if masks else "masks were pruned, no contours")


def _labelled(field: Field, cell: FieldCell | None, jpeg: bytes | None, problem: str | None) -> Tile:
    return Tile(field.image_id, cell.cell_id if cell else None, cell.confidence if cell else None, jpeg, problem)


def _masks(store: Store, field: Field) -> Masks | None:
    kept = store.masks(field.analysis_id)
    if kept is None:
        return None
    labels, cells = map(decode_mask, kept)
    return Masks(labels.astype("uint8"), cells.astype("uint16"))


def _read(field: Field, paths: Sequence[str], max_megapixels: float) -> RGB:
    """The pixels that were counted, from the first of the paths that still holds them. Raises ImageError."""
    try:
        return decode(first_with(paths, field.sha256)[1], max_megapixels=max_megapixels)
    except Missing as missing:  # without its paths, which may name patients
        there = [one for one in missing.tried.values() if not isinstance(one, FileNotFoundError)]
        raise ImageError(_problem(there[-1]) if there else "the file is gone") from missing


def _problem(failure: OSError | None) -> str:
    return f"the file cannot be read ({cause(failure)})" if failure else "the file holds another picture now"
