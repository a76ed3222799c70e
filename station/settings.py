"""station.toml -> one frozen Settings. An unknown key names the known ones; relative paths are relative to the file."""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, ValidationError

from station.contract.errors import SettingsError
from station.contract.manifest import Frozen

CONFIG_VARIABLE = "WBC_STATION_CONFIG"
DEFAULT_FILE = Path("station.toml")

_DAY_SECONDS = 86_400.0


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as cause:
        raise ValueError(f"'{name}' is no time zone of this machine; use a name such as Europe/Berlin") from cause
    return name


def _regular_expression(text: str) -> str:
    try:
        groups = re.compile(text).groups
    except re.error as cause:
        raise ValueError(f"is no regular expression ({cause})") from cause
    if groups < 1:
        raise ValueError("needs a group in round brackets around what names the slide, such as ^(S-[0-9]+)_")
    return text


def _at_home(place: Path) -> Path:
    if "\0" in str(place):
        raise ValueError("no file can be called so")
    try:
        return place.expanduser()
    except RuntimeError as cause:  # what pathlib raises where a name is nobody's
        raise ValueError(f"there is no home {place.parts[0]} on this machine") from cause


Place: TypeAlias = Annotated[Path, AfterValidator(_at_home)]


class Camera(Frozen):
    """Where pictures come from, and how large cells are in them."""

    folder: Place
    cell_diameter_px: Annotated[float, Field(gt=4, le=2000, strict=True)] | Literal["auto"] = "auto"
    um_per_px: float | None = Field(None, gt=0, strict=True)
    settle_seconds: float = Field(2.0, ge=0, le=_DAY_SECONDS, strict=True)
    rescan_seconds: float = Field(60.0, gt=0, le=_DAY_SECONDS, strict=True)
    slide_pattern: Annotated[str, AfterValidator(_regular_expression)] | None = None

    @property
    def patience_seconds(self) -> float:
        """So long after its last writing a file need not be known to the station yet."""
        return self.settle_seconds + self.rescan_seconds

    @property
    def slide_regex(self) -> re.Pattern[str] | None:
        """Its first group, searched in a path below the folder, names the slide."""
        return re.compile(self.slide_pattern) if self.slide_pattern is not None else None


class Database(Frozen):
    """Where counts and masks are kept."""

    path: Place


class Engine(Frozen):
    """What runs the network."""

    name: str = "auto"
    precision: Literal["auto", "float32", "float16", "bfloat16", "int8"] = "auto"
    threads: int = Field(0, ge=0, strict=True)


class Report(Frozen):
    """How a day is summed up."""

    time_zone: Annotated[str, AfterValidator(_known_zone)] = "UTC"
    target_cells: int = Field(0, ge=0, strict=True)  # white cells to count on each slide; 0: none

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)


class Backup(Frozen):
    """Where verified copies of the database go, and how many of them stay; 0: all."""

    folder: Place = Path("backups")
    keep: int = Field(14, ge=0, strict=True)


class Limits(Frozen):
    """What is refused before it costs memory, and with how many earlier fields of its slide one is compared."""

    max_megapixels: float = Field(50.0, gt=0, strict=True)
    min_free_mb: float = Field(200.0, ge=0, strict=True)
    overlap_fields: int = Field(20, ge=0, le=1000, strict=True)  # 0: pictures are not compared

    @property
    def min_free_bytes(self) -> float:
        """What must stay free on the disk of the database."""
        return self.min_free_mb * 1e6


class Settings(Frozen):
    """All settings of a station."""

    camera: Camera
    database: Database
    engine: Engine = Engine()
    report: Report = Report()
    limits: Limits = Limits()
    backup: Backup = Backup()

    @property
    def sha256(self) -> str:
        """Digest of what a count depends on: scale and limits, not paths or time zone."""
        limits = {"max_megapixels"}
        relevant = self.model_dump_json(include={"camera": {"cell_diameter_px", "um_per_px"}, "limits": limits})
        return hashlib.sha256(relevant.encode()).hexdigest()


def settings_path(told: Path | None) -> Path:
    """The file that a command reads: --config, else $WBC_STATION_CONFIG, else ./station.toml."""
    return told or Path(os.environ.get(CONFIG_VARIABLE) or DEFAULT_FILE)


def read_settings(path: Path) -> Settings:
    """Settings from a file. Raises SettingsError naming the file, the key and the way out."""
    try:
        return parse_settings(path.read_text(encoding="utf-8-sig"), path)
    except FileNotFoundError as cause:
        raise SettingsError(
            f"there is no settings file {path}; `station init` makes one, --config names another"
        ) from cause
    except OSError as cause:
        raise SettingsError(f"{path} cannot be read ({cause.strerror})") from cause
    except UnicodeDecodeError as cause:
        raise SettingsError(f"{path} is not valid TOML: {cause}") from cause


def parse_settings(text: str, path: Path) -> Settings:
    """Settings from the text that `path` holds or is to hold. Raises SettingsError as `read_settings` does."""
    try:
        settings = Settings.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as cause:
        raise SettingsError(f"{path} is not valid TOML: {cause}") from cause
    except ValidationError as cause:
        raise SettingsError(f"{path}: {_sentence(cause)}") from cause
    return _anchored(settings, path.resolve().parent)


def known_keys() -> dict[str, tuple[str, ...]]:
    """Section -> keys, in order: what station.toml may hold."""
    sections: dict[str, Any] = {name: field.annotation for name, field in Settings.model_fields.items()}
    return {name: tuple(section.model_fields) for name, section in sections.items()}


def _anchored(settings: Settings, folder: Path) -> Settings:
    camera = settings.camera.model_copy(update={"folder": folder / settings.camera.folder})
    database = settings.database.model_copy(update={"path": folder / settings.database.path})
    backup = settings.backup.model_copy(update={"folder": folder / settings.backup.folder})
    return settings.model_copy(update={"camera": camera, "database": database, "backup": backup})


def leads_into(place: Path, folder: Path) -> bool:
    """Whether a path lies in a folder or leads into it. Not by Path.resolve, which raises on links in a circle."""
    return Path(os.path.realpath(place)).is_relative_to(os.path.realpath(folder))


def misplaced(settings: Settings) -> str | None:
    """Why the database should lie elsewhere; none where it lies outside the camera's folder.

    A new station is refused then. One that has always been so goes on: its counts must stay within reach.
    """
    camera, database = settings.camera.folder, settings.database.path
    # Lock and models lie beside the name that is told, SQLite's log beside the file that it leads to.
    if not any(leads_into(place, camera) for place in (database.parent, database)):
        return None
    return (
        "the database lies in the camera folder, where the station should never write (database.path is "
        f"{database}, camera.folder is {camera})"
    )


def _sentence(cause: ValidationError) -> str:
    # A misspelt key is also a missing one: the misspelling is what the reader must see.
    first = min(cause.errors(), key=lambda error: error["type"] != "extra_forbidden")
    key = ".".join(str(part) for part in first["loc"] if part not in ("float", "constrained-float", "literal['auto']"))
    if first["type"] == "extra_forbidden":
        return f"the setting '{key}' is unknown; known: {_known_beside(first['loc'])}"
    if first["type"] == "missing":
        return f"the setting '{key}' is missing"
    found = f"(found {first['input']!r})"
    if key == "camera.cell_diameter_px":
        return f'{key}: a number of px above 4 and up to 2000, or "auto" {found}'
    return f"{key}: {first['msg'].removeprefix('Value error, ')} {found}"


def _known_beside(place: tuple[int | str, ...]) -> str:
    keys = known_keys()
    return ", ".join(keys if len(place) == 1 else keys[str(place[0])])
