"""`station serve` by its addresses: pages, corrections, signatures, news. No browser."""

from __future__ import annotations

import http.client
import json
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from html import unescape
from itertools import chain
from pathlib import Path
from urllib.parse import urlencode

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from painted_days import MORNING, STAMP, Day, painted, small
from serving import Served, served
from stores import analysis

from station.cli import main
from station.contract.contours import contours
from station.contract.corrections import KINDS, Accept
from station.database.changes import Changes
from station.database.review_records import Slide
from station.database.store import Store
from station.printing import printable
from station.review.pictures import Kept
from station.reviewing import correct
from station.signing import seen_of

ONE, TWO, THREE = small(1, 2, 3)
FORM = "application/x-www-form-urlencoded"


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    made = Day(tmp_path_factory.mktemp("served"))
    yield made
    made.store.close()


@pytest.fixture(scope="module")
def at(day: Day) -> Iterator[Served]:
    with served(day, who="Ada") as running:
        yield running


def tiles(page: str) -> list[int]:
    return [int(number) for number in re.findall(r'id="tile-(\d+)"', page)]


def form(at: Served, path: str, **told: str) -> tuple[int, str]:
    headers = at.own | {"Origin": "null", "Content-Type": FORM}  # as a browser sends it under our referrer policy
    answer = at.ask(path, "POST", urlencode({"csrf": at.secret()} | told).encode(), **headers)
    return answer.status, answer.text


def said(day: Day, image_id: int) -> list[str]:
    return [one.kind for one in day.store.corrections(image_id)]


# Looking


def test_the_newest_image_comes_first_and_each_tile_tells_what_counts(day: Day, at: Served) -> None:
    first = day.picture(TWO, MORNING, slide="S-first", name="one.png")
    second = day.picture(THREE, MORNING, slide="S-first", flags=("review",), confidence=(0.31, 0.32))
    page = at.ask("/?slide=S-first").text
    assert tiles(page) == [second, first]
    assert "3 white cells" in page and "for review" in page and "least certain 0.3" in page and "one.png" in page
    at.correct(first, "remove", cell_id=1)
    page = at.ask("/?slide=S-first").text
    assert "1 white cell" in page and "was 2" in page and "looked at" in page


def test_the_filters_let_pass_what_they_say(day: Day, at: Served) -> None:
    slide = {"slide": "S-sieve"}
    plain = day.picture(TWO, MORNING, slide="S-sieve")
    dark = day.picture(TWO, MORNING, slide="S-sieve", flags=("dark",), confidence=(0.4, 0.5))
    marked = day.picture(TWO, MORNING - timedelta(days=1), slide="S-sieve", flags=("review", "unsure"))
    late = day.picture(TWO, MORNING + timedelta(hours=15, minutes=30), slide="S-sieve")  # 0:30 in Berlin

    def shown(**told: object) -> list[int]:
        return tiles(at.ask("/?" + urlencode(slide | told)).text)

    assert shown() == [late, marked, dark, plain]
    assert shown(flag="dark") == [dark] and shown(flag="nothing") == []
    assert shown(day="2026-11-23") == [dark, plain] and shown(day="2026-11-24") == [late]
    assert shown(marked=1) == [marked] and shown(below=0.6) == [dark] and shown(below="0,6", flag="dark") == [dark]
    at.correct(marked, "accept")
    at.correct(dark, "reject")
    assert shown(marked=1) == [] and shown(below=0.6) == []
    for wrong in ("day=yesterday", "day=9999-12-31", "day=20261123", "below=much", "below=nan"):
        assert at.ask(f"/?{wrong}").status == 400


