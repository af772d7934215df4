"""Take the pictures of the page that the README shows.

    python -m docs.screenshots.take

Needs playwright and a Chromium (CHROMIUM, by default /usr/bin/chromium). With `--still` nothing is rendered: the
pictures show the page as it waits.
"""

import argparse
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

import app
from docs.browser import open_browser, open_tab

REPOSITORY = Path(__file__).parents[2]
SHAPES = {"": (1280, 900, "light"), "phone": (390, 844, "dark")}
COLORS = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--still", action="store_true", help="do not render")
    options = parser.parse_args()
    _, url, _ = app.create_demo().launch(prevent_thread_lock=True, quiet=True, **app.launch_options())
    with sync_playwright() as started:
        browser = open_browser(started)
        for shape, (width, height, scheme) in SHAPES.items():
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
            page = context.new_page()
            page.set_default_timeout(300_000)
            page.goto(url)
            fill(page, not options.still)
            for tab in ("Re-enact", "Film", "Edit", "Expression", "Live", "About"):
                open_tab(page, tab)
                if tab == "Film":
                    fill_film(page, not options.still)
                time.sleep(3)
                name = "-".join(filter(None, (shape, tab.lower())))
                take(page, options.out / f"{name}.png")
            context.close()
        browser.close()


def fill(page: Page, render: bool) -> None:
    """Choose portrait and clip, and wait for what is made of them."""
    page.get_by_role("button", name="Re-enact").wait_for()
    for element, name in (("portrait", "astronaut.png"), ("driving", "driving.mp4")):
        page.locator(f"#{element} input[type=file]").first.set_input_files(str(REPOSITORY / "examples" / name))
        page.wait_for_function(f"document.querySelector('#{element}-note')?.innerText.includes('found')")
    if render:
        page.locator("#consent input").check()
        page.locator("#run").click()
        page.wait_for_function("document.querySelector('#status')?.innerText.includes('frames per second')")


def fill_film(page: Page, render: bool) -> None:
    """Choose a film and a clip; the result is shown beside both."""
    for element in ("film", "film-driving"):
        clip = REPOSITORY / "examples" / "driving.mp4"
        page.locator(f"#{element} input[type=file]").first.set_input_files(str(clip))
        page.wait_for_function(f"document.querySelector('#{element}-note')?.innerText.includes('found')")
    if render:
        page.locator("#film-run").click()
        page.wait_for_function("document.querySelector('#film-status')?.innerText.includes('frames per second')")
        page.locator("#film-views").get_by_role("tab", name="Compare").click()


def take(page: Page, path: Path) -> None:
    """A picture of the whole page, small enough for a repository."""
    page.screenshot(path=path, full_page=True)
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(COLORS).save(path, optimize=True)
    print(path)


if __name__ == "__main__":
    main()
