"""Makes README's pictures of report, gallery and editor from a demo's day: pictures.py STATION.TOML FOLDER.

No photograph is in them: all fields are painted. Needs what `pip install '.[dev]'` brings, and a Chromium.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

MOST_BYTES = 200_000
SCREEN = {"width": 1280, "height": 800}
STATION = [sys.executable, "-m", "station.cli"]


def main(config: Path, folder: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("no Chromium is installed (Debian: apt install chromium)")
    folder.mkdir(parents=True, exist_ok=True)
    report = config.with_name("report.html")
    subprocess.run([*STATION, "report", "--format", "html", "-o", report, "--config", config], check=True)
    with sync_playwright() as driver, served(config) as address:
        page = driver.chromium.launch(executable_path=chromium).new_page(viewport=SCREEN)
        page.goto(report.resolve().as_uri())
        kept(page, folder / "report.jpg")
        page.goto(address)
        page.get_by_text("Live").wait_for()
        kept(page, folder / "gallery.jpg")
        edit(page)
        kept(page, folder / "editor.jpg")


@contextmanager
def served(config: Path) -> Iterator[str]:
    """The address of a server, which ends with the block."""
    line = [*STATION, "serve", "--port", "0", "--who", "A. Weber", "--config", str(config)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        found = re.search(r"http://\S+", running.stdout.readline())
        assert found is not None
        try:
            yield found[0]
        finally:
            running.terminate()


def edit(page: Page) -> None:
    """Two cells that touch, with one of them being repainted, after an earlier correction."""
    page.locator("#tiles a", has_text=re.compile(r"\b[5-8] white cells")).first.click()
    page.get_by_text("Live").wait_for()
    if page.locator("#said li").count() == 0:
        page.get_by_role("button", name="Accept").click()
        page.locator("#said li").wait_for()
    page.keyboard.press("6")
    box = page.locator("#contours .body").first.bounding_box()
    assert box is not None
    x, y, reach = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, box["width"] / 5
    page.mouse.click(x, y)
    page.mouse.move(x - reach, y + reach)
    page.mouse.down()
    page.mouse.move(x, y + 1.4 * reach, steps=4)
    page.mouse.move(x + reach, y + reach, steps=4)
    page.mouse.up()


def kept(page: Page, path: Path) -> None:
    """What the screen shows, as good as it goes into MOST_BYTES."""
    page.wait_for_function(
        "() => [...document.images].every(one => one.getBoundingClientRect().top > innerHeight || one.naturalWidth)"
    )
    page.wait_for_timeout(700)  # what comes into view moves at first
    shown = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    for quality in range(88, 40, -6):
        shown.save(path, quality=quality, optimize=True)
        if path.stat().st_size <= MOST_BYTES:
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
