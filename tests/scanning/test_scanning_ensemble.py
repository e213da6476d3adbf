# SPDX-License-Identifier: Apache-2.0
"""The score of an ensemble is the mean of what its models say alone, whatever each of them was made for."""

import importlib.util
import itertools
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import cached_assets_path

from clips import join_clips
from deepfake_video import DeepfakeConfig, DeepfakeForVideoClassification, DeepfakeVideoProcessor
from deepfake_video.cli import main
from deepfake_video.evaluation.scores import read_scores
from deepfake_video.hub.folder import save_hub_folder
from deepfake_video.scanning import graph_cache
from deepfake_video.scanning.detector import Detector
from deepfake_video.scanning.results import VideoResult
from deepfake_video.scanning.settings import ScanSettings
from drawn_faces import write_people


needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="the extra `export` is not installed",
)
# Configuration and preprocessing of each, other in every respect that a checkpoint stores.
MEMBERS: dict[str, tuple[dict, dict]] = {
    "plain": ({"image_size": 64, "num_frames": 6}, {}),
    "wide": ({"image_size": 96, "num_frames": 6}, {"face_margin": 1.8, "channel_order": "bgr"}),
    "dense": ({"image_size": 64, "num_frames": 9, "temperature": 2.5}, {"image_mean": [0.5] * 3}),
    "first": ({"image_size": 64, "num_frames": 5}, {"frame_sampling": "first"}),
    "picky": ({"image_size": 64, "num_frames": 6}, {"face_min_size": 60, "face_min_score": 0.95}),
    "whole": ({"image_size": 80, "num_frames": 4}, {"do_crop_faces": False}),
}


