# SPDX-License-Identifier: Apache-2.0
"""What of a video was not judged: the ranges are those that the clip was made with."""

import json
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import jsonschema
import numpy as np
import pytest

from clips import remux, write_clip, write_packet_times, write_truncated
from deepfake_video import VideoReader, video_unread
from deepfake_video.scanning import results
from deepfake_video.scanning.display import print_table
from deepfake_video.scanning.explanation import explain
from deepfake_video.scanning.html_report import render_report
from deepfake_video.scanning.not_judged import describe_shortly
from deepfake_video.scanning.results import NotJudged, VideoResult
from deepfake_video.scanning.sample import draw_face
from drawn_faces import FPS, redness_detector, write_changing_size, write_people


SCHEMA = json.loads((Path(results.__file__).parent / "result.schema.json").read_text(encoding="utf-8"))
ABSENT_S = (3.0, 5.0)


def write_leaving(path: Path, *, seconds: float = 8.0) -> Path:
    """A drawn person who is away from `ABSENT_S[0]` to `ABSENT_S[1]`."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "18", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for number in range(round(seconds * FPS)):
            picture = draw_face(number / FPS)
            if ABSENT_S[0] <= number / FPS < ABSENT_S[1]:
                picture = np.full_like(picture, 90)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def left(tmp_path_factory) -> VideoResult:
    path = write_leaving(tmp_path_factory.mktemp("left") / "left.mp4")
    return redness_detector(timeline=True).score(path)


def ranges_of(result: VideoResult) -> list[tuple[float, float | None, str]]:
    jsonschema.validate(json.loads(result.to_json()), SCHEMA)
    return [(entry.start_s, entry.end_s, entry.reason) for entry in result.not_judged]


def test_with_a_timeline_an_absence_is_known_to_a_sixth_of_a_second(left):
    ((start_s, end_s, reason),) = ranges_of(left)
    assert (start_s, end_s) == pytest.approx(ABSENT_S, abs=1 / 6)
    assert reason == "no_face"


def test_without_a_timeline_it_is_known_as_well_as_the_frames_are_dense(tmp_path):
    path = write_leaving(tmp_path / "left.mp4")
    ((start_s, end_s, reason),) = ranges_of(redness_detector(num_frames=17).score(path))
    assert (start_s, end_s) == pytest.approx(ABSENT_S, abs=8 / 16)
    assert reason == "no_face"


def test_where_the_picture_stands_still_nothing_is_judged(tmp_path):
    clip = write_people(tmp_path / "gap.mp4", seconds=6, gap=(3.0, 300.0))
    for timeline in (False, True):
        ((start_s, end_s, reason),) = ranges_of(redness_detector(timeline=timeline).score(clip))
        assert (start_s, end_s) == pytest.approx((3.0, 303.0), abs=0.1)
        assert reason == "no_new_picture"


def test_a_face_that_is_always_there_leaves_nothing(tmp_path):
    clip = write_people(tmp_path / "whole.mp4", seconds=3)
    assert redness_detector(timeline=True).score(clip).not_judged == []


def test_a_video_without_a_score_lists_no_ranges(tmp_path):
    result = redness_detector().score(write_clip(tmp_path / "texture.mp4"))
    assert (result.status, result.media, ranges_of(result)) == ("no_face", "video", [])


def test_an_incomplete_file_is_not_judged_beyond_its_readable_part(tmp_path):
    whole = write_people(tmp_path / "whole.mp4", seconds=6)
    cut = write_truncated(tmp_path / "cut.mkv", remux(tmp_path / "whole.mkv", whole), keep=0.5)
    result = redness_detector().score(cut)
    ((start_s, end_s, reason),) = ranges_of(result)
    assert (start_s, reason) == (result.duration_s, "cut_off")
    # The header of the whole file says how long it is.
    assert end_s == pytest.approx(6.0, abs=0.1)


def test_a_file_that_lacks_its_last_byte_lacks_no_more_than_a_frame(tmp_path):
    whole = write_people(tmp_path / "whole.mp4", seconds=2)
    for name in ("cut.mkv", "cut.mp4"):
        content = remux(tmp_path / f"whole-{name}", whole).read_bytes()
        (tmp_path / name).write_bytes(content[:-1])
        with VideoReader(tmp_path / name) as reader:
            assert sum(entry.end_s - entry.start_s for entry in reader.unread) <= 1 / FPS + 0.01


def test_damaged_pictures_are_a_range(tmp_path):
    clip = write_changing_size(tmp_path / "damaged.mkv", [(640, 360)], seconds=3.0)
    content = bytearray(clip.read_bytes())
    starts = [found.start() for found in re.finditer(rb"\xff\xd8\xff", content)]
    assert len(starts) == 3 * FPS
    for start in starts[FPS : 2 * FPS]:
        content[start : start + 3000] = bytes(3000)
    clip.write_bytes(content)
    result = redness_detector(timeline=True).score(clip)
    ((start_s, end_s, reason),) = ranges_of(result)
    assert (start_s, end_s) == pytest.approx((1.0, 2.0), abs=1 / 6)
    assert reason == "undecodable"


def write_two_streams(path: Path) -> Path:
    """A clip of two seconds with a second video stream of one second."""
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=10) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for stream, num_frames in zip(streams, (20, 10), strict=True):
            for number in range(num_frames):
                frame = av.VideoFrame.from_ndarray(np.full((64, 96, 3), 10 * number, np.uint8), format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 10)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


def test_another_video_stream_is_a_range_of_its_own(tmp_path):
    with VideoReader(write_two_streams(tmp_path / "two.mp4")) as reader:
        (unread,) = reader.unread
    assert (unread.reason, unread.stream) == ("other_stream", 1)
    assert (unread.start_s, unread.end_s) == pytest.approx((0.0, 1.0), abs=0.01)


def test_a_stream_of_negative_length_has_no_known_end(tmp_path, monkeypatch):
    other = SimpleNamespace(index=1, time_base=Fraction(1, 10), start_time=0, duration=-30)
    monkeypatch.setattr(video_unread, "other_streams", lambda container, stream: [other])
    with VideoReader(write_two_streams(tmp_path / "two.mp4")) as reader:
        (unread,) = reader.unread
    assert (unread.start_s, unread.end_s) == (0.0, None)


def test_sound_without_a_picture_is_a_range(tmp_path):
    late = write_packet_times(tmp_path / "late.mp4", [2000 + 40 * number for number in range(50)], audio=True)
    with VideoReader(late) as reader:
        assert [(unread.start_s, unread.reason) for unread in reader.unread][:1] == [(0.0, "no_picture")]
        assert reader.unread[0].end_s == pytest.approx(reader.timestamps_s[0])


def test_a_range_without_an_end_and_a_stream_are_worded(left):
    entries = [
        NotJudged(start_s=0.0, end_s=8.0, reason="other_stream", stream=1),
        NotJudged(start_s=7.0, end_s=None, reason="cut_off"),
    ]
    said = describe_shortly(replace(left, not_judged=entries))
    assert said == (
        "not judged: 0:00.0–0:08.0 (another video stream, number 1), "
        "from 0:07.0 (beyond the readable part of the file)"
    )


def test_of_many_ranges_the_longest_are_shown(left):
    entries = [NotJudged(start_s=3.0 * n, end_s=3.0 * n + 1 + n / 10, reason="no_face") for n in range(9)]
    said = describe_shortly(replace(left, not_judged=entries))
    assert said.endswith(", and 5 more")
    assert "0:24.0–0:25.8" in said
    assert "0:00.0–0:01.0" not in said


def test_ranges_are_worded_with_their_reasons(left):
    assert describe_shortly(left) == "not judged: 0:03.0–0:05.0 (no face found, or none that was scored)"
    said = dict(explain(left))["What was not examined"]
    assert "0:03.0–0:05.0: no face found, or none that was scored." in said
    page = render_report([left], [None])
    assert "What was not examined" in page
    assert "0:03.0–0:05.0" in page


def test_the_table_says_it_if_there_is_a_timeline(left, capsys):
    print_table([left])
    assert "left.mp4: not judged: 0:03.0–0:05.0" in capsys.readouterr().out
