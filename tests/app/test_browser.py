# SPDX-License-Identifier: Apache-2.0
"""The report in a real browser, on a phone and a desktop. DEEPFAKE_VIDEO_SCREENSHOTS=DIR keeps the pictures."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from browser import DESKTOP, PHONE, Tab, axe, open_tab
from deepfake_video.scanning.html_report import write_report
from drawn_faces import redness_detector, write_people


SIZES = pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])


@pytest.fixture(scope="module")
def reports(tmp_path_factory) -> dict[str, Path]:
    """The page of one video, of one that could not be judged, and of a folder with a long name in it."""
    folder = tmp_path_factory.mktemp("reports")
    clip = write_people(folder / "edited.mp4", seconds=9, people=2, tinted=(3.0, 6.0))
    fake = redness_detector(timeline=True, threshold=0.2).examine(clip, with_evidence=True)
    real = replace(fake.result, path="real-" * 40 + ".mp4", label="real", fake_probability=0.1)
    failed = redness_detector(timeline=True).examine(folder / "<missing>.mp4").result
    pages = {
        "one": ([fake.result], [fake.evidence]),
        "failed": ([failed], [None]),
        "folder": ([failed, real, fake.result], [None, fake.evidence, fake.evidence]),
    }
    for name, page in pages.items():
        write_report(folder / f"{name}.html", *page)
    return {name: folder / f"{name}.html" for name in pages}


def keep_screenshot(tab: Tab, name: str) -> None:
    if folder := os.environ.get("DEEPFAKE_VIDEO_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        tab.page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


@SIZES
@pytest.mark.parametrize("name", ["one", "failed", "folder"])
def test_a_report_fits_and_asks_for_nothing(reports, name, size):
    address = reports[name].as_uri()
    with open_tab(address, size=size) as tab:
        tab.page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        keep_screenshot(tab, f"report-{name}-{size[0]}")
        assert not tab.scrolls_sideways()
        assert tab.requests == [address]
        assert tab.errors == []
        pictures = "Array.from(document.images, (i) => i.naturalWidth)"
        assert all(width > 0 for width in tab.page.evaluate(pictures))


def test_a_report_is_readable_in_the_dark_and_in_print(reports):
    with open_tab(reports["one"].as_uri(), size=PHONE, color_scheme="dark") as tab:
        keep_screenshot(tab, "report-one-dark")
        assert tab.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 22, 27)"
        tab.page.emulate_media(media="print", color_scheme="light")
        assert tab.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert not tab.scrolls_sideways()
        assert len(tab.page.pdf()) > 10_000


def test_the_index_sorts_and_leads_to_a_video(reports):
    first = ".index tbody tr:first-child td:first-child"
    with open_tab(reports["folder"].as_uri(), size=PHONE) as tab:
        assert tab.page.inner_text(first) == "edited.mp4"
        tab.page.click(".index th button >> nth=0")
        assert tab.page.inner_text(first).startswith("real-")
        tab.page.click(".index th button >> nth=0")
        assert tab.page.inner_text(first) == "<missing>.mp4"
        tab.page.click(".index >> text=edited.mp4")
        tab.page.wait_for_selector("details[open] >> text=Label for programs: fake")
        assert tab.errors == []


@SIZES
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_report_has_no_serious_accessibility_problem(reports, size, scheme):
    """By axe-core: DEEPFAKE_VIDEO_AXE is the path of axe.min.js from its npm package."""
    script = axe()
    for report in reports.values():
        with open_tab(report.as_uri(), size=size, color_scheme=scheme) as tab:
            tab.page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
            assert tab.problems(script) == []


def test_everything_in_a_report_is_reached_by_keyboard(reports):
    with open_tab(reports["folder"].as_uri()) as tab:
        reached = tab.walk()
        names = [name.split("\n")[0] for name, _ in reached]
        assert names[:6] == ["video", "verdict", "fake probability", "faces", "length", "highest-scoring part"]
        assert names[6].startswith("edited.mp4")
        assert len(names) == 6 + 3 + 3
        assert all(outline >= 2 for _, outline in reached)
        tab.page.focus(".index a >> nth=0")
        tab.page.keyboard.press("Enter")
        tab.page.wait_for_selector("details[open] >> text=Label for programs: fake")
        # Two windows for each of two people in each of three scenes of 3 s.
        assert {"All 12 windows as a table", "Case notes"} <= {name for name, _ in tab.walk()}
