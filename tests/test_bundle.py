"""Bundles: written and read without a changed byte, refused with the cause, proven on an engine."""

from __future__ import annotations

import json
import struct
import tracemalloc
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from networks import NETWORK_FILE, WEIGHTS_FILE, colour_network, tiny_bundle, tiny_manifest, tiny_onnx, whole_bundle
from numpy.typing import NDArray
from pydantic import ValidationError

from station.contract import bundle as bundle_module
from station.contract.analysis import Network
from station.contract.bundle import (
    MANIFEST,
    MODEL_CARD,
    Bundle,
    bundle_of,
    cell_dice,
    prove,
    read_bundle,
    sha256_of,
    write_bundle,
)
from station.contract.errors import BundleError, EngineError
from station.contract.manifest import Manifest, NetworkScale, Separation
from station.contract.masks import encode

HASHED = (NETWORK_FILE, WEIGHTS_FILE, "golden/01.png", "golden/01.labels.png", "golden/02.cells.png")


def write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def write_folder(path: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


WRITERS: dict[str, Callable[[Path, Mapping[str, bytes]], Path]] = {"zip": write_zip, "folder": write_folder}


@pytest.fixture(params=WRITERS)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Mapping[str, bytes]], Path]:
    """Writes members as they are, as a `.zip` and as a folder."""
    return lambda files: WRITERS[request.param](tmp_path / f"bundle.{request.param}", files)


def test_a_written_bundle_comes_back_whole(tmp_path: Path) -> None:
    bundle = whole_bundle()
    write_bundle(tmp_path / "b.zip", bundle)
    assert read_bundle(tmp_path / "b.zip") == bundle
    assert [path.name for path in tmp_path.iterdir()] == ["b.zip"]


def test_weights_are_left_unread_where_nobody_retrains(written: Callable[[Mapping[str, bytes]], Path]) -> None:
    bundle = whole_bundle()
    path = written(dict(bundle.files) | {WEIGHTS_FILE: b"damaged"})
    found = read_bundle(path, weights=False)
    assert found.files == {name: data for name, data in bundle.files.items() if name != WEIGHTS_FILE}
    assert (found.manifest, found.sha256) == (bundle.manifest, bundle.sha256)
    with pytest.raises(BundleError, match=f"damaged: {WEIGHTS_FILE}"):
        read_bundle(path)


def test_zip_and_folder_are_the_same_bundle(written: Callable[[Mapping[str, bytes]], Path]) -> None:
    bundle = whole_bundle()
    assert read_bundle(written(bundle.files)) == bundle
    assert bundle.sha256 == sha256_of(bundle.files[MANIFEST])


def test_equal_content_gives_equal_archives(tmp_path: Path) -> None:
    bundle = whole_bundle()
    backwards = Bundle(bundle.manifest, dict(reversed(bundle.files.items())), bundle.sha256)
    write_bundle(tmp_path / "one.zip", bundle)
    write_bundle(tmp_path / "two.zip", backwards)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    write_bundle(tmp_path / "other.zip", tiny_bundle("other"))
    assert (tmp_path / "one.zip").read_bytes() != (tmp_path / "other.zip").read_bytes()


def test_a_bundle_replaces_an_older_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "b.zip"
    write_bundle(path, whole_bundle())
    write_bundle(path, tiny_bundle("newer"))
    assert read_bundle(path).manifest.name == "newer"


def test_the_name_and_the_network_make_another_model() -> None:
    assert tiny_bundle().sha256 == tiny_bundle().sha256
    assert len({tiny_bundle().sha256, tiny_bundle("other").sha256, tiny_bundle(network=b"other").sha256}) == 3


