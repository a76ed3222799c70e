"""From a run to a bundle: ONNX held against Keras, golden pictures with their expected results, one archive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from station.contract.analysis import Network, Scale, analyse
from station.contract.bundle import (
    LEAST_GOLDEN_DICE,
    MODEL_CARD,
    Bundle,
    GoldenResult,
    bundle_of,
    cell_dice,
    prove,
    read_bundle,
    sha256_of,
    write_bundle,
)
from station.contract.decoding import decode
from station.contract.errors import StationError
from station.contract.imaging import RGB
from station.contract.manifest import Golden, Manifest, NetworkFile
from station.contract.masks import encode
from station.demo.smear import demo_fields, paint
from station.engines import open_engine
from trainer.backbones import backbone
from trainer.card import PrecisionRow, model_card, with_precision_rows
from trainer.conversion import to_onnx, with_float16_weights
from trainer.learnt import LEARNT
from trainer.precisions import ADDING, Precision, PrecisionError, painted_fields
from trainer.runs import RunFolder, RunRecord, temporary_folder
from trainer.unet import build
from trainer.validation import keras_network

WeightsPrecision: TypeAlias = Literal["float16", "float32"]  # of weights to retrain from

PARITY_SIZES = ((256, 256), (192, 320), (416, 544))
MAX_DIFFERENCE = 1e-4
REFERENCE = "onnxruntime"
NETWORK_FILE, WEIGHTS_FILE = "network.onnx", "weights.keras"
GOLDEN_SEED, GOLDEN_FIELDS = 7, (0, 3, 6)
GOLDEN_WIDTH, GOLDEN_HEIGHT = 576, 448  # px: room for the cells of these fields, in a third of a megabyte each
COMPARED_SEED, COMPARED_FIELDS = 2, 24  # painted fields on which a further precision is held against float32


class ExportError(StationError):
    """A network that is not the same after conversion."""


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What the gates saw."""

    max_difference: float
    storage: str  # how its weights are kept, and what that changes
    golden_counts: tuple[int, ...]
    megabytes: float
    rows: tuple[PrecisionRow, ...] = ()
    spared: str = ""  # why there are no further networks

    def __str__(self) -> str:
        first = (
            f"{self.megabytes:.1f} MB, ONNX differs from Keras by at most {self.max_difference:.1e}, {self.storage}, "
            f"golden counts {', '.join(map(str, self.golden_counts))}"
        )
        return "; ".join((first, *map(str, self.rows), *filter(None, [self.spared])))


def export_run(
    folder: RunFolder, output: Path, name: str, precisions: Sequence[Precision] = (), *, spare: bool = False
) -> ExportReport:
    """Write the bundle of a run, behind a gate, and one more for each further precision.

    The conversion: ONNX and Keras, both float32, agree to 1e-4 everywhere. Weights are then kept as float16 (half the
    size) where the golden pictures come out alike, else as they are. Raises ExportError where the conversion fails, and
    PrecisionError where a further network does not reproduce the golden pictures; with `spare` the bundle then goes
    without.
    """
    record = folder.load()
    if not folder.weights.is_file():
        raise ExportError(f"the run {folder.path} is not finished: {folder.going_on} ends it")
    row = backbone(record.recipe.backbone)
    model = build(row)
    model.load_weights(folder.weights)
    draft = record.manifest(name, (), row.stride)
    pictures = painted_golden()
    stored, difference, storage = _gated(model, draft, pictures)
    bundle = with_golden(with_weights(one_network(draft, stored), *kept_weights(model, record)), pictures)
    files = dict(bundle.files) | {MODEL_CARD: model_card(record, bundle.manifest).encode()}
    if folder.learnt.is_file():  # runs from before it was kept have none
        files[LEARNT] = folder.learnt.read_bytes()
    bundle = bundle_of(bundle.manifest, files)
    prove(bundle, open_engine(bundle, REFERENCE))
    rows, spared = tuple[PrecisionRow, ...](), ""
    try:
        bundle, rows = with_precisions(bundle, precisions)
    except PrecisionError as cause:
        if not spare:
            raise
        spared, _, _ = str(cause).partition("; export it without")  # which nobody asked for here
    write_bundle(output, bundle, compact=True)
    counts = tuple(one.wbc_count for one in bundle.manifest.golden)
    return ExportReport(difference, storage, counts, output.stat().st_size / 1e6, rows, spared)


