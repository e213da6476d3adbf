# SPDX-License-Identifier: Apache-2.0
"""An annotated copy: where its boxes stand between the frames of the timeline, and how the video is decoded."""

import numpy as np
import pytest
from PIL import Image

from clips import write_clip
from deepfake_video import ScanPlan, ScanSettings, VideoLimits, VideoResult
from deepfake_video.common.files import OutputError
from deepfake_video.scanning import annotate
from deepfake_video.scanning.annotate import _Boxes, annotate_video
from deepfake_video.scanning.evidence import Examination
from deepfake_video.scanning.media import open_media
from deepfake_video.scanning.outputs import write_outputs
from deepfake_video.scanning.results import ModelIdentity, TimelineEntry
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


def test_a_copy_that_cannot_be_encoded_is_one_sentence(tmp_path):
    # Frames of 16,777 s, the longest time that a WebP file can name: FFmpeg does not encode four of them.
    pictures = [Image.fromarray(np.full((64, 96, 3), level, np.uint8)) for level in (0, 30, 60, 90)]
    path, copy = tmp_path / "slow.webp", tmp_path / "copy.mp4"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=(1 << 24) - 1)
    result = VideoResult(
        path=str(path), status="ok", fake_probability=0.5, threshold=0.5, settings={}, model=ModelIdentity(id="m")
    )
    with pytest.raises(OutputError) as caught:
        annotate_video(copy, result, [])
    message = str(caught.value)
    assert message.startswith(f"{copy}: cannot be written (")
    assert (message.count("\n"), ".tmp" in message) == (0, False)
    assert list(tmp_path.iterdir()) == [path]


def test_the_video_is_decoded_within_the_limits_of_the_scan(tmp_path, monkeypatch):
    opened = []

    def open_noted(path, *, limits):
        opened.append(limits)
        return open_media(path, limits=limits)

    monkeypatch.setattr(annotate, "open_media", open_noted)
    path, limits = write_clip(tmp_path / "clip.mp4", num_frames=3), VideoLimits(decode_threads=1)
    plan = ScanPlan(sources=[path], settings=ScanSettings(limits=limits), annotate=tmp_path / "copy.mp4")
    result = VideoResult(
        path=str(path), status="ok", fake_probability=0.5, threshold=0.5, settings={}, model=ModelIdentity(id="m")
    )
    write_outputs(plan, [Examination(result=result)])
    assert opened == [limits]
    assert (tmp_path / "copy.mp4").stat().st_size
