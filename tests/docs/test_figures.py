# SPDX-License-Identifier: Apache-2.0
"""The figures of the packaged checkpoint in README.md and docs/ are those of its files."""

from pathlib import Path

import pytest

from ci_scripts import load_script
from deepfake_video.scanning.verdict_bands import Rate, VerdictBands


ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def figures():
    return load_script("docs_figures")


def test_every_page_has_the_figures_of_the_packaged_checkpoint(figures):
    texts = {page: page.read_text(encoding="utf-8") for page in figures.PAGES}
    outdated = [page.name for page, text in texts.items() if figures.with_figures(text) != text]
    assert outdated == [], "run python .ci/docs_figures.py"


def test_a_newsroom_reads_its_false_alarms(figures, monkeypatch):
    rate = {"low": 0.0, "high": 1.0}
    bands = VerdictBands(
        weights_sha256="0" * 64,
        temperature=1.0,
        fake_bias=0.0,
        settings={"num_frames": 20, "faces": "auto", "face_aggregation": "max", "dtype": "float32"},
        low=0.2,
        high=0.8,
        false_alarms=Rate(count=1, number=100, **rate),
        misses=Rate(count=10, number=100, **rate),
        undecided_real=Rate(count=9, number=100, **rate),
        undecided_fake=Rate(count=40, number=100, **rate),
        people=100,
        fakes=100,
        sources=["a", "b"],
        function={"configuration": {}, "preprocessing": {}},
    )
    monkeypatch.setattr(figures, "_bands", lambda: bands)
    said = figures.verdicts_section()
    # Of 990 real clips and 10 fakes: 9.9 + 5 likely fake, 89.1 + 4 undecided, 891 + 1 likely real.
    assert "likely fake: 15 clips, of which on average 5.0 are fake;" in said
    assert "undecided: 93 clips, of which on average 4.0 are fake;" in said
    assert "likely real: 892 clips, of which on average 1.0 are fake." in said
    assert "66% are real" in said


def test_the_rates_of_the_labels_come_from_the_card(figures):
    card = (
        "| videos | real, fake | AUC | sensitivity | specificity |\n|---|---|---|---|---|\n"
        "| one | 10, 20 | .9 | .80 [.7-.9] | .90 |\n| two | 5, 0 | | | 1.00 |\n\n| other | table |\n"
    )
    assert figures.label_rates(card) == [("one", "10, 20", 0.8, 0.9)]
