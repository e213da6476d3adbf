# SPDX-License-Identifier: Apache-2.0
"""`deepfake-video train`: from a folder of face images to a model that the pipeline loads."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from benchmark_trees import put_images
from PIL import Image
from transformers import AutoConfig, pipeline

from deepfake_video.cli import main
from deepfake_video.common.files import lock_folder
from deepfake_video.hub.push import PushError
from deepfake_video.training import pretraining, sample_sheet, session, time_proof
from deepfake_video.training.command import FAILED, INTERRUPTED, OK, USAGE, parse_changes
from deepfake_video.training.loop import read_log
from deepfake_video.training.recipe import Recipe
from training_videos import tiny_recipe
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
    values = tiny_recipe(search_images=False, cached_frames=3, steps=4, validation_share=0.5).to_dict()
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


def test_two_trainings_do_not_write_to_one_folder(data, recipe, tmp_path, capsys):
    pytest.importorskip("fcntl")
    with lock_folder(tmp_path / "run", work="training"):
        assert train(data, recipe, tmp_path / "run") == FAILED
    assert "another training is writing there" in capsys.readouterr().err
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


def test_stopped_by_number_it_goes_on_by_the_same_command(data, recipe, tmp_path, capsys):
    assert train(data, recipe, tmp_path, "--stop-after", "2") == OK
    assert "the same command goes on" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()
    assert train(data, recipe, tmp_path) == OK
    assert "AUC" in capsys.readouterr().out
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
    ("options", "code", "words"),
    [
        (["--set", "stepps=3"], FAILED, "no such field as 'stepps'; did you mean steps"),
        (["--set", 'config={"backbone": "resnet50"}'], FAILED, "backbone 'resnet50' is unknown"),
        (["--set", 'config={"poolign": "max"}'], FAILED, "no such field as 'poolign'; did you mean pooling"),
        (["--set", 'processor={"face_margins": 1.0}'], FAILED, "'face_margins'; did you mean face_margin"),
        (["--set", 'processor={"face_margin": "wide"}'], FAILED, "face_margin"),
        (["--set", "steps"], FAILED, "NAME=VALUE"),
        (["--set", "steps=-1"], FAILED, "steps"),
        (["--set", "preset=nothing"], FAILED, "no preset"),
        (["--set", "initial=nowhere.pth"], FAILED, "nowhere.pth"),
        (["--set", "trains=head"], FAILED, "initial"),
        (["--push", "no name"], FAILED, "no name"),
        (["--workers", "-1"], USAGE, "--workers"),
        (["--stop-after", "0"], USAGE, "--stop-after"),
        (["--validation-data", "nowhere"], USAGE, "nowhere"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_before_the_work(
    data, recipe, tmp_path, capsys, monkeypatch, options, code, words
):
    def load(*_: object, **__: object) -> None:
        raise AssertionError("the faces were cropped")

    monkeypatch.setattr(session, "load_videos", load)
    assert train(data, recipe, tmp_path, *options) == code
    error = capsys.readouterr().err
    assert words in error
    assert len(error.strip().splitlines()) == 1


def test_initial_weights_of_another_architecture_are_named_before_the_work(data, recipe, tmp_path, capsys):
    other = tmp_path / "vit"
    other.mkdir()
    (other / "config.json").write_text('{"model_type": "vit", "architectures": ["ViTForImageClassification"]}')
    (other / "model.safetensors").write_bytes(b"")
    assert train(data, recipe, tmp_path / "run", "--set", f"initial={other}") == FAILED
    error = capsys.readouterr().err
    assert "vit: holds a Transformers model of the type 'vit' (ViTForImageClassification)" in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_an_output_that_cannot_be_is_said_before_the_work(data, recipe, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert train(data, recipe, tmp_path / "file/run") == FAILED
    assert "file is not a folder" in capsys.readouterr().err


def test_an_unknown_recipe_and_data_that_are_not_there(data, tmp_path, capsys):
    assert train(data, Path("nothing"), tmp_path) == FAILED
    assert "no such recipe" in capsys.readouterr().err
    assert train(tmp_path / "nowhere", Path("frames"), tmp_path) == USAGE


def test_an_interruption_says_how_to_go_on(data, recipe, tmp_path, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(session, "train", interrupt)
    assert train(data, recipe, tmp_path) == INTERRUPTED
    assert "goes on" in capsys.readouterr().err


def test_the_model_is_published_on_demand(data, recipe, tmp_path, monkeypatch):
    pushed = []
    monkeypatch.setattr(session, "push", lambda plan: pushed.append(plan) or SimpleNamespace(summary=str))
    assert train(data, recipe, tmp_path, "--set", "steps=1", "--push", "me/detector", "--private") == OK
    (plan,) = pushed
    assert (plan.folder, plan.repo_id) == (tmp_path / "model", "me/detector")
    assert plan.private is True


def test_a_refused_push_fails_and_keeps_the_model(data, recipe, tmp_path, monkeypatch, capsys):
    def refuse(*_, **__):
        raise PushError("no token")

    monkeypatch.setattr(session, "push", refuse)
    assert train(data, recipe, tmp_path, "--set", "steps=1", "--push", "me/detector") == FAILED
    assert "no token" in capsys.readouterr().err
    assert (tmp_path / "model/model.safetensors").is_file()


@pytest.mark.parametrize("region_weight", [0.0, 1.0])
def test_a_sheet_shows_two_pairs_a_line_of_the_default_recipe(tmp_path, region_weight):
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps({**Recipe.read("default").to_dict(), "region_weight": region_weight}))
    put_images(tmp_path / "faces", 1, shade=40)
    (face,) = (tmp_path / "faces").iterdir()
    sheet = tmp_path / "sheet.png"
    words = [str(face), "--output", str(sheet), "--recipe", str(recipe), "--lines", "2"]
    assert sample_sheet.main(words) == OK
    with Image.open(sheet) as image:
        # Five views of 128 px a pair, and a gap after each pair.
        assert image.mode == "RGB"
        assert image.width > 2 * 5 * 128
        assert image.height > 2 * 128


def test_values_are_json_or_words():
    changes = ["steps=3", "initial=imagenet", "initial=null", 'fakes={"faulty": 1}', "preset=a=b"]
    assert [parse_changes([change]) for change in changes] == [
        {"steps": 3},
        {"initial": "imagenet"},
        {"initial": None},
        {"fakes": {"faulty": 1}},
        {"preset": "a=b"},
    ]


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        (pretraining, ["attributes", "none", "--cache", "crops"]),
        (sample_sheet, ["none.png"]),
        (time_proof, ["none"]),
    ],
)
def test_a_tool_says_in_one_line_what_is_not_there(tool, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert tool.main([*words, "--output", "output"]) == FAILED
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert re.search(r"^deepfake-video: .*none.*\n\Z", said, re.MULTILINE)