@pytest.fixture(scope="module")
def members(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("members")
    for seed, (name, (changes, choices)) in enumerate(MEMBERS.items()):
        torch.manual_seed(seed)
        config = DeepfakeConfig.from_preset("tiny", is_trained=True, **changes)
        network = DeepfakeForVideoClassification(config)
        torch.nn.init.normal_(network.classifier.out_proj.weight, std=2.0)
        save_hub_folder(network, DeepfakeVideoProcessor.from_config(config, **choices), folder / name)
    return {name: str(folder / name) for name in MEMBERS}


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clips")
    return {
        "one": write_people(folder / "one.mp4", seconds=3),
        "two": write_people(folder / "two.mp4", seconds=3, people=2),
    }


def judge(models: list[str], clip: Path, **settings: object) -> VideoResult:
    return Detector(models, device="cpu", settings=ScanSettings(**settings)).score(clip)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def alone(members, clips) -> dict[tuple[str, str], VideoResult]:
    return {
        (name, people): judge([model], clips[people], timeline=True)
        for name, model in members.items()
        for people in clips
    }


@pytest.mark.parametrize("people", ["one", "two"])
@pytest.mark.parametrize("order", [1, -1], ids=["in order", "reversed"])
def test_the_score_is_the_mean_of_what_each_says_alone(members, clips, alone, people, order):
    names = list(MEMBERS)[::order]
    found = judge([members[name] for name in names], clips[people])
    expected = [alone[name, people].fake_probability for name in names]
    assert np.ptp(expected) > 0.05
    assert found.fake_probability == pytest.approx(np.mean(expected), abs=1e-6)
    assert found.label == ("fake" if np.mean(expected) >= 0.5 else "real")
    assert found.threshold == 0.5
    assert [face.track_id for face in found.faces] == list(range(len(alone["plain", people].faces)))


@pytest.mark.parametrize("pair", list(itertools.combinations(MEMBERS, 2)), ids="+".join)
def test_any_two_models_leave_each_other_alone(members, clips, alone, pair):
    found = judge([members[name] for name in pair], clips["one"])
    expected = np.mean([alone[name, "one"].fake_probability for name in pair])
    assert found.fake_probability == pytest.approx(expected, abs=1e-6)


def test_a_face_has_the_mean_of_what_the_models_say_of_it(members, clips, alone):
    names = ("plain", "wide", "whole")
    found = judge([members[name] for name in names], clips["two"])
    for i, face in enumerate(found.faces):
        expected = np.mean([alone[name, "two"].faces[i].fake_probability for name in names[:2]])
        assert face.fake_probability == pytest.approx(expected, abs=1e-6)
    assert len(found.faces) == 2


def test_a_face_that_only_some_models_saw_is_named(members, clips, tmp_path):
    # The second person comes late: a model that judges the first frames never sees them.
    late = join_clips(tmp_path / "late.mp4", [(clips["one"], 0, 1), (clips["two"], 0, 3)])
    found = judge([members["plain"], members["first"]], late)
    warnings = [warning for warning in found.warnings if "was scored by" in warning]
    assert len(found.faces) == len(warnings) + 1 > 1
    assert all("1 of 2 models" in warning for warning in warnings)
    assert not any("was scored by" in warning for warning in judge([members["plain"]], late).warnings)


@pytest.mark.parametrize(
    "names", [("plain", "wide", "dense"), ("plain", "whole"), ("whole", "wide", "picky")], ids=str
)
def test_windows_are_the_mean_of_what_each_says_alone(members, clips, alone, names):
    found = judge([members[name] for name in names], clips["one"], timeline=True)
    expected = np.mean([alone[name, "one"].fake_probability for name in names])
    assert found.fake_probability == pytest.approx(expected, abs=1e-6)
    assert found.timeline
    for entry in found.timeline:
        said = [
            next(other.fake_probability for other in alone[name, "one"].timeline if other.start_s == entry.start_s)
            for name in names
        ]
        assert entry.fake_probability == pytest.approx(np.mean(said), abs=1e-5)
        assert entry.track_id == 0


def test_pictures_are_of_what_the_explained_model_looks_at(members, clips):
    detector = Detector([members["whole"], members["plain"]], device="cpu", settings=ScanSettings(timeline=True))
    evidence = detector.examine(clips["one"], with_evidence=True).evidence
    assert {thumbnail.track_id for thumbnail in evidence.thumbnails} == {0}
    assert {heatmap.model_id for heatmap in evidence.heatmaps} == {members["plain"]}


@needs_onnx
def test_onnxruntime_gives_the_mean_too(members, clips, tmp_path, monkeypatch):
    monkeypatch.setattr(graph_cache, "cached_assets_path", partial(cached_assets_path, assets_dir=tmp_path))
    models = [members["plain"], members["whole"]]
    expected = np.mean([judge([model], clips["one"], engine="onnx").fake_probability for model in models])
    assert judge(models, clips["one"], engine="onnx").fake_probability == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("ensemble", ["probabilities", "logits"])
def test_an_evaluation_judges_alike(members, clips, alone, tmp_path, ensemble):
    (tmp_path / "list.csv").write_text(f"{clips['one']},real\n{clips['two']},fake\n")
    names = ("dense", "whole", "first")
    models = [option for name in names for option in ("--model", members[name])]
    fixed = ["--device", "cpu", "--workers", "0", "--bootstrap", "0", "--plots", "none", "--quiet"]
    output = tmp_path / "run"
    command = ["evaluate", str(tmp_path / "list.csv"), "--output", str(output), "--ensemble", ensemble]
    assert main([*command, *models, *fixed]) == 0
    for score in read_scores(output):
        people = Path(score.key).stem
        said = np.array([alone[name, people].fake_probability for name in names])
        mean = said.mean() if ensemble == "probabilities" else 1 / (1 + np.exp(-np.log(said / (1 - said)).mean()))
        assert score.fake_probability == pytest.approx(mean, abs=1e-6 if ensemble == "probabilities" else 1e-5)
        assert len(score.frame_indices) == len(score.frame_probabilities)


def test_the_command_takes_models_of_every_kind(members, clips, alone, capsys):
    names = ("whole", "wide")
    models = [option for name in names for option in ("--model", members[name])]
    assert main(["predict", str(clips["one"]), *models, "--device", "cpu", "--json", "--quiet"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    expected = np.mean([alone[name, "one"].fake_probability for name in names])
    assert found["fake_probability"] == pytest.approx(expected, abs=1e-6)
