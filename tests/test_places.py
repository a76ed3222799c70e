"""Which file system a path lies on, told from tables as real machines show them."""

from __future__ import annotations

from pathlib import Path

import pytest

from station.places import UNKNOWN, FileSystem, find, free_bytes, kind_of

TABLE = r"""
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw,errors=remount-ro
28 27 254:1 / /srv rw,noatime shared:2 master:1 - xfs /dev/sdb1 rw
40 28 0:51 / /srv/leica rw,relatime shared:3 - cifs //LAS-PC/images rw,vers=3.1.1,addr=10.0.0.7
41 28 0:52 / /srv/old\040fields ro,relatime - nfs4 nas:/exports/old\040fields rw,vers=4.2
42 28 254:1 /data/day /srv/today rw,noatime shared:2 - xfs /dev/sdb1 rw
43 28 0:53 / /srv/ssh rw,nosuid,nodev - fuse.sshfs me@pc:/pictures rw,user_id=0
44 28 8:17 / /srv/stick rw,nosuid - fuseblk /dev/sdc1 ro,user_id=0
45 28 0:54 / /srv/win rw,relatime - 9p C:\134Users\134lab rw,aname=drvfs
46 28 0:40 / /srv/auto rw,relatime - autofs systemd-1 rw,fd=52
47 46 0:55 / /srv/auto rw,relatime - smb3 //LAS-PC/auto rw
48 28 0:56 / /srv/pool rw,relatime - fuse.mergerfs 1:2 rw
49 28 0:57 / /srv/back\134slash rw - afs none rw
50 28 0:58 / /srv/nothing rw - ceph
"""


@pytest.mark.parametrize(
    ("path", "kind", "source", "network", "fuse", "read_only"),
    [
        ("/var/lib/station.db", "ext4", "/dev/nvme0n1p2", False, False, False),
        ("/srv/station.db", "xfs", "/dev/sdb1", False, False, False),
        ("/srv/leica/slide 1/a.bmp", "cifs", "//LAS-PC/images", True, False, False),
        ("/srv/leica2", "xfs", "/dev/sdb1", False, False, False),  # a longer name is not below the shorter
        ("/srv/old fields/2025", "nfs4", "nas:/exports/old fields", True, False, True),
        ("/srv/today", "xfs", "/dev/sdb1", False, False, False),  # a bind mount
        ("/srv/ssh/a", "fuse.sshfs", "me@pc:/pictures", True, True, False),
        ("/srv/stick", "fuseblk", "/dev/sdc1", False, True, True),  # read-only below, not at the mount
        ("/srv/win", "9p", r"C:\Users\lab", True, False, False),
        ("/srv/auto/a", "smb3", "//LAS-PC/auto", True, False, False),  # covers the autofs on the same point
        ("/srv/pool", "fuse.mergerfs", "1:2", False, True, False),
        (r"/srv/back\slash/a", "afs", "none", True, False, False),
        ("/srv/nothing", "ceph", "", True, False, False),
    ],
)
def test_the_longest_mount_point_above_a_path_says_what_it_lies_on(
    path: str, kind: str, source: str, network: bool, fuse: bool, read_only: bool
) -> None:
    found = find(Path(path), TABLE)
    assert found == FileSystem(kind, network=network, fuse=fuse, read_only=read_only, source=source)
    assert found.is_shared == (network or fuse)


def test_links_are_followed_also_to_what_does_not_exist_yet(tmp_path: Path) -> None:
    real, table = (tmp_path / "real").resolve(), tmp_path / "mountinfo"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    table.write_text(f"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:50 / {real} rw - cifs //pc/images rw\n")
    assert kind_of(tmp_path / "link" / "new" / "station.db", table).kind == "cifs"
    assert kind_of(tmp_path, table).kind == "ext4"


def test_a_name_that_is_no_utf_8_is_found(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_bytes(b"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:50 / /srv/B\xe4r rw - nfs nas:/b rw\n")
    assert kind_of(Path("/srv/B\udce4r/x"), table).kind == "nfs"


def test_a_machine_without_a_table_says_nothing(tmp_path: Path) -> None:
    assert kind_of(tmp_path, tmp_path / "none") == find(tmp_path, "") == find(tmp_path, "no table\n1 - 2") == UNKNOWN
    assert not UNKNOWN.is_shared


def test_this_machine_tells_what_it_lies_on() -> None:
    assert kind_of(Path("/proc/self/mountinfo")).kind == "proc"


def test_the_room_of_a_file_that_is_still_to_be_made_is_that_of_its_folder(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "new" / "station.db") > 0
    assert free_bytes(Path("/proc/self")) == 0
