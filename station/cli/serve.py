"""`station serve`: look at images in a browser, correct and sign."""

from __future__ import annotations

import getpass
import secrets
import signal
import socket
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from station.cli.context import config_option, settings_of, writing
from station.contract.errors import StationError
from station.database.store import Store
from station.journal import say
from station.settings import Settings
from station.version import package_version

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from station.review.security import Door

TOKEN_VARIABLE = "WBC_STATION_TOKEN"
LEAST_TOKEN = 16  # characters


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8080, show_default=True, help="0: any that is free.")
@click.option(
    "--token",
    envvar=TOKEN_VARIABLE,
    metavar="TEXT",
    help=f"What a browser must know; better told by ${TOKEN_VARIABLE}, which other users cannot read (default: none "
    "for this machine alone, else a new one for each start).",
)
@click.option("--who", metavar="NAME", help="The name that the pages propose (default: this system's user).")
@config_option
def command(host: str, port: int, token: str | None, who: str | None, config: Path | None) -> None:
    """Show images as they come in a browser: look, correct, sign. Needs neither GPU nor model.

    Only this machine reaches the default address. Any other is open to the network: it needs a token, which stands in
    the address that is printed, and is not encrypted; a tunnel (`ssh -L 8080:127.0.0.1:8080 station`) is.

    \b
    Example:
      station serve
      station serve --port 8090 --who "A. Weber"
      station serve --host 0.0.0.0
    """
    need_review()
    from station.review.security import door_for, is_here
    from station.review.server import open_socket, server_for

    if token is not None and len(token) < LEAST_TOKEN:
        raise click.UsageError(f"a token of less than {LEAST_TOKEN} characters could be guessed")
    drawn = secrets.token_urlsafe(32) if token is None and not is_here(host) else None
    settings = settings_of(config)
    with open_socket(host, port) as listening, writing(settings) as store:
        door = door_for(host, listening.getsockname()[1], token or drawn)
        proposed = who if who is not None else (_user() if is_here(host) else "")
        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, _ended)
        server = server_for(_application(store, settings, door, proposed))
        say(f"open {address_of(host, door)}{_hint(token, drawn)}  (Ctrl-C ends it)")
        server.run(sockets=[listening])


def need_review() -> None:
    """Raise StationError where the extra `review` is not installed."""
    if missing := [name for name in ("starlette", "uvicorn") if find_spec(name) is None]:
        raise StationError(
            f"this needs {', '.join(missing)}, which counting alone does not: pip install 'wbc-station[review]' "
            "(in a clone: pip install '.[review]')"
        )


def address_of(host: str, door: Door) -> str:
    """What a person opens, without the token."""
    name = socket.gethostname() if door.everywhere else host
    return f"http://[{name}]:{door.port}/" if ":" in name else f"http://{name}:{door.port}/"


def _hint(told: str | None, drawn: str | None) -> str:
    """The token as it stands in an address. One that was told is known, and has no business in a log."""
    return "?token=<yours>" if told else f"?token={drawn}" if drawn else ""


def _application(store: Store, settings: Settings, door: Door, who: str) -> Callable[[Callable[[], bool]], Starlette]:
    from station.review.app import application
    from station.review.desk import Desk
    from station.review.pictures import Pictures

    pictures = Pictures(store, settings.limits.max_megapixels)
    desk = Desk(store, settings, pictures, who, secrets.token_urlsafe(32), package_version())
    return lambda stopping: application(desk, door, stopping)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a number without a name, as in some containers
        return ""


def _ended(*_: object) -> None:
    """The server ends by itself and then raises its signal again, for whoever listened before."""
    raise SystemExit(0)
