"""Measure how long a visitor of the page waits for the first result of an example.

    python -m docs.first_result

Prints seconds from the click on an example in a browser: until its first frames are shown and until its video can be
played, when nothing has been made yet; and until the video can be played, when the examples have been made. Needs
playwright and a Chromium (CHROMIUM, by default /usr/bin/chromium).
"""

import time

from playwright.sync_api import Page, sync_playwright

import app
from docs.browser import open_browser
from vivface.space.examples import example_pairs, find_examples, prepare_examples

FRAMES = "document.querySelector('#preview img')?.complete"
VIDEO = "(document.querySelector('#result video')?.readyState ?? 0) >= 3"  # so much is there that it plays


def main() -> None:
    pairs = example_pairs(*find_examples(app.EXAMPLES))
    demo = app.create_demo()
    _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, **app.launch_options())
    with sync_playwright() as started:
        browser = open_browser(started)
        frames, video = waits(browser.new_page(), url, 0, FRAMES, VIDEO)
        print(f"nothing made yet: first frames after {frames:.1f} s, the video after {video:.1f} s")
        began = time.perf_counter()
        prepare_examples(demo.service, pairs)
        print(f"the other {len(pairs) - 1} examples are made in {time.perf_counter() - began:.1f} s")
        for number in range(len(pairs)):
            (video,) = waits(browser.new_page(), url, number, VIDEO)
            print(f"made before: the video after {video:.1f} s")
        browser.close()


def waits(page: Page, url: str, number: int, *conditions: str) -> list[float]:
    """Seconds from the click on an example until each of these conditions, one after the other, holds."""
    page.set_default_timeout(300_000)
    page.goto(url)
    example = page.locator("#examples button").nth(number)
    example.wait_for()
    began, seconds = time.perf_counter(), []
    example.click()
    for condition in conditions:
        page.wait_for_function(condition)
        seconds.append(time.perf_counter() - began)
    page.close()
    return seconds


if __name__ == "__main__":
    main()
