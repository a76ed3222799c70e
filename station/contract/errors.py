"""Everything that is expected to go wrong, as one tree.

StationError            a sentence for the person at the microscope; the command ends with exit code 1
├── ImageError          this file does not give a picture; the others go on
│   ├── Incomplete      not yet: the file may still be written (shorter than its header says)
│   ├── TooLarge        refused before decoding: more pixels than `limits.max_megapixels`
│   └── Unreadable      the system does not give its bytes: a share may have dropped
├── BundleError         a model bundle is damaged, or does not fit
├── EngineError         the runtime cannot load or run a network
│   ├── NotFinite       it did, and answered with NaN or infinity
│   └── PlanMissing     it could, after minutes of building a plan for this GPU
├── DatabaseError       the database cannot be opened, is newer, or is held by another station
├── CorrectionError     a correction or a signature makes no sense on the image as it is now; nothing was written
└── SettingsError       station.toml is wrong; exit code 2, as for wrong usage
"""

from __future__ import annotations


class StationError(Exception):
    """An expected failure. Its text names the file, the cause and the way out."""

    exit_code = 1


class ImageError(StationError):
    """A file that does not give a picture."""


class Incomplete(ImageError):
    """A file that is shorter than its header says, or empty: it may still be written."""


class TooLarge(ImageError):
    """A picture with more pixels than allowed, refused before it is decoded."""


class Unreadable(ImageError):
    """A file whose bytes the system does not give: nothing is known of its content."""


class BundleError(StationError):
    """A model bundle that is damaged, unreadable or of another kind."""


class EngineError(StationError):
    """A runtime that cannot load or run a network."""


class NotFinite(EngineError):
    """A network whose answer holds NaN or infinity."""


class PlanMissing(EngineError):
    """A GPU's plan that has to be built first, which takes minutes."""


class DatabaseError(StationError):
    """A database that cannot be used as it is."""


class CorrectionError(StationError):
    """A correction or a signature that makes no sense as things are now."""


class SettingsError(StationError):
    """A settings file that cannot be used as it is."""

    exit_code = 2
