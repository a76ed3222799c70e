"""Tells systemd how the station is: sd_notify(3) is one datagram, so no library is needed."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TypeAlias

Notify: TypeAlias = Callable[[str], None]


def notifier(environment: Mapping[str, str] = os.environ) -> Notify:
    """A function that sends READY=1, WATCHDOG=1, STATUS=..., or does nothing outside systemd.

    It never waits and never fails: a message that systemd does not take must not stop the counting.
    """
    address = environment.get("NOTIFY_SOCKET")
    if not address:
        return lambda _message: None
    target = "\0" + address[1:] if address.startswith("@") else address

    def notify(message: str) -> None:
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.setblocking(False)
            channel.sendto(message.encode(), target)

    return notify
