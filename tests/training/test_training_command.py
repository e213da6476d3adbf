# SPDX-License-Identifier: Apache-2.0
"""`deepfake-video train`: from a folder of face images to a model that the pipeline loads."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from benchmark_trees import put_images
from transformers import AutoConfig, pipeline
from transformers.utils import logging

from deepfake_video.cli import main
from deepfake_video.common.exit_codes import FAILED, INTERRUPTED, OK, USAGE
from deepfake_video.common.files import lock_folder
from deepfake_video.evaluation.metrics import Estimate
from deepfake_video.hub.push import PushError
from deepfake_video.training import train_command, training_run
from deepfake_video.training.plan import TrainingResult
from deepfake_video.training.train_command import parse_changes
from training_videos import read_log, tiny_recipe
from two_processes import run_in_two_processes


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Faces to train on, beside a folder `validation` of others."""
    root = tmp_path_factory.mktemp("faces")
    for person in range(4):
        side = root / ("training" if person < 2 else "validation")
        put_images(side / f"real/{person}", 4, shade=11 * person)
        put_images(side / f"fake/swap/{person}", 4, shade=90 + 11 * person)
    return root / "training"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.json"
    values = tiny_recipe(cached_frames=3, steps=4, validation_share=0.5).to_dict()
    path.write_text(json.dumps(values))
    return path


def train(data: Path, recipe: Path, output: Path, *options: str) -> int:
    fixed = ["--device", "cpu", "--workers", "0", "--quiet"]
    if "--validation-data" not in options:
        fixed += ["--validation-data", str(data.parent / "validation")]
    return main(["train", str(data), "--recipe", str(recipe), "--output", str(output), *fixed, *options])


@pytest.fixture(scope="module")
def trained(data, recipe, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("run")
    assert train(data, recipe, output) == OK
    return output


def test_the_model_folder_is_calibrated_and_says_what_it_is(trained):
    config = AutoConfig.from_pretrained(trained / "model", trust_remote_code=True)
    record = json.loads((trained / "model/training.json").read_text())
    assert config.is_trained
    assert (config.temperature, config.fake_bias) == (record["temperature"], record["fake_bias"])
    assert record["steps"] == 4
    assert record["recipe"]["preset"] == "tiny"
    card = (trained / "model/README.md").read_text()
    assert "## Data" in card
    assert "4 steps" in card
    assert "– to" not in card


def test_an_auc_without_an_interval_is_printed_alone(data, recipe, tmp_path, monkeypatch, capsys):
    metrics = {"auc": Estimate(0.75)}
    result = TrainingResult(output=tmp_path, model=tmp_path / "model", steps=4, best_step=4, metrics=metrics)
    monkeypatch.setattr(training_run, "train", lambda *_: result)
    assert train(data, recipe, tmp_path) == OK
    assert capsys.readouterr().out == f"{tmp_path / 'model'}: AUC 0.750 on the validation videos\n"


def test_two_trainings_do_not_write_to_one_folder(data, recipe, tmp_path, capsys):
    pytest.importorskip("fcntl")
    with lock_folder(tmp_path / "run", work="training"):
        assert train(data, recipe, tmp_path / "run") == FAILED
    assert "another training is writing" in capsys.readouterr().err
    assert not (tmp_path / "run/crops").exists()


def test_the_pipeline_loads_the_model(trained, tmp_path):
    from deepfake_video.scanning.sample import write_sample_video

    detector = pipeline("video-classification", model=str(trained / "model"), trust_remote_code=True)
    answers = detector(str(write_sample_video(tmp_path / "clip.mp4", num_frames=6)))
    assert {answer["label"] for answer in answers} == {"real", "fake"}


def test_two_processes_train_one_network(data, recipe, tmp_path):
    words = ["train", str(data), "--validation-data", str(data.parent / "validation"), "--recipe", str(recipe)]
    changes = ["--set", "region_weight=1", "--workers", "0", "--output", str(tmp_path)]
    assert run_in_two_processes(*words, *changes).count("AUC") == 1
    steps = [record["step"] for record in read_log(tmp_path) if "validation_auc" in record]
    assert steps == [2, 4]
    assert json.loads((tmp_path / "model/training.json").read_text())["steps"] == 4


TWO_STAGES = """
import sys
from dataclasses import replace
from pathlib import Path
from deepfake_video import Recipe, TrainingPlan, train
data, recipe, output = map(Path, sys.argv[1:])
plan = TrainingPlan(
    data=[data], validation_data=[data.parent / "validation"], recipe=Recipe.read(recipe, steps=1),
    output=output / "first", workers=0,
)
first = train(plan)
second = train(replace(plan, recipe=replace(plan.recipe, initial=str(first.model)), output=output / "second"))
# In one piece, so that the lines of the two processes stay apart.
sys.stdout.write(f"steps {second.steps} {second.model.is_dir()}\\n")
"""


def test_a_program_in_two_processes_trains_twice(data, recipe, tmp_path):
    program = tmp_path / "two_stages.py"
    program.write_text(TWO_STAGES)
    printed = run_in_two_processes(str(data), str(recipe), str(tmp_path), program=program)
    assert printed.count("steps 1 True") == 2


def test_stopped_by_number_it_goes_on_by_the_same_command(data, recipe, tmp_path, capsys):
    assert train(data, recipe, tmp_path, "--stop-after", "2") == OK
    assert "stopped after step 2; run the same command to resume" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()
    logging.enable_progress_bar()
    assert train(data, recipe, tmp_path) == OK
    out, err = capsys.readouterr()
    assert "AUC" in out
    # Transformers shows the progress of saving, even where nobody asked for it.
    assert "shards" not in err
    assert (tmp_path / "model/model.safetensors").is_file()


def test_fields_of_the_recipe_are_changed(data, recipe, tmp_path):
    assert train(data, recipe, tmp_path, "--set", "steps=1", "--set", 'config={"pooling": "max"}') == OK
    record = json.loads((tmp_path / "model/training.json").read_text())
    assert (record["steps"], record["recipe"]["config"]) == (1, {"pooling": "max"})


def test_crops_may_lie_elsewhere(data, recipe, tmp_path):
    assert train(data, recipe, tmp_path / "run", "--set", "steps=1", "--cache", str(tmp_path / "crops")) == OK
    assert len(list((tmp_path / "crops").glob("*/*.safetensors"))) == 8
    assert not (tmp_path / "run/crops").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--set", "stepps=3"], "unknown field 'stepps'; did you mean steps"),
        (["--set", f"fakes={'[' * 100_000}"], "fakes must be an object of names and values, got "),
        (["--set", 'config={"backbone": "resnet50"}'], "backbone 'resnet50' is unknown"),
        (["--set", 'config={"poolign": "max"}'], "unknown field 'poolign'; did you mean pooling"),
        (["--set", 'processor={"face_margins": 1.0}'], "'face_margins'; did you mean face_margin"),
        (["--set", 'processor={"face_margin": "wide"}'], "face_margin"),
        (["--set", "steps"], "NAME=VALUE"),
        (["--set", "steps=-1"], "steps"),
        (["--set", "name=x"], "unknown field 'name'"),
        (["--set", "preset=nothing"], "no preset"),
        (["--set", "initial=nowhere.pth"], "nowhere.pth"),
        (["--set", "trains=head"], "initial"),
        (["--workers", "-1"], "workers must be at least 0, got -1"),
        (["--stop-after", "0"], "stop_after must be at least 1, got 0"),
        (["--validation-data", "nowhere"], "nowhere: no such file or folder"),
    ],
)
def test_an_invalid_request_is_named_in_one_line_before_the_work(
    data, recipe, tmp_path, capsys, monkeypatch, options, words
):
    def load(*_: object, **__: object) -> None:
        raise AssertionError("the faces were cropped")

    monkeypatch.setattr(training_run, "load_videos", load)
    assert train(data, recipe, tmp_path, *options) == USAGE
    error = capsys.readouterr().err
    assert words in error
    assert len(error.strip().splitlines()) == 1


