# SPDX-License-Identifier: Apache-2.0
"""When and where: windows over cached features, tracks for every person, stretches."""

import base64
import io
import itertools
import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clips import write_clip
from deepfake_video import (
    DeepfakeConfig,
    DeepfakeForVideoClassification,
    DeepfakeVideoProcessor,
    FaceTrack,
    VideoError,
    VideoReader,
    scan,
)
from deepfake_video.face_cropping import NoFaceFoundError
from deepfake_video.hub.folder import save_hub_folder
from deepfake_video.scanning import detector as detector_module
from deepfake_video.scanning import timeline as timeline_module
from deepfake_video.scanning.detector import Detector
from deepfake_video.scanning.evidence import Examination
from deepfake_video.scanning.results import ModelIdentity, TimelineEntry, VideoResult
from deepfake_video.scanning.sample import draw_face
from deepfake_video.scanning.settings import ScanSettings
from deepfake_video.scanning.stretches import clock, clock_range, worst_stretches
from deepfake_video.scanning.timeline import (
    HOP_FRAMES,
    WINDOW_FRAMES,
    _Spans,
    crop_for,
    number_tracks,
    window_bounds,
)
from drawn_faces import redness_detector, save_tiny_model, write_changing_size, write_people, write_seldom_seen


@pytest.fixture(scope="module")
def edited(tmp_path_factory) -> Path:
    """Nine seconds of one person, of which the third to the sixth are manipulated."""
    return write_people(tmp_path_factory.mktemp("clips") / "edited.mp4", seconds=9, tinted=(3.0, 6.0))


@pytest.fixture(scope="module")
def examined(edited) -> Examination:
    return redness_detector(timeline=True).examine(edited)


def test_three_fake_seconds_between_real_ones_show_in_the_timeline(examined):
    for entry in examined.result.timeline:
        if entry.start_s >= 3.0 and entry.end_s <= 6.0:
            assert entry.fake_probability > 0.95
        if entry.end_s <= 3.0 or entry.start_s >= 6.0:
            assert entry.fake_probability < 0.05


