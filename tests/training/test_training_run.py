# SPDX-License-Identifier: Apache-2.0
"""`train(plan)` from Python: its result, its listener, invalid plans, and the examples of the docstrings."""

import dataclasses
import doctest
import importlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torchvision
from safetensors.torch import load_file, save_file

from deepfake_video import TrainingListener, TrainingPlan, train
from deepfake_video.common.errors import UsageError
from deepfake_video.training.checkpointing import Progress
from deepfake_video.training.errors import TrainingError
from deepfake_video.training.loop import TrainingOutcome
from deepfake_video.training.model_folder import save_model
from deepfake_video.training.networks import make_network
from drawn_faces import save_tiny_model
from training_videos import make_video, tiny_plan, tiny_recipe


@pytest.fixture
def plan(tmp_path) -> TrainingPlan:
    return tiny_plan(tmp_path)


class Recorder(TrainingListener):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.steps: list[int] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def logged(self, record) -> None:
        self.steps.append(record["step"])


def test_a_training_is_stopped_resumed_and_gives_its_model_and_metrics(plan, capsys):
    stopped = train(dataclasses.replace(plan, stop_after=3))
    assert (stopped.model, stopped.steps, dict(stopped.metrics)) == (None, 3, {})
    listener = Recorder()
    result = train(plan, listener)
    assert (result.model, result.steps) == (plan.output / "model", 4)
    record = json.loads((result.model / "training.json").read_text())
    area = result.metrics["auc"]
    assert [area.value, area.low, area.high] == record["validation"]["auc"]
    assert result.best_step == record["best_step"]
    assert listener.steps == [4]
    assert listener.notes[-2:] == [
        "training: training, fake 1; training, real 3",
        "validation: validation, fake 1; validation, real 3",
    ]
    # Progress bars of saving apart, nothing below the command prints.
    assert capsys.readouterr().out == ""


def contents(folder) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_finished_training_keeps_its_model_folder_as_it_is(plan):
    model, listener = train(plan).model, Recorder()
    (model / "verdict.json").write_text("{}")
    with (model / "README.md").open("a") as card:
        card.write("## Verdicts\n")
    before = contents(model)
    assert train(plan, listener).model == model
    assert contents(model) == before
    assert listener.notes[-1] == f"{model}: kept as it is, because it contains these weights already."
    assert [entry.name for entry in plan.output.glob(".model*")] == []


def test_rounding_of_the_calibration_on_another_device_does_not_replace_the_model_folder(plan):
    model = train(plan).model
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "temperature": config["temperature"] * (1 + 1e-6)}))
    before = contents(model)
    train(plan)
    assert contents(model) == before


@pytest.mark.parametrize("changed", ["weights", "temperature", "fake_bias"])
def test_verdict_bands_of_another_model_are_dropped_and_a_note_says_so(plan, changed):
    model, listener = train(plan).model, Recorder()
    before = contents(model)
    (model / "verdict.json").write_text("{}")
    if changed == "weights":
        weights = load_file(model / "model.safetensors")
        save_file({name: value + 1 for name, value in weights.items()}, model / "model.safetensors")
    else:
        config = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps({**config, changed: config[changed] + 0.5}))
    train(plan, listener)
    assert contents(model) == before
    assert "the verdict bands of the former model were dropped" in listener.notes[-1]


def test_an_incomplete_model_folder_is_written_anew(plan):
    model = train(plan).model
    before = contents(model)
    (model / "preprocessor_config.json").unlink()
    train(plan)
    assert contents(model) == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"workers": -1}, "workers"),
        ({"stop_after": 0}, "stop_after"),
        ({"data": []}, "at least one data set"),
        ({"device": "tpu"}, "device must be one of auto, cpu, got 'tpu'"),
        ({"precision": "int8"}, "precision"),
        ({"recipe": tiny_recipe(trains="head")}, "initial"),
        ({"recipe": tiny_recipe(config={"poolign": "max"})}, "did you mean pooling"),
    ],
)
def test_an_invalid_plan_is_refused(plan, change, named):
    with pytest.raises(UsageError, match=named):
        dataclasses.replace(plan, **change)


def test_the_same_files_do_not_train_and_validate(plan):
    shutil.copytree(plan.data[0], plan.data[0].parent / "copy")
    same = dataclasses.replace(plan, validation_data=[plan.data[0].parent / "copy"])
    said = r"4 validation videos have the same content .*real/0\.png = .*Remove"
    with pytest.raises(TrainingError, match=said) as error:
        train(same)
    assert "\n" not in str(error.value)


