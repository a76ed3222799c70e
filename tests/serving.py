"""A web server in tests: the real one, in a thread, on a port that is free, beside a painted day."""

from __future__ import annotations

import http.client
import json
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from painted_days import Day

from station.database.store import Store
from station.review.app import application
from station.review.desk import Desk
from station.review.pictures import Pictures
from station.review.security import door_for
from station.review.server import open_socket, server_for


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Served:
    """A running server. Requests go out as they are written: no client mends a path or a header."""

    day: Day
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def own(self) -> dict[str, str]:
        """The headers of a page's own request."""
        return {"Origin": self.url, "Sec-Fetch-Site": "same-origin", "Content-Type": "application/json"}

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Answer:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as line:
            line.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            told = {"Host": f"127.0.0.1:{self.port}", "Content-Length": str(len(body or b""))}
            for name, value in (told | {key.replace("_", "-"): value for key, value in headers.items()}).items():
                line.putheader(name, value.encode("utf-8"))
            line.endheaders(body)
            answer = line.getresponse()
            return Answer(answer.status, answer.headers, answer.read())

    def secret(self) -> str:
        found = re.search(r'name="csrf" content="([^"]+)"', self.ask("/").text)
        assert found
        return found[1]

    def correct(
        self, image_id: int, kind: str, seen: int = 0, who: str = "Ada", why: str = "", **detail: Any
    ) -> Answer:
        shown = self.day.store.reviewed(image_id)
        version = f"{seen}-{shown.analysis_id}-{shown.seen_analysis_id}" if shown else f"{seen}-1-1"
        told = {"kind": kind, "detail": detail, "seen": version, "who": who, "why": why}
        headers = self.own | {"X-CSRF-Token": self.secret()}
        return self.ask(f"/images/{image_id}/corrections", "POST", json.dumps(told).encode(), **headers)


@contextmanager
def served(day: Day, host: str = "127.0.0.1", token: str | None = None, who: str = "") -> Iterator[Served]:
    """The server of a day's database, which it opens for itself; it has ended when the block has."""
    with open_socket(host, 0) as listening, closing(Store.open(day.store.path, clock=day.store._clock)) as store:
        port = listening.getsockname()[1]
        desk = Desk(store, day.settings, Pictures(store, 50), who, secrets.token_urlsafe(8), "test")
        server = server_for(lambda stopping: application(desk, door_for(host, port, token), stopping))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="served")
        thread.start()
        try:
            yield Served(day, port)
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()
