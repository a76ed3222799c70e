"""What passes through the door of the database: plain frozen values, no rows, no sessions."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple, TypeAlias

from station.database.overlap_records import EarlierField, Registered

Status: TypeAlias = Literal["waiting", "queued", "leased", "done", "quarantined"]
STATUSES: tuple[Status, ...] = ("waiting", "queued", "leased", "done", "quarantined")

# How an attempt ended: `given back` did not take place, `died` is the station's own end.
End: TypeAlias = Literal["done", "failed", "given back", "died"]

# The reason of a picture that turned out to be half of the one that its file holds now; it leaves every total.
SUPERSEDED = "superseded"
MOST_DEATHS = 3  # what the station was busy with alone when it died so often is put aside

# A fact: what the station remembers about itself, as JSON can hold it.
Fact: TypeAlias = str | int | float | list[int] | list[float] | None
ENGINE_TROUBLE = "engine_trouble"  # what is wrong with the chosen engine since the last start
CLOCK_TROUBLE = "clock_trouble"  # when this machine's clock was set since the last start
WATCHED_SINCE = "watched_since"  # since when events ring for what is written, ISO 8601; none: no watch stands
CAMERA_SCALE = "camera_cell_diameter_px"  # the camera's scale, once it was settled from pictures


@dataclass(frozen=True, slots=True)
class FileStamp:
    """By what a changed file is known without opening it: bytes, nanoseconds since 1970, inode.

    Its birth, nanoseconds since 1970, is asked for only of files that are written down, and tells inodes apart that
    were given twice.
    """

    size: int
    mtime_ns: int
    inode: int
    born_ns: int | None = field(default=None, compare=False)

    @property
    def written_at(self) -> datetime:
        """Aware, exact to the microsecond."""
        return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=self.mtime_ns // 1000)


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A path as the database knows it."""

    path: str
    stamp: FileStamp
    status: str
    next_look_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class NewImage:
    """A complete picture that was found in the camera folder."""

    path: str
    stamp: FileStamp
    sha256: str
    slide: str
    captured_at: datetime  # aware
    rung: bool  # whether an event announced it, or a look at the folder found it
    clock_differs: bool = False  # whether captured_at cannot be true by the station's clock


AddedKind: TypeAlias = Literal["new", "known", "duplicate", "moved"]


@dataclass(frozen=True, slots=True)
class Added:
    """`new`: queued. `known`: this path held it before. `duplicate`: another name for a picture that is known.

    `moved`: its file has another name now, perhaps on another slide.
    """

    kind: AddedKind
    image_id: int
    slide_changed: bool = False


@dataclass(frozen=True, slots=True)
class Lease:
    """A queued picture that is handed out for analysis."""

    image_id: int
    paths: tuple[str, ...]  # where it was seen and not seen replaced; the first is that of its row
    sha256: str
    attempt: int  # 1 for the first that was not given back
    clock_differs: bool = False


@dataclass(frozen=True, slots=True)
class StoredCell:
    """One white cell, lengths and areas in camera px."""

    cell_id: int
    x: float
    y: float
    bbox_x: int
    bbox_y: int
    bbox_w: int
    bbox_h: int
    area_px: int
    nucleus_area_px: int
    cytoplasm_area_px: int
    nc_ratio: float | None
    touches_edge: bool
    confidence: float
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AnalysisRecord:
    """One analysis with all that its count depends on."""

    image_id: int
    model_sha256: str
    model: str
    engine: str
    settings_sha256: str
    package_version: str
    cell_diameter_px: float
    cell_diameter_source: str
    flags: tuple[str, ...]
    seconds: dict[str, float]
    cells: tuple[StoredCell, ...]
    labels_png: bytes
    cells_png: bytes
    width: int
    height: int
    quality: dict[str, float] = field(default_factory=dict)  # of the picture: focus, light, stain
    registered: Registered | None = None  # None: it was not compared with its neighbours


@dataclass(frozen=True, slots=True)
class Counted:
    """A counted picture, and what its newest analysis came from."""

    image_id: int
    path: str
    sha256: str
    clock_differs: bool
    model_sha256: str
    settings_sha256: str  # without the mark of a repetition
    cell_diameter_px: float
    cell_diameter_source: str
    wbc_count: int
    has_masks: bool
    looked_at: bool  # by a person, so that no newer analysis changes what it counts


