# SPDX-License-Identifier: Apache-2.0
"""The pictures of a result: heat maps of the right windows, tinted where the heat is."""

import base64
import io

import numpy as np
from PIL import Image

from deepfake_video.scanning.detector import Detector
from deepfake_video.scanning.illustrating import overlay
from deepfake_video.scanning.sample import draw_face
from deepfake_video.scanning.settings import ScanSettings
from drawn_faces import save_tiny_model, write_people


def test_a_picture_stands_beside_the_window_that_it_explains(tmp_path):
    detector = Detector([save_tiny_model(tmp_path / "model")], device="cpu", settings=ScanSettings(timeline=True))
    clip = write_people(tmp_path / "clip.mp4", seconds=4)
    examination = detector.examine(clip, with_evidence=True)
    timeline = examination.result.timeline
    first = examination.evidence.heatmaps[0]
    assert first.fake_probability == max(entry.fake_probability for entry in timeline)
    assert first.start_s <= first.time_s <= first.end_s
    assert any((first.start_s, first.end_s) == (entry.start_s, entry.end_s) for entry in timeline)
    sizes = {Image.open(io.BytesIO(base64.b64decode(jpeg))).size for jpeg in (first.jpeg, first.overlay_jpeg)}
    assert len(sizes) == 1
    assert first.jpeg != first.overlay_jpeg


def test_a_model_without_feature_maps_gives_its_score_and_every_picture_but_heat_maps(tmp_path):
    frames = {"rnn_type": "none", "num_hidden_layers": 0, "hidden_size": 64, "image_size": 160}
    model = save_tiny_model(tmp_path / "model", backbone="timm/test_vit", **frames)
    detector = Detector([model], device="cpu", settings=ScanSettings(timeline=True))
    Image.fromarray(draw_face(0.3)).save(tmp_path / "photo.png")
    for path in (write_people(tmp_path / "clip.mp4", seconds=2), tmp_path / "photo.png"):
        plain = detector.score(path)
        examination = detector.examine(path, with_evidence=True)
        result, pictures = examination.result, examination.evidence
        assert (result.status, result.fake_probability) == ("ok", plain.fake_probability)
        assert pictures.still
        assert pictures.thumbnails
        assert not pictures.heatmaps
        (said,) = set(result.warnings) - set(plain.warnings)
        assert said.startswith("heat maps need a backbone that ends in feature maps")
        assert said.endswith("timm/test_vit does not")


def test_without_heat_a_picture_stays_as_it_is():
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert np.array_equal(overlay(picture, np.zeros((4, 4), dtype=np.float32), 0.0), picture)


def test_heat_tints_where_it_is():
    heat = np.zeros((8, 8), dtype=np.float32)
    heat[6:, 6:] = 1.0
    tinted = overlay(np.full((64, 64, 3), 128, dtype=np.uint8), heat, 1.0)
    assert np.array_equal(tinted[:32, :32], np.full((32, 32, 3), 128))
    assert not np.array_equal(tinted[56:, 56:], np.full((8, 8, 3), 128))
