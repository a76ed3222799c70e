"""What the camera folder holds, as rows: each function is part of one transaction of the store.

A path that never held a whole picture has a placeholder, a row without a content hash, waiting or quarantined. It
becomes the picture's row once there is one, so that a half file leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeAlias, cast

from sqlalchemy import Table, bindparam, exists, insert, or_, select
from sqlalchemy.orm import Session

from station.database.overlaps import forget_pairs
from station.database.records import SUPERSEDED, Added, AddedKind, FileStamp, KnownFile, NewImage, Status
from station.database.tables import File, Image, ImagePath

SUPERSEDED_WITHIN = timedelta(minutes=10)

Holds: TypeAlias = Callable[[str, int], bool]  # whether a path still leads to the file of that inode

# Core statements on the plain tables, made once: they are run for every picture.
_IMAGES, _PATHS, _FILES = (cast(Table, row.__table__) for row in (Image, ImagePath, File))
_IS_KNOWN = select(
    or_(
        exists().where(_FILES.c.path == bindparam("path")),
        exists().where(_IMAGES.c.sha256 == bindparam("sha256")),
    )
)
_NEW_IMAGE = insert(_IMAGES).returning(_IMAGES.c.id)
_NEW_PATH, _NEW_FILE = insert(_PATHS), insert(_FILES)


def add_image(session: Session, new: NewImage, now: datetime, holds: Holds) -> Added:
    """A whole picture: queued if its content is new, else one more path of the image that holds it.

    Where its file was moved the image moves with it, to its new slide too; `holds` as in `Store.add_image`.
    """
    if not session.connection().scalar(_IS_KNOWN, {"path": new.path, "sha256": new.sha256}):
        return Added("new", _insert(session, new, now))
    return _join(session, new, now, holds)


def _insert(session: Session, new: NewImage, now: datetime) -> int:
    """What nearly all pictures are: a name and a content that never were there. The id of its row."""
    connection, path, stamp = session.connection(), new.path, new.stamp
    image = {"path": path, "sha256": new.sha256, "slide": new.slide, "captured_at": new.captured_at}
    image |= {"ingested_at": now, "since": now, "status": "queued", "attempts": 0, "deaths": 0}
    image_id: int = connection.execute(_NEW_IMAGE, image | {"clock_differs": new.clock_differs}).scalar_one()
    connection.execute(_NEW_PATH, {"image_id": image_id, "path": path, "first_seen": now})
    file = {
        "path": path,
        "size": stamp.size,
        "mtime_ns": stamp.mtime_ns,
        "inode": stamp.inode,
        "born_ns": stamp.born_ns,
    }
    connection.execute(_NEW_FILE, file | {"image_id": image_id, "rung": new.rung})
    return image_id


def _join(session: Session, new: NewImage, now: datetime, holds: Holds) -> Added:
    """A picture whose name or content was there before."""
    file = session.get(File, new.path)
    placeholder, former, slide_changed = _placeholder(file), _former(session, file, new.stamp), False
    row = session.scalar(select(Image).where(Image.sha256 == new.sha256))
    if row is not None and placeholder is not None:
        _replace(session, placeholder, row)
    if file is not None and former is not None and former is not row:
        _supersede(session, former, file, now)
    if row is None or row.status == "quarantined":
        if row is not None:  # a picture that was put aside is back, at another moment or of another slide perhaps
            forget_pairs(session, row.id)
        row = row or placeholder or Image()
        row.path, row.sha256, row.slide = new.path, new.sha256, new.slide
        row.captured_at, row.ingested_at, row.next_attempt_at = new.captured_at, now, None
        row.clock_differs = new.clock_differs
        row.attempts = row.deaths = 0
        _become(row, "queued", None, now)
        kind: AddedKind = "new"
    else:
        kind = "known" if _has_path(session, row, new.path) else "duplicate"
        if _was_moved(session, row, new, holds):
            slide_changed, kind = row.slide != new.slide, "moved"
            row.path, row.slide = new.path, new.slide
    file = file or File(path=new.path, rung=False)
    file.rung, file.former_id = file.rung or new.rung, None
    _link(session, row, file, new.stamp, now)
    return Added(kind, row.id, slide_changed)


def note_not_a_picture(
    session: Session,
    path: str,
    stamp: FileStamp,
    status: Status,
    reason: str,
    slide: str,
    now: datetime,
    next_look_at: datetime | None = None,
) -> None:
    """A file that is not whole (`waiting`), or gives no picture (`quarantined`), with the reason."""
    file = session.get(File, path) or File(path=path, rung=False)
    former = _former(session, file if file.image_id else None, stamp)
    file.former_id = former.id if former else None
    row = _placeholder(file) or Image(path=path, slide=slide, ingested_at=now, status="")
    row.captured_at = stamp.written_at
    _become(row, status, reason, now)
    _link(session, row, file, stamp, now, next_look_at)


def forget_waiting(session: Session, path: str) -> bool:
    """Whether a path that never held a whole picture is taken out again, with its row."""
    file = session.get(File, path)
    placeholder = _placeholder(file)
    if file is None or placeholder is None or placeholder.status != "waiting":
        return False
    session.delete(file)
    session.flush()
    session.delete(placeholder)
    return True


def known_files(session: Session) -> dict[str, KnownFile]:
    """Every path that was ever written down."""
    columns = (File.path, File.size, File.mtime_ns, File.inode, Image.status, Image.attempts, File.next_look_at)
    rows = session.execute(select(*columns).join(Image))
    # A picture that failed in analysis is tried again from the queue: its file need not be read for that.
    return {
        path: KnownFile(path, FileStamp(size, mtime_ns, inode), status, next_look_at)
        if not (status == "quarantined" and attempts)
        else KnownFile(path, FileStamp(size, mtime_ns, inode), "failed")
        for path, size, mtime_ns, inode, status, attempts, next_look_at in rows
    }


def _placeholder(file: File | None) -> Image | None:
    """The row of a file that never was a picture. It has no content hash, so no other file shares it."""
    row = None if file is None else file.image
    return row if row is not None and row.sha256 is None else None


def _replace(session: Session, placeholder: Image, row: Image) -> None:
    for file in session.scalars(select(File).where(File.image_id == placeholder.id)):
        file.image = row
    session.flush()
    session.delete(placeholder)
    session.flush()


def _former(session: Session, file: File | None, stamp: FileStamp) -> Image | None:
    """The picture that this file held before it was changed in place; none for another file of that name."""
    if file is None or file.inode != stamp.inode or _is_later(file, stamp):
        return None
    if file.image.sha256 is not None:
        return file.image
    return session.get(Image, file.former_id) if file.former_id is not None else None


def _is_later(file: File, stamp: FileStamp) -> bool:
    """Whether the file was removed and made anew. An earlier birth may be what a copying program set at its end."""
    return file.born_ns is not None and stamp.born_ns is not None and stamp.born_ns > file.born_ns


def _supersede(session: Session, half: Image, file: File, now: datetime) -> None:
    """Put aside what a file held before it was changed in place, if that was so soon that it was half a copy.

    A program that sets the final size first and pauses leaves a picture with a black band, which nothing tells from a
    whole one.
    """
    elsewhere = select(File.path).where(File.image_id == half.id, File.path != file.path).limit(1)
    if abs(now - _seen_first(session, half, file)) <= SUPERSEDED_WITHIN and session.scalar(elsewhere) is None:
        _become(half, "quarantined", SUPERSEDED, now)
        half.worker = half.next_attempt_at = None


def _seen_first(session: Session, half: Image, file: File) -> datetime:
    """When the file came, under this name or under one that it was moved from; another half copy may have come before.

    Of a name that it was moved from no file is known any more.
    """
    own = (ImagePath.path == file.path) | ~exists().where(File.path == ImagePath.path)
    seen = session.scalars(select(ImagePath.first_seen).where(ImagePath.image_id == half.id, own))
    return min(seen)


def _become(row: Image, status: Status, reason: str | None, now: datetime) -> None:
    if row.status != status:
        row.since = now
    row.status, row.reason = status, reason


def _was_moved(session: Session, row: Image, new: NewImage, holds: Holds) -> bool:
    """Whether the file that the image is known by has another name now. It is forgotten under the former one.

    A copy has an inode of its own, and a second name for one file leaves the first in its place. Where another picture
    took the former name since, as in a chain of renames, this file is all that is left of the image.
    """
    former = session.get(File, row.path)
    if former is None or row.path == new.path:
        return False
    if former.image_id != row.id:
        return True
    if (former.inode, former.size, former.mtime_ns) != (new.stamp.inode, new.stamp.size, new.stamp.mtime_ns):
        return False
    if holds(row.path, former.inode):
        return False
    session.delete(former)
    session.flush()
    return True


def _has_path(session: Session, row: Image, path: str) -> bool:
    return session.get(ImagePath, (row.id, path)) is not None


def _link(
    session: Session, row: Image, file: File, stamp: FileStamp, now: datetime, next_look_at: datetime | None = None
) -> None:
    is_new = row.id is None
    session.add(row)
    session.flush()
    if is_new or not _has_path(session, row, file.path):
        session.add(ImagePath(image_id=row.id, path=file.path, first_seen=now))
    file.size, file.mtime_ns, file.inode, file.born_ns = stamp.size, stamp.mtime_ns, stamp.inode, stamp.born_ns
    file.image_id, file.next_look_at = row.id, next_look_at
    session.add(file)
