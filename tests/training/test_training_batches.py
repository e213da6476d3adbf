# SPDX-License-Identifier: Apache-2.0
"""Pairs: each from its number alone, fakes beside what they were made of, data sets drawn alike."""

import itertools
import math
import pickle
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from deepfake_video.training import cpu_pairs
from deepfake_video.training.batches import TrainingPairs
from deepfake_video.training.crops import CachedCrops
from deepfake_video.training.data import Video
from deepfake_video.training.errors import TrainingError
from deepfake_video.training.fakes import MANIPULATED, SELF_BLENDED, WITH_REGION, fake_kinds
from deepfake_video.training.validation import validation_clip
from training_videos import make_video, make_videos, tiny_recipe


@pytest.fixture
def videos(tmp_path):
    return make_videos(tmp_path, range(3))


def test_a_pair_depends_on_its_number_and_the_seed_alone(videos):
    recipe = tiny_recipe(fakes=dict.fromkeys(fake_kinds(), 1.0), steps=10)
    pairs, others = TrainingPairs(videos, recipe), TrainingPairs(videos, recipe)
    assert len(pairs) == 20
    backwards = {index: others[index] for index in reversed(range(20))}
    for index in range(20):
        pair = pairs[index]
        assert pair.shape == (2, 3, 32, 32, 3)
        assert pair.dtype == torch.uint8
        assert torch.equal(pair, backwards[index])
    assert not torch.equal(TrainingPairs(videos, tiny_recipe(seed=1))[0], pairs[0])