def test_validation_videos_that_the_initial_weights_were_trained_on_are_named(plan, tmp_path):
    first = train(plan).model
    same = dataclasses.replace(plan.recipe, initial=str(first))
    turned = {"data": plan.validation_data, "validation_data": plan.data}
    for name, changes, seen in (("same", {}, 0), ("turned", turned, 4)):
        listener = Recorder()
        second = dataclasses.replace(plan, recipe=same, output=tmp_path / name, **changes)
        model = train(second, listener).model
        warnings = [note for note in listener.notes if note.startswith("WARNING: 4 of the 4 validation videos")]
        assert len(warnings) == bool(seen)
        assert json.loads((model / "training.json").read_text())["validation_videos_seen_by_initial"] == seen
        card = (model / "README.md").read_text()
        assert ("4 of the 4 validation videos show people whom the initial weights" in card) is bool(seen)


def test_copies_and_further_videos_of_the_same_people_do_not_narrow_the_intervals(tmp_path):
    recipe = tiny_recipe()
    people = {
        number: [make_video(tmp_path / "v", number, is_fake=is_fake, copies=1) for is_fake in (False, True)]
        for number in range(8)
    }
    once = [replace(video, crops=replace(video.crops, num_copies=0)) for pair in people.values() for video in pair]
    twice = [replace(video, sample=replace(video.sample, key=f"again-{video.sample.key}")) for video in once]
    copied = [video for pair in people.values() for video in pair]
    random = np.random.default_rng(0)
    probabilities = np.array([random.normal(0.6 if v.sample.is_fake else 0.4, 0.15) for v in once]).clip(0, 1)
    found = {}
    for name, videos, times in (("once", once, 1), ("videos", [*once, *twice], 2), ("copies", copied, 2)):
        scores = np.tile(probabilities, times), np.tile([v.sample.is_fake for v in once], times)
        outcome = TrainingOutcome(make_network(recipe), Progress(), *scores)
        chosen = (
            replace(recipe, copies=1, copy_share=0.5, clip_frames=1, burst_length=1) if name == "copies" else recipe
        )
        found[name] = save_model(outcome, chosen, ([], videos), tmp_path / name)["auc"]
    assert found["once"].low < found["once"].value < found["once"].high
    assert found["videos"] == found["copies"] == found["once"]
    assert "intervals over identities.\n" in (tmp_path / "once/README.md").read_text()
    assert (
        "over identities; a video and its re-encoded copy count together"
        in (tmp_path / "copies/README.md").read_text()
    )


def test_published_initial_weights_take_nothing_from_the_current_folder(plan, tmp_path, monkeypatch):
    published = torchvision.models.shufflenet_v2_x0_5(weights=None).state_dict()
    entry = torchvision.models.ShuffleNet_V2_X0_5_Weights
    monkeypatch.setattr(entry, "get_state_dict", lambda self, **kwargs: published)
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text("{}")
    (other / "LICENSE").write_text("of another model")
    (other / "README.md").write_text("---\nlicense: mit\n---\n")
    (other / "imagenet").write_text("a file of the same name")
    monkeypatch.chdir(other)
    model = train(dataclasses.replace(plan, recipe=dataclasses.replace(plan.recipe, initial="imagenet"))).model
    assert not (model / "LICENSE").exists()
    assert "license: mit" not in (model / "README.md").read_text()
    assert json.loads((model / "training.json").read_text())["recipe"]["initial"] == "imagenet"


def test_the_current_folder_as_the_initial_model_is_recorded_by_its_name(plan, tmp_path, monkeypatch):
    monkeypatch.chdir(save_tiny_model(tmp_path / "first-model"))
    model = train(dataclasses.replace(plan, recipe=dataclasses.replace(plan.recipe, initial="."))).model
    assert json.loads((model / "training.json").read_text())["recipe"]["initial"] == "first-model"


def test_a_damaged_record_of_the_initial_model_ends_the_training_before_it_starts(plan, tmp_path):
    folder = save_tiny_model(tmp_path / "initial")
    (tmp_path / "initial/known_videos.json").write_text('{"videos": {"training": {"keys": "abc"}}}')
    recipe = dataclasses.replace(plan.recipe, initial=folder)
    with pytest.raises(UsageError, match=r"known_videos\.json"):
        train(dataclasses.replace(plan, recipe=recipe))
    assert not plan.output.exists()


def test_a_plan_does_not_change(plan):
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.workers = 3


@pytest.mark.parametrize("name", ["plan", "recipe", "trainer_data", "training_run"])
def test_the_examples_of_the_docstrings_run(name):
    failed, attempted = doctest.testmod(importlib.import_module(f"deepfake_video.training.{name}"))
    assert attempted > 0
    assert failed == 0
