"""Who may ask `station serve` for what, and the command itself."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import pytest
from click.testing import CliRunner
from painted_days import MORNING, Day, small
from serving import Served, served

from station.cli import main
from station.review.posting import MOST_BYTES
from station.review.security import HEADERS, door_for

(ONE,) = small(1)
TOKEN = "a token that nobody guesses"
FORM = "application/x-www-form-urlencoded"


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    made = Day(tmp_path_factory.mktemp("guarded"))
    yield made
    made.store.close()


@pytest.fixture(scope="module")
def at(day: Day) -> Iterator[Served]:
    with served(day) as running:
        yield running


def said(day: Day, image_id: int) -> list[str]:
    return [one.kind for one in day.store.corrections(image_id)]


# Who is refused


def test_every_answer_carries_the_headers_that_keep_it_here(day: Day, at: Served) -> None:
    image_id = day.picture(ONE, MORNING, slide="S-headers")
    paths = [
        "/",
        "/signatures",
        "/static/style.css",
        f"/images/{image_id}",
        f"/images/{image_id}/picture.jpg",
        "/nothing",
    ]
    answers = [at.ask(path) for path in paths] + [at.ask("/", Host="evil.example"), at.ask("/", "POST")]
    assert [answer.status for answer in answers] == [200] * 5 + [404, 421, 403]
    for answer in answers:
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert "script" not in HEADERS["Content-Security-Policy"] and "unsafe" not in HEADERS["Content-Security-Policy"]
    for path in (*paths[:2], paths[3], "/sign?slide=S-headers"):
        Obedient().feed(at.ask(path).text)


class Obedient(HTMLParser):
    """Knows what the policy would stop, and who else would be asked for it."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        assert tag != "style" and (tag != "script" or told["src"])
        assert not [name for name in told if name.startswith("on") or name == "style"]
        assert all((told.get(name) or "/").startswith(("/", "#")) for name in ("src", "href", "action"))


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "", "127.0.0.2", "a@127.0.0.1", "[::1"]
)
def test_a_name_that_is_not_the_stations_is_refused(at: Served, host: str) -> None:
    assert at.ask("/", Host=host).status in (400, 421)


def test_its_own_names_are_taken(at: Served) -> None:
    for name in (f"localhost:{at.port}", f"LOCALHOST:{at.port}", f"[::1]:{at.port}", "127.0.0.1:9000"):  # a tunnel
        assert at.ask("/", Host=name).status == 200
    door = door_for("0.0.0.0", 80, TOKEN)
    assert door.knows("192.168.7.5:80", "192.168.7.5") and not door.knows("evil.example", "192.168.7.5")
    assert not door_for("127.0.0.1", 80, None).knows("192.168.7.5:80", "192.168.7.5")