def test_a_model_that_computes_nan_in_a_part_of_a_video_gives_no_score(tmp_path):
    """Its weights are finite, and overflow on white pictures only, which are between the frames of the score."""
    torch.manual_seed(1)
    frames = {"rnn_type": "none", "num_hidden_layers": 0, "hidden_size": 1024, "is_trained": True}
    config = DeepfakeConfig.from_preset("tiny", **frames)
    network = DeepfakeForVideoClassification(config)
    with torch.no_grad():
        next(weight for weight in network.parameters() if weight.ndim == 4).mul_(1e38)
    processor = DeepfakeVideoProcessor.from_config(
        config, image_mean=[0.0] * 3, image_std=[1.0] * 3, do_crop_faces=False
    )
    save_hub_folder(network, processor, tmp_path / "model")
    with av.open(str(tmp_path / "flash.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=12, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 128, 128, "yuv420p"
        for number in range(120):
            picture = np.full((128, 128, 3), 255 if number in (9, 10) else 0, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))

    def look(has_timeline):
        settings = ScanSettings(timeline=has_timeline, engine="torch")
        return Detector([str(tmp_path / "model")], device="cpu", settings=settings).score(tmp_path / "flash.mp4")

    assert look(False).status == "ok"
    result = look(True)
    assert (result.status, result.fake_probability) == ("decode_error", None)
    assert "the model computed NaN instead of a score" in result.message
    assert "report this" not in result.message
    assert json.loads(result.to_json())["timeline"] == []


def test_the_worst_stretch_is_the_fake_one(examined):
    worst, *others = worst_stretches(examined.result)
    assert not others
    assert (worst.start_s, worst.end_s) == pytest.approx((3.0, 6.0))
    assert worst.fake_probability > 0.95


def test_windows_overlap_by_half_and_end_at_cuts(examined):
    times = [(entry.start_s, entry.end_s) for entry in examined.result.timeline]
    expected = [(0, 2), (1, 3), (3, 5), (4, 6), (6, 8), (7, 9)]
    assert np.array(times) == pytest.approx(np.array(expected))


def test_a_manipulated_second_between_cuts_has_a_window_of_its_own(tmp_path):
    clip = write_people(tmp_path / "short.mp4", seconds=8, tinted=(4.0, 5.0))
    result = redness_detector(timeline=True).examine(clip).result
    (manipulated,) = (entry for entry in result.timeline if entry.fake_probability > 0.5)
    assert (manipulated.start_s, manipulated.end_s) == pytest.approx((4.0, 5.0))
    assert manipulated.fake_probability > 0.95
    assert all(entry.fake_probability < 0.05 for entry in result.timeline if entry is not manipulated)


def test_cuts_end_windows_as_gaps_do():
    # Six frames per second: a scene of 8 s, one of a second, one of two frames, and one of 3 s after a gap.
    starts_s = np.concatenate([np.arange(56) / 6, 60 + np.arange(18) / 6])
    reader = SimpleNamespace(timestamps_s=starts_s, gaps={55: 56 / 6}, duration_s=63.0)
    spans = _Spans(reader, np.arange(74), cuts={48, 54})
    windows = spans.windows(np.arange(74))
    bounds = [(int(window[0]), int(window[-1]) + 1) for window in windows]
    assert bounds == [
        *((start, start + 12) for start in range(0, 37, 6)),
        (48, 54),
        (54, 56),
        (56, 68),
        (62, 74),
    ]
    times = [spans.span_s(window) for window in windows[6:]]
    assert np.array(times) == pytest.approx(np.array([(6, 8), (8, 9), (9, 56 / 6), (60, 62), (61, 63)]))


def test_a_window_of_frames_in_which_a_face_was_seen_ends_at_a_cut_too():
    reader = SimpleNamespace(timestamps_s=np.arange(10) / 6, gaps={}, duration_s=10 / 6)
    spans = _Spans(reader, np.arange(10), cuts={5})
    # Frame 5 starts the scene, but the face is seen from frame 7 on.
    windows = spans.windows(np.array([3, 4, 7, 8]), longest_s=2.0)
    assert [window.tolist() for window in windows] == [[3, 4], [7, 8]]


def test_the_timeline_never_changes_the_score(edited, examined):
    alone = redness_detector().examine(edited).result
    assert alone.timeline == []
    assert examined.result.fake_probability == alone.fake_probability
    assert examined.result.faces == alone.faces


def test_a_cut_does_not_make_two_people_of_one(examined):
    assert {entry.track_id for entry in examined.result.timeline} == {0}


def test_a_window_scores_what_the_network_says_of_its_frames(tmp_path, edited):
    detector = Detector([save_tiny_model(tmp_path / "model")], device="cpu", settings=ScanSettings(timeline=True))
    windows = detector.examine(edited).windows
    (model,) = detector.models
    for window in windows[::3]:
        with VideoReader(edited) as reader:
            frames = [frame for _, frame in reader.frames(window.frame_indices.tolist())]
        crops = [crop_for(model.processor, *pair) for pair in zip(frames, window.boxes, strict=True)]
        with torch.inference_mode():
            logits = model.network(torch.from_numpy(model.pixel_values(crops))).logits
        assert window.entry.fake_probability == pytest.approx(logits.softmax(-1)[0, 1].item(), abs=1e-5)


def test_the_batch_size_does_not_change_the_timeline(edited, examined):
    other = redness_detector(timeline=True, batch_size=5).examine(edited).result.timeline
    for one, two in zip(examined.result.timeline, other, strict=True):
        assert one.fake_probability == pytest.approx(two.fake_probability, abs=1e-6)


def test_two_people_in_one_frame_give_two_tracks_and_two_timelines(tmp_path):
    clip = write_people(tmp_path / "two.mp4", seconds=3, people=2)
    result = redness_detector(timeline=True, num_frames=8).examine(clip).result
    assert [face.track_id for face in result.faces] == [0, 1]
    assert all(face.coverage == 1.0 for face in result.faces)
    assert {entry.track_id for entry in result.timeline} == {0, 1}


@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
def test_a_video_on_its_side_is_judged_upright_and_says_so(tmp_path, quarter_turns):
    upright = write_people(tmp_path / "upright.mp4", seconds=2)
    lying = write_people(tmp_path / "lying.mp4", seconds=2, quarter_turns=quarter_turns)
    detector = redness_detector(timeline=True)
    expected, found = detector.examine(upright, with_evidence=True), detector.examine(lying, with_evidence=True)
    assert found.result.face_coverage == expected.result.face_coverage == 1.0
    assert found.result.fake_probability == pytest.approx(expected.result.fake_probability, abs=0.01)
    assert len(found.result.timeline) == len(expected.result.timeline) > 0
    assert not any("rotated" in warning for warning in expected.result.warnings)
    (warning,) = (warning for warning in found.result.warnings if "rotated" in warning)
    assert f"{360 - 90 * quarter_turns} degrees counterclockwise" in warning
    for name in ("thumbnails", "heatmaps"):
        pictures = [picture_of(getattr(examination.evidence, name)[0].jpeg) for examination in (found, expected)]
        assert np.abs(np.subtract(*pictures)).mean() < 12, name


def picture_of(jpeg):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(jpeg))).resize((64, 64)), dtype=np.float32)


