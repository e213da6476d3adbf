# SPDX-License-Identifier: Apache-2.0
"""The same plans give the same pairs on the CPU and on a device, and a training run on such pairs can be resumed."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from deepfake_video import TrainingPlan, train
from deepfake_video.cli import main
from deepfake_video.common.errors import UsageError
from deepfake_video.common.exit_codes import USAGE
from deepfake_video.training.augmentation import degrade_clip, draw_degradation, draw_framing, frame_clip
from deepfake_video.training.batch_sources import DeviceBatches, LoaderBatches
from deepfake_video.training.batches import TrainingPairs
from deepfake_video.training.blending import blend_clip, draw_blend
from deepfake_video.training.device_pairs import DevicePairs, pack_pairs
from deepfake_video.training.errors import TrainingError
from deepfake_video.training.fakes import SELF_BLENDED, fake_kinds
from deepfake_video.training.recipe import Recipe
from training_videos import make_video, make_videos, run_training, tiny_plan, tiny_recipe


NUM_PAIRS = 60


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return make_videos(tmp_path_factory.mktemp("videos"), range(3))


def compute(pairs: TrainingPairs, indices: range) -> torch.Tensor:
    """Pairs on the device "cpu"."""
    size = pairs.image_size
    with ThreadPoolExecutor(1) as encoders:
        device_pairs = DevicePairs(size, torch.device("cpu"), encoders)
        return device_pairs.compute(pack_pairs([pairs.plan(i) for i in indices], size))


def both_ways(pairs: TrainingPairs) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.stack([pairs[i] for i in range(NUM_PAIRS)]).int(), compute(pairs, range(NUM_PAIRS)).int()


def mean_of(values: torch.Tensor) -> float:
    return float(values.float().mean())


def test_a_pair_on_the_cpu_is_what_drawing_and_computing_in_turn_gives(videos):
    """The random draws of a plan are those of the steps that follow one another, written out here."""
    recipe = tiny_recipe(fakes={SELF_BLENDED: 1.0}, cached_frames=6)
    pairs = TrainingPairs(videos, recipe)
    reals = [video for video in videos if not video.sample.is_fake]
    for index in range(20):
        random = np.random.default_rng([recipe.seed, index])
        random.choice(1, p=[1.0])
        random.integers(1)
        video = reals[int(random.integers(len(reals)))]
        # Six frames have four runs of three.
        frames, points = video.crops.read(int(random.random() * 4), 3)
        framing = draw_framing(random, frames.shape[1], recipe.view[0], jitter=True)
        frames, points = frame_clip(frames, points, framing, recipe.view[1])
        fake = blend_clip(frames, points, draw_blend(random))[0]
        first = draw_degradation(random)
        second = first if random.random() < 0.5 else draw_degradation(random)
        pair = [
            degrade_clip(clip, loss, int(random.integers(2**63)) if loss.noise else 0)
            for clip, loss in ((frames, first), (fake, second))
        ]
        np.testing.assert_array_equal(pairs[index].numpy(), np.stack(pair))


@pytest.mark.parametrize("kind", fake_kinds())
def test_pairs_differ_little_from_those_of_the_cpu(videos, kind):
    by_cpu, by_device = both_ways(TrainingPairs(videos, tiny_recipe(fakes={kind: 1.0}, steps=NUM_PAIRS)))
    assert by_device.shape == by_cpu.shape
    difference = (by_device - by_cpu).abs()
    # Most of it is H.264, which answers a change of one level with another choice of its blocks.
    assert mean_of(difference) < 1.5
    assert float(difference.float().mean((1, 2, 3, 4, 5)).median()) < 0.7
    # What tells a fake from its original is as large.
    signs = [mean_of((pairs[:, 1] - pairs[:, 0]).abs()) for pairs in (by_cpu, by_device)]
    assert signs[1] == pytest.approx(signs[0], rel=0.02)


def test_without_a_codec_pairs_are_equal_to_within_rounding(videos):
    recipe = tiny_recipe(steps=NUM_PAIRS, augment=False)
    by_cpu, by_device = both_ways(TrainingPairs(videos, recipe))
    assert mean_of((by_device - by_cpu).abs()) < 0.1


def test_altered_regions_differ_little_from_those_of_the_cpu(videos):
    by_cpu, by_device = both_ways(TrainingPairs(videos, tiny_recipe(steps=NUM_PAIRS, region_weight=1.0)))
    assert by_device.shape == by_cpu.shape
    assert not by_device[:, 0, ..., 3].any()
    assert mean_of((by_device - by_cpu)[..., 3].abs()) < 1.0
    assert mean_of(by_cpu[:, 1, ..., 3]) > 10


@pytest.mark.parametrize("clip_frames", [1, 4])
def test_still_images_and_copies(tmp_path, clip_frames):
    copies = 2 if clip_frames == 1 else 0
    videos = [
        make_video(tmp_path, number, is_fake=is_fake, frames=1, copies=copies)
        for number in range(2)
        for is_fake in (False, True)
    ]
    recipe = tiny_recipe(clip_frames=clip_frames, copies=copies, copy_share=copies / 4, steps=NUM_PAIRS)
    by_cpu, by_device = both_ways(TrainingPairs(videos, recipe))
    assert mean_of((by_device - by_cpu).abs()) < 1.5


def make_source(videos, recipe: Recipe, *, workers: int = 0) -> DeviceBatches:
    return DeviceBatches(TrainingPairs(videos, recipe), recipe, Accelerator(cpu=True), workers=workers)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_depend_on_their_number_alone(videos, workers):
    recipe = tiny_recipe(accumulation=2, steps=4)
    all_of_them = list(make_source(videos, recipe).batches(0))
    assert len(all_of_them) == 8
    later = list(make_source(videos, recipe, workers=workers).batches(2))
    assert len(later) == 4
    for one, other in zip(all_of_them[4:], later, strict=True):
        assert torch.equal(one, other)


def test_batches_hold_the_pairs_of_the_loader(videos):
    recipe = tiny_recipe(steps=3, augment=False)
    theirs = LoaderBatches(TrainingPairs(videos, recipe), recipe, Accelerator(cpu=True), workers=0)
    for ours, other in zip(make_source(videos, recipe).batches(1), theirs.batches(1), strict=True):
        assert mean_of((ours.int() - other.int()).abs()) < 0.2


def test_processes_divide_a_batch(videos):
    recipe = tiny_recipe(batch_pairs=4, accumulation=2, steps=3)
    second = type("Second", (), {"num_processes": 2, "process_index": 1})()
    source = replace(make_source(videos, recipe), accelerator=second)
    assert source._shares(1) == [[10, 11], [14, 15], [18, 19], [22, 23]]


def test_an_error_in_a_worker_is_raised(videos, monkeypatch):
    def fail(self, index):
        raise OSError("the disk is gone")

    monkeypatch.setattr(TrainingPairs, "plan", fail)
    with pytest.raises(OSError, match="the disk is gone"):
        next(iter(make_source(videos, tiny_recipe()).batches(0)))


@pytest.fixture(scope="module")
def sides(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sides")
    return make_videos(folder, range(3)), make_videos(folder, range(3, 6))


def run(recipe, sides, folder, **options):
    return run_training(recipe, sides, folder, **{"pairs_on": "device", **options})


def test_stopped_and_resumed_it_gives_the_weights_of_an_unbroken_run(sides, tmp_path):
    recipe = tiny_recipe(accumulation=2, region_weight=1.0, config={"classifier_dropout": 0.5})
    unbroken = run(recipe, sides, tmp_path / "unbroken")
    assert unbroken.progress.step == recipe.steps
    assert run(recipe, sides, tmp_path / "broken", stop_after=3) is None
    resumed = run(recipe, sides, tmp_path / "broken")
    for (name, one), other in zip(
        resumed.network.state_dict().items(), unbroken.network.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), name


@pytest.mark.parametrize(("first", "second"), [("cpu", "device"), ("device", "cpu")])
def test_a_run_is_not_resumed_with_pairs_computed_elsewhere(sides, tmp_path, first, second):
    assert run(tiny_recipe(), sides, tmp_path, stop_after=1, pairs_on=first) is None
    with pytest.raises(TrainingError, match=f"computed on the {first}; resume it with --pairs-on {first}, or"):
        run(tiny_recipe(), sides, tmp_path, pairs_on=second)


@pytest.fixture
def plan(tmp_path) -> TrainingPlan:
    return tiny_plan(tmp_path, pairs_on="device")


def test_the_record_of_a_model_says_where_its_pairs_were_computed(plan):
    model = train(plan).model
    assert model is not None
    assert json.loads((model / "training.json").read_text())["pairs_on"] == "device"


def test_features_that_are_computed_once_are_refused(plan):
    recipe = replace(plan.recipe, trains="head", initial=str(plan.data[0]), feature_pairs=4)
    with pytest.raises(TrainingError, match=r"^pairs_on \"device\" cannot be combined with feature_pairs"):
        replace(plan, recipe=recipe)
    with pytest.raises(UsageError, match="pairs_on must be one of cpu, device, got 'gpu'"):
        replace(plan, pairs_on="gpu")


def test_the_command_trains_and_does_not_resume_elsewhere(plan, tmp_path, capsys):
    recipe = tmp_path / "tiny.json"
    recipe.write_text(json.dumps(plan.recipe.to_dict()))
    words = ["train", str(plan.data[0]), "--validation-data", str(plan.validation_data[0]), "--recipe", str(recipe)]
    words += ["--output", str(plan.output), "--device", "cpu", "--workers", "0", "--quiet"]
    assert main([*words, "--pairs-on", "device", "--stop-after", "2"]) == 0
    assert main(words) == USAGE
    error = capsys.readouterr().err.splitlines()[-1]
    assert "resume it with --pairs-on device" in error
    assert main([*words, "--pairs-on", "device"]) == 0
