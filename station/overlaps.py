"""Which fields of a slide show the same place: each picture is held against those that were captured around it.

Which of two is the earlier one is a matter of their capture, not of their turn: a picture that is counted late is also
held against those after it, and the same pairs are found in whatever order pictures are counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from station.contract.imaging import RGB
from station.contract.registration import Fingerprint, Overlap, Trace, fingerprint, shared_area, trace
from station.database.overlap_records import Neighbours, Registered, SmallCopy, StoredOverlap
from station.database.store import Store

_SPARE = 2  # times as many traces are kept in memory as one picture needs, 0.25 MB each: slides may take turns


@dataclass(frozen=True, slots=True)
class Overlaps:
    """Knows the fields of the last slides. After a start it learns them again from the database."""

    store: Store
    most: int  # fields of its slide with which a picture is compared; 0: none
    _traces: dict[int, Trace] = field(default_factory=dict)  # the last used ones last

    def register(self, image_id: int, image: RGB) -> Registered | None:
        """Compare a picture [H, W, 3] that is about to be stored; None where nothing is to be compared."""
        if self.most == 0:
            return None
        found = fingerprint(image)
        return self._compared(image_id, SmallCopy(found.step, found.jpeg))

    def compare(self, image_id: int) -> None:
        """Hold a counted picture that changed its slide against the fields there, by what was kept of it."""
        copy = self.store.small_copies([image_id]).get(image_id) if self.most else None
        if copy is not None:
            self.store.add_overlaps(image_id, self._compared(image_id, copy))

    def _compared(self, image_id: int, copy: SmallCopy) -> Registered:
        own, around = trace(Fingerprint(copy.jpeg, copy.step)), self.store.neighbours(image_id, self.most)
        known = self._known(around)
        pairs = tuple(_pairs(image_id, own, around, known))
        self._keep(known | {image_id: own})
        return Registered(copy, pairs)

    def _known(self, around: Neighbours) -> dict[int, Trace]:
        wanted = (*around.before, *around.after)
        missing = [image_id for image_id in wanted if image_id not in self._traces]
        copies = self.store.small_copies(missing) if missing else {}
        read = {image_id: trace(Fingerprint(copy.jpeg, copy.step)) for image_id, copy in copies.items()}
        return {image_id: self._traces[image_id] for image_id in wanted if image_id in self._traces} | read

    def _keep(self, used: dict[int, Trace]) -> None:
        for image_id, one in used.items():
            self._traces.pop(image_id, None)
            self._traces[image_id] = one
        for image_id in list(self._traces)[: -_SPARE * self.most]:
            del self._traces[image_id]


def _pairs(image_id: int, own: Trace, around: Neighbours, known: dict[int, Trace]) -> Iterator[StoredOverlap]:
    for other in _in(around.before, known):
        if (overlap := shared_area(known[other], own)) is not None:
            yield _pair(image_id, other, overlap)
    for other in _in(around.after, known):
        if (overlap := shared_area(own, known[other])) is not None:
            yield _pair(other, image_id, overlap)


def _in(image_ids: Iterable[int], known: dict[int, Trace]) -> Iterator[int]:
    return (image_id for image_id in image_ids if image_id in known)


def _pair(later: int, earlier: int, overlap: Overlap) -> StoredOverlap:
    x, y, shared, certainty = overlap.shift_x, overlap.shift_y, overlap.shared, overlap.certainty
    return StoredOverlap(later, earlier, round(x, 1), round(y, 1), round(shared, 4), round(certainty, 4))
