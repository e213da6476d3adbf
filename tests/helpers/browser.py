# SPDX-License-Identifier: Apache-2.0
"""Debian's Chromium, driven by Playwright: what a page asks for, says on its console, and how wide it is."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest


# Set where a browser must be there, as in .ci/run: then nothing is skipped.
REQUIRED = os.environ.get("DEEPFAKE_VIDEO_REQUIRE_BROWSER") == "1"
ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]
PHONE, DESKTOP = (375, 800), (1280, 900)
# What has the focus, in a frame or not: its name, and the width of its outline in pixels; null if nothing has it.
FOCUSED = """() => {
  let element = document.activeElement;
  while (element.contentDocument) element = element.contentDocument.activeElement;
  if (element === element.ownerDocument.body) return null;
  const label = element.getAttribute("aria-labelledby");
  const named = (label && element.ownerDocument.getElementById(label)) || element.labels?.[0] || element;
  const style = getComputedStyle(element);
  const outline = style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth);
  return [(element.ariaLabel || named.innerText).trim(), outline];
}"""


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

    def walk(self) -> list[tuple[str, float]]:
        """Name and width of the outline of all that the key Tab reaches from the top of the page, in this order."""
        self.page.evaluate(
            "document.body.tabIndex = -1; document.body.focus(); document.body.removeAttribute('tabindex')"
        )
        reached = []
        for _ in range(60):
            self.page.keyboard.press("Tab")
            if (focused := self.page.evaluate(FOCUSED)) is None:
                break
            reached.append(tuple(focused))
        return reached

    def problems(self, script: str, within: Any = None) -> list[str]:
        """
        The serious and critical problems of accessibility that axe-core finds, without those in frames.

        Args:
            script: Path of axe.min.js.
            within: A frame of the page to examine instead.
        """
        page = within or self.page
        page.evaluate(Path(script).read_text(encoding="utf-8"))
        found = page.evaluate("axe.run({iframes: false})")["violations"]
        return [problem["id"] for problem in found if problem["impact"] in ("serious", "critical")]


def axe() -> str:
    """Path of axe.min.js from its npm package; the test is skipped where the environment does not give it."""
    return os.environ.get("DEEPFAKE_VIDEO_AXE") or pytest.skip("DEEPFAKE_VIDEO_AXE is not set (npm pack axe-core)")


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
