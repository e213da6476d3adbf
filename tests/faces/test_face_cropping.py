# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake_video.face_cropping import (
    FaceCropSettings,
    FaceDetection,
    FaceTrack,
    NoFaceFoundError,
    crop_face,
    crop_tracks,
    find_cuts,
    find_face_tracks,
    link_detections,
    rescale_box,
    smooth_boxes,
)
from deepfake_video.video_decoding import FrameArray, VideoDecodeError
from face_tracks import track_from_boxes


HEIGHT, WIDTH = 96, 128
finite = st.floats(allow_nan=False, allow_infinity=False)


def noise(height=HEIGHT, width=WIDTH, seed=0):
    return np.random.default_rng(seed).integers(1, 256, (height, width, 3), dtype=np.uint8)


def face(x, y, size=20.0, score=0.99):
    """A face of this size around the point x, y."""
    return FaceDetection(np.array([x, y, x, y]) + np.array([-1, -1, 1, 1]) * size / 2, score)


def link(detections, *, timestamps_s=None, **kwargs):
    """The tracks of consecutive frames, 25 in a second unless their times are given."""
    times = np.arange(len(detections)) / 25 if timestamps_s is None else timestamps_s
    return link_detections(range(len(detections)), detections, timestamps_s=times, **kwargs)


def centers(track):
    return ((track.boxes[:, :2] + track.boxes[:, 2:]) / 2).tolist()


class ProgrammedDetector:
    """Finds in each frame the faces programmed for the frame's number, which is the value of its first pixel."""

    def __init__(self, faces_of):
        self.faces_of = faces_of
        self.seen = []

    def detect(self, frames):
        self.seen += [int(frame[0, 0, 0]) for frame in frames]
        return [self.faces_of.get(int(frame[0, 0, 0]), []) for frame in frames]


def numbered_clip(num_frames, fps=25.0):
    frames = np.zeros((num_frames, HEIGHT, WIDTH, 3), dtype=np.uint8)
    frames[:, 0, 0] = np.arange(num_frames)[:, None]
    return FrameArray(frames, fps=fps)


# --- settings


def test_settings_are_json_scalars():
    values = vars(FaceCropSettings()).values()
    assert all(isinstance(value, (int, float, str, bool)) for value in values)


@pytest.mark.parametrize(
    "wrong",
    [
        {"margin": 0},
        {"margin": float("nan")},
        {"margin": "1.3"},
        {"min_score": 2},
        {"min_face_size": 1},
        {"min_face_size": True},
        {"max_side": 1.5},
        {"square": 1},
        {"padding": "edge"},
        {"detector": "haar"},
    ],
)
def test_settings_refuse_what_makes_no_sense_and_name_it(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        FaceCropSettings(**wrong)


# --- crop geometry


def test_square_crop_has_the_longer_side_times_margin():
    assert crop_face(noise(), np.array([30, 30, 50, 40]), margin=1.5, square=True).shape == (30, 30, 3)


def test_tight_crop_is_the_box():
    frame = noise()
    crop = crop_face(frame, np.array([30, 20, 50, 60]), margin=1.0, square=False)
    np.testing.assert_array_equal(crop, frame[20:60, 30:50])


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 30), st.integers(1, 30))
def test_square_crop_inside_the_frame_is_plain_indexing(x, y, width, height):
    frame = noise()
    crop = crop_face(frame, np.array([x, y, x + width, y + height], dtype=float), margin=1.0, square=True)
    side = max(width, height)
    assert crop.shape == (side, side, 3)
    x0, y0 = round(x + (width - side) / 2), round(y + (height - side) / 2)
    if x0 >= 0 and y0 >= 0:
        np.testing.assert_array_equal(crop, frame[y0 : y0 + side, x0 : x0 + side])