@pytest.mark.parametrize("name", HASHED)
def test_a_changed_byte_is_refused_with_the_member(name: str, written: Callable[[Mapping[str, bytes]], Path]) -> None:
    files = dict(whole_bundle().files)
    changed = bytearray(files[name])
    changed[len(changed) // 2] ^= 1
    with pytest.raises(BundleError, match=f"is damaged: {name} does not have the hash"):
        read_bundle(written(files | {name: bytes(changed)}))


@pytest.mark.parametrize("name", HASHED)
def test_a_missing_member_is_named(name: str, written: Callable[[Mapping[str, bytes]], Path]) -> None:
    files = {member: data for member, data in whole_bundle().files.items() if member != name}
    with pytest.raises(BundleError, match=f"is incomplete: it has no {name}"):
        read_bundle(written(files))


def test_a_byte_changed_in_the_archive_is_refused_wherever_it_lies(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "b.zip", whole_bundle().files)
    data = path.read_bytes()
    for name in (*HASHED, MODEL_CARD):
        at = data.index(whole_bundle().files[name])
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(BundleError, match=f"{path} is damaged .*{name}.*copy it again"):
            read_bundle(path)


def test_a_network_without_its_hash_is_refused(written: Callable[[Mapping[str, bytes]], Path]) -> None:
    bundle = tiny_bundle()
    golden = bundle.manifest.golden[0].model_copy(update={"sha256": {}})
    unsigned = bundle_of(bundle.manifest.model_copy(update={"golden": (golden,)}), bundle.files)
    with pytest.raises(BundleError, match=r"golden/01\.png"):
        read_bundle(written(unsigned.files))


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.3, 0.7, 0.99])
def test_a_cut_archive_is_damaged(keep: float, tmp_path: Path) -> None:
    path = tmp_path / "cut.zip"
    write_bundle(path, whole_bundle())
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(BundleError, match=r"cut\.zip is damaged or no model bundle .*copy it again"):
        read_bundle(path)


def test_what_is_no_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"nowhere\.zip cannot be read \(No such file"):
        read_bundle(tmp_path / "nowhere.zip")
    (tmp_path / "text.zip").write_text("not an archive")
    with pytest.raises(BundleError, match=r"text\.zip is damaged or no model bundle"):
        read_bundle(tmp_path / "text.zip")


def test_without_manifest_it_is_no_bundle(written: Callable[[Mapping[str, bytes]], Path]) -> None:
    with pytest.raises(BundleError, match=r"is not a model bundle: it has no manifest\.json"):
        read_bundle(written({NETWORK_FILE: tiny_onnx()}))
    with pytest.raises(BundleError, match=r"is not a model bundle: its manifest\.json tells of no model"):
        read_bundle(written({MANIFEST: b'{"export": "training", "pictures": 3}'}))


USUAL = dict.fromkeys(("stain", "focus", "contrast", "clipped", "confidence", "unclear"), 1.0) | {
    "brightness": [0, 1],
    "stains": [{"dataset": "a", "mean": [0.5] * 6, "precision": [[1.0]]}],
}


def manifest_with(**changes: object) -> bytes:
    return json.dumps(json.loads(whole_bundle().files[MANIFEST]) | changes).encode()


