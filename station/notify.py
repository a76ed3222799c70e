"""Tells systemd how the station is: sd_notify(3) is one datagram, so no library is needed."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from typing import TypeAlias

Notify: TypeAlias = Callable[[str], None]


def notifier(environment: Mapping[str, str] = os.environ) -> Notify:
    """A function that sends READY=1, WATCHDOG=1, STATUS=..., or does nothing outside systemd."""
    address = environment.get("NOTIFY_SOCKET")
    if not address:
        return lambda _message: None
    target = "\0" + address[1:] if address.startswith("@") else address

    def notify(message: str) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.connect(target)
            channel.sendall(message.encode())

    return notify
