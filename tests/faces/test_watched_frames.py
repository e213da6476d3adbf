# SPDX-License-Identifier: Apache-2.0
"""Frames that were read leave a thumbnail, which the face search and its callers share."""

import numpy as np
import pytest

from deepfake_video import watched_frames
from deepfake_video.face_cropping import FaceCropSettings, FaceDetection, find_face_tracks
from deepfake_video.scanning.clip_reading import read_video
from deepfake_video.scanning.detector import Detector
from deepfake_video.scanning.sample import write_sample_video
from deepfake_video.scanning.settings import ScanSettings
from deepfake_video.video_sources import FrameArray
from deepfake_video.watched_frames import WatchedFrames


@pytest.fixture
def scaled(monkeypatch) -> list[tuple[int, ...]]:
    """The shapes of the frames that a thumbnail was made of, in order."""
    shapes = []

    def scale(frame: np.ndarray, height: int, width: int) -> np.ndarray:
        shapes.append(frame.shape)
        return frame[:: len(frame) // height, :: len(frame[0]) // width][:height, :width]

    monkeypatch.setattr(watched_frames, "scale_frame", scale)
    return shapes


class SameFace:
    def detect(self, frames):
        return [[FaceDetection(np.array([8.0, 8.0, 40.0, 40.0]), 0.99)] for _ in frames]


def test_thumbnails_are_kept_of_the_frames_that_were_read():
    frames = np.zeros((4, 64, 96, 3), np.uint8)
    frames[2:, :, 48:] = 200
    watched = WatchedFrames(FrameArray(frames, fps=10))
    assert [index for index, _ in watched.frames([3, 0])] == [0, 3]
    assert sorted(watched.thumbnails) == [0, 3]
    assert watched.thumbnails[3][:, 20:].min() == 200
    assert watched.cuts([0, 1, 2, 3]) == set()  # 0.3 s apart
    list(watched.frames([1, 2]))
    assert watched.cuts([0, 1, 2, 3]) == {2}


def test_a_search_of_watched_frames_makes_no_thumbnail_again(scaled):
    watched = WatchedFrames(FrameArray(np.zeros((6, 64, 96, 3), np.uint8), fps=10))
    list(watched.frames([0, 1, 2]))
    find_face_tracks(watched, range(6), settings=FaceCropSettings(), detector=SameFace())
    assert len(scaled) == 6


def test_scoring_a_video_and_its_timeline_makes_one_thumbnail_per_frame_and_pass(tmp_path, scaled):
    clip = write_sample_video(tmp_path / "clip.mp4", num_frames=50)
    settings = ScanSettings(engine="onnx", timeline=True, num_frames=8)
    detector = Detector(device="cpu", settings=settings)
    assert len(read_video(clip, detector.processors, settings).looked_at) == 8
    assert len(scaled) == 8
    detector.score(clip)
    # The timeline looks at every fourth of the 50 frames, the closest to six per second of 25.
    assert len(scaled) == 8 + 8 + 13
