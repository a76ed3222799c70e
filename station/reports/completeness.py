"""Whether every picture in the camera folder is accounted for, as `station reconcile` knows it; never a failure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from station.commission import folder_identity
from station.database.store import Store
from station.ledger import Reconciliation, pruned_before, reconcile, strangers
from station.reports.figures import Completeness, Tally
from station.settings import Camera
from station.watching import FolderGone, look


def completeness(store: Store, camera: Camera, now: datetime) -> Completeness:
    """The folder as it is now, against the database as it is now."""
    try:
        found = reconciled(store, camera, now)
    except FolderGone as gone:
        return Completeness(problem=gone.reason)
    return Completeness(
        problem=None,
        files=len(found.files),
        statuses=tuple(Tally(status, count) for status, count in found.counts.items()),
        duplicates=found.duplicates,
        gone=len(found.gone),
        gaps=tuple(Tally(word, count) for word, count in Counter(line.status for line in found.gaps).items()),
    )


def reconciled(store: Store, camera: Camera, now: datetime) -> Reconciliation:
    """Every file of the folder with what the database knows of it. Raises FolderGone where it is not the right one."""
    folder = camera.folder.absolute()
    listing = look(folder)  # first: what the station takes in meanwhile is no gap
    audit, identity = store.audit(), folder_identity(store)
    if identity not in (None, listing.identity) and not listing.files:
        raise FolderGone(folder, "is another folder, and empty; is the share mounted?")
    return reconcile(
        listing,
        audit,
        now=now.timestamp(),
        patience=camera.settle_seconds + camera.rescan_seconds,
        moved=dict(_moved(strangers(listing, audit))),
        pruned_before=pruned_before(store),
    )


def _moved(paths: Iterable[str]) -> Iterator[tuple[str, float]]:
    """When each file came under its name, or changed otherwise, s since 1970: a copy may keep its time of writing."""
    for path in paths:
        with suppress(OSError):
            yield path, Path(path).stat().st_ctime
