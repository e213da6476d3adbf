# SPDX-License-Identifier: Apache-2.0
"""`train(plan)` from Python: its result, its listener, invalid plans, and the examples of the docstrings."""

import dataclasses
import doctest
import importlib
import json

import pytest
from benchmark_trees import put_images

from deepfake_video import TrainingListener, TrainingPlan, train
from deepfake_video.common.errors import UsageError
from training_videos import tiny_recipe


@pytest.fixture
def plan(tmp_path) -> TrainingPlan:
    for side, shade in (("training", 0), ("validation", 30)):
        put_images(tmp_path / side / "real", 3, shade=shade)
        put_images(tmp_path / side / "fake/swap", 3, shade=90 + shade)
    return TrainingPlan(
        data=[tmp_path / "training"],
        validation_data=[tmp_path / "validation"],
        recipe=tiny_recipe(search_images=False, cached_frames=3, steps=4),
        output=tmp_path / "run",
        device="cpu",
        workers=0,
    )


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
    assert (stopped.model, stopped.steps, stopped.is_finished, dict(stopped.metrics)) == (None, 3, False, {})
    listener = Recorder()
    result = train(plan, listener)
    assert (result.model, result.steps, result.is_finished) == (plan.output / "model", 4, True)
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


def test_a_plan_does_not_change(plan):
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.workers = 3


@pytest.mark.parametrize("name", ["plan", "recipe", "trainer_data", "training_run"])
def test_the_examples_of_the_docstrings_run(name):
    failed, attempted = doctest.testmod(importlib.import_module(f"deepfake_video.training.{name}"))
    assert attempted > 0
    assert failed == 0
