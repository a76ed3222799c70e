"""Pruning by age: masks first, whole images only when asked and only if they left the camera folder."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from station.contract.errors import DatabaseError
from station.database.records import FileStamp
from station.database.retention import OldImage
from station.database.store import Store
from station.intake import FOLDER_IDENTITY
from station.watching import as_stored, cause, changed_at, look

_T = TypeVar("_T")
_AT_ONCE = 500  # rows per transaction, so that a station that runs can write between two


@dataclass(frozen=True, slots=True)
class Plan:
    """What is older than `before`: analyses with masks, and images of which no file is in the camera folder."""

    before: datetime
    masks: tuple[int, ...]
    mask_bytes: int
    images: tuple[OldImage, ...] = ()
    still_there: int = 0  # images as old, of which a file is there: they would be counted again
    arriving: int = 0  # files that may still be copied: as long as there are any, nobody knows what they are


def plan(store: Store, before: datetime, folder: Path | None = None, *, whole_since: float = math.inf) -> Plan:
    """What is older than a moment: the masks, and with the camera `folder` also the images that left it.

    An image of which a file is still there is never old: without its row it would be counted again. A file that the
    station has not looked at yet is read for that; while one was written or moved after `whole_since`, s since 1970,
    no image goes. Raises DatabaseError or FolderGone where the folder cannot be seen as the station saw it last.
    """
    masks = store.old_masks(before)
    told = Plan(before, tuple(one.analysis_id for one in masks), sum(one.size for one in masks))
    if folder is None:
        return told
    files = _files_in(folder, store)
    moved = {(stamp.size, stamp.mtime_ns) for stamp in files.values()}  # a renamed file keeps these
    old = store.old_images(before)
    gone = [image for image in old if not _is_there(image, files, moved)]
    strangers = list(_not_looked_at(files, store)) if gone else []
    if arriving := sum(max(files[path].mtime_ns / 1e9, changed_at(path)) > whole_since for path in strangers):
        return replace(told, still_there=len(old) - len(gone), arriving=arriving)
    back = frozenset(_contents(strangers))
    images = tuple(image for image in gone if image.sha256 not in back)
    return replace(told, images=images, still_there=len(old) - len(images))


def still_due(planned: Plan, store: Store, folder: Path, *, whole_since: float = math.inf) -> Plan:
    """What is left of a plan if files came back since it was made. Raises as `plan` does."""
    again = plan(store, planned.before, folder, whole_since=whole_since)
    due = {image.image_id for image in again.images}
    return replace(again, masks=planned.masks, images=tuple(one for one in planned.images if one.image_id in due))


def prune_masks(store: Store, planned: Plan) -> None:
    """Remove the masks that were planned. What is cut off goes on when it is called again."""
    for some in _batches(planned.masks):
        store.remove_masks(some, planned.before)


def prune_images(store: Store, planned: Plan) -> int:
    """Remove the images that were planned, but for those that changed since; how many went."""
    return sum(store.remove_images(some, planned.before) for some in _batches(planned.images))


def _files_in(folder: Path, store: Store) -> dict[str, FileStamp]:
    listing = look(folder.absolute())
    if listing.unlisted:
        raise DatabaseError(f"it is not known which images are still in {folder}: {'; '.join(listing.unlisted)}")
    if store.fact(FOLDER_IDENTITY) not in (None, list(listing.identity)):
        raise DatabaseError(
            f"{folder} is another folder than the station saw last; is the share mounted? If it is right so, let "
            "`station run --once` look at it first"
        )
    return listing.files


def _is_there(image: OldImage, files: Mapping[str, FileStamp], moved: set[tuple[int, int]]) -> bool:
    return any(path in files or (size, mtime_ns) in moved for path, size, mtime_ns, _inode in image.files)


def _not_looked_at(files: Mapping[str, FileStamp], store: Store) -> Iterator[str]:
    """The files that are not known as they are. An inode is nothing: shares invent others after each mount."""
    seen = ((path, one) for path, one in store.known_files().items() if one.status != "waiting")
    known = {path: (one.stamp.size, one.stamp.mtime_ns) for path, one in seen}
    return (path for path, stamp in files.items() if known.get(as_stored(path)) != (stamp.size, stamp.mtime_ns))


def _contents(paths: Iterable[str]) -> Iterator[str]:
    """The hashes of files. Raises DatabaseError where one cannot be read: nobody knows then what it is."""
    for path in paths:
        try:
            with Path(path).open("rb") as file:
                yield hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:  # removed since
            continue
        except OSError as error:
            raise DatabaseError(
                f"{path} cannot be read ({cause(error)}), so it is not known which old picture it may be; let the "
                "station's user read it, or remove it"
            ) from error


def _batches(rows: Sequence[_T]) -> Iterator[Sequence[_T]]:
    return (rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE))