WEIGHTS_IN_THE_NETWORK = json.loads(whole_bundle().files[MANIFEST])["networks"][0]


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        (manifest_with(threshold=0.7), "threshold: Extra inputs are not permitted"),
        (manifest_with(scale={"cell_diameter_px": 40, "mean": 3}), "scale.mean: Extra inputs"),
        (manifest_with(format_version=2), "format_version: Input should be 1"),
        (manifest_with(name="../name"), "name: String should match"),
        (manifest_with(weights={"file": "../../x", "precision": "int8", "sha256": "0" * 64}), "leaves the bundle"),
        (
            manifest_with(classes=["background", "lymphocyte"], threshold=0.7),
            "the model tells background, lymphocyte apart, this station background, cytoplasm and nucleus; install",
        ),
        (manifest_with(classes="cells"), "the model tells cells apart, this station background, cytoplasm and nucleus"),
        (manifest_with(networks=[]), "names no network"),
        (manifest_with(separation={"smoothing": 1e4}), "separation.smoothing: Input should be less than or equal to 1"),
        (manifest_with(separation={"prominence": 2}), "separation.prominence: Input should be less than or equal to 1"),
        (manifest_with(reference=USUAL), "reference.stains.0.precision.0: Tuple should have at least 6"),
        (manifest_with(weights=WEIGHTS_IN_THE_NETWORK), f"the weights are in {NETWORK_FILE}, which is a network"),
        (b"{", "Invalid JSON"),
        (b"", "Invalid JSON"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused_with_the_key(
    manifest: bytes, words: str, written: Callable[[Mapping[str, bytes]], Path]
) -> None:
    with pytest.raises(BundleError, match=f"manifest.*{words}"):
        read_bundle(written(dict(whole_bundle().files) | {MANIFEST: manifest}))


@pytest.mark.parametrize("name", ["../evil", "golden/../../evil", "/etc/evil", "..\\evil"])
def test_a_member_that_leaves_the_bundle_is_refused(name: str, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "b.zip", dict(tiny_bundle().files) | {name: b"evil"})
    with pytest.raises(BundleError, match=r"is refused: the member .* leaves the bundle"):
        read_bundle(path)
    assert not (tmp_path.parent / "evil").exists()


def test_what_unpacks_to_more_than_the_limit_is_refused_unread(
    written: Callable[[Mapping[str, bytes]], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(whole_bundle().files)
    size = sum(map(len, whole_bundle().files.values()))
    monkeypatch.setattr(bundle_module, "MAX_BUNDLE_BYTES", size)
    assert read_bundle(path).manifest.name == "tiny"
    monkeypatch.setattr(bundle_module, "MAX_BUNDLE_BYTES", size - 1)
    with pytest.raises(BundleError, match="is refused: it unpacks to more than 0 MB"):
        read_bundle(path)


def test_an_encrypted_archive_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "b.zip", {MANIFEST: b"{}"})
    data = bytearray(path.read_bytes())
    for start, flags in ((data.index(b"PK\1\2"), 8), (0, 6)):
        struct.pack_into("<H", data, start + flags, 1)
    path.write_bytes(data)
    with pytest.raises(BundleError, match="encrypted"):
        read_bundle(path)


def test_writing_where_nothing_can_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"b\.zip cannot be written \(No such file"):
        write_bundle(tmp_path / "nowhere" / "b.zip", tiny_bundle())
    (tmp_path / "taken.zip").mkdir()
    with pytest.raises(BundleError, match=r"taken\.zip cannot be written \(Is a directory"):
        write_bundle(tmp_path / "taken.zip", tiny_bundle())
    assert [path.name for path in tmp_path.iterdir()] == ["taken.zip"]


def test_a_network_is_found_by_its_precision() -> None:
    assert tiny_bundle().network("float32") == tiny_onnx()
    with pytest.raises(BundleError, match="the model tiny has no int8 network, only float32"):
        tiny_bundle().network("int8")


def test_a_manifest_cannot_be_changed_and_holds_to_its_ranges() -> None:
    manifest = tiny_manifest()
    assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest
    with pytest.raises(ValidationError, match="frozen"):
        manifest.name = "other"  # type: ignore[misc]
    for broken in ({"cell_diameter_px": 0}, {"cell_diameter_px": 64, "stride": 0}):
        with pytest.raises(ValidationError):
            NetworkScale(**broken)
    with pytest.raises(ValidationError):
        Separation(foreground=1.0)


def test_dice_of_whole_cells() -> None:
    half, full = np.array([[0, 1, 2, 0]], np.uint8), np.array([[2, 1, 2, 1]], np.uint8)
    assert cell_dice(half, full) == pytest.approx(4 / 6)
    assert cell_dice(half, 2 * (half > 0).astype(np.uint8)) == 1
    assert cell_dice(0 * half, 0 * half) == 1
    assert cell_dice(half, 0 * half) == 0


def test_a_bundle_proves_itself_on_a_network_that_answers_alike() -> None:
    results = prove(whole_bundle(), colour_network)
    assert [(one.image, one.wbc_count, one.wbc_expected) for one in results] == [
        ("golden/01.png", 3, 3),
        ("golden/02.png", 2, 2),
    ]
    assert all(one.cell_dice == 1 for one in results)


def all_background(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.broadcast_to(np.array([1, 0, 0], np.float32), tiles.shape)


WRONG: dict[str, Network] = {
    "shifted by one channel": lambda tiles: np.roll(colour_network(tiles), 1, axis=-1),
    "shifted by two channels": lambda tiles: np.roll(colour_network(tiles), 2, axis=-1),
    "nucleus and cytoplasm exchanged": lambda tiles: colour_network(tiles)[..., [0, 2, 1]],
    "all background": all_background,
    "blue and red exchanged": lambda tiles: colour_network(tiles[..., ::-1]),
    "moved by two pixels": lambda tiles: np.roll(colour_network(tiles), 2, axis=2),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_network_that_answers_otherwise_must_not_serve(name: str) -> None:
    with pytest.raises(BundleError, match=r"tiny does not prove itself here: golden/01\.png has .* must not serve it"):
        prove(tiny_bundle(), WRONG[name])


def test_a_network_that_answers_nonsense_must_not_serve() -> None:
    with pytest.raises(EngineError, match="not finite"):
        prove(tiny_bundle(), lambda tiles: colour_network(tiles) * np.float32(np.nan))


@pytest.mark.parametrize(("count", "words"), [(4, "3 cells where 4 were expected"), (2, "3 cells where 2 were")])
def test_another_count_is_no_proof(count: int, words: str) -> None:
    bundle = tiny_bundle()
    golden = bundle.manifest.golden[0].model_copy(update={"wbc_count": count})
    other = bundle_of(bundle.manifest.model_copy(update={"golden": (golden,)}), bundle.files)
    with pytest.raises(BundleError, match=words):
        prove(other, colour_network)


@pytest.mark.parametrize("name", ["golden/01.png", "golden/01.labels.png"])
def test_a_golden_picture_that_cannot_be_read_is_named(name: str) -> None:
    bundle = tiny_bundle()
    broken = Bundle(bundle.manifest, dict(bundle.files) | {name: b"no picture"}, bundle.sha256)
    with pytest.raises(BundleError, match=r"golden picture golden/01\.png: is "):
        prove(broken, colour_network)


def test_a_golden_mask_of_another_size_is_named() -> None:
    bundle = tiny_bundle()
    files = dict(bundle.files) | {"golden/01.labels.png": encode(np.zeros((5, 5), np.uint8))}
    with pytest.raises(BundleError, match=r"golden/01.png and its mask differ in size"):
        prove(Bundle(bundle.manifest, files, bundle.sha256), colour_network)


def test_a_bundle_without_golden_pictures_proves_nothing() -> None:
    bundle = tiny_bundle()
    bare = bundle_of(bundle.manifest.model_copy(update={"golden": ()}), bundle.files)
    with pytest.raises(BundleError, match="has no golden picture with a cell"):
        prove(bare, colour_network)


def test_an_archive_that_lies_about_its_sizes_is_not_inflated(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST, bytes(100_000_000))
    data = bytearray(path.read_bytes())
    for at in (22, data.index(b"PK\1\2") + 24):  # the size in the member's own header and in the directory
        struct.pack_into("<I", data, at, 10)
    path.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(BundleError):
        read_bundle(path)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_a_damaged_directory_of_an_archive_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "b.zip"
    write_bundle(path, tiny_bundle())
    data = bytearray(path.read_bytes())
    data[data.rindex(b"PK\5\6") + 18] ^= 0x80
    path.write_bytes(data)
    with pytest.raises(BundleError, match="is damaged"):
        read_bundle(path)
