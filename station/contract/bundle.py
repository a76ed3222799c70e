"""A model bundle: read it with every hash checked, write it, prove it on an engine of this machine."""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from station.contract.analysis import Network, Scale, analyse
from station.contract.decoding import decode
from station.contract.durable import flush
from station.contract.errors import BundleError, StationError
from station.contract.manifest import BACKGROUND, CLASSES, NUCLEUS, Golden, Manifest
from station.contract.masks import decode_mask

MANIFEST = "manifest.json"
MODEL_CARD = "MODEL_CARD.md"
MAX_BUNDLE_BYTES = 1_000_000_000  # unpacked; a bundle of the largest backbone stays below a third of it
LEAST_GOLDEN_DICE, LEAST_INT8_DICE, LEAST_NUCLEUS_DICE = 0.999, 0.998, 0.99

_DAMAGE = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError),
    *(NotImplementedError, EOFError, RuntimeError, ValueError),
)
_LARGE = 64_000  # bytes; members from here on are worth LZMA
_EPOCH = (1980, 1, 1, 0, 0, 0)  # one fixed time, so that equal content gives an equal archive


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle in memory: every file that the manifest names has its hash, and is there if it was read."""

    manifest: Manifest
    files: Mapping[str, bytes]
    sha256: str  # of the manifest, which names the hash of all that matters for a count

    def network(self, precision: str) -> bytes:
        """The ONNX file of that precision. Raises BundleError naming those that exist."""
        for network in self.manifest.networks:
            if network.precision == precision:
                return self.files[network.file]
        known = ", ".join(network.precision for network in self.manifest.networks)
        raise BundleError(f"the model {self.manifest.name} has no {precision} network, only {known}")


@dataclass(frozen=True, slots=True)
class GoldenResult:
    """How one golden picture came out."""

    image: str
    wbc_count: int
    wbc_expected: int
    cell_dice: float
    nucleus_dice: float


def read_bundle(path: Path, *, weights: bool = True) -> Bundle:
    """A bundle from a `.zip` or a folder.

    Without `weights` those to retrain from stay unread, which take as long as a network and serve no station.
    Raises BundleError naming the file and the cause: missing, no archive, a member outside, a changed byte, an unknown
    key in the manifest.
    """
    with _members(path) as members:
        if MANIFEST not in members:
            raise BundleError(f"{path} is not a model bundle: it has no {MANIFEST}")
        manifest = _manifest(path, members[MANIFEST]())
        unread = {manifest.weights.file} - {MANIFEST} if manifest.weights and not weights else set()
        files = {name: read() for name, read in members.items() if name not in unread}
    for name, digest in _named_hashes(manifest).items():
        if name not in unread:
            _check(path, files, name, digest)
    return Bundle(manifest, files, sha256_of(files[MANIFEST]))


def _manifest(path: Path, written: bytes) -> Manifest:
    try:
        manifest = Manifest.model_validate_json(written)
    except ValidationError as cause:
        raise BundleError(f"{path}{_what_is_wrong(cause, written)}") from cause
    if not manifest.networks:
        raise BundleError(f"{path}: the manifest names no network")
    return manifest


def _what_is_wrong(cause: ValidationError, written: bytes) -> str:
    """With a manifest, as it stands behind the name of the bundle."""
    errors = cause.errors()
    if {("name",), ("scale",), ("provenance",)} <= {one["loc"] for one in errors if one["type"] == "missing"}:
        return f" is not a model bundle: its {MANIFEST} tells of no model"
    if any(one["loc"][:1] == ("classes",) for one in errors):
        return f": {MANIFEST}: {_other_classes(written)}"
    where = [".".join(map(str, errors[0]["loc"]))] if errors[0]["loc"] else []
    return ": ".join(["", MANIFEST, *where, errors[0]["msg"]])


def _other_classes(written: bytes) -> str:
    """Of a manifest that can be read but for its classes: what its model tells apart, and what a station counts by."""
    told = json.loads(written)["classes"]
    *first, last = CLASSES
    return (
        f"the model tells {', '.join(map(str, told)) if isinstance(told, list) else told} apart, this station "
        f"{', '.join(first)} and {last}; install a model that was trained on these, in this order (`trainer fit`)"
    )


def bundle_of(manifest: Manifest, files: Mapping[str, bytes]) -> Bundle:
    """A bundle in memory from its parts; `files` without the manifest."""
    written = manifest.model_dump_json(indent=2).encode()
    return Bundle(manifest, dict(files) | {MANIFEST: written}, sha256_of(written))


def write_bundle(path: Path, bundle: Bundle, *, compact: bool = False) -> None:
    """Write a `.zip` beside its name and move it into place, so that nobody reads half of it.

    `compact`, for one that is sent around: LZMA makes weights 3 % smaller, but takes nine times as long to read.
    """
    temporary = path.with_name(path.name + ".part")
    try:
        with zipfile.ZipFile(temporary, "w") as archive:
            for name in sorted(bundle.files):
                entry = zipfile.ZipInfo(name, date_time=_EPOCH)
                by_lzma = compact and len(bundle.files[name]) > _LARGE
                entry.compress_type = zipfile.ZIP_LZMA if by_lzma else zipfile.ZIP_DEFLATED
                archive.writestr(entry, bundle.files[name])
        flush(temporary)  # a database will say that it is there
        temporary.replace(path)
        flush(path.parent)
    except OSError as cause:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise BundleError(f"{path} cannot be written ({cause.strerror})") from cause


def prove(bundle: Bundle, network: Network, *, least_cell_dice: float = LEAST_GOLDEN_DICE) -> tuple[GoldenResult, ...]:
    """Run the golden pictures on an engine and compare with the masks and counts that travel in the bundle.

    Raises BundleError naming the picture that the engine does not reproduce (count, whole-cell Dice below the least, or
    nucleus Dice < 0.99, which tells the two classes apart), and where there are no golden pictures at all.
    """
    if not any(golden.wbc_count for golden in bundle.manifest.golden):
        raise BundleError(f"the model {bundle.manifest.name} has no golden picture with a cell to prove itself on")
    results = tuple(_golden_result(bundle, golden, network) for golden in bundle.manifest.golden)
    for result in results:
        alike = result.cell_dice >= least_cell_dice and result.nucleus_dice >= LEAST_NUCLEUS_DICE
        if result.wbc_count != result.wbc_expected or not alike:
            raise BundleError(
                f"the model {bundle.manifest.name} does not prove itself here: {result.image} has "
                f"{result.wbc_count} cells where {result.wbc_expected} were expected, whole-cell Dice "
                f"{result.cell_dice:.4f}, nucleus Dice {result.nucleus_dice:.4f}; this engine must not serve it"
            )
    return results


def sha256_of(data: bytes) -> str:
    """Hex SHA-256, as manifests carry it."""
    return hashlib.sha256(data).hexdigest()


def cell_dice(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """Dice of the whole cell (nucleus + cytoplasm) of two label images; 1 where both are empty."""
    return _dice(first > BACKGROUND, second > BACKGROUND)


def _dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else 1.0


def _golden_result(bundle: Bundle, golden: Golden, network: Network) -> GoldenResult:
    try:
        image = decode(bundle.files[golden.image])
        expected = decode_mask(bundle.files[golden.labels]).astype(np.uint8)
    except StationError as cause:
        raise BundleError(f"golden picture {golden.image}: {cause}") from cause
    if expected.shape != image.shape[:2]:
        raise BundleError(f"golden picture {golden.image} and its mask differ in size")
    analysis = analyse(image, Scale(golden.cell_diameter_px, "told"), bundle.manifest, network)
    found = analysis.drawing.labels
    nucleus_dice = _dice(found == NUCLEUS, expected == NUCLEUS)
    return GoldenResult(golden.image, analysis.wbc_count, golden.wbc_count, cell_dice(found, expected), nucleus_dice)


def _named_hashes(manifest: Manifest) -> dict[str, str]:
    named = {network.file: network.sha256 for network in manifest.networks}
    if manifest.weights:
        named[manifest.weights.file] = manifest.weights.sha256
    for golden in manifest.golden:
        for name in (golden.image, golden.labels, golden.cells):
            named[name] = golden.sha256.get(name, "")
    return named


def _check(path: Path, files: Mapping[str, bytes], name: str, digest: str) -> None:
    if name not in files:
        raise BundleError(f"{path} is incomplete: it has no {name}")
    if sha256_of(files[name]) != digest:
        raise BundleError(f"{path} is damaged: {name} does not have the hash that the manifest names; copy it again")


@contextmanager
def _members(path: Path) -> Iterator[Mapping[str, Callable[[], bytes]]]:
    """How each file of a bundle is read, by its name. What fails meanwhile becomes a BundleError."""
    try:
        if path.is_dir():
            yield _in_folder(path)
        else:
            with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
                yield _in_archive(path, archive)
    except OSError as cause:
        raise BundleError(f"the model bundle {path} cannot be read ({cause.strerror or cause})") from cause
    except _DAMAGE as cause:
        raise BundleError(f"{path} is damaged or no model bundle ({cause}); copy it again") from cause


def _in_archive(path: Path, archive: zipfile.ZipFile) -> dict[str, Callable[[], bytes]]:
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    _refuse_strange(path, [(entry.filename, entry.file_size) for entry in entries])
    return {entry.filename: partial(_inflated, archive, entry) for entry in entries}


def _in_folder(path: Path) -> dict[str, Callable[[], bytes]]:
    found = {member.relative_to(path).as_posix(): member for member in path.rglob("*") if member.is_file()}
    _refuse_strange(path, [(name, member.stat().st_size) for name, member in found.items()])
    return {name: member.read_bytes for name, member in found.items()}


def _inflated(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """A member, never longer than its entry claims: `ZipFile.read` would inflate whatever comes."""
    with archive.open(entry) as member:
        return member.read(entry.file_size)


def _refuse_strange(path: Path, sizes: Sequence[tuple[str, int]]) -> None:
    for name, _ in sizes:
        parts = PurePosixPath(name).parts
        if name.startswith("/") or ".." in parts or "\\" in name:
            raise BundleError(f"{path} is refused: the member {name!r} leaves the bundle")
    if sum(size for _, size in sizes) > MAX_BUNDLE_BYTES:
        raise BundleError(f"{path} is refused: it unpacks to more than {MAX_BUNDLE_BYTES // 1_000_000} MB")