@pytest.mark.parametrize("padding", ["reflect", "zero"])
@given(box=st.tuples(finite, finite, finite, finite), size=st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_any_finite_box_gives_a_square_of_bounded_size(padding, box, size):
    crop = crop_face(noise(*size), np.array(box), margin=1.3, square=True, padding=padding)
    assert crop.dtype == np.uint8
    assert crop.shape[0] == crop.shape[1] <= 2 * max(size)


@given(st.integers(2, 12), st.integers(2, 12), st.integers(-20, 20), st.integers(-20, 20), st.integers(1, 24))
def test_reflection_is_that_of_numpy_however_far_it_reaches(height, width, x, y, side):
    frame, pad = noise(height, width), 60
    longest = max(height, width)
    if side > 2 * longest or min(x, y) < -longest or max(x, y) + side > 2 * longest:
        return  # beyond the documented bounds
    crop = crop_face(frame, np.array([x, y, x + side, y + side]), margin=1.0, square=True, padding="reflect")
    padded = np.pad(frame, ((pad, pad), (pad, pad), (0, 0)), mode="reflect")
    np.testing.assert_array_equal(crop, padded[y + pad : y + pad + side, x + pad : x + pad + side])


def test_zero_padding_is_black_outside_and_the_frame_inside():
    frame = noise()
    crop = crop_face(frame, np.array([-10, -10, 10, 10]), margin=1.0, square=True, padding="zero")
    assert not crop[:10].any()
    assert not crop[:, :10].any()
    np.testing.assert_array_equal(crop[10:, 10:], frame[:10, :10])


def test_crop_does_not_share_memory_with_the_frame():
    frame = noise()
    crop_face(frame, np.array([10, 10, 20, 20]))[:] = 0
    assert frame.all()


@pytest.mark.parametrize("box", [[0, 0, np.nan, 1], [0, 0, np.inf, 1], [0, 0, 1]])
def test_box_that_is_not_four_finite_numbers_is_refused(box):
    with pytest.raises(ValueError, match="four finite numbers"):
        crop_face(noise(), np.array(box))


# --- linking


def test_moving_face_is_one_track():
    (track,) = link([[face(20 + 4 * i, 50)] for i in range(10)])
    assert track.frame_indices.tolist() == list(range(10))
    assert track.coverage(10) == 1.0


def test_short_gap_is_interpolated_and_flagged():
    (track,) = link([[face(20, 50)], [], [face(24, 50)]])
    assert track.interpolated.tolist() == [False, True, False]
    assert np.isnan(track.scores).tolist() == [False, True, False]
    assert centers(track)[1] == [22, 50]
    assert track.coverage(3) == pytest.approx(2 / 3)


@pytest.mark.parametrize(("missing", "num_tracks"), [(3, 1), (4, 2)])
def test_gap_of_more_than_three_frames_ends_the_track(missing, num_tracks):
    assert len(link([[face(20, 50)], *[[]] * missing, [face(20, 50)]])) == num_tracks


def test_nothing_is_interpolated_over_seconds():
    (track,) = link([[face(20, 50)], [], [face(20, 50)]], timestamps_s=np.array([0.0, 3.0, 6.0]))
    assert track.frame_indices.tolist() == [0, 2]


def test_interpolation_leaves_out_the_place_of_another_face():
    other = face(50, 50)
    tracks = link([[face(40, 50)], [other], [face(60, 50)]], timestamps_s=np.array([0.0, 0.15, 0.3]))
    for track in tracks:
        assert not track.interpolated.any()


def test_spread_samples_of_a_swaying_person_are_one_track():
    times = np.linspace(0, 60, 20)
    sway = np.random.default_rng(0).uniform(-12, 12, (20, 2))
    (track,) = link([[face(60 + dx, 50 + dy)] for dx, dy in sway], timestamps_s=times)
    assert track.coverage(20) == 1.0


@pytest.mark.parametrize("step_s", [0.04, 0.3, 3.0])
def test_two_people_side_by_side_do_not_swap(step_s):
    sway = np.random.default_rng(1).uniform(-5, 5, (20, 2))
    frames = [[face(40 + a, 50), face(90 + b, 50)][:: (-1) ** i] for i, (a, b) in enumerate(sway)]
    tracks = link(frames, timestamps_s=np.arange(20) * step_s)
    assert [track.num_detected for track in tracks] == [20, 20]
    assert all(np.ptp(centers(track), axis=0)[0] <= 10 for track in tracks)


def test_track_does_not_jump_to_a_person_elsewhere():
    tracks = link([[face(20, 50)], [face(100, 50)]], timestamps_s=np.array([0.0, 5.0]))
    assert len(tracks) == 2


def test_track_does_not_jump_to_a_face_of_another_size():
    tracks = link([[face(50, 50, 60)], [face(50, 50, 15)]], timestamps_s=np.array([0.0, 5.0]))
    assert len(tracks) == 2


def test_cut_ends_every_track():
    tracks = link([[face(50, 50)]] * 6, cuts={3})
    assert [track.frame_indices.tolist() for track in tracks] == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        ((1280, 720), [200, 100, 400, 300]),  # twice the resolution
        ((640, 360), [100, 50, 200, 150]),  # the same
        ((640, 480), [100, 110, 200, 210]),  # bars of 60 above and below
        ((360, 640), [-40, 190, 60, 290]),  # a turned camera: the same pixels around the same middle
    ],
)
def test_box_in_a_picture_of_another_size(new, expected):
    box = np.array([100.0, 50, 200, 150])
    moved = rescale_box(box, (640, 360), new)
    assert moved == pytest.approx(expected)
    assert rescale_box(moved, new, (640, 360)) == pytest.approx(box)