def test_initial_weights_of_another_architecture_are_named_before_the_work(data, recipe, tmp_path, capsys):
    other = tmp_path / "vit"
    other.mkdir()
    (other / "config.json").write_text('{"model_type": "vit", "architectures": ["ViTForImageClassification"]}')
    (other / "model.safetensors").write_bytes(b"")
    assert train(data, recipe, tmp_path / "run", "--set", f"initial={other}") == USAGE
    error = capsys.readouterr().err
    assert "vit: holds a Transformers model of the type 'vit' (ViTForImageClassification)" in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_an_output_that_cannot_be_is_said_before_the_work(data, recipe, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert train(data, recipe, tmp_path / "file/run") == USAGE
    assert "file is not a folder" in capsys.readouterr().err


def test_an_unknown_recipe_and_data_that_are_not_there(data, tmp_path, capsys):
    assert train(data, Path("nothing"), tmp_path) == USAGE
    assert "no such recipe" in capsys.readouterr().err
    assert train(tmp_path / "nowhere", Path("frames"), tmp_path) == USAGE


def test_an_interruption_says_how_to_go_on(data, recipe, tmp_path, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(training_run, "train_network", interrupt)
    assert train(data, recipe, tmp_path) == INTERRUPTED
    assert "interrupted; run the same command to resume" in capsys.readouterr().err


def test_the_model_is_published_on_demand(data, recipe, tmp_path, monkeypatch):
    pushed = []
    monkeypatch.setattr(train_command, "push", lambda plan: pushed.append(plan) or SimpleNamespace(summary=str))
    assert train(data, recipe, tmp_path, "--set", "steps=1", "--push", "me/detector", "--private") == OK
    (plan,) = pushed
    assert (plan.folder, plan.repo_id) == (tmp_path / "model", "me/detector")
    assert plan.private is True


def test_a_refused_push_fails_and_keeps_the_model(data, recipe, tmp_path, monkeypatch, capsys):
    def refuse(*_, **__):
        raise PushError("no token")

    monkeypatch.setattr(train_command, "push", refuse)
    assert train(data, recipe, tmp_path, "--set", "steps=1", "--push", "me/detector") == FAILED
    assert "no token" in capsys.readouterr().err
    assert (tmp_path / "model/model.safetensors").is_file()


def test_values_are_json_or_words():
    changes = ["steps=3", "initial=imagenet", "initial=null", 'fakes={"faulty": 1}', "preset=a=b"]
    assert [parse_changes([change]) for change in changes] == [
        {"steps": 3},
        {"initial": "imagenet"},
        {"initial": None},
        {"fakes": {"faulty": 1}},
        {"preset": "a=b"},
    ]
