"""A recipe: how a training goes, frozen. Read from TOML, changed by options, known by its digest."""

from __future__ import annotations

import hashlib
import tomllib
from importlib import resources
from pathlib import Path

from pydantic import Field, ValidationError

from station.contract.errors import StationError
from station.contract.manifest import Frozen


class RecipeError(StationError):
    """A recipe that cannot be used."""

    exit_code = 2


class Augmentation(Frozen):
    """Ranges that each crop is drawn from; a pair is (least, most)."""

    scale: tuple[float, float] = (0.7, 1.4)
    rotation_degrees: float = 180.0
    gamma: tuple[float, float] = (0.7, 1.4)
    gain: tuple[float, float] = (0.85, 1.15)
    offset: float = 0.08
    saturation: tuple[float, float] = (0.7, 1.3)
    hue_degrees: float = 8.0
    blur_share: float = 0.2
    blur_sigma_px: float = 1.2
    noise_share: float = 0.2
    noise_sigma: float = 0.02


class Recipe(Frozen):
    """What a training depends on beside the data and the seed."""

    name: str
    backbone: str = "mobilenet_v2"
    loss: str = "cross_entropy+dice"
    cell_diameter_px: float = Field(64.0, gt=8)
    crop_px: int = Field(192, ge=32, multiple_of=32)
    batch: int = Field(16, ge=1)
    steps_per_epoch: int = Field(100, ge=1)
    epochs: int = Field(12, ge=1)
    patience: int = Field(10, ge=1)
    frozen_epochs: int = Field(0, ge=0)
    learning_rate: float = Field(1e-3, gt=0)
    held_out: float = Field(0.12, gt=0, lt=1)
    painted_share: float = Field(0.15, ge=0, lt=1)
    painted_fields: int = Field(120, ge=0)
    near_label_share: float = Field(0.8, ge=0, le=1)
    bn_momentum: float = Field(0.95, gt=0, lt=1)
    bn_batches: int = Field(60, ge=0)
    augment: Augmentation = Augmentation()

    @property
    def digest(self) -> str:
        """SHA-256 of all fields."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def read_recipe(name_or_path: str, **changes: object) -> Recipe:
    """The shipped recipe of that name, or a TOML file; `changes` that are not None replace its fields.

    Raises RecipeError naming the file, the key and what is wrong with it.
    """
    try:
        text = _text(name_or_path)
        fields = tomllib.loads(text) | {key: value for key, value in changes.items() if value is not None}
        return Recipe.model_validate(fields)
    except tomllib.TOMLDecodeError as cause:
        raise RecipeError(f"recipe {name_or_path}: {cause}") from cause
    except ValidationError as cause:
        first = cause.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise RecipeError(f"recipe {name_or_path}: {key}: {first['msg']}") from cause


def shipped() -> list[str]:
    """Names of the recipes in the package."""
    folder = resources.files("trainer") / "recipes"
    return sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".toml"))


def _text(name_or_path: str) -> str:
    if name_or_path in shipped():
        return (resources.files("trainer") / "recipes" / f"{name_or_path}.toml").read_text(encoding="utf-8")
    path = Path(name_or_path)
    try:
        return path.read_text(encoding="utf-8")
    except OSError as cause:
        known = ", ".join(shipped())
        raise RecipeError(f"there is no recipe '{name_or_path}'; shipped ones: {known}") from cause
