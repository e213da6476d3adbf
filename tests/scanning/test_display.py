# SPDX-License-Identifier: Apache-2.0
"""The tables of `predict` in a terminal and in a pipe."""

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from deepfake_video.scanning.display import print_table, shorten_middle
from deepfake_video.scanning.results import FaceResult, ModelIdentity, TimelineEntry, VideoResult


LONG = "interview_2026-11-24_with_a_very_long_name_part{}.mp4"
RESULT = VideoResult(
    path=f"folder/{LONG.format(1)}",
    status="ok",
    label="fake",
    verdict="likely fake",
    verdict_reason="the score exceeds the upper band",
    fake_probability=0.9312,
    threshold=0.5,
    duration_s=3725.0,
    frames_analyzed=20,
    face_coverage=0.95,
    faces=[
        FaceResult(track_id=0, fake_probability=0.1, coverage=0.95, first_s=0.0, last_s=10.0),
        FaceResult(track_id=1, fake_probability=0.9312, coverage=0.5, first_s=0.0, last_s=10.0),
    ],
    decisive_track_id=1,
    timeline=[
        TimelineEntry(start_s=0.0, end_s=1800.0, fake_probability=0.2, track_id=0),
        TimelineEntry(start_s=1800.0, end_s=3725.0, fake_probability=0.97, track_id=1),
    ],
    settings={},
    model=ModelIdentity(id="m"),
)
FAILED = VideoResult(
    path=f"folder/{LONG.format(2)}",
    status="decode_error",
    threshold=0.5,
    message="damaged",
    settings={},
    model=ModelIdentity(id="m"),
)


def printed(*results: VideoResult, terminal: bool = False, width: int | None = None, **options: Any) -> list[str]:
    stream = io.StringIO()
    print_table(results, Console(file=stream, force_terminal=terminal, width=width), **options)
    return [line.rstrip() for line in stream.getvalue().splitlines()]


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def test_a_piped_table_fits_80_columns_and_keeps_both_ends_of_a_name():
    lines = printed(RESULT, FAILED, kept={FAILED.path})
    rows = lines[: lines.index("damaged")]
    assert max(map(cell_len, rows)) <= 80
    assert all(row.startswith("in") for row in rows[1:3])
    assert [row.split()[0][-6:] for row in rows[1:3]] == ["t1.mp4", "t2.mp4"]
    assert "decode_error" in rows[2]


def test_a_timeline_keeps_status_and_coverage_and_has_one_line_per_face():
    lines = printed(RESULT)
    assert "ok" in lines[1].split()
    assert "95%" in lines[1].split()
    first, second = (line.split() for line in lines[4:6])
    assert first[1:4] == ["1", "0.100", "95%"]
    assert second[:3] == ["2", "0.931", "50%"]
    assert second[-2:] == ["30:00.0–1:02:05.0", "0.97"]


def test_a_face_that_only_the_timeline_found_has_no_score():
    entry = TimelineEntry(start_s=0.0, end_s=2.0, fake_probability=0.3, track_id=4)
    lines = printed(replace(RESULT, timeline=[*RESULT.timeline, entry]))
    assert lines[6].split()[:3] == ["5", "–", "–"]


def test_a_resumed_scan_tells_old_results_from_new_ones():
    lines = printed(RESULT, FAILED, kept={RESULT.path})
    assert [line.split()[-1] for line in lines[:3]] == ["run", "old", "new"]
    assert lines[-1] == "1 result of an earlier run, 1 new"
    assert "run" not in printed(RESULT, FAILED)[0].split()


def test_files_of_one_name_are_told_apart():
    lines = printed(replace(RESULT, path="one/a.mp4"), replace(RESULT, path="two/a.mp4"))
    assert lines[1].startswith("one/a.mp4")
    assert lines[2].startswith("two/a.mp4")


def test_warnings_about_files_of_one_name_are_told_apart():
    text = "\n".join(
        printed(replace(RESULT, path="one/a.mp4", warnings=["few frames"]), replace(RESULT, path="two/a.mp4"))
    )
    assert "one/a.mp4: few frames" in text


@pytest.mark.parametrize(
    ("seconds", "shown"), [(59.94, "0:59.9"), (59.96, "1:00.0"), (3599.97, "1:00:00.0"), (0.04, "0:00.0")]
)
def test_the_length_is_rounded_to_a_tenth_of_a_second(seconds, shown):
    assert printed(replace(RESULT, duration_s=seconds, timeline=[]))[1].split()[-1] == shown


def test_colours_are_for_terminals_without_no_color(monkeypatch):
    assert "\x1b[" not in "".join(printed(RESULT))
    assert "\x1b[1;31m" in "".join(printed(RESULT, terminal=True, width=100))
    monkeypatch.setenv("NO_COLOR", "1")
    assert "31m" not in "".join(printed(RESULT, terminal=True, width=100))


@pytest.mark.parametrize("name", ["短い名前の長い長い動画ファイル.mp4", "a" * 40, "b.mp4"])
def test_a_shortened_name_never_exceeds_its_width(name):
    assert all(cell_len(shorten_middle(name, width)) <= width for width in range(3, 45))