@dataclass(frozen=True, slots=True)
class OpenItem:
    """A picture that is not counted, since when it is so, and why. `whole`: it was one once, and not only a file."""

    image_id: int
    path: str
    status: str
    reason: str | None
    since: datetime
    whole: bool = True


@dataclass(frozen=True, slots=True)
class ImageResult:
    """A row of `image_results`."""

    image_id: int
    path: str
    sha256: str | None
    slide: str
    captured_at: datetime
    ingested_at: datetime
    status: str
    reason: str | None
    wbc_count: int | None
    wbc_count_inside: int | None
    wbc_count_reviewed: int | None
    flags: tuple[str, ...]
    cell_diameter_px: float | None
    model: str | None
    engine: str | None


@dataclass(frozen=True, slots=True)
class SeenPath:
    """A name under which a content was seen."""

    path: str
    first_seen: datetime
    rung: bool | None  # whether an event announced it; None where the path holds other content now


@dataclass(frozen=True, slots=True)
class Attempt:
    """An image handed out for analysis."""

    number: int  # 1 for the first
    worker: str
    begun_at: datetime
    ended_at: datetime | None
    outcome: str | None  # an `End`; None while it is under way
    reason: str | None
    package_version: str


@dataclass(frozen=True, slots=True)
class StoredAnalysis:
    """One analysis as the database keeps it, without its masks. Lengths in camera px."""

    analysis_id: int
    created_at: datetime
    model_sha256: str
    model: str
    engine: str
    settings_sha256: str
    package_version: str
    cell_diameter_px: float
    cell_diameter_source: str
    flags: tuple[str, ...]
    seconds: dict[str, float]
    quality: dict[str, float]
    width: int
    height: int
    wbc_count: int
    wbc_count_inside: int
    cells: tuple[StoredCell, ...]
    has_masks: bool


@dataclass(frozen=True, slots=True)
class StoredCorrection:
    """What a person said of an image, and its counts after it."""

    correction_id: int
    number: int  # 1 for the first of its image
    made_at: datetime
    who: str
    why: str
    kind: str  # a word of `contract.corrections.KINDS`
    detail: dict[str, Any]
    stands: int  # the number of the correction that is in force after it: its own, an earlier one's, or 0
    changed: bool  # whether a cell differs from the automatic result after it
    rejected: bool
    wbc_count: int
    wbc_count_inside: int


@dataclass(frozen=True, slots=True)
class History:
    """All that is known of an image; attempts, analyses and corrections with the oldest first."""

    image_id: int
    path: str
    sha256: str | None
    slide: str
    captured_at: datetime
    ingested_at: datetime
    status: str
    reason: str | None
    since: datetime
    paths: tuple[SeenPath, ...]
    attempts: tuple[Attempt, ...]
    analyses: tuple[StoredAnalysis, ...]
    corrections: tuple[StoredCorrection, ...] = ()
    overlaps: tuple[EarlierField, ...] = ()  # with earlier fields of its slide that count


class AuditedFile(NamedTuple):
    """What a path held when it was looked at last; a plain tuple, as there are hundreds of thousands."""

    image_id: int
    size: int
    mtime_ns: int
    inode: int


class AuditedImage(NamedTuple):
    """What became of an image."""

    path: str
    status: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class Audit:
    """The whole database, as far as a folder can be held against it."""

    files: dict[str, AuditedFile]  # by path
    images: dict[int, AuditedImage]  # by number
    uncounted: tuple[int, ...]  # images that are done and have no analysis
    miscounted: tuple[tuple[int, int, int], ...]  # done image, count of an analysis, number of its cells
    maskless: tuple[tuple[int, datetime], ...]  # done image, when the analysis was made that has no masks


@dataclass(frozen=True, slots=True)
class StoredModel:
    """An installed bundle."""

    model_id: int
    name: str
    sha256: str
    path: str
    description: str
    installed_at: datetime


@dataclass(frozen=True, slots=True)
class EngineTrial:
    """What an engine in one precision came to with a model: proved and timed, refused, or waiting for its plan.

    `milliseconds` stands for the network alone, on the model's first golden picture.
    """

    engine: str
    precision: str
    threads: int
    found: str  # version of the runtime, or what keeps it from working here; another one calls for another trial
    milliseconds: float | None = None
    cell_dice: float | None = None  # least whole-cell Dice over the golden pictures
    refusal: str | None = None

    @property
    def serves(self) -> bool:
        """Whether it proved itself."""
        return self.refusal is None and self.milliseconds is not None
