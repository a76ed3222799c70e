"""Who may ask for a page, and by what name: nothing but the browser of somebody who sits here, or who has the token."""

from __future__ import annotations

import hmac
import ipaddress
import socket
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",  # what is shown is patients' material
}

_SAFE = ("GET", "HEAD")
_HERE: Final = ("127.0.0.1", "localhost", "::1")
_COOKIE_DAYS = 30


@dataclass(frozen=True, slots=True)
class Door:
    """By which names pages may be asked for, and the token if one is needed.

    A page that asks by another name was led here by a name server that lies.
    """

    names: frozenset[str]
    port: int
    token: str | None = None
    everywhere: bool = False  # bound to all addresses of this machine: each of them is a name, too

    def knows(self, host: str, came_in_by: str | None) -> bool:
        """Whether the header `Host` names this station."""
        name = _name_in(host)
        return name is not None and (name in self.names or (self.everywhere and name == came_in_by))

    def opens_by(self, given: str | None) -> bool:
        """Whether what was given is the token, or none is needed."""
        return self.token is None or (given is not None and _same(given, self.token))

    @property
    def cookie(self) -> str:
        return f"wbc-station-{self.port}"  # cookies do not tell ports apart, and two stations may run here


def is_here(host: str) -> bool:
    """Whether only programs of this machine reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def door_for(host: str, port: int, token: str | None) -> Door:
    """The door of a station that is bound to a host and port."""
    if is_here(host):
        return Door(frozenset((*_HERE, host.lower())), port, token)
    names = (host, socket.gethostname(), f"{socket.gethostname()}.local", socket.getfqdn(), *_HERE)
    return Door(frozenset(name.lower() for name in names), port, token, everywhere=host in ("0.0.0.0", "::"))


class Guard:
    """Refuses what does not come from a page of this station, and puts its headers on all that goes out."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app, self._door = app, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        answer = self._instead(Request(scope))
        await (answer or self._app)(scope, receive, sending)

    def _instead(self, request: Request) -> Response | None:
        """What is answered in place of the page; None where nothing speaks against it."""
        host, server = request.headers.get("host", ""), request.scope.get("server")
        if not self._door.knows(host, server[0] if server else None):
            return _refusal(421, "this station is not known by that name; use the address that `station serve` printed")
        if request.method not in _SAFE and not is_own(request):
            return _refusal(403, "this did not come from a page of this station")
        if "token" in request.query_params and self._door.token is not None:
            return self._let_in(request)
        if not self._door.opens_by(request.cookies.get(self._door.cookie)):
            return _refusal(401, "this station needs its token: open the address that `station serve` printed")
        return None

    def _let_in(self, request: Request) -> Response:
        """The token goes from the address, where it would stay in the browser's history, into a cookie."""
        given = request.query_params["token"]
        if request.method not in _SAFE or not self._door.opens_by(given):
            return _refusal(401, "this token is not that of this start of `station serve`")
        others = [pair for pair in request.query_params.multi_items() if pair[0] != "token"]
        answer = RedirectResponse(request.url.path + (f"?{urlencode(others)}" if others else ""), 303)
        age = _COOKIE_DAYS * 86_400
        # Lax: the address may be a link in a mail, of which a strict cookie would not come along. Pages only read.
        answer.set_cookie(self._door.cookie, given, max_age=age, httponly=True, samesite="lax")
        return answer


def is_own(request: HTTPConnection) -> bool:
    """Whether a page of the same origin sent this.

    Of a form, under the referrer policy above, browsers say `Origin: null`; then Sec-Fetch-Site must tell, which they
    send to this machine and over TLS.
    """
    origin, site = request.headers.get("origin", "null"), request.headers.get("sec-fetch-site")
    if site is not None and site != "same-origin":
        return False
    if origin == "null":
        return site == "same-origin"
    host = request.headers.get("host", "")
    return origin.lower() in (f"http://{host}".lower(), f"https://{host}".lower())


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())


def _name_in(host: str) -> str | None:
    """The name in `name:port` or `[address]:port`."""
    try:
        split = urlsplit(f"//{host}")
        return split.hostname if split.netloc == host and "@" not in host else None
    except ValueError:
        return None


def _refusal(status: int, sentence: str) -> Response:
    return PlainTextResponse(f"refused: {sentence}\n", status)
