# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests of stores."""

from pathlib import Path

import pytest

from clips import LONG_CLIP, write_clip
from deepfake_video import video_stores


@pytest.fixture
def small_steps(monkeypatch):
    """Fetch clips of some 100 KB in parts, as videos of many MB are."""
    monkeypatch.setattr(video_stores, "BLOCK_BYTES", 4096)
    monkeypatch.setattr(video_stores, "SMALL_BYTES", 0)


@pytest.fixture(scope="session")
def long_clip(tmp_path_factory) -> Path:
    return write_clip(tmp_path_factory.mktemp("long") / "long.mp4", **LONG_CLIP)