def test_a_tile_and_the_filter_know_what_overlaps_and_what_was_analysed_again(tmp_path: Path) -> None:
    day = Day(tmp_path)
    first, second = (day.picture(TWO, MORNING, slide="S  two", flags=("dark",)) for _ in range(2))
    with served(day) as at:
        before = re.findall(r'data-version="([^"]+)"', at.ask("/").text)
        with closing(sqlite3.connect(day.store.path)) as database, database:
            database.execute("INSERT INTO overlaps VALUES (?, ?, 5, 5, 0.5, 0.9)", (second, first))
        day.store.save_analysis(analysis(second, settings_sha256="other", model_sha256="m" * 64))
        page = at.ask("/?" + urlencode({"flag": "overlaps"})).text
        assert tiles(page) == [second] and "overlaps" in page and '<option value="overlaps" selected>' in page
        after = re.findall(r'data-version="([^"]+)"', at.ask("/").text)
        assert after[0] != before[0] and after[1] == before[1]
        assert '<option value="S  two">' in page  # spaces count
    day.store.close()


def test_pages_follow_each_other_both_ways(day: Day, at: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("station.review.gallery.PAGE", 4)
    made = [day.picture(ONE, MORNING, slide="S-pages", file=False) for _ in range(11)][::-1]
    address, seen = "/?slide=S-pages", []
    for _ in range(3):
        page = at.ask(address).text
        seen.append(tiles(page))
        older = re.search(r'rel="next" href="(/\?[^"]+)"', page)
        address = unescape(older[1]) if older else address
    assert [*chain(*seen)] == made and [len(one) for one in seen] == [4, 4, 3]
    for expected in (seen[1], seen[0]):
        newer = re.search(r'rel="prev" href="([^"]+)"', page)
        assert newer
        page = at.ask(unescape(newer[1])).text
        assert tiles(page) == expected


def test_beside_a_count_stands_the_model_that_it_is_of_and_not_a_newer_one(tmp_path: Path) -> None:
    day = Day(tmp_path)
    image_id = day.picture(THREE, MORNING, slide="S-again", flags=("dark",))
    base = day.store.history(image_id).analyses[0]  # type: ignore[union-attr]
    with served(day) as at:
        at.correct(image_id, "remove", seen=0, who="Ada", cell_id=1)
        newer = {"model": "tiny", "engine": "onnxruntime float32", "flags": ("odd-size",), "cell_diameter_px": 60.0}
        masks = zip(("labels_png", "cells_png"), day.store.masks(base.analysis_id) or (), strict=True)
        again = analysis(image_id, settings_sha256="other", model_sha256="m" * 64, **newer, **dict(masks))
        day.store.save_analysis(again)
        page = at.ask(f"/images/{image_id}").text
        assert f"<dd>{base.model} on {base.engine}</dd>" in page and "found automatically: 3" in page
        assert "<dd>tiny on onnxruntime float32 found 2 white cells; what a person looked at goes on counting" in page
        assert tiles(at.ask("/?slide=S-again&flag=dark").text) == [image_id]
        assert tiles(at.ask("/?slide=S-again&flag=odd-size").text) == []
        at.correct(image_id, "withdraw", seen=1, who="Ada")
        page = at.ask(f"/images/{image_id}").text
        assert "<dd>tiny on onnxruntime float32</dd>" in page and "goes on counting" not in page
    day.store.close()


def test_the_image_page_shows_cells_history_and_the_way_to_its_neighbours(day: Day, at: Served) -> None:
    images = [day.picture(THREE, MORNING, slide="S-walk") for _ in range(3)]
    at.correct(images[1], "remove", why="a smudge", cell_id=2)
    page = at.ask(f"/images/{images[1]}?slide=S-walk").text
    assert f'id="older" rel="next" href="/images/{images[0]}?slide=S-walk"' in page
    assert f'id="newer" rel="prev" href="/images/{images[2]}?slide=S-walk"' in page
    assert re.findall(r'data-row="(\d+)"', page) == ["1", "3"]
    assert len(re.findall(r'<g data-cell="\d+" class="automatic">\s*<path class="halo" d="M', page)) == 2
    assert "removed cell 2" in page and "a smudge" in page and "model m on onnxruntime" in page
    assert 'id="older"' not in at.ask(f"/images/{images[0]}?slide=S-walk").text


def test_pictures_are_jpegs_of_the_camera_file_and_thumbnails_show_contours(day: Day, at: Served) -> None:
    image_id = day.picture(TWO, MORNING, slide="S-pixels")
    whole = at.ask(f"/images/{image_id}/picture.jpg")
    assert whole.headers["Content-Type"] == "image/jpeg"
    pixels = cv2.imdecode(np.frombuffer(whole.body, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    truth = painted(TWO)[0].image
    assert pixels.shape == truth.shape and np.abs(pixels.astype(int) - truth).mean() < 4
    before = at.ask(f"/images/{image_id}/thumbnail.jpg").body
    at.correct(image_id, "remove", cell_id=1)
    after = at.ask(f"/images/{image_id}/thumbnail.jpg").body
    assert after != before and at.ask(f"/images/{image_id}/thumbnail.jpg").body == after


def test_of_a_file_that_is_gone_the_cells_can_still_be_corrected(day: Day, at: Served) -> None:
    image_id = day.picture(TWO, MORNING, slide="S-gone", file=False)
    page = at.ask(f"/images/{image_id}").text
    assert re.search(r'id="gone" class="gone">No file holds this picture', page) and 'id="picture"' not in page
    assert at.ask(f"/images/{image_id}/picture.jpg").status == 404
    assert at.ask(f"/images/{image_id}/thumbnail.jpg").headers["Content-Type"] == "image/svg+xml"
    assert at.correct(image_id, "remove", cell_id=1).json["count"] == 1


def test_a_file_that_holds_another_picture_now_is_not_shown(day: Day, at: Served) -> None:
    image_id = day.picture(TWO, MORNING, slide="S-other", name="other.png")
    (day.folder / "S-other" / "other.png").write_bytes(b"another patient")
    assert at.ask(f"/images/{image_id}/picture.jpg").status == 404


def test_what_is_not_counted_is_shown_with_its_reason(day: Day, at: Served) -> None:
    history = next(one for one in [day.store.history(day.picture(ONE, MORNING, slide="S-open"))] if one)
    day.store.quarantine_file("/srv/S-open/broken.png", STAMP, "is <b>text</b>", "S-open", next_look_at=MORNING)
    page = at.ask("/?slide=S-open").text
    broken = tiles(page)[0]
    assert broken == history.image_id + 1 and "quarantined" in page and "is &lt;b&gt;text&lt;/b&gt;" in page
    assert "is &lt;b&gt;text" in at.ask(f"/images/{broken}").text
    assert at.ask(f"/images/{broken}/news").status == 404
    assert at.correct(broken, "accept").status == 400


UNKNOWN = ("999999", f"{2**63}", "1" + "0" * 40, "9" * 5000, "%C2%B2", "-1")


@pytest.mark.parametrize("path", ["/nothing", *(f"/images/{number}" for number in UNKNOWN)], ids=range(7))
def test_what_is_not_there_is_said_to_be_so(at: Served, path: str) -> None:
    answer = at.ask(path, Accept="text/html")
    assert answer.status == 404 and "Not there" in answer.text


HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "line\nbreak\r\tand\x1b[2Jmore",
    "gpj.\u202egnp\u2066",
    "{{ 7 * 7 }}' OR 1=1 --",
    "名" * 82,
)


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_are_shown_and_do_nothing(day: Day, at: Served, name: str) -> None:
    file = name.replace("/", "_") + ("x" * (251 - len(name.encode())) if "名" in name else "") + ".png"
    image_id = day.picture(ONE, MORNING, slide=file, name=file, flags=("review",))
    query = urlencode({"slide": file})
    assert tiles(at.ask(f"/?{query}").text) == [image_id]
    assert tiles(at.ask("/?" + urlencode({"slide": printable(file)})).text) == [image_id]  # as the form says it
    at.correct(image_id, "accept", who=name, why=name)
    assert form(at, f"/sign?{query}", who=name, seen=seen(at, f"/sign?{query}"))[0] == 303
    for path in (
        "/",
        f"/?{query}",
        f"/images/{image_id}?{query}",
        f"/images/{image_id}/news",
        f"/sign?{query}",
        "/signatures",
    ):
        answer = at.ask(path)
        assert answer.status == 200, answer.text
        body = answer.text if answer.text.startswith("<!") else "".join(answer.json["html"].values())
        assert not set(body) & set("\x1b\u202e\u2066\r\t"), path
        assert name not in body or not re.search('[<>"\n]', name)
        assert (
            "<script>alert" not in body
            and "<img src=x" not in body
            and "49" not in unescape(body).split("' OR")[0][-3:]
        )


def test_a_slide_whose_name_climbs_is_a_name_and_no_place(day: Day, at: Served) -> None:
    slide = "../../etc"
    image_id = day.picture(ONE, MORNING, slide=slide, file=False, flags=("review",))
    query = urlencode({"slide": slide})
    assert tiles(at.ask(f"/?{query}").text) == [image_id]
    assert slide in at.ask(f"/images/{image_id}?{query}").text
    at.correct(image_id, "accept", who="Ada")
    assert form(at, f"/sign?{query}", who="Ada", seen=seen(at, f"/sign?{query}"))[0] == 303


def seen(at: Served, path: str) -> str:
    found = re.search(r'name="seen" value="([0-9a-f]+)"', at.ask(path).text)
    return found[1] if found else ""


# Correcting


def spot(cell_id: int) -> tuple[float, float]:
    cell = painted(THREE)[1][cell_id - 1]
    return cell.x, cell.y


STEPS = [
    ("remove", {"cell_id": 1}, 2, "removed cell 1"),
    ("add", {"x": spot(1)[0], "y": spot(1)[1]}, 3, "added a cell at"),
    ("split", {"cell_id": 2, "points": [list(spot(2)), [spot(2)[0] + 5, spot(2)[1]]]}, 4, "split cell 2"),
    ("merge", {"cell_ids": [2, 5]}, 3, "merged cells 2, 5"),
    ("repaint", {"strokes": [{"points": [list(spot(3))], "radius_px": 3, "value": 1, "cell_id": 3}]}, 3, "repainted"),
    ("accept", {}, 3, "found it right"),
    ("flag", {}, 3, "marked it for a second look"),
    ("reject", {}, 0, "rejected the image"),
    ("withdraw", {}, 3, "took correction 8 back"),
]


def test_every_kind_of_correction_is_made_and_answered_with_the_new_state(day: Day, at: Served) -> None:
    image_id = day.picture(THREE, MORNING, slide="S-kinds")
    for number, (kind, detail, count, words) in enumerate(STEPS):
        told = at.correct(image_id, kind, seen=number, **detail).json
        assert (told["written"], told["number"], told["count"]) == (True, number + 1, count), told["words"]
        assert words in told["words"] and words in told["html"]["said"]
        assert told["html"]["cells"].count("data-row") == 3 or count in (0, 2, 4)
    assert {kind for kind, *_ in STEPS} == set(KINDS) == set(said(day, image_id))
    assert [one.who for one in day.store.corrections(image_id)] == ["Ada"] * len(STEPS)


def test_of_two_who_correct_at_once_nothing_is_lost_and_the_later_one_is_told(day: Day, at: Served) -> None:
    image_id = day.picture(THREE, MORNING, slide="S-both")
    assert at.correct(image_id, "remove", seen=0, who="Ada", cell_id=1).json["written"]
    later = at.correct(image_id, "remove", seen=0, who="Bob", cell_id=2).json
    assert later["written"] and later["count"] == 1 and "meanwhile Ada removed cell 1" in later["words"]
    same = at.correct(image_id, "remove", seen=1, who="Eve", cell_id=2).json
    assert not same["written"] and "there is no cell 2" in same["words"] and "Bob removed cell 2" in same["words"]
    blind = at.correct(image_id, "accept", seen=1, who="Eve").json
    assert not blind["written"] and "changed since you looked" in blind["words"]
    assert said(day, image_id) == ["remove", "remove"]
    news = at.ask(f"/images/{image_id}/news?seen=1").json
    assert (news["number"], news["count"], news["words"]) == (2, 1, "meanwhile Bob removed cell 2")


def test_news_never_skip_a_word_that_comes_while_they_are_read(
    day: Day, at: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_id = day.picture(THREE, MORNING, slide="S-between")
    reads = {name: getattr(Store, name) for name in ("history", "reviewed")}
    rivals = [lambda: correct(day.store, image_id, Accept(), "Bob")]

    def slowed(name: str) -> Callable[..., object]:
        def read(store: Store, *told: object, **more: object) -> object:
            found = reads[name](store, *told, **more)
            if rivals:  # between the first reading and the second
                rivals.pop()()
            return found

        return read

    for name in reads:
        monkeypatch.setattr(Store, name, slowed(name))
    first = at.ask(f"/images/{image_id}/news?seen=0").json
    second = at.ask(f"/images/{image_id}/news?seen={first['number']}").json
    assert (first["words"] + second["words"]).count("meanwhile Bob looked at it") == 1 and second["number"] == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "destroy"}, "there is no correction 'destroy'"),
        ({"detail": {"cell_id": "x"}}, "cannot be made"),
        ({"detail": {"cell_id": 1, "more": 1}}, "cannot be made"),
        ({"detail": [1]}, "is an object"),
        ({"who": " "}, "nobody is named"),
        ({"seen": None}, "say what was seen"),
        ({"seen": 0}, "say what was seen"),
        ({"seen": "0-1"}, "say what was seen"),
    ],
)
def test_what_is_no_correction_is_named_and_not_written(
    day: Day, at: Served, changes: dict[str, object], words: str
) -> None:
    image_id = day.picture(ONE, MORNING, slide="S-wrong")
    told = {"kind": "remove", "detail": {"cell_id": 1}, "seen": "0-1-1", "who": "Ada"} | changes
    headers = at.own | {"X-CSRF-Token": at.secret()}
    answer = at.ask(f"/images/{image_id}/corrections", "POST", json.dumps(told).encode(), **headers)
    assert answer.status == 400 and words in answer.text and said(day, image_id) == []


