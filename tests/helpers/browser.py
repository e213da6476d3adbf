# SPDX-License-Identifier: Apache-2.0
"""Debian's Chromium, driven by Playwright: what a page asks for, says on its console, and how wide it is."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest


# Set where a browser must be there, as in .ci/run: then nothing is skipped.
REQUIRED = os.environ.get("DEEPFAKE_VIDEO_REQUIRE_BROWSER") == "1"
ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]
PHONE, DESKTOP = (375, 800), (1280, 900)


def chromium() -> str:
    """Where Chromium is; the test is skipped, loudly, where there is none."""
    try:
        import playwright.sync_api  # noqa: F401
    except ModuleNotFoundError:
        skip("playwright is not installed (pip install playwright)")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    return found or skip("there is no Chromium (apt-get install chromium)")


def skip(reason: str) -> str:
    if REQUIRED:
        pytest.fail(f"a browser is required here, and {reason}")
    warnings.warn(f"NOT LOOKED AT IN A BROWSER: {reason}", stacklevel=2)
    pytest.skip(reason)


@dataclass
class Tab:
    """
    A page and what happened in it.

    Attributes:
        page: Playwright's.
        errors: What went wrong, from its console and its scripts.
        requests: Addresses that it asked for, without data: and blob:.
    """

    page: Any
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def scrolls_sideways(self) -> bool:
        return bool(self.page.evaluate("document.documentElement.scrollWidth > window.innerWidth"))


@contextmanager
def open_tab(address: str, *, size: tuple[int, int] = DESKTOP, **options: Any) -> Iterator[Tab]:
    """A fresh browser that shows an address."""
    path = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        page = browser.new_context(viewport={"width": size[0], "height": size[1]}, **options).new_page()
        tab = Tab(page)
        page.on("console", lambda message: tab.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: tab.errors.append(str(error)))
        page.on(
            "request",
            lambda request: None if request.url.startswith(("data:", "blob:")) else tab.requests.append(request.url),
        )
        page.goto(address)
        yield tab
        browser.close()
