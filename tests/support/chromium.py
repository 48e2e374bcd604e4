"""A browser without a window: the Chromium that is installed, driven by Playwright."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--disable-blink-features=AutomationControlled",  # Highlight's client does not record what says it is a robot
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
)


def program() -> str | None:
    """Where it is, if it is installed."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@contextmanager
def running() -> Iterator[Browser]:
    """A browser until the end of the block."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program(), args=list(OPTIONS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Browser, url: str, **options: Any) -> Iterator[Page]:
    """A tab in a profile of its own. In the end: no message, no failure, and no request to anywhere else."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, "base_url": url, **options})
    try:
        page = context.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"uncaught: {error}"))
        page.on("request", lambda asked: _is_from(asked.url, url) or complaints.append(f"asked for {asked.url}"))
        yield page
        assert not complaints, complaints
    finally:
        context.close()


def _is_from(asked: str, url: str) -> bool:
    return urlsplit(asked).netloc == urlsplit(url).netloc or asked.startswith(("data:", "blob:", "about:"))
