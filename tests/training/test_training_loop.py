# SPDX-License-Identifier: Apache-2.0
"""The loop: stopped and gone on with, it gives the weights of an unbroken run."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from sklearn.metrics import roc_auc_score

from deepfake_video.training import loop, validation
from deepfake_video.training.batch_sources import LoaderBatches
from deepfake_video.training.checkpointing import BEST_NAME, PROGRESS_NAME, STATE_NAME
from deepfake_video.training.errors import TrainingError, TrainingFailedError
from deepfake_video.training.loop import TrainingLoop
from deepfake_video.training.modes import ClipMode
from deepfake_video.training.networks import make_network
from deepfake_video.training.pixels import to_pixel_values
from deepfake_video.training.regions import RegionClassifier, region_loss
from deepfake_video.training.training_log import LOG_NAME
from deepfake_video.training.validation import score_videos
from training_videos import make_video, make_videos, read_log, tiny_recipe
from training_videos import run_training as run


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    return make_videos(folder, range(3)), make_videos(folder, range(3, 6))


def assert_same_weights(first, second):
    for (name, one), other in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


@pytest.mark.parametrize("stops", [(1,), (2,), (3,), (1, 2, 1)])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_stopped_and_gone_on_with_it_gives_the_weights_of_an_unbroken_run(videos, tmp_path, stops, accumulation):
    # Dropout draws as it trains: that must go on where it stood, too.
    recipe = tiny_recipe(accumulation=accumulation, config={"classifier_dropout": 0.5})
    unbroken = run(recipe, videos, tmp_path / "unbroken")
    for steps in stops:
        assert run(recipe, videos, tmp_path / "broken", stop_after=steps) is None
    resumed = run(recipe, videos, tmp_path / "broken")
    assert_same_weights(resumed.network, unbroken.network)
    assert resumed.progress.best_step == unbroken.progress.best_step
    np.testing.assert_array_equal(resumed.probabilities, unbroken.probabilities)


def test_a_timm_backbone_is_trained_and_resumed(videos, tmp_path):
    recipe = tiny_recipe(config={"backbone": "timm/test_resnet", "drop_path_rate": 0.2})
    unbroken = run(recipe, videos, tmp_path / "unbroken")
    assert run(recipe, videos, tmp_path / "broken", stop_after=3) is None
    assert_same_weights(run(recipe, videos, tmp_path / "broken").network, unbroken.network)
    name = "deepfake.frame_encoder.backbone.conv1.0.weight"
    assert not torch.equal(unbroken.network.state_dict()[name], make_network(recipe).state_dict()[name])


def test_the_log_has_no_line_twice(videos, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    recipe = tiny_recipe()
    run(recipe, videos, tmp_path / "unbroken")
    run(recipe, videos, tmp_path / "broken", stop_after=3)
    # What was written after the state was stored is written again.
    with (tmp_path / "broken" / LOG_NAME).open("a") as stream:
        stream.write(json.dumps({"step": 4, "loss": 9.0}) + "\n")
    run(recipe, videos, tmp_path / "broken")
    kept = [
        [
            {name: line.get(name) for name in ("step", "loss", "learning_rate", "validation_auc")}
            for line in read_log(folder)
        ]
        for folder in (tmp_path / "broken", tmp_path / "unbroken")
    ]
    assert kept[0] == kept[1]
    assert [line["step"] for line in kept[0] if line["loss"] is not None] == [1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in kept[0] if line["validation_auc"] is not None] == [2, 4, 6]


def test_the_steps_before_the_first_validation_are_logged_once(videos, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    recipe = tiny_recipe(validate_every=6)

    def interrupt(record):
        if record["step"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(recipe, videos, tmp_path, on_record=interrupt)
    run(recipe, videos, tmp_path)
    assert [line["step"] for line in read_log(tmp_path) if "loss" in line] == [1, 2, 3, 4, 5, 6]


def test_a_training_resumes_after_an_incomplete_last_line_of_its_log(videos, tmp_path):
    assert run(tiny_recipe(), videos, tmp_path, stop_after=3) is None
    with (tmp_path / LOG_NAME).open("a") as stream:
        stream.write('{"step": 3, "validation_au')
    assert [line["step"] for line in read_log(tmp_path)] == [2]
    run(tiny_recipe(), videos, tmp_path)
    assert [line["step"] for line in read_log(tmp_path)] == [2, 4, 6]


@pytest.mark.parametrize("damaged", ['{"step": 1, "validation_au', "[1]", '{"loss": 1.0}', '{"step": "one"}', ""])
def test_a_damaged_line_within_the_log_is_named_in_one_line(videos, tmp_path, damaged):
    log = tmp_path / LOG_NAME
    assert run(tiny_recipe(), videos, tmp_path, stop_after=3) is None
    log.write_text(log.read_text() + f"{damaged}\n" + '{"step": 3}\n')
    with pytest.raises(TrainingFailedError, match=r"^.*log\.jsonl, line 2: invalid record .*; delete the line .*$"):
        run(tiny_recipe(), videos, tmp_path)


def test_a_finished_training_gives_its_outcome_again(videos, tmp_path):
    first, again = (run(tiny_recipe(), videos, tmp_path) for _ in range(2))
    assert_same_weights(first.network, again.network)
    assert first.progress == again.progress


def test_a_finished_training_may_be_made_longer(videos, tmp_path):
    assert run(tiny_recipe(steps=2), videos, tmp_path).progress.step == 2
    assert run(tiny_recipe(steps=4), videos, tmp_path).progress.step == 4


def test_other_videos_than_those_that_it_began_with_are_refused(videos, tmp_path):
    assert run(tiny_recipe(), videos, tmp_path, stop_after=2) is None
    with pytest.raises(TrainingError, match=r"different videos.*another folder"):
        run(tiny_recipe(), videos[::-1], tmp_path)
    with pytest.raises(TrainingError, match="different videos"):
        run(tiny_recipe(), (videos[0][:-1], videos[1]), tmp_path)
    assert run(tiny_recipe(), (videos[0][::-1], videos[1]), tmp_path) is not None


def test_other_initial_weights_than_those_that_it_began_with_are_refused(videos, tmp_path):
    def write(seed: int) -> None:
        backbone = make_network(tiny_recipe(seed=seed)).base_model.frame_encoder.backbone
        save_file(backbone.state_dict(), tmp_path / "a.safetensors")

    write(5)
    recipe = tiny_recipe(initial=str(tmp_path / "a.safetensors"))
    assert run(recipe, videos, tmp_path / "run", stop_after=2) is None
    write(6)
    with pytest.raises(TrainingError, match=r"different initial weights; .*a\.safetensors has changed"):
        run(recipe, videos, tmp_path / "run")


@pytest.mark.parametrize("stop", [3, 4])
def test_a_training_may_be_called_finished_where_it_stands(videos, tmp_path, stop):
    assert run(tiny_recipe(steps=10), videos, tmp_path, stop_after=stop) is None
    outcome = run(tiny_recipe(steps=stop), videos, tmp_path)
    assert outcome.progress.step == stop
    assert outcome.progress.finished


def test_a_share_of_the_initial_weights_can_be_kept_of_a_finished_training(videos, tmp_path):
    initial = make_network(tiny_recipe())
    initial.save_pretrained(tmp_path / "initial")
    recipe = tiny_recipe(initial=str(tmp_path / "initial"), seed=1)
    trained = run(recipe, videos, tmp_path / "run")
    mixed = run(replace(recipe, initial_share=0.25), videos, tmp_path / "run")
    assert mixed.progress == trained.progress
    states = (network.state_dict() for network in (initial, trained.network, mixed.network))
    for first, last, kept in zip(*(state.values() for state in states), strict=True):
        if first.is_floating_point():
            torch.testing.assert_close(kept, 0.25 * first + 0.75 * last)
    assert not np.array_equal(mixed.probabilities, trained.probabilities)
    probabilities = score_videos(mixed.network, videos[1], recipe, recipe.make_processor(), torch.device("cpu"))[0]
    np.testing.assert_array_equal(probabilities, mixed.probabilities)


def test_another_recipe_does_not_go_on_with_it(videos, tmp_path):
    run(tiny_recipe(), videos, tmp_path, stop_after=1)
    with pytest.raises(TrainingError, match="a different recipe"):
        run(tiny_recipe(learning_rate=0.1), videos, tmp_path)


RECORD = {"recipe": {}, "data": "", "initial": "", "pairs_on": "cpu"}


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", *(json.dumps({**RECORD, "progress": value}) for value in (1, {"steps": 1}, {"step": ""}))],
)
def test_a_state_with_a_damaged_record_is_named(videos, tmp_path, content):
    (tmp_path / STATE_NAME).mkdir()
    (tmp_path / STATE_NAME / PROGRESS_NAME).write_text(content)
    with pytest.raises(TrainingError, match=r"progress\.json: damaged"):
        run(tiny_recipe(), videos, tmp_path)


def test_a_state_that_was_being_replaced_is_found(videos, tmp_path):
    run(tiny_recipe(), videos, tmp_path, stop_after=2)
    (tmp_path / STATE_NAME).rename(tmp_path / f".{STATE_NAME}.old")
    assert run(tiny_recipe(), videos, tmp_path, stop_after=1) is None
    progress = json.loads((tmp_path / STATE_NAME / PROGRESS_NAME).read_text())["progress"]
    assert progress["step"] == 3


def test_re_encoded_copies_validate_beside_their_videos(tmp_path):
    sides = [
        [make_video(tmp_path, number, is_fake=is_fake, copies=2) for number in numbers for is_fake in (False, True)]
        for numbers in (range(3), range(3, 6))
    ]
    recipe = tiny_recipe(clip_frames=1, copies=2, copy_share=0.5)
    outcome = run(recipe, sides, tmp_path / "run")
    validations = [line for line in read_log(tmp_path / "run") if "validation_auc" in line]
    for line in validations:
        assert line["validation_auc"] == pytest.approx((line["original_auc"] + line["copy_auc"]) / 2)
    processor, device = recipe.make_processor(), torch.device("cpu")
    original, is_fake = score_videos(outcome.network, sides[1], recipe, processor, device)
    copied, _ = score_videos(outcome.network, sides[1], recipe, processor, device, copy=0)
    np.testing.assert_allclose(outcome.probabilities, [*original, *copied], atol=1e-6)
    np.testing.assert_array_equal(outcome.is_fake, [*is_fake, *is_fake])
    best = max(validations, key=lambda line: line["validation_auc"])
    assert best["copy_auc"] == pytest.approx(roc_auc_score(is_fake, copied))


def test_it_stops_after_validations_without_a_better_one(videos, tmp_path, monkeypatch):
    areas = iter([0.6, 0.7, 0.7, 0.5, 0.9])
    monkeypatch.setattr(validation, "measure", lambda *_: {"auc": next(areas)})
    outcome = run(tiny_recipe(steps=20, patience=2), videos, tmp_path)
    assert (outcome.progress.step, outcome.progress.best_step, outcome.progress.best) == (8, 4, 0.7)


def test_the_best_weights_are_kept_and_not_the_last(videos, tmp_path, monkeypatch):
    areas = iter([0.9, 0.5, 0.4])
    monkeypatch.setattr(validation, "measure", lambda *_: {"auc": next(areas)})
    best = run(tiny_recipe(), videos, tmp_path / "all").network
    state = load_file(tmp_path / "all" / BEST_NAME)
    assert all(torch.equal(tensor, state[name]) for name, tensor in best.state_dict().items())


def test_a_loss_that_is_no_number_stops_it_and_nothing_is_stored(videos, tmp_path, monkeypatch):
    monkeypatch.setattr(ClipMode, "loss", lambda *_: torch.tensor(torch.nan, requires_grad=True))
    with pytest.raises(TrainingFailedError, match="step 1 is nan"):
        run(tiny_recipe(), videos, tmp_path)
    assert not (tmp_path / STATE_NAME).exists()


def test_a_kept_backbone_keeps_its_weights_and_statistics(videos, tmp_path):
    recipe = tiny_recipe(trains="head", learning_rate=0.1)
    before = make_network(recipe)
    after = run(recipe, videos, tmp_path).network
    assert_same_weights(before.deepfake.frame_encoder, after.deepfake.frame_encoder)
    assert not torch.equal(before.classifier.out_proj.weight, after.classifier.out_proj.weight)


def test_statistics_are_kept_while_weights_are_trained(videos, tmp_path):
    recipe = tiny_recipe(keeps_statistics=True)
    before, after = make_network(recipe).state_dict(), run(recipe, videos, tmp_path / "kept").network.state_dict()
    statistics = {name for name in before if name.rpartition(".")[2] in ("running_mean", "running_var")}
    assert statistics
    assert all(torch.equal(before[name], after[name]) == (name in statistics) for name in before if before[name].ndim)


def test_a_rate_of_zero_trains_the_statistics_alone(videos, tmp_path):
    recipe = tiny_recipe(learning_rate=0)
    before = dict(make_network(recipe).named_parameters())
    after = run(recipe, videos, tmp_path).network
    assert all(torch.equal(before[name], value) for name, value in after.named_parameters())
    fresh = dict(make_network(recipe).named_buffers())
    assert not any(torch.equal(fresh[n], b) for n, b in after.named_buffers() if n.endswith("running_mean"))


def test_it_learns_what_one_look_tells(videos, tmp_path):
    # The fakes of these videos are darker.
    recipe = tiny_recipe(fakes={"manipulated": 1.0}, steps=30, augment=False, validate_every=10, learning_rate=0.003)
    assert run(recipe, videos, tmp_path).progress.best == 1.0


def test_the_rate_rises_and_falls_to_nothing(videos, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    run(tiny_recipe(learning_rate=1.0), videos, tmp_path)
    rates = [line["learning_rate"] for line in read_log(tmp_path) if "learning_rate" in line]
    # After step s comes the rate of step s + 1: warm from step 2 on, a cosine over the other four.
    cosine = [0.5 * (1 + np.cos(np.pi * share)) for share in (0, 0.25, 0.5, 0.75, 1)]
    assert rates == pytest.approx([1.0, *cosine], abs=1e-6)


def test_pixel_values_are_those_of_the_processor():
    recipe = tiny_recipe()
    processor = recipe.make_processor()
    clip = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    values = to_pixel_values(clip[None], processor)
    assert values.shape == (1, 3, 3, 32, 32)
    mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (processor.image_mean, processor.image_std))
    torch.testing.assert_close(values[0], (clip.permute(0, 3, 1, 2) / 255 - mean) / std)


def test_videos_are_judged_one_by_one_in_their_order(videos):
    recipe = tiny_recipe()
    network, processor = make_network(recipe), recipe.make_processor()
    together, is_fake = score_videos(network, videos[1], recipe, processor, torch.device("cpu"))
    alone = [score_videos(network, [video], recipe, processor, torch.device("cpu"))[0][0] for video in videos[1]]
    assert together.tolist() == alone
    assert is_fake.tolist() == [False, True] * 3
    assert replace(recipe) == recipe


def test_a_head_for_regions_learns_and_leaves_nothing_behind(videos, tmp_path):
    recipe = tiny_recipe(region_weight=1.0)
    unbroken = run(recipe, videos, tmp_path / "unbroken")
    assert run(recipe, videos, tmp_path / "broken", stop_after=3) is None
    resumed = run(recipe, videos, tmp_path / "broken")
    assert_same_weights(resumed.network, unbroken.network)
    assert set(resumed.network.state_dict()) == set(make_network(recipe).state_dict())
    # It changes what is learned.
    without = run(tiny_recipe(), videos, tmp_path / "without")
    name = "deepfake.frame_encoder.backbone.conv1.0.weight"
    assert not torch.equal(unbroken.network.state_dict()[name], without.network.state_dict()[name])


@pytest.mark.parametrize(
    "preset", ["tiny", "efficientnet-b0-frames", "resnext50-lstm", "efficientnet-lite2-frames", "xception-frames"]
)
def test_maps_of_regions_lie_at_a_sixteenth_of_the_side(preset):
    network = make_network(tiny_recipe(preset=preset, config={"image_size": 64, "num_frames": 2}))
    located = RegionClassifier(network)
    logits, maps = located(torch.zeros(1, 2, 3, 64, 64))
    assert logits.shape == (1, 2)
    assert maps.shape == (2, 4, 4)


def test_the_loss_of_a_region_is_the_cross_entropy_of_its_share():
    maps = torch.tensor([[[0.0, 2.0]]])
    regions = torch.tensor([[[[255, 255, 0, 255], [255, 255, 255, 0]]]], dtype=torch.uint8)
    # Of the cells' pixels all and half were altered.
    wanted = np.mean([np.log(2), 0.5 * np.log1p(np.exp(-2)) + 0.5 * np.log1p(np.exp(2))])
    assert float(region_loss(maps, regions)) == pytest.approx(wanted, rel=1e-6)


def test_the_log_gives_the_share_of_the_time_in_which_the_network_waits_for_pairs(videos, tmp_path, monkeypatch):
    now = 0.0
    draw, learn = LoaderBatches.batches, TrainingLoop.optimize

    def pass_time(seconds):
        nonlocal now
        now += seconds

    def slow_batches(self, first_step):
        for batch in draw(self, first_step):
            pass_time(3)
            yield batch

    def slow_step(self, batch):
        pass_time(1)
        return learn(self, batch)

    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    monkeypatch.setattr(loop.time, "monotonic", lambda: now)
    monkeypatch.setattr(LoaderBatches, "batches", slow_batches)
    monkeypatch.setattr(TrainingLoop, "optimize", slow_step)
    run(tiny_recipe(), videos, tmp_path)
    assert {line["waiting_for_pairs"] for line in read_log(tmp_path) if "loss" in line} == {0.75}


def test_each_training_of_a_program_has_its_own_device_and_precision(videos, tmp_path, monkeypatch):
    made = []

    class Noted(Accelerator):
        def __init__(self, **choices):
            super().__init__(**choices)
            made.append((str(self.device), self.mixed_precision))

    monkeypatch.setattr(loop, "Accelerator", Noted)
    for precision in ("no", "bf16", "no"):
        assert run(tiny_recipe(steps=1), videos, tmp_path / f"run{len(made)}", precision=precision) is not None
    # The device that accelerate finds where it looks for one, which it did not at first.
    monkeypatch.setenv("ACCELERATE_TORCH_DEVICE", "cpu:0")
    assert run(tiny_recipe(steps=1), videos, tmp_path / "other", device="auto") is not None
    assert made == [("cpu", "no"), ("cpu", "bf16"), ("cpu", "no"), ("cpu:0", "no")]
