"""The manifest of a bundle: everything beside the weights that a count depends on."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

BACKGROUND, CYTOPLASM, NUCLEUS = 0, 1, 2
CLASSES: Final = ("background", "cytoplasm", "nucleus")

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _stays_inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or not path.parts:
        raise ValueError(f"the file name {name!r} leaves the bundle")
    return name


MemberName = Annotated[str, AfterValidator(_stays_inside)]


class Frozen(BaseModel):
    """A value that is written once and never changed; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class NetworkFile(Frozen):
    """One network of the bundle: input `image` uint8 [N, H, W, 3] RGB with free N, H, W; output class probabilities."""

    file: MemberName
    precision: Literal["float32", "float16", "int8"]
    sha256: Sha256


_OF_POLICIES = {"policy", "stretch_px"}


class NetworkScale(Frozen):
    """How a picture is brought to the network.

    `cells`: by one isotropic factor, so that cells measure what they did in training. `stretch`, the paper's way: the
    whole picture becomes a square, each axis by its own factor, and the size of its cells plays no part.
    """

    cell_diameter_px: float = Field(gt=8, le=512, description="apparent cell diameter at network scale, px")
    stride: int = Field(32, ge=1, le=128, description="height and width are padded to a multiple of it")
    default_camera_diameter_px: float = Field(
        120.0, gt=4, description="assumed at camera scale when nothing is told and nothing can be estimated"
    )
    cell_diameter_um: float = Field(
        13.5,
        gt=1,
        description="true diameter assumed where a camera tells only um_per_px: a leukocyte spread in a smear",
    )
    policy: Literal["cells", "stretch"] = "cells"
    stretch_px: int = Field(256, ge=32, le=2048, description="side of the square under `stretch`")

    @model_validator(mode="after")
    def _the_square_needs_no_padding(self) -> Self:
        if self.policy == "stretch" and self.stretch_px % self.stride:
            raise ValueError(f"stretch_px = {self.stretch_px} is not a multiple of the stride {self.stride}")
        return self

    @model_serializer(mode="wrap")
    def _as_before_the_policies(self, plain: SerializerFunctionWrapHandler) -> dict[str, object]:
        """Stations that know no policy refuse unknown keys: a bundle of theirs shall not carry any."""
        fields: dict[str, object] = plain(self)
        return {key: value for key, value in fields.items() if self.policy != "cells" or key not in _OF_POLICIES}


class Separation(Frozen):
    """Parameters of the watershed, in units of the cell diameter at network scale, so that they hold at any scale."""

    foreground: float = Field(0.5, gt=0, lt=1, description="a pixel is cell where P(background) < 1 - foreground")
    smoothing: float = Field(0.0235, ge=0, le=1, description="Gaussian sigma on the distance transform, cell diameters")
    prominence: float = Field(0.02, ge=0, le=1, description="least height of a seed above its saddle, cell diameters")
    min_area: float = Field(0.15, ge=0, description="least area of a cell, in areas of a disc of the cell diameter")
    min_nucleus: float = Field(0.05, ge=0, description="least nucleus area, in the same unit")
    min_area_at_edge: float = Field(0.18, ge=0, description="least area of a cell cut by the border")
    min_nucleus_at_edge: float = Field(0.02, ge=0, description="least nucleus area of a cell cut by the border")


SixNumbers: TypeAlias = Annotated[tuple[float, ...], Field(min_length=6, max_length=6)]


class StainReference(Frozen):
    """Optical densities of one training set: nucleus in red, green and blue, then cytoplasm."""

    dataset: str
    mean: SixNumbers
    precision: tuple[SixNumbers, ...] = Field(min_length=6, max_length=6, description="[6][6] inverse of covariance")


class Reference(Frozen):
    """What is normal for a model, and from where on a count is doubtful: measured on rows that it was trained on."""

    stains: tuple[StainReference, ...] = ()
    stain: float = Field(gt=0, description="most distance of a stain, in ordinary distances")
    focus: float = Field(ge=0, description="least focus")
    brightness: tuple[float, float] = Field(description="least and most light of empty ground, 0..1")
    contrast: float = Field(ge=0, description="least optical density of the darkest stained matter")
    clipped: float = Field(ge=0, description="most share of clipped px of the cells")
    confidence: float = Field(ge=0, le=1, description="least confidence of a cell")
    unclear: float = Field(ge=0, description="most area that looks like cell to some degree and is none, in discs")


class Golden(Frozen):
    """A picture with the result that every engine must reproduce before it may serve."""

    image: MemberName
    labels: MemberName
    cells: MemberName
    wbc_count: int = Field(ge=0)
    cell_diameter_px: float = Field(gt=0)
    sha256: dict[str, Sha256] = Field(description="file -> hash of image, labels and cells")


class Provenance(Frozen):
    """Where a model came from: enough to train it again."""

    backbone: str
    loss: str
    recipe_sha256: Sha256
    data_sha256: Sha256
    seed: int
    trained_on: tuple[str, ...]
    created_at: str
    package_version: str
    ancestry: tuple[str, ...] = ()


class Manifest(Frozen):
    """`manifest.json` of a bundle."""

    format_version: Literal[1] = 1
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")
    classes: tuple[Literal["background"], Literal["cytoplasm"], Literal["nucleus"]] = CLASSES
    scale: NetworkScale
    separation: Separation = Separation()
    networks: tuple[NetworkFile, ...] = ()
    weights: NetworkFile | None = None
    golden: tuple[Golden, ...] = ()
    provenance: Provenance
    metrics: dict[str, dict[str, float]] = Field(default_factory=dict, description="data set -> figure -> value")
    reference: Reference | None = None

    @model_validator(mode="after")
    def _weights_of_their_own(self) -> Self:
        """A station leaves the file of the weights unread."""
        golden = {name for one in self.golden for name in (one.image, one.labels, one.cells)}
        if self.weights is not None and self.weights.file in {one.file for one in self.networks} | golden:
            raise ValueError(f"the weights are in {self.weights.file}, which is a network or golden picture too")
        return self

    @model_serializer(mode="wrap")
    def _as_before_the_reference(self, plain: SerializerFunctionWrapHandler) -> dict[str, object]:
        """A bundle without one can be read by stations that know none."""
        fields: dict[str, object] = plain(self)
        return {key: value for key, value in fields.items() if key != "reference" or value is not None}