FOREIGN = [
    {"Origin": "http://evil.example"},
    {"Origin": "http://evil.example", "Sec_Fetch_Site": "cross-site"},
    {"Origin": "null", "Sec_Fetch_Site": "cross-site"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Sec_Fetch_Site": "same-site"},
    {"Sec_Fetch_Site": "none"},
    {},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
@pytest.mark.parametrize("secret", ["right", "wrong"])
def test_what_no_page_of_the_station_sent_changes_nothing(
    day: Day, at: Served, headers: dict[str, str], secret: str
) -> None:
    image_id = day.picture(ONE, MORNING, slide="S-foreign", file=False)
    body = json.dumps({"kind": "accept", "detail": {}, "seen": 0, "who": "Eve"}).encode()
    told = {"Content-Type": "application/json", "X-CSRF-Token": at.secret() if secret == "right" else "x"}
    for path in (f"/images/{image_id}/corrections", "/sign?slide=S-foreign"):
        assert at.ask(path, "POST", body, **told, **headers).status == 403
    assert said(day, image_id) == [] and day.store.signatures("slide", "S-foreign") == ()


@pytest.mark.parametrize("secret", ["", "x", "é", None])
def test_without_the_token_of_the_page_nothing_is_written(day: Day, at: Served, secret: str | None) -> None:
    image_id = day.picture(ONE, MORNING, slide="S-secret", file=False)
    body = json.dumps({"kind": "accept", "detail": {}, "seen": 0, "who": "Eve"}).encode()
    headers = at.own | ({} if secret is None else {"X-CSRF-Token": secret})
    answer = at.ask(f"/images/{image_id}/corrections", "POST", body, **headers)
    assert answer.status == 403 and "load it again" in answer.text and said(day, image_id) == []
    assert at.ask("/sign?slide=S-secret", "POST", b"who=Eve", **at.own | {"Content-Type": FORM}).status == 403


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/json", b"{", 400),
        ("application/json", b"[" * 100_000, 400),
        ("application/json", b"[1]", 400),
        ("application/json", b"\xff", 400),
        (FORM, b"\xff%", 400),
        ("text/plain", b"{}", 415),
        ("application/json", b" " * (MOST_BYTES + 1), 413),
    ],
    ids=range(7),
)
def test_what_cannot_be_read_is_refused(at: Served, kind: str, body: bytes, status: int) -> None:
    assert at.ask("/images/1/corrections", "POST", body, **at.own | {"Content-Type": kind}).status == status


PATHS = [
    "/static/../app.py",
    "/static/..%2fapp.py",
    "/static/%2e%2e/%2e%2e/cli/serve.py",
    "/static//etc/passwd",
    "/static/..%5c..%5capp.py",
    "/../../../../etc/passwd",
    "/images/../../etc/passwd",
    "/images/1/../../../etc/passwd",
    "/static/style.css%00.png",
    "/static/",
    "/images/1/picture.jpg/../../../../etc/passwd",
]


@pytest.mark.parametrize("path", PATHS)
def test_no_path_leads_out(at: Served, path: str) -> None:
    answer = at.ask(path)
    assert answer.status == 404 and b"root:" not in answer.body and b"import" not in answer.body


def test_a_page_only_reads(day: Day, at: Served) -> None:
    image_id = day.picture(ONE, MORNING, slide="S-reads")
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        assert at.ask(f"/images/{image_id}", method, **at.own).status == 405
    assert at.ask(f"/images/{image_id}/corrections").status == 405


@pytest.fixture(scope="module")
def guarded(day: Day) -> Iterator[Served]:
    with served(day, token=TOKEN) as running:
        yield running


def test_with_a_token_nothing_is_shown_without_it(day: Day, guarded: Served) -> None:
    image_id = day.picture(ONE, MORNING, slide="S-token")
    paths = (
        "/",
        f"/images/{image_id}",
        f"/images/{image_id}/picture.jpg",
        "/events",
        "/static/style.css",
        "/sign?slide=S-token",
    )
    for path in paths:
        assert guarded.ask(path).status == 401
    for wrong in ("", "x", TOKEN + "x", "é"):
        assert guarded.ask("/?token=" + quote(wrong)).status == 401
        assert guarded.ask("/", Cookie=f"wbc-station-{guarded.port}={wrong}").status == 401
    assert guarded.ask("/", "POST", b"{}", **guarded.own).status == 401


def test_the_token_moves_from_the_address_into_a_cookie_that_no_script_reads(guarded: Served) -> None:
    answer = guarded.ask("/?slide=S-1&token=" + quote(TOKEN))
    assert (answer.status, answer.headers["Location"]) == (303, "/?slide=S-1")
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie and "Path=/" in cookie
    page = guarded.ask("/", Cookie=cookie.partition(";")[0])
    assert page.status == 200 and TOKEN not in page.text
    assert guarded.ask("/", Cookie=cookie.partition(";")[0], Host="evil.example").status == 421


# The command


def config_of(day: Day) -> Path:
    path = day.root / "station.toml"
    path.write_text(f'[camera]\nfolder = "{day.folder}"\n[database]\npath = "{day.store.path}"\n')
    return path


def test_the_command_serves_until_it_is_told_to_end(day: Day) -> None:
    line = [sys.executable, "-m", "station.cli", "serve", "--port", "0", "--config", str(config_of(day))]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout and running.stderr
        found = re.search(r"open http://127\.0\.0\.1:(\d+)/ ", running.stdout.readline())
        assert found
        assert Served(day, int(found[1])).ask("/").status == 200
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 0 and running.stderr.read() == ""


def test_for_the_network_a_token_is_drawn_and_printed(day: Day) -> None:
    line = [sys.executable, "-m", "station.cli", "serve", "--host", "0.0.0.0", "--port", "0", "--config"]
    with subprocess.Popen([*line, str(config_of(day))], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout
        found = re.search(r"open http://[^/]+:(\d+)/\?token=([\w-]{43}) ", running.stdout.readline())
        assert found
        at = Served(day, int(found[1]))
        assert at.ask("/").status == 401 and at.ask(f"/?token={found[2]}").status == 303
        running.send_signal(signal.SIGINT)
        assert running.wait(20) == 0


def test_the_command_says_what_keeps_it_from_serving(day: Day, at: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def call(*options: object) -> tuple[int, str]:
        told = CliRunner().invoke(main, ["serve", *map(str, options), "--config", str(config_of(day))])
        return told.exit_code, told.stderr

    assert (
        call("--port", at.port)[0] == 1 and "another program does; --port names another" in call("--port", at.port)[1]
    )
    code, words = call("--host", "192.0.2.1", "--port", 0)
    assert code == 1 and "this machine has no such address" in words
    assert call("--port", 0, "--token", "short")[0] == 2
    monkeypatch.setattr("station.cli.serve.find_spec", lambda name: None if name == "uvicorn" else object())
    code, words = call("--port", 0)
    assert code == 1 and "this needs uvicorn" in words and "pip install 'wbc-station[review]'" in words


def test_the_pages_load_neither_engine_nor_network() -> None:
    code = "import sys, station.review.app, station.review.server; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"onnxruntime", "openvino", "station.engines", "station.pipeline", "station.contract.bundle"} & set(
        loaded
    )
