# SPDX-License-Identifier: Apache-2.0
"""Tests of progress bars on standard error."""

import pytest

from deepfake_video.common.progress import make_progress


def test_lines_printed_beside_a_bar_stay_on_a_redirected_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in `predict videos/ --jsonl > results.jsonl` in a terminal: rich would print the lines to standard error."""
    monkeypatch.setenv("FORCE_COLOR", "1")  # standard error counts as a terminal
    with make_progress() as bar:
        bar.add_task("videos", total=2)
        print('{"path": "a.mp4"}')
    captured = capsys.readouterr()
    assert captured.out == '{"path": "a.mp4"}\n'
    assert captured.err != ""


def test_bars_are_hidden_if_standard_error_is_not_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    with make_progress() as bar:
        bar.add_task("videos", total=2)
    assert capsys.readouterr().err == ""
