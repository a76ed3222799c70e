"""The door of the database: one method is one transaction, plain frozen values go in and come out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from station.contract.errors import DatabaseError
from station.database import (
    again,
    arrivals,
    daily,
    files,
    history,
    installed,
    overlaps,
    queue,
    results,
    retention,
    trials,
)
from station.database.arrivals import Arrivals
from station.database.connection import in_words, open_engine
from station.database.daily import Field
from station.database.overlap_records import Neighbours, Registered, SmallCopy
from station.database.records import (
    Added,
    AnalysisRecord,
    Audit,
    Counted,
    EngineTrial,
    Fact,
    FileStamp,
    History,
    ImageResult,
    KnownFile,
    Lease,
    NewImage,
    OpenItem,
    StoredModel,
)
from station.database.retention import OldImage, OldMasks
from station.database.reviews import Reviews
from station.database.schema import check, migrate, newest
from station.database.tables import FactRow


class Store(Reviews):
    """An open database. `clock` gives aware moments. Every method raises DatabaseError naming file and cause."""

    @classmethod
    def open(cls, path: Path, *, clock: Callable[[], datetime], create: bool = False) -> Store:
        """For writing, brought to this package's schema after a verified copy. `create` makes a missing one."""
        if not path.exists() and not create:
            raise _missing(path)
        with in_words(path):
            if path.exists():
                check(path)
            engine = open_engine(path)
            migrate(engine, path)
        return cls(path, engine, clock)

    @classmethod
    def open_reader(cls, path: Path, *, clock: Callable[[], datetime]) -> Store:
        """For reading beside a running station; nothing is created, changed or migrated."""
        if not path.exists():
            raise _missing(path)
        with in_words(path):
            found = check(path)
        if found is None:
            raise DatabaseError(f"the database {path} is empty; `station init` or `run` fills it")
        if found != newest():
            raise DatabaseError(f"the database {path} has the older schema {found}; `station init` or `run` updates it")
        return cls(path, open_engine(path, read_only=True), clock)

    # The camera folder

    def add_image(self, new: NewImage, *, holds: files.Holds = lambda _path, _inode: True) -> Added:
        """A complete picture: from the end of this call on, a power cut loses nothing.

        `holds` tells whether a path still leads to the file of an inode: by that a moved one is told from a copy.
        """
        with self._writing() as session:
            return files.add_image(session, new, self._clock(), holds)

    def note_waiting(self, path: str, stamp: FileStamp, reason: str, slide: str) -> None:
        """A file that is not whole yet."""
        with self._writing() as session:
            files.note_not_a_picture(session, path, stamp, "waiting", reason, slide, self._clock())

    def quarantine_file(self, path: str, stamp: FileStamp, reason: str, slide: str, *, next_look_at: datetime) -> None:
        """A file that gives no picture."""
        with self._writing() as session:
            files.note_not_a_picture(session, path, stamp, "quarantined", reason, slide, self._clock(), next_look_at)

    def forget_waiting(self, path: str) -> bool:
        """A file that is gone and never was whole leaves nothing behind; False where it is none of that kind."""
        with self._writing() as session:
            return files.forget_waiting(session, path)

    def known_files(self) -> dict[str, KnownFile]:
        """Every path that was ever written down, with what it held last."""
        with self._reading() as session:
            return files.known_files(session)

    # The queue

    def release_leases(self) -> int:
        """Return what a dead station had in hand, how many that were; to be called by the only one that runs."""
        with self._writing() as session:
            return queue.release(session, self._clock())

    def lease(self, worker: str, most: int, *, fresh_only: bool = False, tried_first: bool = False) -> list[Lease]:
        """Up to `most` images to analyse; the attempt is committed before the work begins."""
        with self._writing() as session:
            return queue.lease(session, worker, most, self._clock(), fresh_only=fresh_only, tried_first=tried_first)

    def fail(self, image_id: int, reason: str) -> None:
        """A leased image that gave no result."""
        with self._writing() as session:
            queue.fail(session, image_id, reason, self._clock())

    def try_later(self, image_id: int) -> None:
        """A leased image whose file could not be read just now: back into the queue, behind the others."""
        with self._writing() as session:
            queue.try_later(session, image_id, self._clock())

    def give_back(self, image_id: int) -> None:
        """A leased image that could not be tried: back into the queue, as if it had not been handed out."""
        with self._writing() as session:
            queue.give_back(session, image_id, self._clock())

    def save_analysis(self, record: AnalysisRecord) -> None:
        """Count, cells and masks of a leased image, all or nothing."""
        with self._writing() as session:
            queue.save(session, record, self._clock())

    def neighbours(self, image_id: int, most: int) -> Neighbours:
        """Up to `most` counted images of its slide captured before an image, and as many after it."""
        with self._reading() as session:
            return overlaps.neighbours(session, image_id, most)

    def small_copies(self, image_ids: Collection[int]) -> dict[int, SmallCopy]:
        """By what these images are recognised, where that is kept."""
        with self._reading() as session:
            return overlaps.small_copies(session, image_ids)

    def add_overlaps(self, image_id: int, registered: Registered) -> None:
        """What a counted image has in common with others; what is known stays."""
        with self._writing() as session:
            overlaps.save(session, image_id, registered)

    def counted_between(self, start: datetime, end: datetime, slide: str | None = None) -> Sequence[Counted]:
        """Counted pictures captured in start <= t < end, perhaps of one slide, with what their newest analysis is."""
        with self._reading() as session:
            return again.counted(session, start, end, slide)

    def add_analysis(self, record: AnalysisRecord) -> bool:
        """One more analysis of a counted picture, beside those that are there; False where its newest is the same."""
        with self._writing() as session:
            return again.add(session, record, self._clock())

    # Models

    def add_model(self, *, name: str, sha256: str, path: str, description: str) -> StoredModel:
        """A proved bundle; the same one again gives the row that exists."""
        with self._writing() as session:
            return installed.add(session, name, sha256, path, description, self._clock())

    def activate_model(self, model_id: int) -> None:
        """Count with this model from the next image on."""
        with self._writing() as session:
            installed.activate(session, model_id, self._clock())

    def rollback_model(self, model_id: int | None = None) -> StoredModel:
        """Go back to the model that was active before, and to the one before that when called again.

        With `model_id` to where that one was active last. Raises DatabaseError where there is no such one.
        """
        with self._writing() as session:
            return installed.roll_back(session, self._clock(), model_id)

    def earlier_models(self) -> tuple[StoredModel, ...]:
        """The models to which roll-backs lead, the next one first."""
        with self._reading() as session:
            return installed.earlier(session)

    def active_model(self) -> StoredModel | None:
        """The model that counts, if any."""
        with self._reading() as session:
            return installed.active(session)

    def models(self) -> list[StoredModel]:
        """All installed models."""
        with self._reading() as session:
            return installed.listed(session)

    def keep_trials(self, model_sha256: str, tried: Iterable[EngineTrial]) -> None:
        """How engines came out with this model, instead of what was known before."""
        with self._writing() as session:
            trials.replace(session, model_sha256, tried, self._clock())

    def trials(self, model_sha256: str) -> tuple[EngineTrial, ...]:
        """How engines came out with this model on this machine."""
        with self._reading() as session:
            return trials.listed(session, model_sha256)

    # What is known

    def results_between(self, start: datetime, end: datetime) -> list[ImageResult]:
        """Images captured in start <= t < end, in the order of their arrival."""
        with self._reading() as session:
            return results.captured_between(session, start, end)

    def fields_between(self, start: datetime, end: datetime) -> list[Field]:
        """Counted pictures captured in start <= t < end with their cells, without those that persons rejected."""
        with self._reading() as session:
            return daily.fields_between(session, start, end)

    def paths_of(self, image_ids: Iterable[int]) -> dict[int, tuple[str, ...]]:
        """Where each of these pictures lay when its files were last looked at."""
        with self._reading() as session:
            return daily.paths_of(session, image_ids)

    def shared_counts(self, start: datetime, end: datetime) -> dict[int, int]:
        """How many cells of an image an earlier one shows too, where any; both captured in start <= t < end."""
        with self._reading() as session:
            return overlaps.shared_counts(session, start, end)

    def ingested_elsewhere(self, start: datetime, end: datetime) -> tuple[int, int]:
        """(captured within but taken in outside, taken in within but captured outside) of start <= t < end."""
        with self._reading() as session:
            return results.ingested_elsewhere(session, start, end)

    def slides_of(self, image_ids: Collection[int]) -> frozenset[str]:
        """The slides on which these images lie now."""
        with self._reading() as session:
            return results.slides_of(session, image_ids)

    def counts_by_status(self) -> dict[str, int]:
        """Every status with its number of images."""
        with self._reading() as session:
            return results.counts_by_status(session)

    def open_items(self) -> list[OpenItem]:
        """Every image that is not done, the longest first."""
        with self._reading() as session:
            return results.open_items(session)

    def arrivals(self, since: datetime, most: int = 20) -> Arrivals:
        """The `most` newest files, how many images came since a moment, and how many there are."""
        with self._reading() as session:
            return arrivals.arrivals(session, since, most)

    def complaints(self, *, thorough: bool = False) -> list[str]:
        """What SQLite finds wrong with its pages; nothing where they are whole. Reads the whole file."""
        with self._reading() as session:
            return arrivals.complaints(session, thorough=thorough)

    def images_named(self, paths: Sequence[str]) -> list[int]:
        """The images that were seen under one of these paths; the one that it holds now comes first."""
        with self._reading() as session:
            return history.named(session, paths)

    def images_hashed(self, start: str) -> list[int]:
        """The images whose content hash begins with these hex digits."""
        with self._reading() as session:
            return history.hashed(session, start)

    def history(self, image_id: int) -> History | None:
        """All that is known of an image; None where there is no such image."""
        with self._reading() as session:
            return history.history(session, image_id)

    def masks(self, analysis_id: int) -> tuple[bytes, bytes] | None:
        """(labels, cells) of an analysis as PNG; None where they were pruned."""
        with self._reading() as session:
            return history.masks(session, analysis_id)

    def audit(self, between: tuple[datetime, datetime] | None = None) -> Audit:
        """All that a folder can be held against, in one consistent state; images captured in start <= t < end only."""
        with self._reading() as session:
            return history.audit(session, between)

    # Retention

    def old_masks(self, before: datetime) -> list[OldMasks]:
        """Masks of analyses made before a moment, the oldest first."""
        with self._reading() as session:
            return retention.old_masks(session, before)

    def remove_masks(self, analysis_ids: Sequence[int], before: datetime) -> None:
        """Take the masks of these analyses away, and remember that those made before a moment are gone."""
        with self._writing() as session:
            retention.remove_masks(session, analysis_ids, before, self._clock())

    def old_images(self, before: datetime) -> list[OldImage]:
        """Counted images captured before a moment."""
        with self._reading() as session:
            return retention.old_images(session, before)

    def remove_images(self, images: Sequence[OldImage], before: datetime) -> int:
        """Take these images and their counts away, and remember that those captured before a moment are gone.

        How many went: one that was corrected, analysed again, or got a file again since it was found old stays.
        """
        with self._writing() as session:
            return retention.remove_images(session, images, before, self._clock())

    # Facts

    def fact(self, name: str) -> Fact:
        """What the station remembers under this name; None if nothing."""
        with self._reading() as session:
            row = session.get(FactRow, name)
            return row.value if row else None

    def record_fact(self, name: str, value: Fact) -> None:
        """Remember a value, instead of an earlier one."""
        self.record_facts({name: value})

    def record_facts(self, values: Mapping[str, Fact], *, expected: Mapping[str, Fact] | None = None) -> bool:
        """Remember these values, all or none: none, and False, where one that is `expected` is another by now."""
        with self._writing() as session:
            for name, value in (expected or {}).items():
                there = session.get(FactRow, name)
                if (there.value if there is not None else None) != value:
                    return False
            for name, value in values.items():
                session.merge(FactRow(name=name, value=value, recorded_at=self._clock()))
            return True


def _missing(path: Path) -> DatabaseError:
    return DatabaseError(f"there is no database {path}; `station init` makes one, database.path names another")
