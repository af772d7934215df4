"""The page in a headless Chromium: what pictures of the documentation and tests of the page do alike."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Playwright

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
]  # fmt: skip


def open_browser(started: Playwright) -> Browser:
    """A Chromium without a window and with a camera that shows a test picture."""
    return started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)


def open_tab(page: Page, name: str) -> None:
    """Show a tab; on a phone the last ones wait behind a button."""
    tab = page.get_by_role("tab", name=name, exact=True)
    if tab.count() and tab.first.is_visible():
        tab.first.click()
    else:
        page.locator(".overflow-menu > button").first.click()
        page.locator(".overflow-dropdown").get_by_text(name, exact=True).click()