def extend_bundle(
    path: Path, output: Path, name: str | None, precisions: Sequence[Precision], *, repaint: bool = False
) -> tuple[PrecisionRow, ...]:
    """Write the bundle at `path` again with networks in further precisions, made of its own float32 one.

    `repaint` replaces its golden pictures, after they were proved once more, by those that are painted now. Raises
    BundleError where `path` is no good bundle, PrecisionError where a network does not pass its gate.
    """
    bundle = read_bundle(path)
    reference = open_engine(bundle, REFERENCE)
    prove(bundle, reference)
    if repaint:
        bundle = with_golden(bundle, painted_golden())
    if name:
        bundle = bundle_of(bundle.manifest.model_copy(update={"name": name}), bundle.files)
    bundle, rows = with_precisions(bundle, precisions)
    write_bundle(output, bundle, compact=True)
    return rows


def with_precisions(bundle: Bundle, precisions: Sequence[Precision]) -> tuple[Bundle, tuple[PrecisionRow, ...]]:
    """The bundle with networks in these precisions, and how each compares with the float32 one; the card says it too.

    Raises PrecisionError where one does not reproduce the golden counts and masks.
    """
    rows = []
    for precision in precisions:
        bundle, engine, golden = ADDING[precision](bundle)
        rows.append(_compared(bundle, precision, engine, golden))
    card = with_precision_rows(bundle.files.get(MODEL_CARD, b"").decode(), rows)
    return bundle_of(bundle.manifest, dict(bundle.files) | {MODEL_CARD: card.encode()}), tuple(rows)


def parity(network: Network, reference: Network, stride: int) -> float:
    """Largest difference, 0..1, between two networks over random and smooth pictures of several sizes.

    Raises ExportError above 1e-4.
    """
    rng = np.random.default_rng(0)
    worst = 0.0
    for height, width in PARITY_SIZES:
        if height % stride or width % stride:
            raise ExportError(f"a parity picture of {width} x {height} px does not fit the stride {stride}")
        tiles = _parity_tiles(rng, height, width)
        # One at a time: Keras keeps every map of its pictures until their end, gigabytes for a ResNet-152.
        expected = np.concatenate([reference(tile[None]) for tile in tiles])
        # `max` would pass over NaN
        worst = float(np.maximum(worst, np.abs(network(tiles) - expected).max()))
    if not worst <= MAX_DIFFERENCE:
        raise ExportError(f"the ONNX network differs from Keras by {worst:.2e}, more than {MAX_DIFFERENCE:.0e}")
    return worst


def storage_dice(manifest: Manifest, exact: Network, stored: Network, pictures: Sequence[tuple[RGB, float]]) -> float:
    """Least whole-cell Dice between the float32 network and the one kept as float16, over the golden pictures.

    Raises ExportError below 0.999 or where a count differs.
    """
    least = 1.0
    for number, (image, diameter) in enumerate(pictures, start=1):
        scale = Scale(diameter, "told")
        full, half = (analyse(image, scale, manifest, network) for network in (exact, stored))
        dice = cell_dice(full.drawing.labels, half.drawing.labels)
        if full.wbc_count != half.wbc_count or dice < LEAST_GOLDEN_DICE:
            raise ExportError(
                f"kept as float16 they change golden picture {number}: {half.wbc_count} cells instead of "
                f"{full.wbc_count}, whole-cell Dice {dice:.4f}"
            )
        least = min(least, dice)
    return least


def kept_weights(model: Any, record: RunRecord) -> tuple[bytes, WeightsPrecision]:
    """`weights.keras`: the same network under float16, half the size; `trainer fit --from` widens it again.

    Under float32 where a value is too large: VGG has no batch normalisation, and the variances of what it hands on
    pass 65,504. Raises ExportError where one is not finite.
    """
    import keras

    weights = model.get_weights()
    if not all(np.isfinite(weight).all() for weight in weights):
        raise ExportError("a weight is not finite; train with a lower learning rate")
    if not all(_fits_float16(weight) for weight in weights):
        return _saved(model), "float32"
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float16")
    try:
        half = build(backbone(record.recipe.backbone))
    finally:
        keras.config.set_dtype_policy(before)
    half.set_weights(weights)
    return _saved(half), "float16"


def _fits_float16(weight: NDArray[np.float32]) -> bool:
    return bool((np.abs(weight) <= np.finfo(np.float16).max).all())


def _saved(model: Any) -> bytes:
    with temporary_folder() as folder:
        path = folder / WEIGHTS_FILE
        model.save(path)
        return path.read_bytes()


def painted_golden() -> list[tuple[RGB, float]]:
    """(picture, cell diameter px) of the golden fields: painted, so that no photograph travels in the bundle."""
    day = demo_fields(GOLDEN_SEED)
    recipes = [replace(day[index], width=GOLDEN_WIDTH, height=GOLDEN_HEIGHT) for index in GOLDEN_FIELDS]
    return [(paint(recipe).image, recipe.cell_diameter_px) for recipe in recipes]