def test_a_fake_stands_beside_the_video_it_was_made_of(videos):
    pairs = TrainingPairs(videos, tiny_recipe(fakes={MANIPULATED: 1.0}, augment=False))
    for index in range(len(pairs)):
        real, fake = pairs[index].int()
        # The fakes of these videos are half as bright: the same person, moment and framing.
        assert (real // 2 - fake).abs().max() <= 1


def test_framing_is_the_same_for_both_of_a_pair(videos, monkeypatch):
    monkeypatch.setattr(cpu_pairs, "degrade_clip", lambda frames, *_: frames)
    pairs = TrainingPairs(videos, tiny_recipe(fakes={MANIPULATED: 1.0}))
    for index in range(len(pairs)):
        real, fake = pairs[index].int()
        assert (real // 2 - fake).abs().max() <= 2


def test_a_fake_whose_original_is_not_there_stands_beside_any_real_one(tmp_path):
    videos = [make_video(tmp_path, 0), make_video(tmp_path, 1, is_fake=True, original="lost")]
    assert TrainingPairs(videos, tiny_recipe(fakes={MANIPULATED: 1.0}))[0].shape == (2, 3, 32, 32, 3)


def test_manipulated_fakes_of_data_without_any_are_refused(tmp_path):
    reals = [make_video(tmp_path, number) for number in range(2)]
    with pytest.raises(TrainingError, match="manipulated"):
        TrainingPairs(reals, tiny_recipe(fakes={MANIPULATED: 1.0}))
    assert TrainingPairs(reals, tiny_recipe(fakes={SELF_BLENDED: 1.0, MANIPULATED: 0.0})).kinds == [SELF_BLENDED]


def test_data_sets_and_methods_are_drawn_alike_however_large(tmp_path, monkeypatch):
    videos = [make_video(tmp_path / "a", number, dataset="large") for number in range(9)]
    videos += [make_video(tmp_path / "b", 0, dataset="small")]
    pairs = TrainingPairs(videos, tiny_recipe(fakes={SELF_BLENDED: 1.0}, steps=200, batch_pairs=1))
    drawn: Counter[str] = Counter()
    clip = pairs._clip
    monkeypatch.setattr(
        pairs, "_clip", lambda video, random: drawn.update([video.sample.dataset]) or clip(video, random)
    )
    for index in range(200):
        pairs[index]
    assert 70 < drawn["small"] < 130


def test_with_a_region_weight_pixels_say_how_much_of_them_was_altered(videos):
    plain = tiny_recipe(fakes=dict.fromkeys(WITH_REGION, 1.0), augment=False, steps=20)
    pairs = TrainingPairs(videos, plain)
    located = TrainingPairs(videos, tiny_recipe(**{**plain.to_dict(), "region_weight": 1.0}))
    for index in range(len(pairs)):
        pair = located[index]
        assert pair.shape == (2, 3, 32, 32, 4)
        assert torch.equal(pair[..., :3], pairs[index])
        real, fake = pair[..., 3]
        assert not real.any()
        assert 0.005 < (fake > 0).float().mean() < 0.9


def test_a_clip_lies_within_one_burst_where_that_holds_enough(tmp_path):
    video = make_video(tmp_path, 0)
    seconds_apart = Video(video.sample, CachedCrops(video.crops.path, (0, 1, 2, 90, 91, 92)))
    drawn = Counter()
    pairs = TrainingPairs([seconds_apart], tiny_recipe(fakes={SELF_BLENDED: 1.0}, augment=False, steps=20))
    whole = [frame.numpy().tobytes() for frame in validation_clip(seconds_apart, tiny_recipe(), 6)]
    for index in range(len(pairs)):
        real = [frame.numpy().tobytes() for frame in pairs[index][0]]
        drawn[whole.index(real[0])] += 1
        assert real in (whole[:3], whole[3:])
    assert set(drawn) == {0, 3}
    # Of no burst that is long enough, any frames in order.
    pairs = TrainingPairs([seconds_apart], tiny_recipe(fakes={SELF_BLENDED: 1.0}, augment=False, clip_frames=4))
    assert len({frame.numpy().tobytes() for frame in pairs[0][0]}) == 4


def test_a_fake_stands_beside_the_real_video_of_its_compression(tmp_path):
    videos = [
        make_video(
            tmp_path / compression,
            number,
            is_fake=is_fake,
            key=f"{compression}-{is_fake}",
            original="33",
            path=Path("33.mp4"),
            compression=compression,
        )
        for number, compression in enumerate(("c23", "c40"))
        for is_fake in (False, True)
    ]
    pairs = TrainingPairs(videos, tiny_recipe(fakes={MANIPULATED: 1.0}, augment=False, steps=20))
    for index in range(len(pairs)):
        real, fake = pairs[index].int()
        assert (real // 2 - fake).abs().max() <= 1


def test_pairs_reach_processes_that_are_spawned(videos):
    recipe = tiny_recipe(augment=False)
    assert torch.equal(pickle.loads(pickle.dumps(TrainingPairs(videos, recipe)))[0], TrainingPairs(videos, recipe)[0])


def test_a_short_video_repeats_its_last_frame(tmp_path):
    videos = [make_video(tmp_path, 0, frames=2)]
    real = TrainingPairs(videos, tiny_recipe(fakes={SELF_BLENDED: 1.0}, augment=False))[0][0]
    assert torch.equal(real[1], real[2])
    assert not torch.equal(real[0], real[1])


def test_a_picture_of_which_a_clip_is_wanted_moves_like_a_head(tmp_path):
    reals = [make_video(tmp_path, 0, frames=1), make_video(tmp_path, 1, frames=1)]
    pairs = TrainingPairs(reals, tiny_recipe(fakes={SELF_BLENDED: 1.0}, augment=False, clip_frames=8, cached_frames=9))
    for index in range(len(pairs)):
        real = pairs[index][0]
        assert not any(torch.equal(first, second) for first, second in itertools.pairwise(real))


def test_a_picture_and_its_fake_move_alike(tmp_path):
    videos = [make_video(tmp_path, 0, frames=1), make_video(tmp_path, 0, frames=1, is_fake=True)]
    pairs = TrainingPairs(videos, tiny_recipe(fakes={MANIPULATED: 1.0}, augment=False, clip_frames=4, cached_frames=6))
    for index in range(len(pairs)):
        real, fake = pairs[index].int()
        assert (real // 2 - fake).abs().max() <= 2


def test_the_network_sees_all_of_an_image_that_was_taken_whole(tmp_path):
    """The middle of the crop is black and its border white; the view of a face is narrower than its crop."""
    path = tmp_path / "image.safetensors"
    frames = torch.full((1, 80, 80, 3), 255, dtype=torch.uint8)
    frames[:, 8:-8, 8:-8] = 0
    save_file({"frames": frames, "landmarks": torch.full((1, 5, 2), math.nan)}, path)
    recipe = tiny_recipe(crop_size=80, augment=False, clip_frames=1, fakes={SELF_BLENDED: 1.0})
    shares = {}
    for whole in (False, True):
        video = Video(make_video(tmp_path, 0, is_fake=False).sample, CachedCrops(path, (0,), whole=whole))
        validated = validation_clip(video, recipe, 1)
        trained = TrainingPairs([video], recipe).plan(0).real.cut_out(recipe.view[1])[0]
        np.testing.assert_array_equal(trained, validated.numpy())
        shares[whole] = (validated > 127).float().mean().item()
    # 1 - (64 / 80)² of the image is white.
    assert shares[True] == pytest.approx(0.36, abs=0.03)
    assert shares[False] < 0.2


def test_a_video_is_validated_on_its_first_burst_or_on_frames_spread_over_it(tmp_path):
    video = make_video(tmp_path, 0, frames=6)
    whole = validation_clip(video, tiny_recipe(), 6)
    assert torch.equal(validation_clip(video, tiny_recipe(), 3), whole[:3])
    assert torch.equal(validation_clip(video, tiny_recipe(burst_length=1), 3), whole[[0, 2, 5]])
    assert len(validation_clip(video, tiny_recipe(), 20)) == 6
    assert np.asarray(whole).std() > 10


def test_copies_are_drawn_by_their_share(tmp_path):
    videos = [make_video(tmp_path, 0, copies=2, frames=1), make_video(tmp_path, 0, is_fake=True, copies=2, frames=1)]
    recipe = tiny_recipe(clip_frames=1, copies=2, copy_share=0.25, augment=False, steps=200, fakes={MANIPULATED: 1.0})
    pairs = TrainingPairs(videos, recipe)
    plain = TrainingPairs(videos, replace(recipe, copies=0, copy_share=0.0))[0]
    drawn = Counter()
    for index in range(len(pairs)):
        real, fake = pairs[index].int()
        shifts = [
            round(float((clip - before).float().mean()))
            for clip, before in zip((real, fake), plain.int(), strict=True)
        ]
        # A fake and its original are taken from the copy of the same number.
        assert shifts[0] == shifts[1]
        drawn[shifts[0]] += 1
    assert set(drawn) == {0, 8, 16}
    # A binomial of 400 draws with .25: standard deviation 8.7.
    assert 65 < drawn[8] + drawn[16] < 135


def test_a_blended_copy_stands_beside_the_unblended_one(tmp_path):
    videos = [make_video(tmp_path, 0, copies=2, frames=1)]
    recipe = tiny_recipe(clip_frames=1, copies=2, copy_share=1.0, augment=False, fakes={SELF_BLENDED: 1.0})
    pairs = TrainingPairs(videos, recipe)
    for index in range(len(pairs)):
        real, fake = pairs[index].int()
        assert (fake[..., 0] == 255).all()
        assert torch.equal(real[..., 1:], fake[..., 1:])


def test_copies_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(TrainingError, match="no video has copies"):
        TrainingPairs(
            [make_video(tmp_path, 0)],
            tiny_recipe(clip_frames=1, copies=1, copy_share=0.5, fakes={SELF_BLENDED: 1.0}),
        )
