"""A recipe: how a training goes, frozen. Read from TOML, changed by options, known by its digest."""

from __future__ import annotations

import hashlib
import math
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from station.contract.errors import StationError
from station.contract.manifest import Frozen, NetworkScale

# Marks a field that was added after recipes had digests. Its default must do what was done without it.
LATER: Final = "later"

BALANCED: Final = "balanced"

Share = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0)]
Span = tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]  # (least, most)
Quality = Annotated[int, Field(ge=1, le=100)]
ClassWeights = tuple[float, float, float]  # background, cytoplasm, nucleus


class RecipeError(StationError):
    """A recipe that cannot be used."""

    exit_code = 2


def _weights(told: object) -> object:
    """One sentence where pydantic would have one for each branch of the union."""
    numbers = told if isinstance(told, list | tuple) else ()
    if told in (None, BALANCED) or (len(numbers) == 3 and all(isinstance(n, int | float) and n > 0 for n in numbers)):
        return told
    raise ValueError(f'three numbers above 0 (background, cytoplasm, nucleus) or "{BALANCED}" (found {told!r})')


def _need_order(value: Frozen, *names: str) -> None:
    for name in names:
        least, most = getattr(value, name)
        if least > most:
            raise ValueError(f"{name} = ({least}, {most}): the first is the least, the second the most")


class Augmentation(Frozen):
    """Ranges that each crop is drawn from; a pair is (least, most)."""

    scale: Span = (0.7, 1.4)
    rotation_degrees: float = Field(180.0, ge=0, le=180)
    gamma: Span = (0.7, 1.4)
    gain: Span = (0.85, 1.15)
    offset: float = Field(0.08, ge=0, lt=1)
    saturation: tuple[NotNegative, NotNegative] = (0.7, 1.3)
    hue_degrees: float = Field(8.0, ge=0, le=180)
    blur_share: Share = 0.2
    blur_sigma_px: float = Field(1.2, ge=0.3)  # the most; the least is 0.3
    noise_share: Share = 0.2
    noise_sigma: float = Field(0.02, ge=0, lt=1)
    upside_down_share: Annotated[Share, LATER] = 0.0
    stain_scale: Annotated[float, Field(ge=0, lt=1), LATER] = 0.0
    stain_shift: Annotated[float, Field(ge=0, lt=1), LATER] = 0.0
    jpeg_share: Annotated[Share, LATER] = 0.0
    jpeg_quality: Annotated[tuple[Quality, Quality], LATER] = (40, 95)

    @model_validator(mode="after")
    def _pairs_are_in_order(self) -> Self:
        _need_order(self, "scale", "gamma", "gain", "saturation", "jpeg_quality")
        return self


class Recipe(Frozen):
    """What a training depends on beside the data and the seed."""

    name: str
    backbone: str = "mobilenet_v2"
    loss: str = "cross_entropy+dice"
    cell_diameter_px: float = Field(64.0, gt=8, le=512)
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
    scale_policy: Annotated[Literal["cells", "stretch"], LATER] = "cells"
    stretch_px: Annotated[int, Field(ge=32, le=2048, multiple_of=32), LATER] = 256
    schedule: Annotated[Literal["cosine", "constant"], LATER] = "cosine"
    class_weights: Annotated[ClassWeights | Literal["balanced"] | None, BeforeValidator(_weights), LATER] = None
    composed_share: Annotated[Share, LATER] = 0.0
    composed_fields: Annotated[int, Field(ge=0), LATER] = 0
    composed_size: Annotated[Span, LATER] = (1.0, 1.0)  # of single cells of a composed field, beside what they were
    composed_density: Annotated[Span, LATER] = (1.0, 1.0)  # of their stain
    held_out_composed: Annotated[int, Field(ge=0), LATER] = 0  # choose on so many fields of held-out cells, too
    held_out_elsewhere: Annotated[bool, LATER] = False  # choose on the held-out pictures as `augment` changes them, too
    mixed_precision: Annotated[Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"], LATER] = "auto"

    @model_validator(mode="after")
    def _photographs_are_left(self) -> Self:
        if self.painted_share + self.composed_share >= 1:
            raise ValueError(
                "painted_share + composed_share leave no place for the pictures themselves: below 1 together"
            )
        return self

    @model_validator(mode="after")
    def _pairs_are_in_order(self) -> Self:
        _need_order(self, "composed_size", "composed_density")
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of the fields as JSON, those marked LATER only where they differ from their default.

        So a field that is added with a neutral default leaves the digest of every older recipe alone. The first fields
        are always in, with their values: a default among them that is changed makes another digest.
        """
        unused: dict[str, Any] = dict.fromkeys(_unused(self), True) | {"augment": _unused(self.augment)}
        return hashlib.sha256(self.model_dump_json(exclude=unused).encode()).hexdigest()

    @property
    def input_px(self) -> int:
        """Side of the pictures in a batch, px."""
        return self.stretch_px if self.scale_policy == "stretch" else self.crop_px

    def network_scale(self, stride: int) -> NetworkScale:
        """How the station must bring pictures to a network of this recipe whose encoder has the stride."""
        return NetworkScale(
            cell_diameter_px=self.cell_diameter_px,
            stride=stride,
            policy=self.scale_policy,
            stretch_px=self.stretch_px,
        )

    def learning_rate_at(self, step: int) -> float:
        """The rate of a step of the whole training, from 0.

        `cosine`: half a cosine from the recipe's rate to zero over all planned steps (Loshchilov & Hutter 2017, eq. 5).
        """
        total = self.epochs * self.steps_per_epoch
        share = 0.5 * (1 + math.cos(math.pi * min(step, total) / total))
        return self.learning_rate * (share if self.schedule == "cosine" else 1.0)


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
        raise RecipeError(f"recipe {name_or_path}: {key}: {first['msg'].removeprefix('Value error, ')}") from cause


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
    except FileNotFoundError as cause:
        known = ", ".join(shipped())
        raise RecipeError(f"there is no recipe '{name_or_path}'; shipped ones: {known}") from cause
    except (OSError, UnicodeDecodeError) as cause:
        problem = cause.strerror if isinstance(cause, OSError) else "it is not a text file"
        raise RecipeError(f"the recipe {path} cannot be read ({problem})") from cause


def _unused(value: Frozen) -> set[str]:
    """The fields marked LATER that are at their defaults."""
    fields = type(value).model_fields
    return {name for name, field in fields.items() if LATER in field.metadata and getattr(value, name) == field.default}
