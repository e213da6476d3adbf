# SPDX-License-Identifier: Apache-2.0
"""`face_clips` gives what a scan scores, with boxes and times."""

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from clips import write_clip
from deepfake_video import (
    DeepfakeForVideoClassification,
    DeepfakeVideoProcessor,
    NoFaceFoundError,
    face_clips,
)
from deepfake_video.scanning.clip_reading import read_video
from deepfake_video.scanning.detector import Detector
from deepfake_video.scanning.models import ModelLoadError
from deepfake_video.scanning.sample import draw_face
from deepfake_video.scanning.settings import ScanSettings
from drawn_faces import FPS, save_tiny_model, write_people


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def two_people(tmp_path_factory) -> Path:
    return write_people(tmp_path_factory.mktemp("videos") / "two.mp4", seconds=3, people=2)


def test_the_model_scores_the_clips_as_a_scan_does(two_people, model):
    expected = Detector([model], device="cpu").score(two_people)
    network = DeepfakeForVideoClassification.from_pretrained(model).eval()
    clips = face_clips(two_people, model)
    with torch.inference_mode():
        found = [network(clip.pixel_values_videos).logits.softmax(-1)[0, 1].item() for clip in clips]
    assert [clip.track_id for clip in clips] == [face.track_id for face in expected.faces] == [0, 1]
    assert found == pytest.approx([face.fake_probability for face in expected.faces], abs=1e-5)
    assert [clip.coverage for clip in clips] == [face.coverage for face in expected.faces]


def test_boxes_and_times_belong_to_the_frames(two_people, model):
    for clip in face_clips(two_people, model, num_frames=6):
        assert clip.pixel_values_videos.shape == (1, 6, 3, 32, 32)
        assert clip.boxes.shape == (6, 4)
        assert clip.times_s == pytest.approx(clip.frame_indices / FPS, abs=1e-3)
        # One person in each half of the picture of 560 pixels.
        centers = (clip.boxes[:, 0] + clip.boxes[:, 2]) / 2
        assert len(set((centers > 280).tolist())) == 1


def test_the_clip_of_a_photo_is_one_frame_that_is_scored_as_by_a_scan(tmp_path):
    folder, photo = save_tiny_model(tmp_path / "model", recurrence="per-frame"), tmp_path / "photo.png"
    Image.fromarray(draw_face(0.3)).save(photo)
    (clip,) = face_clips(photo, folder)
    network = DeepfakeForVideoClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        found = network(clip.pixel_values_videos).logits.softmax(-1)[0, 1].item()
    assert clip.pixel_values_videos.shape == (1, 1, 3, 32, 32)
    assert (clip.frame_indices.tolist(), clip.times_s.tolist(), clip.boxes.shape) == ([0], [0.0], (1, 4))
    assert found == pytest.approx(Detector([folder], device="cpu").score(photo).fake_probability, abs=1e-5)


def test_a_processor_without_face_crops_gives_one_clip_of_whole_frames(two_people):
    processor = DeepfakeVideoProcessor(do_crop_faces=False, num_frames=4, size={"height": 32, "width": 48})
    (clip,) = face_clips(two_people, processor)
    assert clip.pixel_values_videos.shape == (1, 4, 3, 32, 48)
    assert (clip.boxes, clip.track_id, clip.coverage) == (None, None, None)


def test_repeated_frames_keep_their_boxes(tmp_path, model):
    (clip,) = face_clips(write_people(tmp_path / "short.mp4", seconds=0.25), model, num_frames=6)
    assert clip.frame_indices.tolist() == [0, 0, 1, 1, 2, 2]
    assert np.array_equal(clip.boxes[::2], clip.boxes[1::2])


@pytest.fixture(scope="module")
def visit(tmp_path_factory) -> Path:
    """A face in frames 5 to 44 of 50, which is in neither the first nor the last one."""
    path = tmp_path_factory.mktemp("videos") / "visit.mp4"
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "18", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for number in range(50):
            picture = draw_face(number / FPS) if 5 <= number < 45 else np.full((360, 640, 3), 90, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def test_a_face_in_further_frames_only_is_scored_over_all_of_them(visit, model):
    # Six frames of fifty, evenly: 0, 10, 20, 29, 39, 49. The first and the last were searched before.
    (clip,) = face_clips(visit, model, num_frames=2)
    assert clip.frame_indices.tolist() == [10, 39]
    assert clip.times_s == pytest.approx([10 / FPS, 39 / FPS])


def test_a_face_in_further_frames_only_has_its_own_warning(visit):
    read = read_video(visit, [DeepfakeVideoProcessor(num_frames=2, do_crop_faces=True)], ScanSettings())
    assert read.face_coverage == 0
    assert [warning for warning in read.warnings if "found in" in warning] == [
        "a face was found in none of the 2 sampled frames; 4 of the further frames that were searched show one, and "
        "the score is based on these"
    ]


def test_what_is_wrong_is_raised_by_name(tmp_path, model):
    with pytest.raises(NoFaceFoundError, match=r"nobody\.mp4"):
        face_clips(write_clip(tmp_path / "nobody.mp4", num_frames=8), model)
    with pytest.raises(ModelLoadError, match="nowhere"):
        face_clips(tmp_path / "nobody.mp4", "./nowhere")