SIZES = {
    "resolution": [(640, 360), (320, 180), (960, 540)],
    "turned": [(640, 360), (360, 640)],
    "bars": [(640, 480), (640, 360)],
}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("num_frames", [8, 20])
def test_one_person_is_one_face_whatever_the_picture_size(tmp_path, sizes, num_frames):
    clip = write_changing_size(tmp_path / "sizes.mkv", sizes)
    result = redness_detector(timeline=True, num_frames=num_frames).examine(clip).result
    assert [(face.track_id, face.coverage) for face in result.faces] == [(0, 1.0)]
    assert result.frames_analyzed == num_frames
    assert {entry.track_id for entry in result.timeline} == {0}


def test_a_window_across_a_change_of_size_shows_the_face_in_every_frame(tmp_path):
    clip = write_changing_size(tmp_path / "sizes.mkv", SIZES["resolution"])
    detector = redness_detector(timeline=True)
    windows = detector.examine(clip).windows
    (model,) = detector.models
    portrait = draw_face(0.0)
    for window in windows:
        with VideoReader(clip) as reader:
            frames = [frame for _, frame in reader.frames(window.frame_indices.tolist())]
        for frame, box in zip(frames, window.boxes, strict=True):
            crop = crop_for(model.processor, frame, box, size=window.size)
            # The drawn face fills its crop much as it does in the first frame; the background is another colour.
            assert np.abs(crop[12:20, 12:20].mean((0, 1)) - portrait[160:200, 300:340].mean((0, 1))).max() < 40


def test_a_gap_ends_a_window(tmp_path):
    clip = write_people(tmp_path / "gap.mp4", seconds=6, gap=(3.0, 300.0), tinted=(3.0, 6.0))
    result = redness_detector(timeline=True).examine(clip).result
    assert result.duration_s == pytest.approx(306)
    assert "no new picture for 300.0 s, starting at 3.0 s" in result.warnings
    before = [entry for entry in result.timeline if entry.start_s < 3]
    after = [entry for entry in result.timeline if entry.start_s > 3]
    assert [before[-1].end_s, after[0].start_s, after[-1].end_s] == pytest.approx([3, 303, 306], abs=0.1)
    assert all(entry.end_s - entry.start_s < 2.1 for entry in result.timeline)
    (worst,) = worst_stretches(result)
    assert [worst.start_s, worst.end_s] == pytest.approx([303, 306], abs=0.1)


def test_a_face_seen_for_moments_that_decides_has_a_window_and_a_stretch(tmp_path):
    clip = write_seldom_seen(tmp_path / "seldom.mp4", seconds=8, on_s=0.7, every_s=2.0)
    result = redness_detector(timeline=True).examine(clip).result
    assert result.label == "fake"
    decisive = [entry for entry in result.timeline if entry.track_id == result.decisive_track_id]
    assert decisive
    assert all(entry.fake_probability > 0.95 for entry in decisive)
    assert result.decisive_track_id in {stretch.track_id for stretch in worst_stretches(result)}


