# SPDX-License-Identifier: Apache-2.0
"""The proof of time: other people in the test, the same frames on both sides, and a frame mean that cannot tell."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import time_proof
from deepfake_video.evaluation.samples import Benchmark
from deepfake_video.training.batches import TrainingPairs
from deepfake_video.training.networks import make_network
from deepfake_video.training.recipe import Recipe
from deepfake_video.training.validation import score_videos
from time_proof import PERMUTED, STALLED
from training_videos import make_video, make_videos, tiny_recipe


@pytest.fixture
def videos(tmp_path):
    return [make_video(tmp_path / "videos", number, frames=24) for number in range(4)]


def test_halves_share_nobody_and_change_places(monkeypatch, videos):
    samples = [video.sample for video in videos]
    lost = replace(samples[0], key="lost")
    listed = [*samples, make_nameless(samples[0]), lost]
    benchmark = Benchmark(layout="csv", root=Path("list.csv"), samples=listed, missing=["lost"])
    monkeypatch.setattr(time_proof, "open_benchmark", lambda root: benchmark)
    known, test = time_proof.split_reals(["anything"])
    assert [sample.key for sample in known] == ["nameless", "real-0", "real-2"]
    assert [sample.key for sample in test] == ["real-1", "real-3"]
    swapped = time_proof.split_reals(["anything"], swap=True)
    assert [sample.key for sample in swapped[0]] == ["nameless", "real-1", "real-3"]


def make_nameless(sample):
    return type(sample)(key="nameless", path=sample.path, is_fake=False, dataset="drawn", identities=())


def test_a_permuted_clip_has_the_frames_of_the_real_one(videos, tmp_path):
    clips = time_proof.make_tests(videos[:1], "permuted", tmp_path / "tests")
    assert [clip.sample.is_fake for clip in clips] == [False, True] * 3
    for real, fake in zip(clips[::2], clips[1::2], strict=True):
        one, other = (clip.crops.read(0, time_proof.NUM_FRAMES)[0] for clip in (real, fake))
        assert real.sample.key == fake.sample.key
        assert not np.array_equal(one, other)
        assert sorted(frame.tobytes() for frame in one) == sorted(frame.tobytes() for frame in other)


@pytest.mark.parametrize("fault", ["frozen", "gap", "frozen shortly", "gap shortly"])
def test_of_a_stalled_clip_half_is_lost_or_less_where_that_is_asked_for(videos, tmp_path, fault):
    clips = time_proof.make_tests(videos[:2], fault, tmp_path / "tests")
    for real, fake in zip(clips[::2], clips[1::2], strict=True):
        one, other = (
            [frame.tobytes() for frame in clip.crops.read(0, time_proof.NUM_FRAMES)[0]] for clip in (real, fake)
        )
        assert len(other) == len(one) == len(set(one))
        assert set(other) < set(one)
        lost = len(one) - len(set(other))
        assert 1 <= lost <= len(one) // 2 if fault.endswith("shortly") else lost >= len(one) // 2 - 1


def proof_recipe(config: dict[str, object], **changes: object) -> Recipe:
    """A tiny recipe of which the network reads one burst, as the test clips of the script are."""
    frames = time_proof.NUM_FRAMES
    return tiny_recipe(config={**config, "num_frames": frames}, processor={"burst_length": frames}, **changes)


def test_a_frame_mean_cannot_tell_another_order_and_a_recurrent_network_can(videos, tmp_path):
    clips = time_proof.make_tests(videos[2:], "permuted", tmp_path / "tests")
    frame_mean = {
        "rnn_type": "none",
        "num_hidden_layers": 0,
        "hidden_size": 1024,
        "frame_aggregation": "mean-probability",
    }
    apart = {}
    for name, config in (("frame mean", frame_mean), ("recurrent", {})):
        recipe = proof_recipe(config)
        probabilities = score_videos(
            make_network(recipe), clips, recipe, recipe.make_processor(), torch.device("cpu")
        )[0]
        apart[name] = np.abs(probabilities[::2] - probabilities[1::2]).min()
    assert apart["frame mean"] < 1e-6 < 1e-5 < apart["recurrent"]


def test_it_trains_and_measures_each_fault(videos, tmp_path):
    recipe = proof_recipe({}, fakes={PERMUTED: 0.5, STALLED: 0.5}, steps=2)
    tests = {name: time_proof.make_tests(videos[2:], name, tmp_path / name) for name in time_proof.FAULTS}
    areas = time_proof.prove(recipe, videos[:2], tests, tmp_path / "run")
    assert areas.keys() == tests.keys()
    assert all(0 <= area <= 1 for area in areas.values())


def test_a_permuted_pair_has_the_same_frames(tmp_path):
    pairs = TrainingPairs(make_videos(tmp_path, range(3)), tiny_recipe(fakes={PERMUTED: 1.0}, augment=False))
    real, fake = pairs[0]
    assert not torch.equal(real, fake)
    assert sorted(frame.numpy().tobytes() for frame in real) == sorted(frame.numpy().tobytes() for frame in fake)


def test_at_least_half_of_a_stalled_clip_is_frozen_or_dropped(tmp_path):
    recipe = tiny_recipe(fakes={STALLED: 1.0}, augment=False, clip_frames=6, cached_frames=6)
    pairs = TrainingPairs(make_videos(tmp_path, range(3)), recipe)
    kept = set()
    for index in range(len(pairs)):
        real, fake = ([frame.numpy().tobytes() for frame in clip] for clip in pairs[index])
        assert set(fake) < set(real)
        assert len(fake) == len(real)
        kept.add(len(set(fake)))
    # If three of six frames are frozen, four different ones remain; if two, which is less than half, five.
    assert len(kept) > 1
    assert max(kept) <= 4


def test_two_frames_are_always_swapped_and_one_stays():
    clip = np.arange(2, dtype=np.uint8)[:, None, None, None]
    for seed in range(5):
        assert time_proof.permute(clip, np.random.default_rng(seed)).ravel().tolist() == [1, 0]
    assert len(time_proof.permute(clip[:1], np.random.default_rng(0))) == 1
