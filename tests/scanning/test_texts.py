# SPDX-License-Identifier: Apache-2.0
"""The texts of report and demo: all of them are in the file, and all in the file are used."""

import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from test_report import FAILED, FAKE, JPEG, PICTURES, REAL, Page

import deepfake_video
from deepfake_video.scanning.evidence import Still
from deepfake_video.scanning.html_report import render_report
from deepfake_video.scanning.provenance import Provenance
from deepfake_video.scanning.texts import Texts
from deepfake_video.video_errors import FailureReason


ENGLISH = Texts.read()
ROOT = Path(deepfake_video.__file__).parent


def in_brackets(entry: str | dict[str, str]) -> str | dict[str, str]:
    if isinstance(entry, str):
        return f"[{entry}]"
    return {form: f"[{text}]" for form, text in entry.items()}


def test_no_word_of_a_page_is_outside_the_file():
    """With all texts of the file in brackets, only what the result says itself stands outside of them."""
    texts = Texts({key: in_brackets(entry) for key, entry in ENGLISH.entries.items()})
    own = {"verdict_reason": "says", "verdict_rates": "says", "warnings": ["says"]}
    credentials = Provenance(state="valid", summary="says", signer="says", tool="says", actions=("says",))
    fake = replace(FAKE, **own, path="says", provenance=credentials, settings={"face_aggregation": "max"})
    fake = replace(fake, faces=[*fake.faces, replace(fake.faces[0], track_id=1)])
    whole = replace(REAL, **own, path="says.mp4", faces=[], face_coverage=None, settings={})
    failed = replace(FAILED, path="says.mp4", message="says", settings={})
    pictures = replace(PICTURES, still=Still(time_s=1.0, track_ids=[0, 1], width=9, height=9, jpeg=JPEG))
    page = Page(render_report([fake, whole, failed], [pictures, None, None], texts=texts))
    shown = ("alt", "aria-label", "title", "data-label", "placeholder")
    outside = " ".join([page.text, *(attributes.get(name) or "" for _, attributes in page.tags for name in shown)])
    while outside != (rest := re.sub(r"\[[^\[\]]*\]", "", outside)):
        outside = rest
    data = {"says", "Says", "mp", "valid", "face", "aggregation", "max", "threshold", "a" * 64, "f" * 64}
    assert set(re.findall(r"[^\W\d_]+", outside)) <= data


def test_no_text_of_the_file_is_unused():
    templates = (f"scanning/report{part}.html.jinja" for part in ("", "_photo", "_not_judged"))
    names = (*templates, "scanning/html_report.py", "scanning/texts.py", "app.py")
    code = "".join((ROOT / name).read_text(encoding="utf-8") for name in names)
    # A key is written out, or its last part is appended to the others.
    unused = [key for key in ENGLISH.entries if f'"{key}"' not in code and f'"{key.split(".")[0]}.' not in code]
    assert unused == []


def test_every_failure_has_words():
    assert {f"status.{reason}" for reason in get_args(FailureReason)} <= set(ENGLISH.entries)


def test_values_are_escaped_and_markup_is_not():
    texts = Texts({"greeting": "Hello & {name}"})
    assert texts("greeting", name="<b>") == "Hello &amp; &lt;b&gt;"
    assert texts("greeting", name=texts("greeting", name="A")) == "Hello &amp; Hello &amp; A"
    assert texts.plain("greeting", name="<b>") == "Hello & <b>"


def test_a_number_chooses_its_form():
    texts = Texts({"faces": {"one": "{count} face", "other": "{count} faces"}})
    assert [texts("faces", count=count) for count in (0, 1, 2)] == ["0 faces", "1 face", "2 faces"]


def test_a_missing_text_is_an_error():
    with pytest.raises(KeyError):
        ENGLISH("report.nothing")
