"""`station serve` as people use it: in a real Chromium, with mouse and keyboard."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from browsing import IN_CHROMIUM, LARGE, SMALL, Browser, Page, chromium, clean, expect
from click.testing import CliRunner
from painted_days import MORNING, Day, painted, pixels, small
from serving import Served, served

from station.cli import main
from station.contract.corrections import RemoveCell
from station.database.records import NewImage
from station.demo.smear import SmearRecipe
from station.reviewing import correct
from station.watching import stamp_of

pytestmark = IN_CHROMIUM

ONE, TWO, THREE = small(1, 2, 3)
PAIR = SmearRecipe(240, 180, 48.0, wbc=2, touching_pairs=1, seed=3)
PATIENCE_MS = 20_000  # of a machine that is busy with other tests


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    made = Day(tmp_path_factory.mktemp("browsed"))
    yield made
    made.store.close()


@pytest.fixture(scope="module")
def at(day: Day) -> Iterator[Served]:
    with served(day, who="Ada") as running:
        yield running


@contextmanager
def looking(browser: Browser, at: Served, expected: int = 0, **told: object) -> Iterator[Page]:
    """A page of a browser of its own. Nothing may go wrong in it, and nothing may be asked of anybody else."""
    context = browser.new_context(viewport=SMALL, **told)
    context.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    page, wrong = context.new_page(), []
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda failure: wrong.append(str(failure)))
    page.on("dialog", lambda dialog: wrong.append(dialog.message))
    page.on("request", lambda asked: None if asked.url.startswith(at.url + "/") else wrong.append(asked.url))
    yield page
    assert len(wrong) == expected, wrong
    context.close()


@pytest.fixture
def page(browser: Browser, at: Served) -> Iterator[Page]:
    with looking(browser, at) as opened:
        yield opened


def open_image(page: Page, at: Served, image_id: int, query: str = "") -> None:
    page.goto(f"{at.url}/images/{image_id}{query}")
    expect(page.locator("#live")).to_have_text("Live")


def click_at(page: Page, x: float, y: float) -> None:
    """Click a place in the picture."""
    page.mouse.click(*on_screen(page, x, y))


def on_screen(page: Page, x: float, y: float) -> tuple[float, float]:
    place = page.evaluate(
        "([x, y]) => { const at = new DOMPoint(x, y).matrixTransform(document.getElementById('stage').getScreenCTM());"
        " return [at.x, at.y]; }",
        [x, y],
    )
    return place[0], place[1]


def count(page: Page, cells: int) -> None:
    expect(page.locator("#count")).to_have_attribute("data-count", str(cells))
    expect(page.locator("#cells tbody tr")).to_have_count(cells)
    expect(page.locator("#contours > g")).to_have_count(cells)


def kinds(day: Day, image_id: int) -> list[str]:
    return [one.kind for one in day.store.corrections(image_id)]


def test_a_new_image_appears_within_two_seconds_of_its_commit(page: Page, day: Day, at: Served) -> None:
    day.picture(ONE, MORNING, slide="S-live")
    page.goto(f"{at.url}/?slide=S-live")
    expect(page.locator("#live")).to_have_text("Live")
    page.locator("#tiles a").first.focus()
    taken = []
    for _ in range(3):  # the best of three: this machine may be busy
        number = day.picture(TWO, MORNING, slide="S-live")
        committed = time.monotonic()
        page.wait_for_selector(f"#tile-{number}.fresh", state="attached")
        taken.append(time.monotonic() - committed)
        expect(page.locator("#tiles > li").first).to_have_id(f"tile-{number}")
        if taken[-1] < 2:
            break
    assert min(taken) < 2
    shown = page.locator("#tiles img").first
    page.wait_for_function("image => image.complete && image.naturalWidth === 400", arg=shown.element_handle())
    assert page.evaluate("document.activeElement.closest('li').id") != f"tile-{number}"  # the focus stayed


def test_added_and_removed_cells_change_the_count_for_good(browser: Browser, tmp_path: Path) -> None:
    day = Day(tmp_path)
    image_id = day.picture(THREE, MORNING)
    cell = painted(THREE)[1][1]
    with served(day, who="Ada") as at, looking(browser, at) as page:
        open_image(page, at, image_id)
        count(page, 3)
        page.keyboard.press("3")
        click_at(page, cell.x, cell.y)
        count(page, 2)
        expect(page.locator("#words")).to_have_text("removed cell 2: 2 white cells")
        page.get_by_role("button", name="Add 2").click()
        click_at(page, cell.x, cell.y)
        count(page, 3)
        page.keyboard.press("3")
        click_at(page, cell.x, cell.y)
        count(page, 2)
    with served(day) as at, looking(browser, at) as page:
        open_image(page, at, image_id)
        count(page, 2)
        page.goto(at.url)
        expect(page.locator(f"#tile-{image_id} .count")).to_have_text("2 white cells")
    config = tmp_path / "station.toml"
    config.write_text(f'[camera]\nfolder = "{day.folder}"\n[database]\npath = "{day.store.path}"\n')
    told = CliRunner().invoke(main, ["report", "--date", "2026-11-23", "--format", "json", "--config", str(config)])
    assert json.loads(told.stdout)["wbc_count"] == 2
    assert [one.who for one in day.store.corrections(image_id)] == ["Ada"] * 3
    day.store.close()


def test_twenty_images_are_walked_through_and_judged_by_keys_alone(page: Page, day: Day, at: Served) -> None:
    images = [day.picture(ONE, MORNING, slide="S-keys", flags=("review",)) for _ in range(20)][::-1]
    page.goto(f"{at.url}/?slide=S-keys")
    page.keyboard.press("n")
    page.keyboard.press("Enter")
    for image_id in images:
        page.wait_for_url(f"**/images/{image_id}?slide=S-keys")
        page.wait_for_selector(".tools:not([hidden])")
        if image_id == images[2]:
            page.keyboard.press("r")
            page.keyboard.type("out of focus")
            page.keyboard.press("Enter")
            expect(page.locator("#count")).to_have_text("Rejected")
            page.keyboard.press("u")
            expect(page.locator("#count")).to_have_text("1 white cell")
        page.keyboard.press("a")
        expect(page.locator("#words")).to_contain_text("found it right")
        page.keyboard.press("n" if image_id % 2 else "ArrowRight")
    assert page.url.endswith(f"/images/{images[-1]}?slide=S-keys")
    page.keyboard.press("p")
    page.wait_for_url(f"**/images/{images[-2]}?slide=S-keys")
    assert [kinds(day, image_id) for image_id in images if image_id != images[2]] == [["accept"]] * 19
    assert kinds(day, images[2]) == ["reject", "withdraw", "accept"]
    assert day.store.corrections(images[2])[0].why == "out of focus"


def test_everything_is_reached_by_tab_and_seen_when_it_is(page: Page, day: Day, at: Served) -> None:
    image_id = day.picture(THREE, MORNING, slide="S-tab")
    open_image(page, at, image_id, "?slide=S-tab")
    page.keyboard.press("6")
    wanted = page.evaluate(
        "() => [...document.querySelectorAll('a[href], button, input, select, [tabindex]')]"
        ".filter(one => !one.disabled && one.checkVisibility() && !(one.type === 'radio' && !one.checked))"
        ".map((one, place) => one.dataset.place = place)"
    )
    page.evaluate("document.activeElement.blur()")
    reached = set()
    for _ in range(len(wanted) + 2):
        page.keyboard.press("Tab")
        place, outline, box = page.evaluate(
            "() => { const one = document.activeElement, look = getComputedStyle(one);"
            "return [one.dataset.place, look.outlineStyle + look.outlineWidth, one.getBoundingClientRect().toJSON()]; }"
        )
        if place is not None:
            reached.add(int(place))
            assert outline == "solid3px" and box["bottom"] > 0 and box["top"] < 800
    assert reached == set(wanted)


def test_the_keyboard_alone_adds_and_removes_cells(page: Page, day: Day, at: Served) -> None:
    image_id = day.picture(TWO, MORNING, slide="S-cross")
    open_image(page, at, image_id)
    page.locator("[data-remove='1']").focus()
    page.keyboard.press("Enter")
    count(page, 1)
    assert page.evaluate("document.activeElement.dataset.remove") == "2"  # and not the top of the page
    page.locator("#stage").focus()
    page.keyboard.press("2")
    cell = painted(TWO)[1][0]
    for key, way in zip(("ArrowRight", "ArrowDown"), (cell.x - 120, cell.y - 90), strict=True):
        back = {"ArrowRight": "ArrowLeft", "ArrowDown": "ArrowUp"}[key]
        for _ in range(round(abs(way))):
            page.keyboard.press(f"Shift+{key if way > 0 else back}")
    page.keyboard.press(" ")
    count(page, 2)
    (added,) = [one for one in day.store.reviewed(image_id).cells if one.source == "added"]
    assert abs(added.x - cell.x) < 8 and abs(added.y - cell.y) < 8


def test_cells_are_split_merged_and_repainted_with_the_mouse(page: Page, day: Day, at: Served) -> None:
    image_id = day.picture(PAIR, MORNING, slide="S-brush")
    first, second = painted(PAIR)[1]
    open_image(page, at, image_id)
    page.keyboard.press("5")
    click_at(page, first.x, first.y)
    expect(page.locator("#hint")).to_contain_text("other part of cell 1")
    click_at(page, second.x, second.y)
    count(page, 1)
    page.keyboard.press("4")
    click_at(page, first.x, first.y)
    click_at(page, second.x, second.y)
    count(page, 2)
    before = {cell.cell_id: cell for cell in day.store.reviewed(image_id).cells}
    page.keyboard.press("6")
    click_at(page, first.x, first.y)  # chooses the cell
    expect(page.locator("#painted")).to_have_value("1")
    page.get_by_label("cytoplasm").check()
    page.mouse.move(*on_screen(page, first.x - 4, first.y))
    page.mouse.down()
    page.mouse.move(*on_screen(page, first.x + 4, first.y), steps=3)
    page.mouse.up()
    page.keyboard.press("Enter")
    expect(page.locator("#said li")).to_have_count(3)
    after = {cell.cell_id: cell for cell in day.store.reviewed(image_id).cells}
    assert after[1].cytoplasm_area_px > before[1].cytoplasm_area_px + 20 and after[1].area_px >= before[1].area_px
    assert kinds(day, image_id) == ["merge", "split", "repaint"]
    page.get_by_label("Tick cell 1", exact=True).check()
    page.get_by_label("Tick cell 3", exact=True).check()
    page.get_by_role("button", name="Merge ticked cells").click()
    count(page, 1)
    page.keyboard.press("2")
    click_at(page, first.x, first.y)
    expect(page.locator("#words.refused")).to_contain_text("Nothing was written: there is cell 1 already")


def test_the_picture_is_enlarged_moved_and_shown_without_contours(page: Page, day: Day, at: Served) -> None:
    image_id = day.picture(THREE, MORNING, slide="S-zoom")
    open_image(page, at, image_id)

    def seen() -> list[float]:
        return [float(one) for one in page.locator("#stage").get_attribute("viewBox").split()]

    whole = seen()
    assert whole == [0, 0, 240, 180]
    place = on_screen(page, 60, 60)
    page.mouse.move(*place)
    page.mouse.wheel(0, -400)
    page.wait_for_function("() => document.getElementById('stage').viewBox.baseVal.width < 200")
    assert seen()[2] < 100 and on_screen(page, 60, 60) == pytest.approx(place, abs=1)
    enlarged = seen()
    page.mouse.down()
    page.mouse.move(place[0] - 60, place[1] - 60, steps=4)
    page.mouse.up()
    assert seen()[0] > enlarged[0] and seen()[2] == enlarged[2]
    page.keyboard.press("-")
    assert seen()[2] > enlarged[2]
    page.keyboard.press("0")
    assert seen() == whole
    page.keyboard.press("c")
    assert page.evaluate("getComputedStyle(document.querySelector('#contours .body')).stroke") == "none"
    page.reload()
    expect(page.locator("#contours")).to_have_class("contours off")  # remembered from image to image


def test_of_two_browsers_the_later_one_is_told(browser: Browser, day: Day, at: Served) -> None:
    image_id = day.picture(THREE, MORNING, slide="S-two")
    with looking(browser, at) as ada, looking(browser, at, expected=1) as bob:
        bob.route("**/events", lambda route: route.abort())  # he hears nothing until he acts
        open_image(ada, at, image_id)
        bob.goto(f"{at.url}/images/{image_id}")
        bob.get_by_label("You are").fill("Bob")
        ada.get_by_label("Remove cell 1").click()
        count(ada, 2)
        bob.get_by_label("Remove cell 2").click()
        expect(bob.locator("#words")).to_have_text("removed cell 2: 1 white cell; meanwhile Ada removed cell 1")
        count(bob, 1)
        expect(ada.locator("#words")).to_have_text("meanwhile Bob removed cell 2")  # without asking
        count(ada, 1)
    assert [one.who for one in day.store.corrections(image_id)] == ["Ada", "Bob"]


def test_what_is_said_of_the_whole_image_is_said_of_what_was_seen(browser: Browser, day: Day, at: Served) -> None:
    """Two quick presses: the second is not for what only came with the answer to the first."""
    twice, mixed = (day.picture(THREE, MORNING, slide="S-quick") for _ in range(2))
    with looking(browser, at, expected=2) as ada:
        ada.route("**/events", lambda route: route.abort())  # she hears nothing until she acts
        ada.goto(f"{at.url}/images/{twice}")
        ada.get_by_label("Remove cell 1").click()
        count(ada, 2)
        correct(day.store, twice, RemoveCell(2), "Bob")
        ada.evaluate(
            "for (const _ of [1, 2]) document.body.dispatchEvent("
            "new KeyboardEvent('keydown', { key: 'u', bubbles: true }))"
        )
        count(ada, 1)
        expect(ada.locator("#words.refused")).to_contain_text("look again")
        ada.goto(f"{at.url}/images/{mixed}")
        correct(day.store, mixed, RemoveCell(1), "Bob")
        ada.evaluate(
            "document.querySelector('[data-remove=\"2\"]').click();"
            "document.body.dispatchEvent(new KeyboardEvent('keydown', { key: 'a', bubbles: true }))"
        )
        expect(ada.locator("#words.refused")).to_contain_text("look again")
        count(ada, 1)
        ada.keyboard.press("a")  # now it is seen
        expect(ada.locator("#words")).to_contain_text("found it right")
    assert kinds(day, twice) == ["remove", "remove"]
    assert kinds(day, mixed) == ["remove", "remove", "accept"]


def test_a_reason_is_given_back_where_nothing_was_written(page: Page, day: Day, at: Served) -> None:
    image_id = day.picture(ONE, MORNING, slide="S-why")
    open_image(page, at, image_id)
    page.locator("#why").fill("no cell at all")
    page.get_by_role("button", name="Withdraw u").click()
    expect(page.locator("#words.refused")).to_contain_text("no correction")
    expect(page.locator("#why")).to_have_value("no cell at all")
    page.get_by_label("Remove cell 1").click()
    count(page, 0)
    expect(page.locator("#why")).to_have_value("")
    assert [one.why for one in day.store.corrections(image_id)] == ["no cell at all"]


def test_a_stroke_is_whole_before_keys_apply_or_drop_it(page: Page, day: Day, at: Served) -> None:
    image_id = day.picture(ONE, MORNING, slide="S-stroke")
    cell = painted(ONE)[1][0]
    open_image(page, at, image_id)
    page.keyboard.press("6")
    click_at(page, cell.x, cell.y)
    page.mouse.move(*on_screen(page, cell.x - 6, cell.y))
    page.mouse.down()
    page.mouse.move(*on_screen(page, cell.x, cell.y), steps=3)
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    page.mouse.move(*on_screen(page, cell.x + 6, cell.y), steps=3)
    page.mouse.up()
    page.get_by_label("cytoplasm").check()
    page.keyboard.press("Enter")  # the colour has the focus, and no use for it
    expect(page.locator("#said li")).to_have_count(1)
    (said,) = day.store.corrections(image_id)
    points = said.detail["strokes"][0]["points"]
    assert points[-1][0] - points[0][0] == pytest.approx(12, abs=1)


def test_after_another_analysis_nothing_that_was_meant_for_a_cell_comes_to_another(
    page: Page, day: Day, at: Served
) -> None:
    """A stroke, a tick and the first click of a merge name cells by numbers, which another analysis gives anew."""
    image_id = day.picture(TWO, MORNING, slide="S-again")
    cell = painted(TWO)[1][0]
    open_image(page, at, image_id)
    page.get_by_label("Tick cell 1").check()
    page.get_by_label("Tick cell 2").check()
    page.keyboard.press("6")
    for _ in range(2):
        click_at(page, cell.x, cell.y)
    expect(page.locator("#sketch .stroke")).to_have_count(1)
    assert day.store.add_analysis(day.analysis(image_id, TWO, model="n"))
    expect(page.locator("#words.refused")).to_contain_text("its cells have new numbers")
    expect(page.locator("#sketch .stroke")).to_have_count(0)
    expect(page.locator("#painted")).to_have_value("")
    expect(page.locator("[data-pick]:checked")).to_have_count(0)
    expect(page.locator("#merge-picked")).to_be_disabled()
    page.keyboard.press("Enter")
    page.keyboard.press("a")
    expect(page.locator("#said li")).to_have_count(1)
    assert kinds(day, image_id) == ["accept"]


def test_strokes_that_are_refused_after_another_analysis_are_not_given_back(
    browser: Browser, day: Day, at: Served
) -> None:
    image_id = day.picture(TWO, MORNING, slide="S-again")
    cell = painted(TWO)[1][0]
    with looking(browser, at, expected=1) as page:
        page.route("**/events", lambda route: route.abort())  # nothing is heard until something is sent
        page.goto(f"{at.url}/images/{image_id}")
        page.keyboard.press("6")
        for _ in range(2):
            click_at(page, cell.x, cell.y)
        assert day.store.add_analysis(day.analysis(image_id, TWO, model="n"))
        page.locator("#stage").focus()
        page.keyboard.press("Enter")
        expect(page.locator("#words.refused")).to_contain_text("the image was analysed again since you looked at it")
        expect(page.locator("#sketch .stroke")).to_have_count(0)
        assert kinds(day, image_id) == []


def test_a_page_whose_news_are_refused_says_so_and_asks_again(browser: Browser, day: Day, at: Served) -> None:
    image_id = day.picture(ONE, MORNING, slide="S-full")
    with looking(browser, at, expected=1) as page:
        page.clock.install()
        page.route("**/events", lambda route: route.fulfill(status=503), times=1)
        page.goto(f"{at.url}/images/{image_id}")
        expect(page.locator("#live")).to_contain_text("Not live; trying again.")
        page.clock.run_for(11_000)
        expect(page.locator("#live")).to_have_text("Live")


def test_the_printed_address_opens_from_a_link_on_another_site(browser: Browser, day: Day) -> None:
    with served(day, token="t" * 24) as running:
        context = browser.new_context()
        page = context.new_page()
        page.route(
            "http://elsewhere.example/",
            lambda route: route.fulfill(
                content_type="text/html", body=f'<a href="{running.url}/?token={"t" * 24}">the station</a>'
            ),
        )
        for _ in range(2):
            page.goto("http://elsewhere.example/")
            page.get_by_text("the station").click()
            expect(page.locator("#live")).to_have_text("Live")
        context.close()


def test_keys_lead_on_from_an_image_that_is_not_counted(page: Page, day: Day, at: Served) -> None:
    older = day.picture(ONE, MORNING, slide="S-wait")
    path = day.folder / "S-wait" / "new.png"
    content = hashlib.sha256(pixels(path, painted(ONE)[0].image, 9999)).hexdigest()
    found = NewImage(str(path), stamp_of(path.stat()), content, "S-wait", MORNING, rung=True)
    waiting = day.store.add_image(found).image_id
    day.store.lease("another", 1)
    newer = day.picture(TWO, MORNING, slide="S-wait")
    open_image(page, at, newer, "?slide=S-wait")
    page.keyboard.press("n")
    page.wait_for_url(f"**/images/{waiting}?slide=S-wait")
    expect(page.locator("#live")).to_have_text("Live")
    page.keyboard.press("n")
    page.wait_for_url(f"**/images/{older}?slide=S-wait")
    page.keyboard.press("p")
    page.wait_for_url(f"**/images/{waiting}?slide=S-wait")


def test_what_was_painted_is_not_lost_without_a_word(page: Page, day: Day, at: Served) -> None:
    day.picture(ONE, MORNING, slide="S-paint")
    image_id = day.picture(TWO, MORNING, slide="S-paint")
    cell = painted(TWO)[1][0]
    open_image(page, at, image_id, "?slide=S-paint")
    page.keyboard.press("6")
    click_at(page, cell.x, cell.y)
    for _ in range(2):
        click_at(page, cell.x, cell.y)  # nucleus, where there is nucleus
    for key in ("n", "1"):
        page.keyboard.press(key)
        expect(page.locator("#words.refused")).to_contain_text("not applied yet")
    assert page.url.endswith(f"/images/{image_id}?slide=S-paint")
    page.keyboard.press("Enter")
    expect(page.locator("#words.refused")).to_contain_text("the strokes change nothing")
    expect(page.locator("#sketch .stroke")).to_have_count(2)
    page.get_by_label("cytoplasm").check()
    click_at(page, cell.x, cell.y)
    page.locator("#stage").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#said li")).to_have_count(1)
    expect(page.locator("#sketch .stroke")).to_have_count(0)
    assert [len(one.detail["strokes"]) for one in day.store.corrections(image_id)] == [3]


def test_the_next_image_waits_for_the_answer_and_a_refusal_is_read(page: Page, day: Day, at: Served) -> None:
    older = day.picture(ONE, MORNING, slide="S-quick")
    image_id = day.picture(TWO, MORNING, slide="S-quick")
    open_image(page, at, image_id, "?slide=S-quick")
    page.keyboard.press("u")  # there is nothing to withdraw
    page.keyboard.press("n")
    expect(page.locator("#words.refused")).to_contain_text("no correction that could be withdrawn")
    page.keyboard.press("f")
    page.keyboard.press("n")
    page.wait_for_url(f"**/images/{older}?slide=S-quick")
    assert kinds(day, image_id) == ["flag"] and day.store.reviewed(image_id).marked


def test_a_slide_is_signed_in_the_page(page: Page, day: Day, at: Served) -> None:
    marked = day.picture(TWO, MORNING, slide="S-sign", flags=("review",))
    page.goto(f"{at.url}/sign?slide=S-sign")
    page.get_by_role("link", name=f"Image {marked}").click()
    page.get_by_role("button", name="Accept").click()
    expect(page.locator("#standing")).to_contain_text("looked at")
    page.get_by_role("link", name="sign", exact=True).click()
    page.get_by_label("Your name").fill("Ada Weber")
    page.get_by_role("button", name="Sign these numbers").click()
    expect(page.locator("h1")).to_contain_text("signed Ada Weber")
    (signature,) = day.store.signatures("slide", "S-sign")
    assert signature.who == "Ada Weber"


def test_a_station_that_does_not_answer_is_said_and_the_name_stays(browser: Browser, tmp_path: Path) -> None:
    day = Day(tmp_path)
    day.picture(TWO, MORNING, slide="S-off")
    with served(day) as running, looking(browser, running, expected=1) as page:
        page.goto(f"{running.url}/sign?slide=S-off")
        page.get_by_label("Your name").fill("Ada Weber")
        page.context.set_offline(True)
        page.get_by_role("button", name="Sign these numbers").click()
        expect(page.locator("#live")).to_contain_text("Not signed: the station does not answer")
        page.context.set_offline(False)
        page.get_by_role("button", name="Sign these numbers").click()
        expect(page.locator("h1")).to_contain_text("signed Ada Weber")
    day.store.close()


def addresses(day: Day, at: Served) -> list[str]:
    image_id = day.picture(THREE, MORNING, slide="S-pages", flags=("review", "unsure", "cell-at-edge"))
    at.correct(day.picture(TWO, MORNING + timedelta(minutes=1), slide="S-pages"), "remove", cell_id=1, why="no cell")
    long = "n" * 200 + ".png"
    day.picture(ONE, MORNING, slide="S-pages", name=long)
    return [
        "/",
        "/?slide=S-pages",
        f"/images/{image_id}?slide=S-pages",
        "/sign?slide=S-pages",
        "/signatures",
        "/?day=x",
    ]


def test_pages_fit_the_screen_and_axe_finds_nothing(browser: Browser, day: Day, at: Served) -> None:
    paths = addresses(day, at)
    for size in (SMALL, LARGE):
        with looking(browser, at, expected=1) as page:  # the console names the page that answers with 400
            page.set_viewport_size(size)
            for path in paths:
                page.goto(at.url + path)
                if "/images/" in path:
                    page.keyboard.press("6")
                    assert page.evaluate("document.documentElement.scrollHeight") <= size["height"]
                    assert page.locator("#stage").bounding_box()["height"] > 0.55 * size["height"]
                assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], path
                assert page.evaluate(
                    "[...document.querySelectorAll('aside')].every(a => a.scrollWidth <= a.clientWidth)"
                )
                if size is SMALL:
                    clean(page)


def test_axe_finds_nothing_in_dialogs_and_after_a_refusal(page: Page, day: Day, at: Served) -> None:
    open_image(page, at, day.picture(TWO, MORNING, slide="S-axe", flags=("review",), file=False))
    expect(page.locator("#gone")).to_be_visible()
    page.keyboard.press("?")
    clean(page)
    leave(page)
    page.keyboard.press("r")
    clean(page)
    leave(page)
    page.keyboard.press("u")
    expect(page.locator("#words.refused")).to_contain_text("no correction that could be withdrawn")
    clean(page)


def leave(page: Page) -> None:
    """The dialog that is open."""
    page.keyboard.press("Escape")
    expect(page.locator("dialog[open]")).to_have_count(0)


def test_without_scripts_everything_can_be_looked_at(browser: Browser, day: Day, at: Served) -> None:
    image_id = day.picture(THREE, MORNING, slide="S-plain")
    with looking(browser, at, java_script_enabled=False) as page:
        page.goto(f"{at.url}/?slide=S-plain")
        page.get_by_role("link", name="3 white cells").click()
        expect(page.locator("#contours path.body")).to_have_count(3)
        expect(page.locator("#cells tbody tr")).to_have_count(3)
        expect(page.get_by_role("button")).to_have_count(0)
        assert page.url.endswith(f"/images/{image_id}?slide=S-plain")
        page.goto(f"{at.url}/sign?slide=S-plain")
        page.get_by_label("Your name").fill("Ada")
        page.get_by_role("button", name="Sign these numbers").click()
        expect(page.locator("h1")).to_contain_text("signed Ada")


def test_hostile_names_do_nothing_in_a_browser(page: Page, day: Day, at: Served) -> None:
    for name in ("<img src=x onerror=alert(1)>", "<script>alert(1)<\\script>", "gpj.\u202egnp", "'\"><b>"):
        image_id = day.picture(ONE, MORNING, slide=name, name=f"{name}.png", flags=("review",))
        at.correct(image_id, "accept", who=name, why=name)
        page.goto(at.url)
        page.locator(f"#tile-{image_id} a").click()
        expect(page.locator("#said")).to_contain_text(name.replace("\u202e", "\\u202e"))
        page.get_by_role("link", name="sign", exact=True).click()
        expect(page.locator("h1 bdi")).to_have_text(name.replace("\u202e", "\\u202e"))
    page.goto(f"{at.url}/signatures")
    assert page.locator("main img, main script, main b").count() == 0


def test_a_page_of_somebody_else_changes_and_reads_nothing(browser: Browser, day: Day, at: Served) -> None:
    image_id = day.picture(ONE, MORNING, slide="S-foreign", flags=("review",))
    body = json.dumps({"kind": "accept", "detail": {}, "seen": 0, "who": "Eve"})
    trap = f"""<form id="f" method="post" action="{at.url}/sign?slide=S-foreign"><input name="who" value="Eve"></form>
        <img id="i" src="{at.url}/images/{image_id}/picture.jpg">"""
    context = browser.new_context()
    page = context.new_page()
    page.route("http://evil.example/**", lambda route: route.fulfill(body=trap, content_type="text/html"))
    page.goto("http://evil.example/")
    told = page.evaluate(
        "([url, body]) => fetch(url, {method: 'POST', body}).then(answer => answer.text(), failure => 'stopped')",
        [f"{at.url}/images/{image_id}/corrections", body],
    )
    assert told == "stopped" and page.evaluate("document.getElementById('i').naturalWidth") == 0
    page.evaluate("document.getElementById('f').submit()")
    page.wait_for_url(f"{at.url}/**")
    assert "refused" in page.content()
    context.close()
    assert kinds(day, image_id) == [] and day.store.signatures("slide", "S-foreign") == ()