def test_frames_of_another_shape_are_never_called_cut():
    thumbnails = np.zeros((10, 8, 8, 3), np.uint8)
    thumbnails[5:] = 200
    times = np.arange(10) / 25
    assert find_cuts(range(10), thumbnails, times, aspects=[16 / 9] * 10) == {5}
    assert find_cuts(range(10), thumbnails, times, aspects=[16 / 9] * 5 + [9 / 16] * 5) == set()


def test_main_face_is_large_and_often_seen_and_comes_first():
    tracks = link([[face(30, 50, 20), face(90, 50, 40)], [face(30, 50, 20)], [face(30, 50, 20)]])
    assert [track.median_area for track in tracks] == [1600, 400]
    assert [track.track_id for track in tracks] == [0, 1]


def test_linking_refuses_lists_of_different_lengths():
    with pytest.raises(ValueError, match="must have the same length"):
        link_detections([0, 1], [[]], timestamps_s=np.zeros(2))


crowds = st.lists(
    st.lists(st.builds(face, st.integers(0, 99), st.integers(0, 99), st.integers(5, 60)), max_size=4), max_size=8
)


@given(crowds, st.sampled_from([0.04, 0.3, 3.0]))
def test_each_detection_belongs_to_exactly_one_track(crowd, step_s):
    tracks = link(crowd, timestamps_s=np.arange(len(crowd)) * step_s)
    linked = [
        (int(index), *box)
        for track in tracks
        for index, box, guess in zip(track.frame_indices, track.boxes.tolist(), track.interpolated, strict=True)
        if not guess
    ]
    assert sorted(linked) == sorted((i, *f.box.tolist()) for i, faces in enumerate(crowd) for f in faces)
    assert all((np.diff(track.frame_indices) > 0).all() for track in tracks)


@given(crowds, st.randoms(use_true_random=False))
def test_order_of_detections_does_not_matter(crowd, random):
    shuffled = [random.sample(faces, len(faces)) for faces in crowd]
    for track, other in zip(link(crowd), link(shuffled), strict=True):
        np.testing.assert_array_equal(track.frame_indices, other.frame_indices)
        np.testing.assert_array_equal(track.boxes, other.boxes)


# --- smoothing


def test_smoothing_calms_consecutive_frames():
    jitter = np.random.default_rng(0).normal(0, 2, (40, 4))
    track = track_from_boxes(np.array([20, 20, 60, 60]) + jitter, range(40))
    assert smooth_boxes(track).boxes.std() < track.boxes.std()
    assert np.diff(smooth_boxes(track).boxes, axis=0).std() < np.diff(track.boxes, axis=0).std() / 3


def test_smoothing_keeps_steady_motion():
    track = track_from_boxes(np.arange(10)[:, None] * 3.0 + np.array([0, 0, 20, 20]), range(10))
    np.testing.assert_allclose(smooth_boxes(track).boxes, track.boxes)


def test_smoothing_leaves_spread_frames_alone():
    track = track_from_boxes(
        np.random.default_rng(0).uniform(0, 9, (5, 4)) + np.array([0, 0, 20, 20]), range(0, 50, 10)
    )
    np.testing.assert_array_equal(smooth_boxes(track).boxes, track.boxes)


# --- cuts


