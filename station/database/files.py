"""What the camera folder holds, as rows: each function is part of one transaction of the store.

A path that never held a whole picture has a placeholder, a row that is waiting or quarantined and was never queued. It
becomes the picture's row once there is one, so that a half file leaves nothing behind.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from station.database.records import Added, FileStamp, KnownFile, NewImage, Status
from station.database.tables import File, Image, ImagePath

_NEVER_A_PICTURE = ("waiting", "quarantined")


def add_image(session: Session, new: NewImage, now: datetime) -> Added:
    """A whole picture: queued if its content is new, else one more path of the image that holds it."""
    file, row = session.get(File, new.path), _by_content(session, new.sha256)
    placeholder = _placeholder(session, file)
    if row is None or row.status == "quarantined":
        if row is not None and placeholder is not None and placeholder is not row:
            _replace(session, placeholder, row)
        row = row or placeholder or Image(ingested_at=now)
        if row is placeholder:  # other files shared the bad content, and were more names of it
            session.execute(delete(ImagePath).where(ImagePath.image_id == row.id, ImagePath.path != new.path))
        row.path, row.sha256, row.slide = new.path, new.sha256, new.slide
        row.captured_at, row.ingested_at, row.next_attempt_at = new.captured_at, now, None
        row.attempts = row.deaths = 0
        _become(row, "queued", None, now)
        kind: Literal["new", "known", "duplicate"] = "new"
    else:
        kind = "known" if _has_path(session, row, new.path) else "duplicate"
        if placeholder is not None:
            _replace(session, placeholder, row)
    _link(session, row, new.path, new.stamp, now, rung=new.rung)
    return Added(kind, row.id)


def note_not_a_picture(
    session: Session,
    path: str,
    stamp: FileStamp,
    status: Status,
    reason: str,
    slide: str,
    now: datetime,
    sha256: str | None = None,
    next_look_at: datetime | None = None,
) -> None:
    """A file that is not whole (`waiting`), or gives no picture (`quarantined`), with the reason."""
    own, row = _placeholder(session, session.get(File, path)), _by_content(session, sha256)
    if own is not None and row is not None and own is not row:
        _replace(session, own, row)
    row = row or own or Image(path=path, slide=slide, ingested_at=now, status="")
    if row.status in ("", *_NEVER_A_PICTURE):
        row.sha256, row.captured_at = sha256, written_at(stamp)
        _become(row, status, reason, now)
    _link(session, row, path, stamp, now, rung=False, next_look_at=next_look_at)


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


def written_at(stamp: FileStamp) -> datetime:
    """When a file was last written, exact to the microsecond."""
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=stamp.mtime_ns // 1000)


def _by_content(session: Session, sha256: str | None) -> Image | None:
    return session.scalar(select(Image).where(Image.sha256 == sha256)) if sha256 else None


def _placeholder(session: Session, file: File | None) -> Image | None:
    """The row of a file that never was a picture, if no other file shares it."""
    if file is None or file.image.status not in _NEVER_A_PICTURE or file.image.attempts:
        return None
    sharing = session.scalar(select(func.count()).select_from(File).where(File.image_id == file.image_id))
    return file.image if sharing == 1 else None


def _replace(session: Session, placeholder: Image, row: Image) -> None:
    for file in session.scalars(select(File).where(File.image_id == placeholder.id)):
        file.image = row
    session.flush()
    session.delete(placeholder)
    session.flush()


def _become(row: Image, status: Status, reason: str | None, now: datetime) -> None:
    if row.status != status:
        row.since = now
    row.status, row.reason = status, reason


def _has_path(session: Session, row: Image, path: str) -> bool:
    return session.get(ImagePath, (row.id, path)) is not None


def _leave(session: Session, file: File, row: Image) -> None:
    """A content that never was a picture is named after a file that still holds it."""
    left = file.image if file.image_id and file.image_id != row.id else None
    if left is not None and left.path == file.path and left.status in _NEVER_A_PICTURE and not left.attempts:
        others = select(File.path).where(File.image_id == left.id, File.path != file.path).order_by(File.path)
        left.path = session.scalar(others) or left.path


def _link(
    session: Session,
    row: Image,
    path: str,
    stamp: FileStamp,
    now: datetime,
    *,
    rung: bool,
    next_look_at: datetime | None = None,
) -> None:
    session.add(row)
    session.flush()
    if not _has_path(session, row, path):
        session.add(ImagePath(image_id=row.id, path=path, first_seen=now))
    file = session.get(File, path) or File(path=path, rung=rung)
    _leave(session, file, row)
    file.size, file.mtime_ns, file.inode = stamp.size, stamp.mtime_ns, stamp.inode
    file.image_id, file.rung, file.next_look_at = row.id, file.rung or rung, next_look_at
    session.add(file)
