"""Whether every picture in the camera folder is accounted for, as `station reconcile` knows it; never a failure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from station.commission import folder_identity
from station.database.store import Store
from station.ledger import pruned_before, reconcile, strangers
from station.reports.figures import Completeness, Tally
from station.settings import Camera
from station.watching import FolderGone, look


def completeness(store: Store, camera: Camera, now: datetime) -> Completeness:
    """The folder as it is now, against the database as it is now."""
    try:
        listing = look(camera.folder.absolute())  # first: what the station takes in meanwhile is no gap
    except FolderGone as gone:
        return Completeness(problem=str(gone).removeprefix(f"{camera.folder.absolute()}: "))
    audit, identity = store.audit(), folder_identity(store)
    if identity not in (None, listing.identity) and not listing.files:
        return Completeness(problem="is another folder than the one that was set up, and empty; is the share mounted?")
    found = reconcile(
        listing,
        audit,
        now=now.timestamp(),
        patience=camera.settle_seconds + camera.rescan_seconds,
        moved=dict(_moved(strangers(listing, audit))),
        pruned_before=pruned_before(store),
    )
    return Completeness(
        problem=None,
        files=len(found.files),
        statuses=tuple(Tally(status, count) for status, count in found.counts.items()),
        duplicates=found.duplicates,
        gone=len(found.gone),
        gaps=tuple(Tally(word, count) for word, count in Counter(line.status for line in found.gaps).items()),
    )


def _moved(paths: Iterable[str]) -> Iterator[tuple[str, float]]:
    """When each file came under its name, s since 1970: a copy may keep its time of writing."""
    for path in paths:
        with suppress(OSError):
            yield path, Path(path).stat().st_ctime