def two_scenes(step_s):
    rng = np.random.default_rng(0)
    scenes = rng.integers(0, 256, (2, 1, 8, 8, 3)).repeat(8, axis=1).reshape(16, 8, 8, 3)
    return find_cuts(range(16), scenes + rng.normal(0, 2, scenes.shape), np.arange(16) * step_s)


def test_change_of_scene_in_consecutive_frames_is_a_cut():
    assert two_scenes(0.04) == {8}


def test_frames_seconds_apart_are_never_cut():
    assert two_scenes(1.0) == set()


def test_camera_that_pans_is_not_a_cut():
    panorama = np.random.default_rng(0).integers(0, 256, (8, 60, 3))
    frames = np.stack([panorama[:, i : i + 8] for i in range(40)])
    assert find_cuts(range(40), frames, np.arange(40) / 25) == set()


# --- search with a detector of the caller


def test_caller_detector_sees_each_wanted_frame_once():
    detector = ProgrammedDetector({i: [face(50, 50)] for i in range(10)})
    (track,) = find_face_tracks(numbered_clip(10), range(10), settings=FaceCropSettings(), detector=detector)
    assert detector.seen == list(range(10))
    assert track.num_detected == 10


def test_unsure_detections_are_ignored():
    detector = ProgrammedDetector({i: [face(50, 50), face(90, 50, score=0.5)] for i in range(4)})
    assert len(find_face_tracks(numbered_clip(4), range(4), settings=FaceCropSettings(), detector=detector)) == 1


def test_more_frames_are_searched_before_giving_up():
    detector = ProgrammedDetector({i: [face(50, 50)] for i in range(12, 19)})
    tracks = find_face_tracks(numbered_clip(40), [0, 10, 20, 30], settings=FaceCropSettings(), detector=detector)
    assert set(tracks[0].frame_indices.tolist()) <= set(range(12, 19))


def test_no_face_names_the_video_and_is_no_score():
    source = numbered_clip(5)
    with pytest.raises(NoFaceFoundError, match="no face found") as caught:
        find_face_tracks(source, range(5), settings=FaceCropSettings(), detector=ProgrammedDetector({}))
    assert source.name in str(caught.value)
    assert caught.value.reason == "no_face"


def test_scene_change_in_a_dense_clip_ends_the_track():
    frames = np.concatenate([np.full((6, HEIGHT, WIDTH, 3), value, dtype=np.uint8) for value in (30, 200)])
    frames[:, 0, 0] = np.arange(12)[:, None]
    detector = ProgrammedDetector({i: [face(50, 50)] for i in range(12)})
    tracks = find_face_tracks(FrameArray(frames, fps=25), range(12), settings=FaceCropSettings(), detector=detector)
    assert [track.frame_indices.tolist() for track in tracks] == [list(range(6)), list(range(6, 12))]


def test_sideways_face_is_found_in_the_frame_as_it_is():
    class UprightOnly:
        def detect(self, frames):
            marks = np.argwhere(frames[0, :, :, 0] == 255)
            upright = frames.shape[1] > frames.shape[2]
            return [[face(*(marks.mean(axis=0)[::-1] + 0.5))] if upright and len(marks) else []]

    frame = np.zeros((60, 100, 3), dtype=np.uint8)
    frame[20, 70] = 255
    (track,) = find_face_tracks(
        FrameArray(frame[None], fps=25), [0], settings=FaceCropSettings(), detector=UprightOnly()
    )
    assert centers(track) == [[70.5, 20.5]]
    assert track.quarter_turns in (1, 3)


class SeesReds:
    """Finds a red square where its frame is as wide as it asks for; of lying frames it sees only some."""

    def __init__(self, seen_lying):
        self.seen_lying = seen_lying
        self.num_turned = 0

    def detect(self, frames):
        (frame,) = frames
        is_lying = frame.shape[1] > frame.shape[0]
        self.num_turned += not is_lying
        marks = np.argwhere(frame[:, :, 0] == 255)
        number = int(frame[:, :, 1].max())
        # The square has a corner of its own, which stands upright in one of the turned frames only.
        is_upright = not is_lying and len(marks) and frame[marks[0][0], marks[0][1], 2] == 255
        if not (is_upright or (is_lying and number in self.seen_lying)):
            return [[]]
        return [[face(*(marks.mean(axis=0)[::-1] + 0.5), size=20)]]


