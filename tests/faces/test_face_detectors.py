# SPDX-License-Identifier: Apache-2.0
"""What the detectors of this package have in common, and what only one of them does."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfake_video import face_centerface, face_mtcnn, face_search
from deepfake_video.face_cropping import (
    CenterFaceDetector,
    FaceCropSettings,
    MTCNNDetector,
    find_face_tracks,
    make_detector,
)
from deepfake_video.face_detection import FollowingDetector
from deepfake_video.face_tracking import box_iou
from deepfake_video.video_decoding import FrameArray


needs_facenet = pytest.mark.skipif(find_spec("facenet_pytorch") is None, reason="facenet-pytorch is not installed")
DETECTORS = [
    pytest.param(CenterFaceDetector(), id="centerface"),
    pytest.param(MTCNNDetector(), id="mtcnn", marks=needs_facenet),
]
both = pytest.mark.parametrize("detector", DETECTORS)
named = pytest.mark.parametrize("name", ["centerface", pytest.param("mtcnn", marks=needs_facenet)])


@pytest.fixture(scope="module")
def astronaut():
    """A public-domain portrait (NASA) that comes with scikit-image: (512, 512, 3), the face at about 220, 120."""
    return pytest.importorskip("skimage.data").astronaut()


def portrait_clip(astronaut, shifts, fps=25.0):
    return FrameArray(np.stack([np.roll(astronaut, shift, axis=1)[:300, :400] for shift in shifts]), fps=fps)


def search(clip, indices, name, **choices):
    return find_face_tracks(clip, indices, settings=FaceCropSettings(detector=name, **choices))


# --- single frames


@both
def test_face_of_a_portrait(detector, astronaut):
    (found,) = detector.detect(astronaut[None])
    assert found[0].score > 0.95
    x0, y0, x1, y1 = found[0].box
    assert x0 < 220 < x1
    assert y0 < 120 < y1


@both
def test_landmarks_are_eyes_nose_and_mouth(detector, astronaut):
    ((found, *_),) = detector.detect(astronaut[None])
    # Read off the picture, to 10 pixels: the eye on the left, that on the right, the nose, the corners of the mouth.
    seen = [[205, 102], [247, 103], [225, 126], [204, 142], [243, 142]]
    assert found.landmarks.dtype == found.box.dtype == np.float64
    np.testing.assert_allclose(found.landmarks, seen, atol=10)


@both
def test_boxes_are_in_pixels_of_a_large_frame(detector, astronaut):
    large = astronaut.repeat(4, axis=0).repeat(4, axis=1)
    ((small_face, *_),), ((large_face, *_),) = detector.detect(astronaut[None]), detector.detect(large[None])
    np.testing.assert_allclose(large_face.box / 4, small_face.box, atol=8)


@both
def test_face_that_fills_a_tiny_frame(detector, astronaut):
    assert detector.detect(astronaut[50:200:3, 150:300:3][None])[0]


@both
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (19, 30), (1, 500), (40, 256), (41, 4000)])
def test_nobody_in_odd_frames(detector, size):
    assert detector.detect(np.zeros((2, *size, 3), dtype=np.uint8)) == [[], []]


@both
@pytest.mark.parametrize(
    "frames", [np.zeros((1, 3, 64, 64), np.uint8), np.zeros((1, 64, 64, 3)), np.zeros((64, 64, 3))]
)
def test_other_layouts_are_refused(detector, frames):
    with pytest.raises(ValueError, match=r"\(T, H, W, 3\) uint8"):
        detector.detect(frames)


@both
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), height=st.integers(1, 90), width=st.integers(1, 90))
def test_noise_of_any_size_is_survived(detector, seed, height, width):
    noise = np.random.default_rng(seed).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
    assert len(detector.detect(noise)) == 1


@both
def test_detector_can_follow_a_face(detector, astronaut):
    assert isinstance(detector, FollowingDetector)
    ((face, *_),) = detector.detect(astronaut[None])
    (near, *_) = detector.detect_near(astronaut, face.box + 10)
    assert box_iou(near.box, face.box) > 0.8
    assert detector.detect_near(astronaut, np.array([-90.0, -90, -50, -50])) == []


@both
def test_finer_detector_finds_a_smaller_face(detector, astronaut):
    frame = np.zeros((720, 1280, 3), dtype=np.uint8)
    frame[300:428, 600:728] = astronaut[::4, ::4]  # a face of 28 pixels
    assert not [face for face in detector.detect(frame[None])[0] if face.score >= 0.9]
    assert [face for face in detector.finer().detect(frame[None])[0] if face.score >= 0.9]


@both
def test_scaled_frame_scales_no_further(detector, astronaut):
    scaled = detector.scaled(astronaut.repeat(3, axis=0).repeat(3, axis=1))
    assert scaled.shape == (640, 640, 3)
    np.testing.assert_array_equal(detector.scaled(scaled), scaled)


@pytest.mark.parametrize(("step", "heights"), [(1, [14]), (2, [14, 40])])
def test_only_small_faces_make_centerface_search_a_larger_picture(step, heights, astronaut, monkeypatch):
    frame = np.zeros((360, 640, 3), dtype=np.uint8)
    portrait = astronaut[:360:step, :512:step]  # a face of 112 or 56 pixels; small ones have less than 60
    frame[: len(portrait), : portrait.shape[1]] = portrait
    scales = []

    def spy(picture, scale, search=face_centerface._search):
        scales.extend([scale] if picture.shape == frame.shape else [])
        return search(picture, scale)

    monkeypatch.setattr(face_centerface, "_search", spy)
    CenterFaceDetector().detect(frame[None])
    assert scales == [height / 40 for height in heights]


# --- one detector and the other


@needs_facenet
def test_both_detectors_give_alike_boxes(astronaut):
    ((one, *_),), ((other, *_),) = (
        CenterFaceDetector().detect(astronaut[None]),
        MTCNNDetector().detect(astronaut[None]),
    )
    assert box_iou(one.box, other.box) > 0.85


def test_settings_choose_the_detector():
    assert make_detector(FaceCropSettings()) == CenterFaceDetector()
    assert make_detector(FaceCropSettings(detector="mtcnn", min_face_size=30)) == MTCNNDetector(min_face_size=30)


def test_missing_facenet_names_the_command(monkeypatch):
    face_mtcnn._load_mtcnn.cache_clear()
    monkeypatch.setitem(sys.modules, "facenet_pytorch", None)
    with pytest.raises(ImportError, match=re.escape("pip install facenet-pytorch==2.5.3")):
        MTCNNDetector().detect(np.zeros((1, 64, 64, 3), dtype=np.uint8))


def test_missing_graph_names_the_package(monkeypatch):
    monkeypatch.setattr(face_centerface, "GRAPH_NAME", "nowhere.onnx")
    with pytest.raises(ImportError, match=r"nowhere\.onnx.*pip install deepfake-video"):
        face_centerface.check_available()


@needs_facenet
def test_mtcnn_stands_in_where_the_graph_is_missing(monkeypatch):
    monkeypatch.setattr(face_centerface, "GRAPH_NAME", "nowhere.onnx")
    with pytest.warns(UserWarning, match="MTCNN"):
        assert make_detector(FaceCropSettings(min_face_size=30)) == MTCNNDetector(min_face_size=30)


def test_centerface_does_without_torch():
    code = (
        "import sys, numpy as np; from deepfake_video.face_cropping import CenterFaceDetector; "
        "CenterFaceDetector().detect(np.zeros((1, 64, 64, 3), np.uint8)); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- videos


@named
def test_following_agrees_with_searching_each_frame(name, astronaut, monkeypatch):
    clip = portrait_clip(astronaut, range(0, 48, 6))
    (followed,) = search(clip, range(8), name, smooth_boxes=False)
    monkeypatch.setattr(face_search, "WHOLE_SEARCH_EVERY", 1)
    (searched,) = search(clip, range(8), name, smooth_boxes=False)
    assert followed.num_detected == searched.num_detected == 8
    np.testing.assert_allclose(followed.boxes, searched.boxes, atol=12)


@named
def test_newcomer_between_whole_searches_is_found_from_the_beginning(name, astronaut):
    portrait = astronaut[:300, 70:370]
    empty = np.zeros_like(portrait)
    frames = [np.concatenate([portrait, portrait if i >= 2 else empty], axis=1) for i in range(8)]
    tracks = search(FrameArray(np.stack(frames), fps=1), range(8), name)
    assert sorted(track.frame_indices[0] for track in tracks) == [0, 2]


@named
def test_small_face_is_found_in_the_end(name, astronaut):
    frame = np.zeros((900, 1280, 3), dtype=np.uint8)
    frame[400:528, 600:728] = astronaut[::4, ::4]
    (x0, _, x1, _) = search(FrameArray(frame[None], fps=25), [0], name)[0].boxes[0]
    assert 600 < (x0 + x1) / 2 < 728


@named
@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
def test_video_on_its_side_is_turned(name, quarter_turns, astronaut):
    lying = np.rot90(astronaut, -quarter_turns)
    (track, *_) = search(FrameArray(np.stack([lying] * 4), fps=1), range(4), name)
    assert track.quarter_turns == quarter_turns


@named
def test_search_is_deterministic(name, astronaut):
    clip = portrait_clip(astronaut, [0, 5, 9])
    runs = [search(clip, range(3), name) for _ in range(2)]
    np.testing.assert_array_equal(runs[0][0].boxes, runs[1][0].boxes)


def test_the_graph_of_the_model_folder_precedes_that_of_an_installed_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("installed", "model"):
        (tmp_path / name).mkdir()
        (tmp_path / name / face_centerface.GRAPH_NAME).write_bytes(b"")
    monkeypatch.setattr(face_centerface, "__file__", str(tmp_path / "modules" / "face_centerface.py"))
    monkeypatch.setattr(face_centerface, "_installed_folders", lambda: [tmp_path / "installed"])
    monkeypatch.setattr(face_centerface, "_model_folders", [])
    assert not face_centerface.has_own_graph()
    assert face_centerface._find_graph().parent.name == "installed"
    face_centerface.register_graph_folder(tmp_path / "model")
    assert face_centerface._find_graph().parent.name == "model"
