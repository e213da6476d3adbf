# SPDX-License-Identifier: Apache-2.0
"""Frames through a video codec in memory."""

import threading
from pathlib import Path

import numpy as np
import psutil
import pytest

from deepfake_video.evaluation.encoding import CODECS, through_codec


def smooth_frame(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return (
        np.stack([120 + 80 * np.sin(x / 30), 120 + 80 * np.cos(y / 25), 60 + x / 4], -1).clip(0, 255).astype(np.uint8)
    )


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("size", [(96, 128), (97, 129)])
def test_frames_of_any_size_come_back_in_order_and_nearly_unchanged(codec, size):
    frames = [smooth_frame(*size), np.roll(smooth_frame(*size), 20, axis=1)]
    found = list(through_codec(zip([3, 7], frames, strict=True), codec, 10, "clip.mp4"))
    assert [index for index, _ in found] == [3, 7]
    for frame, (_, decoded) in zip(frames, found, strict=True):
        assert decoded.shape == frame.shape
        assert np.abs(decoded.astype(int) - frame).mean() < 4


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads under Linux")
def test_no_threads_are_started_for_the_colours():
    # PyAV starts a thread per core for each conversion unless it is told otherwise.
    most, stops = [0], threading.Event()
    process = psutil.Process()

    def watch() -> None:
        while not stops.is_set():
            most[0] = max(most[0], process.num_threads())

    watcher = threading.Thread(target=watch)
    watcher.start()
    before = process.num_threads()
    for _ in range(20):
        list(through_codec([(0, smooth_frame(224, 224))], "h264", 28, "clip.mp4"))
    stops.set()
    watcher.join()
    assert most[0] <= before
