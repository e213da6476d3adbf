# SPDX-License-Identifier: Apache-2.0
"""Where the boxes of an annotated copy stand between the frames of the timeline."""

import numpy as np
import pytest

from deepfake_video.scanning.annotate import _Boxes
from deepfake_video.scanning.results import TimelineEntry
from deepfake_video.scanning.timeline import Window


def window(frames: list[int], lefts: list[float], probability: float, track_id: int = 0) -> Window:
    boxes = np.array([[left, 0.0, left + 10, 10.0] for left in lefts])
    entry = TimelineEntry(
        start_s=frames[0] / 10, end_s=frames[-1] / 10, fake_probability=probability, track_id=track_id
    )
    return Window(entry=entry, frame_indices=np.array(frames), boxes=boxes)


@pytest.fixture
def boxes() -> _Boxes:
    # Ten frames per second: a face at 0 to 0.8 s and again from 3 s on, seen in every fourth frame.
    windows = [
        window([0, 4, 8], [0.0, 4.0, 12.0], 0.1),
        window([30, 34], [50.0, 60.0], 0.9),
        window([0, 4], [100.0, 100.0], 0.5, track_id=1),
    ]
    return _Boxes(windows, np.arange(40) / 10)


@pytest.mark.parametrize(
    ("second", "left", "probability"),
    [
        (0.0, 0.0, 0.1),
        (0.3, 3.0, 0.1),
        (0.4, 4.0, 0.1),
        (0.6, 8.0, 0.1),
        (0.8, 12.0, 0.1),
        (3.1, 52.5, 0.9),
        (3.5, 60.0, 0.9),  # shortly after the last frame
    ],
)
def test_a_box_moves_evenly_between_two_frames_and_has_the_score_of_the_nearest_window(
    boxes, second, left, probability
):
    box, size, score, name = boxes.at(second)[0]
    np.testing.assert_allclose(box, [left, 0.0, left + 10, 10.0])
    assert (size, score, name) == (None, probability, "1: ")


def test_a_face_that_is_away_for_longer_has_no_box(boxes):
    assert boxes.at(2.0) == []


def test_each_face_has_a_box_of_its_own(boxes):
    assert [name for *_, name in boxes.at(0.2)] == ["1: ", "2: "]
