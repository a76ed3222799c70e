"""Built plans as files: a cache that may be lost at any time, and is never trusted.

A plan is `<key>.plan` with a sidecar `<key>.json` that tells what it was made from and its hash. Whatever does not fit
(another key, a changed byte, half a file, no sidecar) counts as missing and is deleted.
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import ValidationError

from station.contract.bundle import sha256_of
from station.contract.durable import flush
from station.contract.errors import EngineError
from station.contract.manifest import Frozen, Sha256
from station.engines.tensorrt.shapes import Profile

PLAN, SIDECAR, PART = ".plan", ".json", ".part"
LOCK, TIMINGS = "lock", "timings"
_DIGEST_BYTES = 32


class PlanKey(Frozen):
    """All that a plan depends on; where one part differs, it is another plan."""

    network_sha256: Sha256
    library: str
    version: str
    gpu: str
    compute_capability: str
    precision: str
    profiles: tuple[Profile, ...]
    workspace_bytes: int
    flags: tuple[str, ...]

    @property
    def short(self) -> str:
        """16 hex digits, the name of its files."""
        return sha256_of(self.model_dump_json().encode())[:16]


class Sidecar(Frozen):
    """What lies beside a plan."""

    key: PlanKey
    plan_sha256: Sha256
    plan_bytes: int


def read_plan(folder: Path, key: PlanKey) -> bytes | None:
    """The kept plan; None where there is none or it is not what its sidecar says, and then its files are deleted."""
    plan = _valid(folder, key)
    if plan is None and any((folder / f"{key.short}{ending}").exists() for ending in (SIDECAR, PLAN)):
        with suppress(OSError), _locked(folder, wait=False) as held:
            if held:  # nobody is writing it just now
                plan = _valid(folder, key)
                if plan is None:
                    _delete(folder, key.short)
    return plan


def plan_for(folder: Path, key: PlanKey, make: Callable[[], bytes]) -> bytes:
    """The kept plan, or a new one by `make`, which is kept; plans that it replaces are deleted.

    One process at a time makes plans: a second one waits, and takes the plan of the first where it is the same. Raises
    EngineError where the folder cannot be written, and what `make` raises.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder, wait=True):
            plan = _valid(folder, key)
            if plan is None:
                _delete_halves(folder)
                plan = make()
                _keep(folder, key, plan)
            return plan
    except OSError as cause:
        raise EngineError(f"the plans in {folder} cannot be kept ({cause.strerror or cause})") from cause


def remove_plan(folder: Path, key: PlanKey) -> None:
    """Delete a plan that the library refused; a plan that cannot be deleted is no failure of its own."""
    with suppress(OSError):
        _delete(folder, key.short)


def read_timings(folder: Path) -> bytes:
    """What earlier builds measured; empty where there is nothing or it is damaged."""
    try:
        data = (folder / TIMINGS).read_bytes()
    except OSError:
        return b""
    digest, timings = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    return timings if hashlib.sha256(timings).digest() == digest else b""


def write_timings(folder: Path, timings: bytes) -> None:
    """Keep them for the next build. Raises OSError."""
    _write(folder / TIMINGS, hashlib.sha256(timings).digest() + timings)


def _valid(folder: Path, key: PlanKey) -> bytes | None:
    try:
        sidecar = Sidecar.model_validate_json((folder / f"{key.short}{SIDECAR}").read_bytes())
        plan = (folder / f"{key.short}{PLAN}").read_bytes()
    except (OSError, ValidationError):
        return None
    as_written = len(plan) == sidecar.plan_bytes > 0 and sha256_of(plan) == sidecar.plan_sha256
    return plan if as_written and sidecar.key == key else None


def _keep(folder: Path, key: PlanKey, plan: bytes) -> None:
    """The sidecar comes last: a plan without one is none."""
    sidecar = Sidecar(key=key, plan_sha256=sha256_of(plan), plan_bytes=len(plan))
    _delete(folder, key.short)
    _write(folder / f"{key.short}{PLAN}", plan)
    _write(folder / f"{key.short}{SIDECAR}", sidecar.model_dump_json(indent=2).encode())
    for other in _replaced(folder, key):
        _delete(folder, other)


def _replaced(folder: Path, key: PlanKey) -> Iterator[str]:
    """Plans of the same network in the same precision under another key: of an older library, another GPU or shape."""
    for path in sorted(folder.glob(f"*{SIDECAR}")):
        try:
            other = Sidecar.model_validate_json(path.read_bytes()).key
        except (OSError, ValidationError):
            yield path.stem  # of no use to anybody
            continue
        same = (other.network_sha256, other.precision) == (key.network_sha256, key.precision)
        if same and path.stem != key.short:
            yield path.stem


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(path.name + PART)
    with part.open("wb") as file:
        file.write(data)
    flush(part)
    part.replace(path)
    flush(path.parent)


def _delete(folder: Path, short: str) -> None:
    for ending in (SIDECAR, PLAN):
        (folder / f"{short}{ending}").unlink(missing_ok=True)


def _delete_halves(folder: Path) -> None:
    """What a process left behind that was killed while it wrote."""
    for path in folder.glob(f"*{PART}"):
        path.unlink(missing_ok=True)


@contextmanager
def _locked(folder: Path, *, wait: bool) -> Iterator[bool]:
    """Hold the folder's lock, which the system releases when the process ends, however it ends; whether it is held."""
    with (folder / LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