def test_corrections_survive_a_restart_and_are_in_the_report(tmp_path: Path) -> None:
    day = Day(tmp_path)
    image_id = day.picture(THREE, MORNING)
    with served(day) as first:
        assert first.correct(image_id, "remove", cell_id=2).json["count"] == 2
    with served(day) as second:
        assert "2 white cells" in second.ask(f"/images/{image_id}").text
    config = tmp_path / "station.toml"
    config.write_text(f'[camera]\nfolder = "{day.folder}"\n[database]\npath = "{day.store.path}"\n')
    told = CliRunner().invoke(main, ["report", "--date", "2026-11-23", "--format", "json", "--config", str(config)])
    assert (json.loads(told.stdout)["wbc_count"], json.loads(told.stdout)["images_changed"]) == (2, 1)
    day.store.close()


# Signing


def test_a_slide_is_signed_once_nothing_is_in_the_way_and_changes_show(day: Day, at: Served) -> None:
    marked = day.picture(TWO, MORNING, slide="S-sign", flags=("review",))
    other = day.picture(THREE, MORNING, slide="S-sign")
    path = "/sign?slide=S-sign"
    page = at.ask(path).text
    assert f'<a href="/images/{marked}?slide=S-sign&amp;marked=1">Image {marked}</a>' in page and "<form" not in page
    assert form(at, path, who="Ada", seen=current(day, "S-sign"))[0] == 409
    at.correct(marked, "accept")
    assert form(at, path, who="Ada", seen="what was there before")[0] == 409
    status, told = form(at, path, who=" ", seen=seen(at, path))
    assert status == 409 and "nobody is named" in told and day.store.signatures("slide", "S-sign") == ()
    assert form(at, path, who="Ada", seen=seen(at, path))[0] == 303
    (signature,) = day.store.signatures("slide", "S-sign")
    assert (signature.who, signature.numbers["cells_reviewed"]) == ("Ada", 5)
    assert ">signed<" in at.ask(path).text and ">signed<" in at.ask("/?slide=S-sign").text
    at.correct(other, "remove", cell_id=1)
    page = at.ask(path).text
    assert "changed since signed" in page and f">Image {other}</a>: corrected, 3 -&gt; 2 white cells" in page


