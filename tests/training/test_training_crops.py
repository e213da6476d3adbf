# SPDX-License-Identifier: Apache-2.0
"""Cached crops: one file a content and settings, made once, read in parts."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmark_trees import put_images
from PIL import Image

from deepfake_video.evaluation.samples import Sample
from deepfake_video.scanning.sample import draw_face, write_sample_video
from deepfake_video.training import crops
from deepfake_video.training.crops import CachedCrops, CropSettings, cache_crops


SETTINGS = CropSettings(size=64, margin=1.4, num_frames=4)


def image_sample(folder: Path, count: int = 4, shade: int = 0) -> Sample:
    images = tuple(put_images(folder, count, shade=shade))
    return Sample(key=folder.name, path=folder, is_fake=False, dataset="images", images=images)


def cache_one(sample: Sample, settings: CropSettings, folder: Path) -> CachedCrops:
    ((_, cached),) = cache_crops([sample], settings, folder)
    assert isinstance(cached, CachedCrops), cached
    return cached


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Sample:
    path = write_sample_video(tmp_path_factory.mktemp("video") / "person.mp4", num_frames=8)
    return Sample(key="person", path=path, is_fake=False, dataset="videos")


def test_a_video_becomes_crops_of_its_face_with_landmarks_in_them(video, tmp_path):
    cached = cache_one(video, replace(SETTINGS, size=128, num_frames=3), tmp_path)
    frames, landmarks = cached.read(0, 3)
    assert frames.shape == (3, 128, 128, 3)
    assert frames.dtype == np.uint8
    assert cached.frame_indices == tuple(sorted(set(cached.frame_indices)))
    left_eye, right_eye, nose, *mouth = landmarks.transpose(1, 0, 2).mean(1)
    assert left_eye[0] < nose[0] < right_eye[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(point[1] for point in mouth)
    assert ((landmarks > 0) & (landmarks < 128)).all()


def test_the_same_content_is_decoded_once_under_any_name(tmp_path, monkeypatch):
    made = []
    make = crops._make
    monkeypatch.setattr(crops, "_make", lambda *job: made.append(job) or make(*job))
    first = cache_one(image_sample(tmp_path / "a"), SETTINGS, tmp_path / "cache")
    again = cache_one(image_sample(tmp_path / "a"), SETTINGS, tmp_path / "cache")
    copied = cache_one(image_sample(tmp_path / "b"), SETTINGS, tmp_path / "cache")
    assert first == again == copied
    assert len(made) == 1


@pytest.mark.parametrize("change", [{"size": 32}, {"margin": 1.5}, {"num_frames": 2}, {"search_images": True}])
def test_other_settings_are_other_files(change, tmp_path):
    sample = image_sample(tmp_path / "a")
    other = cache_one(sample, replace(SETTINGS, **change), tmp_path / "cache")
    assert other.path != cache_one(sample, SETTINGS, tmp_path / "cache").path


def test_crops_of_another_version_are_other_files(tmp_path, monkeypatch):
    sample = image_sample(tmp_path / "a")
    one = cache_one(sample, SETTINGS, tmp_path / "cache")
    monkeypatch.setattr(crops, "RESULT_VERSION", 10**6)
    other = cache_one(sample, SETTINGS, tmp_path / "cache")
    assert one.path != other.path
    content = b"".join(path.read_bytes() for path in sample.images)
    assert one.sha256 == other.sha256 == hashlib.sha256(content).hexdigest()


def test_other_content_is_another_file(tmp_path):
    first = cache_one(image_sample(tmp_path / "a"), SETTINGS, tmp_path / "cache")
    assert first.path != cache_one(image_sample(tmp_path / "b", shade=40), SETTINGS, tmp_path / "cache").path


def test_a_part_of_the_frames_is_read(tmp_path):
    cached = cache_one(image_sample(tmp_path / "a"), SETTINGS, tmp_path / "cache")
    whole, landmarks = cached.read(0, 4)
    part, part_landmarks = cached.read(1, 2)
    np.testing.assert_array_equal(part, whole[1:3])
    np.testing.assert_array_equal(part_landmarks, landmarks[1:3])
    assert landmarks.shape == (4, 5, 2)


def test_images_are_taken_whole_unless_a_search_is_asked_for(tmp_path):
    sample = image_sample(tmp_path / "a", 1)
    cached = cache_one(sample, replace(SETTINGS, size=40, num_frames=1), tmp_path / "cache")
    assert cached.whole
    frames, landmarks = cached.read(0, 1)
    np.testing.assert_array_equal(frames[0], np.asarray(Image.open(sample.images[0])))
    assert np.isnan(landmarks).all()


def test_an_image_in_which_no_face_is_found_is_a_face_already(tmp_path):
    settings = replace(SETTINGS, search_images=True)
    cached = cache_one(image_sample(tmp_path / "a", 1), settings, tmp_path / "cache")
    assert len(cached.frame_indices) == 1
    assert cached.whole


def test_a_face_in_an_image_is_cut_out(tmp_path):
    Image.fromarray(draw_face(0.0)).save(tmp_path / "person.png")
    sample = Sample(
        key="p", path=tmp_path, is_fake=False, dataset="images", images=(tmp_path / "person.png",), identities=("p",)
    )
    settings = replace(SETTINGS, size=128, num_frames=1, search_images=True)
    cached = cache_one(sample, settings, tmp_path / "cache")
    assert not cached.whole
    frames, landmarks = cached.read(0, 1)
    # The face (168 px high in the picture of 360) fills most of the crop.
    assert landmarks[0, 3:, 1].mean() - landmarks[0, :2, 1].mean() > 128 * 0.15
    assert frames.shape == (1, 128, 128, 3)


def test_a_damaged_cache_file_is_made_again(tmp_path):
    sample = image_sample(tmp_path / "a")
    cached = cache_one(sample, SETTINGS, tmp_path / "cache")
    before = cached.read(0, 4)[0]
    cached.path.write_bytes(cached.path.read_bytes()[:100])
    np.testing.assert_array_equal(cache_one(sample, SETTINGS, tmp_path / "cache").read(0, 4)[0], before)


def test_what_cannot_be_read_is_named_and_the_others_go_on(tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    broken = Sample(key="broken", path=tmp_path / "broken.mp4", is_fake=False, dataset="d")
    gone = replace(broken, key="gone", path=tmp_path / "gone.mp4")
    good = image_sample(tmp_path / "a", 1)
    settings = replace(SETTINGS, num_frames=1)
    results = {
        sample.key: cached for sample, cached in cache_crops([broken, gone, good], settings, tmp_path / "cache")
    }
    assert "broken.mp4" in results["broken"]
    assert "gone.mp4" in results["gone"]
    assert isinstance(results["a"], CachedCrops)


@pytest.mark.slow
def test_several_processes_make_the_same_files(tmp_path):
    samples = [image_sample(tmp_path / f"{i}", shade=i) for i in range(3)]
    alone = [cached.path.name for _, cached in cache_crops(samples, SETTINGS, tmp_path / "one")]
    together = [cached.path.name for _, cached in cache_crops(samples, SETTINGS, tmp_path / "two", workers=2)]
    assert alone == together
