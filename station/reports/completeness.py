"""Whether every picture in the camera folder is accounted for, as `station reconcile` knows it; never a failure."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from station.commission import folder_identity
from station.database.store import Store
from station.ledger import Reconciliation, pruned_before, reconcile
from station.reports.figures import Completeness, Tally
from station.settings import Camera
from station.watching import FolderGone, changed_at, demand_known, look


def completeness(store: Store, camera: Camera, now: datetime, between: tuple[datetime, datetime]) -> Completeness:
    """The folder as it is now, against the images captured in start <= t < end as the database knows them now."""
    try:
        found = reconciled(store, camera, now, between)
    except FolderGone as gone:
        return Completeness(problem=gone.reason)
    return Completeness(
        problem=None,
        files=len(found.files) + found.others,
        others=found.others,
        statuses=tuple(Tally(status, count) for status, count in found.counts.items()),
        duplicates=found.duplicates,
        gone=len(found.gone),
        gaps=tuple(Tally(word, count) for word, count in Counter(line.status for line in found.gaps).items()),
    )


def reconciled(
    store: Store, camera: Camera, now: datetime, between: tuple[datetime, datetime] | None = None
) -> Reconciliation:
    """Every file of the folder with what the database knows of it, or of the images captured in start <= t < end.

    Files that the database does not know as they are now are told in any case. Raises FolderGone where the folder is
    not the right one.
    """
    folder = camera.folder.absolute()
    listing = look(folder)  # first: what the station takes in meanwhile is no gap
    audit, identity = store.audit(between), folder_identity(store)
    demand_known(folder, listing, identity)
    return reconcile(
        listing,
        audit,
        now=now.timestamp(),
        patience=camera.patience_seconds,
        changed_at=changed_at,
        pruned_before=pruned_before(store),
    )
