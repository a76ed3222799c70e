"""What the database can prove of a folder: that nothing in it was lost. And which image is meant. Only reads."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, NamedTuple

from station.contract.errors import StationError
from station.database.records import (
    STATUSES,
    SUPERSEDED,
    Audit,
    AuditedImage,
    FileStamp,
    History,
    OpenItem,
    StoredAnalysis,
)
from station.database.retention import IMAGES_PRUNED, MASKS_PRUNED
from station.database.store import Store
from station.printing import PSEUDONYMS
from station.watching import Listing, as_stored, is_gone

# What a gap is called -> what is wrong.
GAPS: Final[Mapping[str, str]] = {
    "unknown": "in the folder, never seen by the database",
    "changed": "changed since it was taken in",
    "unexplained": "not counted, without a reason",
    "unlisted": "cannot be listed or seen",
    "uncounted": "done, without an analysis",
    "miscounted": "done, with another number of cells than its count",
    "maskless": "done, without masks that nobody pruned",
}

STAYS: Final = "stays counted"
_NEEDS_REASON = ("waiting", "quarantined")
_LEAST_HASH = 6  # hex digits by which an image may be named


def unsettled(items: Sequence[OpenItem], *, folder_is_there: bool) -> list[OpenItem]:
    """What somebody should look at: not what a later copy replaced, nor what never was a picture and is gone.

    Nothing is gone with the whole folder.
    """

    def is_over(item: OpenItem) -> bool:
        return item.reason == SUPERSEDED or (folder_is_there and not item.whole and is_gone(item.path))

    return [item for item in items if not is_over(item)]


# A folder


class Line(NamedTuple):
    """One file, sub-folder or image: a status of the database, `arriving`, `gone`, or a word of `GAPS`."""

    status: str
    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """A folder held against the database."""

    files: tuple[Line, ...]  # each file in the folder, by path
    flaws: tuple[Line, ...]  # what cannot be listed, and images that are done and lack something
    gone: tuple[Line, ...]  # images of which no file is left in the folder
    duplicates: int  # of the files, those with the content of another one
    others: int  # files of images that were not asked for, as they were when they were taken in

    @property
    def gaps(self) -> tuple[Line, ...]:
        """What the station cannot account for."""
        return tuple(line for line in (*self.files, *self.flaws) if line.status in GAPS)

    @property
    def counts(self) -> dict[str, int]:
        """Number of files by status; gaps among them."""
        return dict(sorted(Counter(line.status for line in self.files).items()))


def reconcile(
    listing: Listing,
    audit: Audit,
    *,
    now: float,
    patience: float,
    changed_at: Callable[[str], float],
    pruned_before: datetime | None,
) -> Reconciliation:
    """Hold a folder against the database, or against a part of its images: then other files are only counted.

    A file that the database does not know as it is now is arriving while it is younger than `patience`, s. Its age
    counts from its last writing, or from when it was moved or copied there with the time that it had before, which
    `changed_at` tells of a path; both, and `now`, in seconds since 1970.
    """
    known = {path: image_id for path, stamp in listing.files.items() if (image_id := _held(path, stamp, audit))}
    others = {path for path, image_id in known.items() if image_id not in audit.images}
    told = sorted(listing.files.keys() - others)
    held = {path: known[path] for path in told if path in known}
    originals = _originals(held, audit)

    def line(path: str) -> Line:
        if path in held:
            return _known(as_stored(path), audit.images[held[path]], originals[held[path]])
        moments = (listing.files[path].mtime_ns / 1e9, changed_at(path))
        if any(abs(now - moment) < patience for moment in moments):
            return Line("arriving", as_stored(path), f"not older than {patience:g} s")
        status = "changed" if as_stored(path) in audit.files else "unknown"
        return Line(status, as_stored(path), GAPS[status])

    return Reconciliation(
        files=tuple(map(line, told)),
        flaws=tuple(_flaws(listing, audit, pruned_before)),
        gone=tuple(_gone(listing, audit)),
        duplicates=len(held) - len(originals),
        others=len(others),
    )


def _held(path: str, stamp: FileStamp, audit: Audit) -> int | None:
    """The number of the image in a file, if the file still is as it was taken in; numbers begin with 1."""
    known = audit.files.get(as_stored(path))
    return known.image_id if known and known[1:] == (stamp.size, stamp.mtime_ns, stamp.inode) else None


def _originals(held: Mapping[str, int], audit: Audit) -> dict[int, str]:
    """By which of its files, as stored, each image counts: that of its row, else the first."""
    originals: dict[int, str] = {}
    for path, image_id in held.items():
        name = as_stored(path)
        if name == audit.images[image_id].path:
            originals[image_id] = name
        else:
            originals.setdefault(image_id, name)
    return originals


def _known(name: str, image: AuditedImage, original: str) -> Line:
    if image.status not in STATUSES or (image.status in _NEEDS_REASON and not image.reason):
        return Line("unexplained", name, f"{image.status}, without a reason")
    if original == name:
        return Line(image.status, name, image.reason or "")
    return Line(image.status, name, "; ".join(filter(None, (image.reason, f"the same content as {original}"))))


def _flaws(listing: Listing, audit: Audit, pruned_before: datetime | None) -> Iterator[Line]:
    yield from (Line("unlisted", as_stored(told), GAPS["unlisted"]) for told in listing.unlisted)
    for image_id in audit.uncounted:
        yield Line("uncounted", audit.images[image_id].path, GAPS["uncounted"])
    for image_id, count, cells in audit.miscounted:
        yield Line("miscounted", audit.images[image_id].path, f"counted {count}, with {cells} cells")
    for image_id, made_at in audit.maskless:
        if pruned_before is None or made_at >= pruned_before:
            yield Line("maskless", audit.images[image_id].path, GAPS["maskless"])


def _gone(listing: Listing, audit: Audit) -> Iterator[Line]:
    names = {as_stored(path) for path in listing.files}
    present = {file.image_id for name, file in audit.files.items() if name in names}
    for image_id, image in audit.images.items():
        if image_id not in present and image.reason != SUPERSEDED:
            reason = STAYS if image.status == "done" else f"{image.status}: {image.reason or 'not counted'}"
            yield Line("gone", image.path, reason)


# An image


def find(told: str, store: Store, folder: Path) -> History:
    """The image of this number, path (as told, or below the camera's `folder`) or start of a content hash.

    Raises StationError where there is none, or more than one.
    """
    number = store.history(int(told)) if re.fullmatch("[0-9]{1,18}", told) else None
    if number is not None:
        return number
    paths = dict.fromkeys(as_stored(str(path)) for path in (told, Path(told).absolute(), folder.absolute() / told))
    by_path = store.images_named(list(paths))
    by_hash = store.images_hashed(told.lower()) if re.fullmatch(f"[0-9a-fA-F]{{{_LEAST_HASH},64}}", told) else []
    if not by_path and len(by_hash) > 1:
        raise StationError(
            f"{len(by_hash)} images have a content hash that begins with {told}; give more of its digits"
        )
    for image_id in (*by_path, *by_hash):
        if (found := store.history(image_id)) is not None:
            return found
    raise StationError(
        f"there is no image {told}; give the number of an image, the path of a picture that the station has taken, or "
        f"at least {_LEAST_HASH} hex digits of its content hash; {PSEUDONYMS}; `station reconcile --list` lists the "
        f"paths{_pruned_words(images_pruned_before(store))}"
    )


def _pruned_words(before: datetime | None) -> str:
    if before is None:
        return ""
    return f"; images captured before {before:%Y-%m-%d %H:%M} UTC were pruned, backups may hold them"


def pruned_before(store: Store) -> datetime | None:
    """Of analyses made before this moment masks may have been pruned."""
    return _moment_of(store, MASKS_PRUNED)


def images_pruned_before(store: Store) -> datetime | None:
    """Images that were captured before this moment may have been pruned, counts and all."""
    return _moment_of(store, IMAGES_PRUNED)


def _moment_of(store: Store, fact: str) -> datetime | None:
    told = store.fact(fact)
    return datetime.fromisoformat(told).astimezone(UTC) if isinstance(told, str) else None


def masks_state(analysis: StoredAnalysis, pruned: datetime | None) -> Literal["kept", "pruned", "missing"]:
    """What became of the masks of an analysis; `pruned` as `pruned_before` tells it."""
    if analysis.has_masks:
        return "kept"
    return "pruned" if pruned is not None and analysis.created_at < pruned else "missing"
