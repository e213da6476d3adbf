# SPDX-License-Identifier: Apache-2.0
"""The examples in the documentation of the video modules run as they are written."""

import doctest
from pathlib import Path

import pytest

from clips import write_clip
from deepfake_video import video_decoding, video_errors, video_sources


@pytest.mark.parametrize("module", [video_decoding, video_errors, video_sources], ids=lambda module: module.__name__)
def test_examples_run(module: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clip(tmp_path / "clip.mp4", num_frames=12, width=320, height=240)
    monkeypatch.chdir(tmp_path)
    done = doctest.testmod(module)
    assert done.attempted > 0
    assert done.failed == 0
