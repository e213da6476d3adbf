# SPDX-License-Identifier: Apache-2.0
"""Re-encoded copies: whole clips through codecs, the same for a fake and its original, blended before encoding."""

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file
from skimage.metrics import peak_signal_noise_ratio

from clips import picture
from deepfake_video.evaluation.datasets import open_benchmark
from deepfake_video.evaluation.samples import Sample
from deepfake_video.scanning.sample import write_sample_video
from deepfake_video.training import copies
from deepfake_video.training.blending import draw_blend
from deepfake_video.training.copies import KEPT, Encoding, draw_encodings, encode_clip
from deepfake_video.training.crops import CachedCrops, CropSettings, cache_crops


SETTINGS = CropSettings(size=96, margin=1.6, num_frames=6, copies=2)


@pytest.fixture(scope="module")
def cached(tmp_path_factory) -> dict[str, CachedCrops]:
    folder = tmp_path_factory.mktemp("copies")
    path = write_sample_video(folder / "person.mp4", num_frames=60)
    real = Sample(key="person", path=path, is_fake=False, dataset="drawn")
    fake = replace(real, key="fake", is_fake=True, original="person", method="none")
    with pytest.MonkeyPatch.context() as patch:
        # Half of all blends alter what lies outside of the face; these alter the face, as fakes do.
        patch.setattr(copies, "draw_blend", lambda random: replace(draw_blend(random), alters_inside=True, ratio=1.0))
        return {sample.key: found for sample, found in cache_crops([real, fake], SETTINGS, folder / "cache")}


def test_a_fake_and_its_original_get_the_same_moments_and_encodings(cached):
    # This "fake" is the original itself, so whatever differs would be a difference of the treatment.
    real, fake = load_file(cached["person"].path), load_file(cached["fake"].path)
    assert cached["person"].num_copies == cached["fake"].num_copies == 2
    np.testing.assert_array_equal(real["copies"], fake["copies"])
    assert real["copies"].shape == (2, KEPT, 96, 96, 3)
    assert "blends" not in fake


def test_a_fake_of_dfdc_and_its_original_get_the_same_encodings(tmp_path):
    part = tmp_path / "dfdc_train_part_0"
    part.mkdir()
    listed = {"real.mp4": {"label": "REAL"}, "fake.mp4": {"label": "FAKE", "original": "real.mp4"}}
    (part / "metadata.json").write_text(json.dumps(listed))
    for name in listed:
        write_sample_video(part / name, num_frames=60)
    samples = open_benchmark(tmp_path).samples
    settings = replace(SETTINGS, size=48)
    fake, real = (load_file(found.path)["copies"] for _, found in cache_crops(samples, settings, tmp_path / "cache"))
    np.testing.assert_array_equal(fake, real)


def test_copies_are_blended_inside_of_the_face_alone(cached):
    tensors = load_file(cached["person"].path)
    difference = np.abs(tensors["blends"].astype(int) - tensors["copies"]).max(-1)
    # The face box is 96 / 1.6 = 60 pixels high; the corners of the crop lie outside of any outline.
    corners = difference[:, :, :8, :8].mean((1, 2, 3)) + difference[:, :, -8:, -8:].mean((1, 2, 3))
    face = difference[:, :, 34:62, 34:62].mean((1, 2, 3))
    assert (face > 2 * corners + 1).all()


def test_landmarks_lie_on_the_face_of_the_copies(cached):
    tensors = load_file(cached["person"].path)
    points = tensors["copy_landmarks"]
    assert points.shape == (2, KEPT, 5, 2)
    # Those of the copies and those of the crops are of one face in crops of one geometry.
    np.testing.assert_allclose(points.mean((0, 1)), tensors["landmarks"].mean(0), atol=4)


def test_a_copy_is_read_frame_by_frame(cached):
    tensors = load_file(cached["person"].path)
    for position, index in ((0.0, 0), (0.5, KEPT // 2), (1.0, KEPT - 1)):
        frames, landmarks = cached["person"].read_copy(1, position)
        np.testing.assert_array_equal(frames, tensors["copies"][1, index : index + 1])
        np.testing.assert_array_equal(landmarks, tensors["copy_landmarks"][1, index : index + 1])
        blended, _ = cached["person"].read_copy(1, position, blended=True)
        np.testing.assert_array_equal(blended, tensors["blends"][1, index : index + 1])


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9"])
def test_every_codec_keeps_the_order_and_loses_more_at_a_higher_factor(codec):
    clip = np.stack([picture(8 * i, 66, 50) for i in range(6)])
    fine, coarse = (encode_clip(clip, (Encoding(codec, crf),), "a clip") for crf in (20, 45))
    assert fine.shape == coarse.shape == clip.shape
    for i in range(len(clip)):
        assert np.argmin([np.abs(fine[i].astype(int) - frame).mean() for frame in clip]) == i
    assert peak_signal_noise_ratio(clip, fine) > peak_signal_noise_ratio(clip, coarse) + 1


def test_a_rescaled_copy_stays_small():
    clip = np.stack([picture(i, 80, 60) for i in range(3)])
    encoded = encode_clip(clip, (Encoding("h264", 20, 0.5), Encoding("h264", 20)), "a clip")
    assert encoded.shape == (3, 30, 40, 3)


def test_drawn_encodings_reach_from_c23_to_beyond_c40():
    random = np.random.default_rng(0)
    drawn = [draw_encodings(random) for _ in range(500)]
    single = [encodings[0].crf for encodings in drawn if len(encodings) == 1 and encodings[0].codec == "h264"]
    assert min(single) <= 24
    assert max(single) >= 41
    assert {encoding.codec for encodings in drawn for encoding in encodings} == {"h264", "hevc", "vp9"}
    assert all(0.4 <= encoding.scale <= 1 for encodings in drawn for encoding in encodings)
