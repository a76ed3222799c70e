"""What kind of file system a path lies on, and how much room is left there."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")

# What another machine may change unheard: inotify tells only what this kernel did.
_NETWORK = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "ceph", "glusterfs", "lustre", "beegfs", "gfs2"),
        *("9p", "virtiofs", "vboxsf", "prl_fs"),  # folders of the host that a virtual machine sees
    }
)
_NETWORK_FUSE = frozenset(
    {
        *("sshfs", "glusterfs", "ceph", "rclone", "s3fs", "goofys", "gcsfuse", "blobfuse", "davfs", "davfs2"),
        *("curlftpfs", "smbnetfs", "vmhgfs-fuse", "gvfsd-fuse", "juicefs"),
    }
)


@dataclass(frozen=True, slots=True)
class FileSystem:
    """What lies under a path. `source` is what was mounted: a device, or a share as //pc/name or pc:/name."""

    kind: str  # as the kernel names it: ext4, cifs, fuse.sshfs; "unknown" where the machine does not tell
    network: bool  # another machine keeps the files
    fuse: bool  # a program stands between kernel and files
    read_only: bool
    source: str

    @property
    def is_shared(self) -> bool:
        """Whether events and locks cannot be relied on."""
        return self.network or self.fuse


UNKNOWN = FileSystem("unknown", network=False, fuse=False, read_only=False, source="")


def kind_of(path: Path, mounts: Path = MOUNTS) -> FileSystem:
    """The file system that `path` lies on, or will lie on where it does not exist yet; links are followed.

    `mounts` is a table in the format of /proc/self/mountinfo. `UNKNOWN` where there is none.
    """
    with contextlib.suppress(OSError):
        os.statvfs(path)  # wakes a share that is mounted on demand; looking at names alone would not
    try:
        table = mounts.read_bytes().decode(errors="surrogateescape")
    except OSError:
        return UNKNOWN
    return find(Path(os.path.realpath(path)), table)


def find(path: Path, table: str) -> FileSystem:
    """The mount with the longest mount point above `path`, which is absolute and free of links.

    Of several on one point the last line counts: it covers the others.
    """
    above = [(point, found) for point, found in _mounts(table) if path.is_relative_to(point)]
    longest = max((len(point.parts) for point, _ in above), default=0)
    return next((found for point, found in reversed(above) if len(point.parts) == longest), UNKNOWN)


def free_bytes(path: Path) -> int:
    """Bytes that a user without privileges may still write there. Of a path that does not exist yet, its folder's.

    Raises OSError where the file system does not answer.
    """
    there = next(one for one in (path.absolute(), *path.absolute().parents) if one.exists())
    status = os.statvfs(there)
    return status.f_bavail * status.f_frsize


def is_there(path: Path) -> bool:
    """Whether a file can be found now; no, where the file system does not answer or does not let one look."""
    try:
        return path.exists()
    except OSError:  # a share that dropped, a folder that may not be entered
        return False


def _mounts(table: str) -> Iterator[tuple[Path, FileSystem]]:
    # 36 35 98:0 /root /mount/point rw,noatime master:1 - ext4 /dev/sda1 rw,errors=continue
    for line in table.split("\n"):
        before, dash, after = line.partition(" - ")
        fields, described = before.split(" "), after.split(" ")
        if not dash or len(fields) < 6:
            continue
        kind, source, options = (*described, "", "")[:3]
        read_only = "ro" in fields[5].split(",") or "ro" in options.split(",")
        yield Path(_unescaped(fields[4])), _file_system(_unescaped(kind), _unescaped(source), read_only=read_only)


def _file_system(kind: str, source: str, *, read_only: bool) -> FileSystem:
    family, _, program = kind.partition(".")
    fuse = family in ("fuse", "fuseblk")
    network = family in _NETWORK or (fuse and program in _NETWORK_FUSE)
    return FileSystem(kind, network=network, fuse=fuse, read_only=read_only, source=source)


def _unescaped(field: str) -> str:
    r"""Spaces, tabs, line breaks and backslashes stand in the table as `\040`, `\011`, `\012` and `\134`."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)