def one_network(manifest: Manifest, onnx_bytes: bytes) -> Bundle:
    """A bundle in memory that holds one network and nothing else."""
    network = NetworkFile(file=NETWORK_FILE, precision="float32", sha256=sha256_of(onnx_bytes))
    return bundle_of(manifest.model_copy(update={"networks": (network,)}), {NETWORK_FILE: onnx_bytes})


def with_weights(bundle: Bundle, weights: bytes, precision: WeightsPrecision) -> Bundle:
    """The bundle with the weights to retrain from."""
    entry = NetworkFile(file=WEIGHTS_FILE, precision=precision, sha256=sha256_of(weights))
    manifest = bundle.manifest.model_copy(update={"weights": entry})
    return bundle_of(manifest, dict(bundle.files) | {WEIGHTS_FILE: weights})


def with_golden(bundle: Bundle, pictures: Sequence[tuple[RGB, float]]) -> Bundle:
    """The bundle with golden pictures and their expected results by the reference engine."""
    engine = open_engine(bundle, REFERENCE)
    golden: list[Golden] = []
    made: dict[str, bytes] = {}
    for number, (image, diameter) in enumerate(pictures, start=1):
        analysis = analyse(image, Scale(diameter, "told"), bundle.manifest, engine)
        stem = f"golden/{number:02d}"
        own = {
            f"{stem}.png": cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes(),
            f"{stem}.labels.png": encode(analysis.drawing.labels),
            f"{stem}.cells.png": encode(analysis.drawing.cells),
        }
        image_name, labels_name, cells_name = own
        golden.append(
            Golden(
                image=image_name,
                labels=labels_name,
                cells=cells_name,
                wbc_count=analysis.wbc_count,
                cell_diameter_px=diameter,
                sha256={file: sha256_of(data) for file, data in own.items()},
            )
        )
        made |= own
    return bundle_of(bundle.manifest.model_copy(update={"golden": tuple(golden)}), dict(bundle.files) | made)


def with_own_golden(bundle: Bundle) -> Bundle:
    """The bundle with its own golden pictures, and what it now makes of them."""
    pictures = [(decode(bundle.files[golden.image]), golden.cell_diameter_px) for golden in bundle.manifest.golden]
    return with_golden(bundle, pictures)


def _compared(bundle: Bundle, precision: Precision, engine: Network, golden: Sequence[GoldenResult]) -> PrecisionRow:
    """How the network counts and draws beside the float32 one, on painted fields that it was not made from."""
    reference, counted_otherwise, dice = open_engine(bundle, REFERENCE), 0, []
    for image, scale in painted_fields(COMPARED_SEED, COMPARED_FIELDS):
        whole, other = (analyse(image, scale, bundle.manifest, network) for network in (reference, engine))
        counted_otherwise += whole.wbc_count != other.wbc_count
        dice.append(cell_dice(whole.drawing.labels, other.drawing.labels))
    return PrecisionRow(
        precision=precision,
        megabytes=len(bundle.network(precision)) / 1e6,
        golden_dice=min(result.cell_dice for result in golden),
        fields=len(dice),
        mean_dice=float(np.mean(dice)),
        least_dice=min(dice),
        counted_otherwise=counted_otherwise,
    )


def _gated(model: Any, draft: Manifest, pictures: Sequence[tuple[RGB, float]]) -> tuple[bytes, float, str]:
    """The ONNX network as it is stored, its largest difference from Keras, how its weights are kept."""
    exact = to_onnx(model)
    difference = parity(_engine(draft, exact), keras_network(model), draft.scale.stride)
    stored, storage = stored_network(draft, exact, pictures)
    return stored, difference, storage


def stored_network(draft: Manifest, exact: bytes, pictures: Sequence[tuple[RGB, float]]) -> tuple[bytes, str]:
    """The network with its weights as float16 where these pictures allow it, else as it is; and which of them.

    A network that is still unsure, after a few epochs, may lose a little to the rounding; it is kept whole at twice the
    size rather than lost.
    """
    halved = with_float16_weights(exact)
    try:
        dice = storage_dice(draft, _engine(draft, exact), _engine(draft, halved), pictures)
    except ExportError as cause:
        return exact, f"weights stay float32 ({cause})"
    return halved, f"storing weights as float16 leaves a whole-cell Dice of {dice:.4f}"


def _engine(manifest: Manifest, onnx_bytes: bytes) -> Network:
    return open_engine(one_network(manifest, onnx_bytes), REFERENCE)


def _parity_tiles(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    ramp = np.linspace(0, 255, height * width * 3).reshape(height, width, 3)
    noise = rng.integers(0, 256, (height, width, 3))
    return np.stack([ramp, noise]).astype(np.uint8)
