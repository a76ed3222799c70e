"""Messages to systemd over real datagram sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from station.notify import notifier


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """(what NOTIFY_SOCKET says, the socket at which systemd listens)."""
    address = str(tmp_path / "notify") if request.param == "path" else f"\0wbc {tmp_path}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(address)
        ear.settimeout(5)
        yield address.replace("\0", "@"), ear


def test_messages_arrive(systemd: tuple[str, socket.socket]) -> None:
    address, ear = systemd
    notify = notifier({"NOTIFY_SOCKET": address})
    notify("READY=1")
    notify("STATUS=counting")
    assert [ear.recv(100), ear.recv(100)] == [b"READY=1", b"STATUS=counting"]


def test_a_systemd_that_does_not_listen_stops_nobody(systemd: tuple[str, socket.socket]) -> None:
    address, ear = systemd
    notify = notifier({"NOTIFY_SOCKET": address})
    for _ in range(2000):  # far more than the kernel queues
        notify("WATCHDOG=1")
    ear.close()
    notify("WATCHDOG=1")


def test_outside_systemd_nothing_is_sent() -> None:
    notifier({})("READY=1")