def lying_clip(num_frames=8):
    """Frames of 100x60 with a red square of 20 pixels around (70, 20), whose lower left pixel is violet."""
    frames = np.zeros((num_frames, 60, 100, 3), dtype=np.uint8)
    frames[:, 10:30, 60:80, 0] = 255
    frames[:, 29, 60, 2] = 255
    frames[..., 1] = np.arange(num_frames)[:, None, None]
    return FrameArray(frames, fps=1)


def test_video_on_its_side_is_judged_upright_even_where_some_lying_faces_are_seen():
    detector = SeesReds(seen_lying={0})
    (track,) = find_face_tracks(lying_clip(), range(8), settings=FaceCropSettings(), detector=detector)
    assert track.num_detected == 8
    assert track.quarter_turns == 3  # clockwise: the lower left corner comes to the upper left
    assert centers(track) == [[70.0, 20.0]] * 8
    (crops,) = crop_tracks(lying_clip(), [track], settings=FaceCropSettings(margin=1.0), resize=lambda crop: crop)
    assert crops.shape[1:3] == (20, 20)
    assert all(crop[0, 0, 2] == 255 for crop in crops)


def test_video_with_rare_faces_that_no_turn_shows_better_stays_as_it_is():
    detector = SeesReds(seen_lying={0, 1, 2})
    clip = lying_clip()
    clip._frames[..., 2] = 0
    (track,) = find_face_tracks(clip, range(8), settings=FaceCropSettings(), detector=detector)
    assert (track.num_detected, track.quarter_turns) == (3, 0)


def test_ordinary_video_is_never_turned():
    detector = SeesReds(seen_lying={0, 1, 2, 3, 5})
    find_face_tracks(lying_clip(), range(8), settings=FaceCropSettings(), detector=detector)
    assert detector.num_turned == 0


def test_video_of_which_nothing_decodes_is_not_a_video_without_faces():
    class Broken(FrameArray):
        def frames(self, indices, *, keep=True):
            return iter(())

    source = Broken(np.zeros((3, 8, 8, 3), dtype=np.uint8), fps=25)
    with pytest.raises(VideoDecodeError):
        find_face_tracks(source, range(3), settings=FaceCropSettings(), detector=ProgrammedDetector({}))


# --- crops


def test_crops_of_all_tracks_come_from_one_pass():
    class CountingSource(FrameArray):
        passes = 0

        def frames(self, indices):
            self.passes += 1
            return super().frames(indices)

    source = CountingSource(noise(5 * HEIGHT).reshape(5, HEIGHT, WIDTH, 3), fps=25)
    tracks = [track_from_boxes(np.array([x, 20, x + 20, 40]), [0, 2, 4]) for x in (10, 50)]
    crops = crop_tracks(source, tracks, settings=FaceCropSettings(margin=1.0), resize=lambda crop: crop)
    assert source.passes == 1
    (frame,) = (frame for _, frame in FrameArray.frames(source, [2]))
    np.testing.assert_array_equal(crops[1][1], frame[20:40, 50:70])
    assert [c.shape for c in crops] == [(3, 20, 20, 3)] * 2


def test_crops_go_through_resize():
    (crops,) = crop_tracks(
        numbered_clip(3),
        [track_from_boxes(np.array([[0, 0, 9, 9], [0, 0, 20, 30]]), [0, 1])],
        settings=FaceCropSettings(),
        resize=lambda crop: crop[:8, :8],
    )
    assert crops.shape == (2, 8, 8, 3)


def test_frame_that_does_not_decode_again_is_an_error():
    class Damaged(FrameArray):
        def frames(self, indices):
            return (item for item in super().frames(indices) if item[0] != 1)

    source = Damaged(np.zeros((3, 8, 8, 3), dtype=np.uint8), fps=25)
    track = track_from_boxes(np.array([0, 0, 4, 4]), range(3))
    with pytest.raises(VideoDecodeError, match="frame 1"):
        crop_tracks(source, [track], settings=FaceCropSettings(), resize=lambda crop: crop)


def test_track_knows_its_coverage_of_nothing():
    nothing = np.zeros(0)
    assert FaceTrack(0, nothing, np.zeros((0, 4)), nothing, nothing.astype(bool)).coverage(0) == 0.0
