# SPDX-License-Identifier: Apache-2.0
"""Frames are decoded ahead of their use, and the frames that a reader keeps can be released."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from clips import write_clip
from deepfake_video.video_decoding import VideoReader
from deepfake_video.video_sources import read_ahead


def test_the_next_item_is_made_while_the_last_one_is_used():
    is_second_made = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        is_second_made.set()
        yield 2

    ahead = read_ahead(items())
    assert next(ahead) == 1
    assert is_second_made.wait(timeout=30)
    assert list(ahead) == [2]


def test_an_error_reaches_the_user_after_the_items_before_it():
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("damaged")

    ahead = read_ahead(items())
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="damaged"):
        next(ahead)


def test_no_thread_is_left_of_an_iteration_that_is_given_up():
    before = threading.active_count()
    ahead = read_ahead(iter([1, 2, 3]))
    next(ahead)
    ahead.close()
    assert threading.active_count() == before


def test_released_frames_are_decoded_again(tmp_path):
    with VideoReader(write_clip(tmp_path / "clip.mp4")) as reader:
        kept = dict(reader.frames([0, 2]))
        assert all(frame is kept[index] for index, frame in reader.frames([0, 2]))
        reader.release_frames()
        for index, frame in reader.frames([0, 2]):
            assert frame is not kept[index]
            np.testing.assert_array_equal(frame, kept[index])