def test_a_face_that_the_denser_search_misses_has_windows_of_the_frames_that_were_judged(edited, monkeypatch):
    def find_nobody(reader, *arguments):
        raise NoFaceFoundError(reader.name, "no face found")

    monkeypatch.setattr(timeline_module, "find_faces", find_nobody)
    examination = redness_detector(timeline=True, num_frames=4).examine(edited)
    assert [window.frame_indices.tolist() for window in examination.windows] == [[0], [35], [71], [107]]
    assert [entry.start_s for entry in examination.result.timeline] == pytest.approx([0, 35 / 12, 71 / 12, 107 / 12])
    assert [entry.fake_probability > 0.5 for entry in examination.result.timeline] == [False, False, True, False]


def test_whole_frames_have_a_timeline_of_nobody(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", num_frames=40)
    result = redness_detector(timeline=True, faces="none").examine(clip).result
    assert {entry.track_id for entry in result.timeline} == {None}


@pytest.mark.parametrize("num_frames", [1, 2])
def test_the_shortest_video_has_one_window(tmp_path, num_frames):
    clip = write_people(tmp_path / "short.mp4", seconds=num_frames / 12)
    result = redness_detector(timeline=True).examine(clip).result
    assert len(result.timeline) == 1
    assert (result.timeline[0].start_s, result.timeline[0].end_s) == (0.0, pytest.approx(result.duration_s))


def test_a_video_without_a_timeline_keeps_its_score(edited, monkeypatch):
    def fail(*_: object) -> None:
        raise VideoError("edited.mp4", "it cannot be read any further")

    monkeypatch.setattr(detector_module, "ensemble_timeline", fail)
    result = redness_detector(timeline=True).examine(edited).result
    assert (result.status, result.timeline) == ("ok", [])
    assert "the timeline could not be computed: it cannot be read any further" in result.warnings


def test_damage_between_the_sampled_frames_is_told(tmp_path):
    clip = write_clip(tmp_path / "clip.mkv", codec="mjpeg", pix_fmt="yuvj420p", num_frames=60)
    plain, detailed = (redness_detector(timeline=on, faces="none") for on in (False, True))
    intact = detailed.examine(clip).result
    sampled = {frame.index for frame in intact.frames}
    content = bytearray(clip.read_bytes())
    starts = [match.start() for match in re.finditer(rb"\xff\xd8\xff", content)]
    for number in set(range(5, 55)) - sampled:
        content[starts[number] : starts[number + 1] - 200] = bytes(starts[number + 1] - 200 - starts[number])
    clip.write_bytes(content)
    assert plain.examine(clip).result.warnings == []
    result = detailed.examine(clip).result
    assert all(warning.startswith("timeline: ") for warning in result.warnings)
    assert any("of the requested frames cannot be decoded" in warning for warning in result.warnings)
    assert result.fake_probability == intact.fake_probability


def test_scan_takes_the_timeline_as_an_argument(edited, tmp_path):
    result = scan(edited, model=save_tiny_model(tmp_path / "model"), device="cpu", timeline=True)
    assert result.timeline
    assert VideoResult.from_dict(result.to_dict()) == result


@given(st.integers(1, 500))
def test_every_frame_lies_in_a_window(num_frames):
    bounds = window_bounds(num_frames)
    assert {position for bound in bounds for position in range(*bound)} == set(range(num_frames))
    assert len({stop - start for start, stop in bounds}) == 1
    assert all(stop - start == min(WINDOW_FRAMES, num_frames) for start, stop in bounds)
    assert all(0 < b[0] - a[0] <= HOP_FRAMES for a, b in itertools.pairwise(bounds))


def track(number: int, indices: list[int], x: float) -> FaceTrack:
    boxes = np.tile([x, 0.0, x + 50.0, 60.0], (len(indices), 1))
    return FaceTrack(number, np.array(indices), boxes, np.ones(len(indices)), np.zeros(len(indices), dtype=bool))


def test_dense_tracks_take_the_numbers_of_the_faces_they_show():
    seen = [track(0, [0, 50, 100], 200.0), track(1, [0, 50, 100], 0.0)]
    found = [track(0, list(range(0, 52, 2)), 0.0), track(1, list(range(0, 102, 2)), 200.0)]
    assert [(t.track_id, t.boxes[0, 0]) for t in number_tracks(found, seen)] == [(0, 200.0), (1, 0.0)]


def test_a_scene_between_two_frames_of_a_face_belongs_to_it():
    seen = [track(0, [0, 50, 100], 0.0)]
    found = [track(0, list(range(0, 20, 2)), 0.0), track(1, list(range(20, 40, 2)), 10.0)]
    (joined,) = number_tracks(found, seen)
    assert joined.frame_indices.tolist() == list(range(0, 40, 2))


def test_a_face_that_only_the_dense_search_finds_has_a_number_of_its_own():
    seen = [track(0, [0, 50, 100], 0.0)]
    found = [track(0, list(range(0, 102, 2)), 0.0), track(1, list(range(20, 40, 2)), 300.0)]
    assert [t.track_id for t in number_tracks(found, seen)] == [0, 1]


def test_one_face_is_not_in_two_places():
    seen = [track(0, [0, 50, 100], 0.0)]
    found = [track(0, list(range(0, 102, 2)), 0.0), track(1, list(range(0, 102, 2)), 20.0)]
    assert [t.track_id for t in number_tracks(found, seen)] == [0, 1]


def result_with(timeline: list[TimelineEntry]) -> VideoResult:
    return VideoResult(
        path="x.mp4",
        status="ok",
        label="real",
        fake_probability=0.1,
        threshold=0.5,
        duration_s=10.0,
        timeline=timeline,
        settings={},
        model=ModelIdentity(id="m"),
    )


def entry(start: float, probability: float, track_id: int = 0) -> TimelineEntry:
    return TimelineEntry(start_s=start, end_s=start + 2, fake_probability=probability, track_id=track_id)


def test_stretches_are_runs_above_the_threshold_the_worst_first():
    timeline = [entry(0, 0.6), entry(1, 0.7), entry(2, 0.1), entry(5, 0.9), entry(5, 0.8, 1)]
    stretches = [(s.start_s, s.end_s, s.track_id, s.fake_probability) for s in worst_stretches(result_with(timeline))]
    assert stretches == [(5, 7, 0, 0.9), (5, 7, 1, 0.8), (0, 3, 0, 0.7)]


def test_below_the_threshold_the_highest_window_stands_alone():
    (stretch,) = worst_stretches(result_with([entry(0, 0.1), entry(1, 0.3)]))
    assert (stretch.start_s, stretch.fake_probability) == (1, 0.3)
    assert worst_stretches(replace(result_with([]))) == []


def test_the_face_that_decides_has_a_stretch_even_below_the_threshold():
    result = replace(result_with([entry(0, 0.9), entry(1, 0.2, 1), entry(2, 0.4, 1)]), decisive_track_id=1)
    assert [(s.track_id, s.fake_probability) for s in worst_stretches(result)] == [(0, 0.9), (1, 0.4)]


@pytest.mark.parametrize(("seconds", "said"), [(0.0, "0:00"), (65.9, "1:05"), (3725.0, "1:02:05")])
def test_times_are_minutes_and_seconds(seconds, said):
    assert clock(seconds) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.9999999999999999, "0:01.0"),
        (2.9999997, "0:03.0"),
        (59.99999999, "1:00.0"),
        (0.3, "0:00.3"),
        (3.96, "0:03.9"),
    ],
)
def test_tenths_belong_to_the_same_second_as_the_rest(seconds, said):
    assert clock(seconds, tenths=True) == said


@pytest.mark.parametrize(
    ("start_s", "end_s", "said"),
    [
        (0.0, 1.92, "0:00.0–0:02.0"),
        (0.68, 7.36, "0:00.6–0:07.4"),
        (2.9999997, 3.3000001, "0:03.0–0:03.3"),
        (58.0, 59.96, "0:58.0–1:00.0"),
        (3599.95, 3725.0, "59:59.9–1:02:05.0"),
    ],
)
def test_a_printed_range_contains_the_range(start_s, end_s, said):
    assert clock_range(start_s, end_s) == said
