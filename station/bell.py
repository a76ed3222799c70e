"""A bell that rings when something happens in the camera folder.

Events are no more than that: the kernel drops them when its queue is full, network shares send none, and a folder that
is renamed away and made anew stays silent. The truth is `watching.look`, repeated.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from station.watching import cause, is_picture

# Never opened or closed without writing: the station would wake itself by reading.
_HEARD: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileClosedEvent,
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
]
_MOST_REMEMBERED = 10_000
_MOST_LEFT = 100  # folders, each perhaps with others in it
_SILENT = object()


class Bell(FileSystemEventHandler):
    """Rings (sets `event`) when something happened in the folder, and remembers for which paths."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self._rung: dict[str, object] = {}  # in order of arrival
        self._folders: set[str] = set()  # that it rang for since the last look
        self._left = 0  # folders that are there no more
        self._lock = threading.Lock()
        self._observer: BaseObserver | None = None

    def arm(self, folder: Path) -> str | None:
        """Watch `folder` from now on instead of any other; the reason in words if that is impossible."""
        self.stop()
        observer = Observer()
        try:
            observer.schedule(self, str(folder), recursive=True, event_filter=_HEARD)
            observer.start()
        except OSError as error:  # the limits of inotify come as "no space left" and "too many open files"
            observer.stop()  # it holds a thread and descriptors from its making on
            return f"{folder}: cannot be watched ({cause(error)}); it is only listed from time to time"
        self._observer, self._left = observer, 0
        return None

    def stop(self) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer.join(timeout=5)
            self._observer = None

    def is_alive(self) -> bool:
        """Whether all threads that listen still do; one may have died on an error of its own."""
        observer = self._observer
        return observer is not None and observer.is_alive() and all(one.is_alive() for one in observer.emitters)

    def is_worn(self) -> bool:
        """Whether it should be armed anew: what was moved away is still watched, and one user may not watch many."""
        return self._left >= _MOST_LEFT

    def on_any_event(self, event: FileSystemEvent) -> None:
        if isinstance(event, DirDeletedEvent):  # so is one told of that was moved away; nothing came in
            self._left += 1
            return
        path = os.fsdecode(event.dest_path or event.src_path)  # a rename has its final name only in dest_path
        if not event.is_directory and not is_picture(path):
            return
        with self._lock:
            if event.is_directory:
                self._folders.add(path)
            else:
                self._remember(path)
        self.event.set()

    def folders(self) -> frozenset[str]:
        """The folders that it rang for since this was asked last."""
        with self._lock:
            folders, self._folders = frozenset(self._folders), set()
        return folders

    def found_in(self, folders: frozenset[str], files: Iterable[str]) -> None:
        """Of these files, those that lie in a folder that it rang for were found by that ring.

        They came before the folder could be watched. Whatever comes later must ring itself: of a folder whose watch
        the kernel refused nothing is heard.
        """
        with self._lock:
            for path in files:
                if path.rpartition(os.sep)[0] in folders:
                    self._remember(path)

    def rang_for(self, path: str) -> bool:
        """Whether it rang for this file; asking forgets it."""
        with self._lock:
            return self._rung.pop(path, _SILENT) is not _SILENT

    def _remember(self, path: str) -> None:
        self._rung[path] = None
        if len(self._rung) > _MOST_REMEMBERED:
            del self._rung[next(iter(self._rung))]
