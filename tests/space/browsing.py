"""The page in a browser: what the tests of several files do with it."""

from pathlib import Path

import pytest

from docs.browser import CHROMIUM

PATIENCE = 120_000  # milliseconds
TABS = ("Re-enact", "Film", "Edit", "Expression", "Live", "Codec", "Verify", "About")

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
if not Path(CHROMIUM).exists():
    pytest.skip(f"needs a browser at {CHROMIUM} (set CHROMIUM)", allow_module_level=True)
expect = playwright.expect


def choose(page, element: str, path: Path) -> None:
    """Give a file to an upload."""
    clear = page.locator(f"#{element} button[aria-label='Clear'], #{element} button[title='Clear']")
    if clear.count():
        clear.last.click()  # a video shows two of them, the last one on top
    page.locator(f"#{element} input[type=file]").first.set_input_files(str(path))


def agree(page) -> None:
    page.locator("#consent input").check()


def run(page) -> None:
    page.locator("#run").click()