def current(day: Day, slide: str) -> str:
    return seen_of(day.store.review_lines(Slide(slide)))


def test_a_day_is_signed_by_its_local_date(tmp_path: Path) -> None:
    day = Day(tmp_path)
    day.picture(TWO, MORNING)
    day.picture(ONE, MORNING + timedelta(days=1))
    with served(day) as at:
        assert "2026-11-23" in at.ask("/signatures").text and "2026-11-24" in at.ask("/signatures").text
        assert form(at, "/sign?day=2026-11-23", who="Ada", seen=seen(at, "/sign?day=2026-11-23"))[0] == 303
        (signature,) = day.store.signatures("day", "2026-11-23")
        assert [image.image_id for image in signature.images] == [1]
        for wrong in ("/sign", "/sign?day=today", "/sign?day=2026-11-23&slide=S-1"):
            assert at.ask(wrong).status == 400
        assert "nothing to sign" in at.ask("/sign?day=2020-01-01").text
    day.store.close()


# News


def test_a_page_that_listens_hears_of_new_images_and_of_corrections(day: Day, at: Served) -> None:
    line = http.client.HTTPConnection("127.0.0.1", at.port, timeout=20)
    line.request("GET", "/events")
    events = line.getresponse()
    assert events.headers["Content-Type"].startswith("text/event-stream") and events.readline() == b"retry: 1000\n"
    image_id = day.picture(TWO, MORNING, slide="S-live")
    assert image_id in heard(events)
    at.correct(image_id, "remove", cell_id=1)
    assert heard(events) == {image_id}
    line.close()


