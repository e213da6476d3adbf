# SPDX-License-Identifier: Apache-2.0
"""A file that shows many faces: a limited number is scored, the most prominent ones, and the result says so."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from deepfake_video.scanning import clip_reading, timeline
from deepfake_video.scanning.not_judged import describe_shortly
from deepfake_video.scanning.sample import draw_face
from drawn_faces import redness_detector


HEIGHTS = [300, 240, 190, 150, 120]


def row_of_people(second: float = 0.3) -> np.ndarray:
    """People side by side, the largest one on the left."""
    person = Image.fromarray(draw_face(second)[:, 180:460])
    picture = Image.new("RGB", (960, 320), person.getpixel((2, 2)))
    left = 0
    for height in HEIGHTS:
        small = person.resize((height * 280 // 360, height))
        picture.paste(small, (left, 0))
        left += small.width + 10
    return np.asarray(picture)


@pytest.fixture(scope="module")
def photo(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("crowd") / "photo.png"
    Image.fromarray(row_of_people()).save(path)
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("crowd") / "video.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=6, options={"crf": "18", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 960, 320, "yuv420p"
        for number in range(12):
            frame = av.VideoFrame.from_ndarray(row_of_people(number / 6), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 6)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def limit(monkeypatch, number: int) -> None:
    for module in (clip_reading, timeline):
        monkeypatch.setattr(module, "MAX_FACES", number)


@pytest.mark.parametrize("is_photo", [True, False])
def test_the_most_prominent_faces_are_scored_and_a_warning_says_how_many_were_found(
    is_photo, photo, video, monkeypatch
):
    path, detector = photo if is_photo else video, redness_detector()
    everyone = detector.score(path)
    assert len(everyone.faces) == len(HEIGHTS)
    assert not any("faces" in warning for warning in everyone.warnings)
    limit(monkeypatch, 3)
    result = detector.score(path)
    # The detector finds each face at the same place; the three tallest people come first.
    assert result.faces == everyone.faces[:3]
    assert [face.size_px for face in result.faces] == sorted((f.size_px for f in everyone.faces), reverse=True)[:3]
    assert "5 faces were found, and only the 3 most prominent ones were scored" in result.warnings
    assert result.face_coverage == everyone.face_coverage


def test_the_faces_that_were_not_scored_count_for_the_verdict(video, monkeypatch):
    detector = redness_detector()
    everyone = detector.score(video)
    limit(monkeypatch, 3)
    result = detector.score(video)
    assert result.verdict_limits == everyone.verdict_limits
    assert result.verdict == "undecided"


def test_the_time_of_a_face_that_was_left_out_is_not_said_to_show_none(tmp_path, monkeypatch):
    # One person per second, each in another place and smaller than the one before.
    with av.open(str(tmp_path / "turns.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=6, options={"crf": "18", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 960, 320, "yuv420p"
        for number in range(24):
            picture, person = row_of_people(number / 6), number // 6
            lefts = np.cumsum([0, *(height * 280 // 360 + 10 for height in HEIGHTS)])
            alone = np.full_like(picture, picture[-1, -1])
            alone[:, lefts[person] : lefts[person + 1]] = picture[:, lefts[person] : lefts[person + 1]]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(alone, format="rgb24")))
        container.mux(stream.encode(None))
    limit(monkeypatch, 3)
    result = redness_detector(num_frames=24).score(tmp_path / "turns.mp4")
    assert "4 faces were found, and only the 3 most prominent ones were scored" in result.warnings
    assert result.face_coverage == 1.0
    assert describe_shortly(result) == "not judged: 0:03.0–0:04.0 (no face found, or none that was scored)"


def test_the_timeline_scores_no_more_faces_of_a_frame(video, monkeypatch):
    detector = redness_detector(timeline=True)
    everyone = detector.score(video)
    assert {entry.track_id for entry in everyone.timeline} == {0, 1, 2, 3, 4}
    limit(monkeypatch, 3)
    result = detector.score(video)
    assert result.timeline == [entry for entry in everyone.timeline if entry.track_id < 3]
    assert "timeline: some frames show more than 3 faces, and only the most prominent ones were scored" in (
        result.warnings
    )


def test_groups_of_twenty_are_scored_whole():
    assert clip_reading.MAX_FACES >= 20
