"""The web server: one process, a socket that is open before anything is loaded."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette

from station.contract.errors import StationError

_PATIENCE_SECONDS = 15  # for what is under way when the server ends


def open_socket(host: str, port: int) -> socket.socket:
    """Listening; port 0 stands for any that is free. Raises StationError where that cannot be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as cause:
        raise StationError(f"{host} port {port} cannot be listened on: {_why(cause)}") from cause


def server_for(make: Callable[[Callable[[], bool]], Starlette]) -> uvicorn.Server:
    """A server for the application that `make` makes; that is told by what it learns that the server is to end."""
    servers: list[uvicorn.Server] = []
    config = uvicorn.Config(
        make(lambda: bool(servers) and servers[0].should_exit),
        log_level="warning",
        access_log=False,  # a line for each picture, with names of slides in it, and once the token
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=_PATIENCE_SECONDS,
    )
    servers.append(uvicorn.Server(config))
    return servers[0]


def _why(cause: OSError) -> str:
    known = {
        errno.EADDRINUSE: "another program does; --port names another",
        errno.EACCES: "this user may not; --port names one above 1023",
        errno.EADDRNOTAVAIL: "this machine has no such address; --host names one that it has",
    }
    return known.get(cause.errno or 0, cause.strerror or str(cause))
