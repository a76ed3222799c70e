"""A real Chromium for the tests that look at pages as people do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests need the package playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="they need axe-playwright-python")
Page, Browser, expect = playwright.Page, playwright.Browser, playwright.expect

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
IN_CHROMIUM = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt install chromium)"),
    pytest.mark.xdist_group("browser"),
]
SMALL, LARGE = {"width": 1280, "height": 800}, {"width": 1920, "height": 1080}


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser of its own, without a window."""
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM)
        yield started
        started.close()


def clean(page: Page) -> None:
    """axe-core finds nothing to complain about: contrast, labels, headings, landmarks."""
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
