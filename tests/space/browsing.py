"""The page in a browser: what the tests of several files do with it."""

import os
from pathlib import Path

import pytest

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
]  # fmt: skip
PATIENCE = 120_000  # milliseconds
TABS = ("Re-enact", "Film", "Edit", "Expression", "Live", "Verify", "About")

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


def open_tab(page, name: str) -> None:
    """Show a tab; on a phone the last ones wait behind a button."""
    shown = page.get_by_role("tab", name=name, exact=True)
    if shown.count() and shown.first.is_visible():
        shown.first.click()
    else:
        page.locator(".overflow-menu > button").first.click()
        page.locator(".overflow-dropdown").get_by_text(name, exact=True).click()