def heard(events: http.client.HTTPResponse) -> set[int]:
    while not (line := events.readline()).startswith(b"data:"):
        assert line and not line.startswith(b":")  # 15 s went by without news
    return set(json.loads(line.removeprefix(b"data:"))["images"])


def test_a_server_ends_although_a_page_listens(tmp_path: Path) -> None:
    day = Day(tmp_path)
    with served(day) as at:
        line = http.client.HTTPConnection("127.0.0.1", at.port, timeout=20)
        line.request("GET", "/events")
        assert line.getresponse().readline()
        ending = time.monotonic()
    assert time.monotonic() - ending < 12  # and not only when its patience is at an end
    day.store.close()


# Parts


def test_contours_are_those_of_the_masks() -> None:
    made, cells, *_ = painted(THREE)
    for one, cell in zip(
        contours(made.labels, made.instances, ((cell.id, cell.bbox) for cell in cells)), cells, strict=True
    ):
        for path, wanted in (
            (one.cell, made.instances == cell.id),
            (one.nucleus, (made.instances == cell.id) & (made.labels == 2)),
        ):
            lines = [
                np.array([pair.split(",") for pair in part.split("L")], float) for part in path.strip("MZ").split("ZM")
            ]
            drawn = (
                cv2.fillPoly(np.zeros(wanted.shape, np.uint8), [(line - 0.5).astype(np.int32) for line in lines], 1) > 0
            )
            assert np.array_equal(drawn & wanted, wanted) and (drawn ^ wanted).mean() < 0.001
    assert contours(made.labels, made.instances, [(9, (0, 0, 20, 20))]) == ()


def test_pictures_are_kept_up_to_a_number_of_bytes() -> None:
    kept, made = Kept(25), []

    def get(name: str) -> None:
        kept.get((name,), lambda: made.append(name) or b"0123456789")

    for name in "abacaba":
        get(name)
    assert made == ["a", "b", "c", "b"]
    assert kept.get(("gone",), lambda: None) is None and kept.get(("gone",), lambda: b"back") == b"back"


def test_the_bell_ends_only_when_nobody_is_looking(tmp_path: Path) -> None:
    """SQLite would crash the process where a connection is closed while another thread asks it."""
    day = Day(tmp_path)
    for _ in range(20):
        bell = Changes(day.store.path)
        day.picture(ONE, MORNING, file=False)
        with ThreadPoolExecutor(2) as threads:
            looks = [threads.submit(bell.look) for _ in range(100)]
            bell.close()
        told = [change.image_ids for look in looks if (change := look.result()) is not None]
        assert len(told) <= 1
    day.store.close()
