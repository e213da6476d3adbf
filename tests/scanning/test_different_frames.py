# SPDX-License-Identifier: Apache-2.0
"""A still picture in the form of a video is one picture, whatever an encoder makes of it."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from deepfake_video.scanning.clip_reading import read_video
from deepfake_video.scanning.detector import Detector
from deepfake_video.scanning.different_frames import count_different
from deepfake_video.scanning.sample import draw_face
from deepfake_video.scanning.settings import ScanSettings
from deepfake_video.scanning.verdict import VerdictRule


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(device="cpu", settings=ScanSettings(engine="onnx"))


def write_still(path: Path, codec: str, options: dict[str, str]) -> Path:
    """Four seconds of one picture of a drawn person, with noise that an encoder keeps changing."""
    noise = np.random.default_rng(0).normal(0, 12, (360, 640, 1))
    picture = np.clip(draw_face(0.0) + noise, 0, 255).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height = 640, 360
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.bit_rate = 400_000
        for number in range(100):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("libx264", {"crf": "20", "preset": "fast"}),
        ("libx264", {"crf": "36", "preset": "ultrafast", "g": "12"}),
        ("mpeg4", {}),
        ("mjpeg", {}),
        ("ffv1", {}),
    ],
)
def test_a_still_picture_is_one_picture_however_it_is_encoded(tmp_path, detector, codec, options):
    clip = write_still(tmp_path / "still.mkv", codec, options)
    assert read_video(clip, detector.processors, ScanSettings()).num_different == 1


def test_a_still_picture_is_undecided_whatever_its_score(tmp_path, detector):
    clip = write_still(tmp_path / "still.mkv", "libx264", {"crf": "23"})
    any_score = VerdictRule(
        bands=replace(detector.rule.bands, low=0.999999, high=None, false_alarms=None, min_bits_per_pixel=None)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detector, "rule", any_score)
        result = detector.score(clip)
    assert result.verdict == "undecided"
    assert "only 1 different frame was scored" in result.verdict_reason


def test_a_person_who_moves_gives_different_frames(tmp_path, detector):
    with av.open(str(tmp_path / "moving.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=12, options={"crf": "30", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for number in range(48):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(draw_face(number / 12), format="rgb24")))
        container.mux(stream.encode(None))
    assert read_video(tmp_path / "moving.mkv", detector.processors, ScanSettings()).num_different >= 5


def test_a_frame_counts_if_it_differs_anywhere_from_all_that_were_counted():
    thumbnails = {index: np.full((32, 32, 3), 100, np.uint8) for index in range(5)}
    thumbnails[1][:] = 104  # everywhere by 4 levels, as after a change of compression
    thumbnails[2][7, 9] = 130  # one place, as of a mouth that moves
    thumbnails[3][7, 9] = 130
    thumbnails[4][20, 3] = 130
    assert count_different([0, 1], thumbnails) == 1
    assert count_different([0, 0, 1, 2, 3], thumbnails) == 2
    assert count_different([4, 3, 2, 1, 0], thumbnails) == 3
