"""The page of a day as people meet it: opened from a disk with scripts disabled, on screens of all sizes, on paper."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from browsing import IN_CHROMIUM, LARGE, SMALL, Browser, Page, chromium, clean
from painted_days import MORNING, NIGHT, Day, small

from station.baseline import keep, measure
from station.reports import bounds, render
from station.reports.day import detailed

pytestmark = IN_CHROMIUM

DAY, BERLIN = date(2026, 11, 23), ZoneInfo("Europe/Berlin")
A4_POINTS = (595, 842)
A4_BETWEEN_MARGINS_PX = 695  # (210 - 2 * 13) mm, at 96 px per inch


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of 60 pictures on three slides with a target and a baseline; its names are long and hostile."""
    day = Day(tmp_path_factory.mktemp("paper"), target=50)
    day.usual(quality={"focus": 1.0})
    first, last = date(2026, 11, 16), date(2026, 11, 18)
    keep(day.store, measure(day.store.fields_between(*bounds(first, last, BERLIN)), first, last, NIGHT))
    for number in range(60):
        flags = ("cell-at-edge", "review") if number % 5 == 0 else ()
        when = MORNING + timedelta(minutes=7 * number)
        name = f"{number}<script>document.title='run'</script>{'x' * 150}.png".replace("/", "\u2044")
        slide = f"S{number // 20}" + "<b>" * 40
        day.picture(small(number % 4)[0], when, name=name, slide=slide, flags=flags, confidence=(0.3, 1.0))
    summary = detailed(day.store, DAY, DAY, day.settings, NIGHT, names=True)
    path = day.root / "day.html"
    path.write_text(render(summary, "html"), encoding="utf-8")
    day.store.close()
    return path


@pytest.fixture
def page(browser: Browser, written: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page as opened from the disk. Nothing may be asked of anybody, nothing complain, no script run."""
    context = browser.new_context(viewport=SMALL, java_script_enabled=getattr(request, "param", False))
    opened, wrong = context.new_page(), []
    opened.on(
        "request", lambda asked: None if asked.url in (written.as_uri(), "about:blank") else wrong.append(asked.url)
    )
    opened.on("console", lambda message: wrong.append(message.text))
    opened.on("pageerror", lambda failure: wrong.append(str(failure)))
    opened.goto(written.as_uri())
    yield opened
    assert wrong == []
    assert opened.title() == "White cells, 2026-11-23"
    context.close()


def drawn(page: Page) -> int:
    """How many pictures the browser could decode."""
    return page.evaluate("[...document.images].filter(image => image.complete && image.naturalWidth > 0).length")


def too_wide(page: Page) -> list[str]:
    """The elements that reach beyond the right border."""
    return page.evaluate(
        "[...document.body.querySelectorAll('*')]"
        ".filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)"
        ".map(e => e.tagName + ' ' + e.className)"
    )


def test_without_scripts_everything_is_shown_and_the_pictures_unfold(page: Page) -> None:
    assert drawn(page) == page.locator("img").count() >= 48
    rows = page.locator(".pictures tbody tr")
    assert rows.count() == 60 and not rows.first.is_visible()
    page.locator("summary").click()
    assert rows.first.is_visible()


@pytest.mark.parametrize("size", [{"width": 390, "height": 844}, SMALL, LARGE], ids=lambda size: str(size["width"]))
def test_it_fits_a_telephone_and_a_wall(page: Page, size: dict[str, int]) -> None:
    page.set_viewport_size(size)
    page.locator("summary").click()
    assert too_wide(page) == []


@pytest.mark.parametrize("page", [True], indirect=True, ids=["scripts"])
def test_axe_finds_nothing(page: Page) -> None:
    clean(page)


def test_it_prints_on_a4(page: Page) -> None:
    page.emulate_media(media="print")
    page.set_viewport_size({"width": A4_BETWEEN_MARGINS_PX, "height": 900})
    assert too_wide(page) == []
    assert not page.locator(".pictures").is_visible()  # a row per picture would fill pages
    assert page.locator(".cells").evaluate("e => getComputedStyle(e).gridTemplateColumns").count("px") == 8
    paper = page.pdf(prefer_css_page_size=True, print_background=True)
    sheets = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", paper)
    assert {(round(float(width)), round(float(height))) for width, height in sheets} == {A4_POINTS}
    assert 4 <= len(sheets) <= 8
