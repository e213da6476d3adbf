# SPDX-License-Identifier: Apache-2.0
"""Plans and settings: a value of a wrong type, or none of the choices, is refused when they are made."""

import doctest
from pathlib import Path

import numpy as np
import pytest

from deepfake_video import (
    ConversionPlan,
    EvaluationPlan,
    ExportPlan,
    PushPlan,
    Recipe,
    ScanPlan,
    ScanSettings,
    ServicePlan,
    TrainingPlan,
    convert,
    evaluate,
    export,
    face_clips,
    inspect_checkpoint,
    push,
    rescore,
    scan,
    serve,
    train,
)
from deepfake_video.common import plans
from deepfake_video.common.errors import UsageError


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"faces": "None"}, "faces must be one of auto, none, got 'None'."),
        ({"faces": None}, "faces must be one of auto, none, got None."),
        ({"engine": "ONNX"}, "engine must be one of auto, torch, onnx, got 'ONNX'."),
        ({"dtype": "float16"}, "dtype must be one of float32, bfloat16, got 'float16'."),
        ({"face_aggregation": "median"}, "face_aggregation must be one of max, mean, main, got 'median'."),
        ({"num_frames": True}, "num_frames must be a whole number, got True."),
        ({"num_frames": 8.5}, "num_frames must be a whole number, got 8.5."),
        ({"timeline": "no"}, "timeline must be True or False, got 'no'."),
        ({"timeline": 1}, "timeline must be True or False, got 1."),
        ({"threshold": "0.5"}, "threshold must be a number, got '0.5'."),
        ({"limits": {"max_read_s": 5}}, "limits must be of the class VideoLimits, got {'max_read_s': 5}."),
    ],
)
def test_wrong_settings_are_refused(values, message):
    with pytest.raises(UsageError) as caught:
        ScanSettings(**values)
    assert str(caught.value) == message


def make_training_plan(**values):
    return TrainingPlan(**{"data": [Path()], "recipe": Recipe.read("frames"), "output": Path("new"), **values})


@pytest.mark.parametrize(
    ("make", "values", "message"),
    [
        (ScanPlan, {"settings": {"timeline": True}}, "settings must be of the class ScanSettings, got {'timeline': T"),
        (ScanPlan, {"workers": "2"}, "workers must be a whole number, got '2'."),
        (ScanPlan, {"sources": "a.mp4"}, "sources must be a list, each item text or a path, got 'a.mp4'."),
        (ScanPlan, {"sources": [["a.mp4"]]}, "sources must be a list, each item text or a path, got [['a.mp4']]."),
        (
            ScanPlan,
            {"sources": (name for name in ["a.mp4"])},
            "sources must be a list, each item text or a path, got <",
        ),
        (ScanPlan, {"report": True}, "report must be text or a path, got True."),
        (EvaluationPlan, {"limit": True}, "limit must be a whole number, got True."),
        (
            EvaluationPlan,
            {"layout": "imagenet"},
            "layout must be one of faceforensics, celeb-df, dfdc, dfdc-preview, ",
        ),
        (
            EvaluationPlan,
            {"corruptions": ["fog"]},
            "corruptions must be a list, each item one of saturation, contrast",
        ),
        (EvaluationPlan, {"photos": "yes"}, "photos must be True or False, got 'yes'."),
        (make_training_plan, {"precision": "int8"}, "precision must be one of no, fp16, bf16, got 'int8'."),
        (make_training_plan, {"recipe": "frames"}, "recipe must be of the class Recipe, got 'frames'."),
        (make_training_plan, {"stop_after": 2.0}, "stop_after must be a whole number, got 2.0."),
        (ConversionPlan, {"checkpoint": Path("x"), "fake_index": True}, "fake_index must be one of 0, 1, got True."),
        (ConversionPlan, {"checkpoint": Path("x"), "image_mean": "abc"}, "image_mean must be a list, each item a num"),
        (ExportPlan, {"folder": 3, "output": "x.onnx"}, "folder must be text or a path, got 3."),
        (PushPlan, {"folder": "x", "repo_id": None}, "repo_id must be text, got None."),
        (PushPlan, {"folder": "x", "repo_id": "a/b", "private": "no"}, "private must be True or False, got 'no'."),
        (ServicePlan, {"port": "8000"}, "port must be a whole number, got '8000'."),
        (ServicePlan, {"max_duration_s": float("inf")}, "the maximum length must be a finite time of more than 0 s"),
        (lambda: Recipe.read(3), {}, "recipe: a path is text or a pathlib.Path, got 3."),
        (ServicePlan, {"allow_addresses": "no"}, "allow_addresses must be True or False, got 'no'."),
    ],
)
def test_wrong_values_of_a_plan_are_refused(make, values, message):
    with pytest.raises(UsageError) as caught:
        make(**values)
    assert str(caught.value).startswith(message)


def test_every_kind_of_list_path_and_number_is_accepted():
    plan = ScanPlan(sources=np.array(["a.mp4", "b.mp4"]), models=(Path("m"), "n"), gpus_per_worker=0, output=Path("o"))
    assert plan.model_names == ["m", "n"]
    assert ScanSettings(threshold=1, num_frames=None).threshold == 1
    assert ConversionPlan(checkpoint=Path("x.pt"), image_mean=[0, 0, 0.5]).options() == {"image_mean": [0, 0, 0.5]}
    plan = EvaluationPlan(corruptions=["blur"], calibrated_folder="new")
    assert (plan.corruptions, plan.calibrated_folder) == (["blur"], Path("new"))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (convert, "ConversionPlan(checkpoint=...) is expected, got 'x'."),
        (inspect_checkpoint, "ConversionPlan(checkpoint=...) is expected, got 'x'."),
        (export, "ExportPlan(folder=..., output=...) is expected, got 'x'."),
        (push, "PushPlan(folder=..., repo_id=...) is expected, got 'x'."),
        (serve, "ServicePlan() is expected, got 'x'."),
        (lambda plan: evaluate("model", "data", plan=plan), "EvaluationPlan() is expected, got 'x'."),
        (lambda plan: rescore("run", plan=plan), "EvaluationPlan() is expected, got 'x'."),
        (train, "TrainingPlan(data=..., recipe=..., output=...) is expected, got 'x'."),
    ],
)
def test_a_function_without_its_plan_says_what_it_takes(function, message):
    with pytest.raises(UsageError) as caught:
        function("x")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": ["a.mp4", "b.mp4"]}, r"got \['a.mp4', 'b.mp4'\]; for a list, .* scan\(ScanPlan\(sources=\["),
        ({"source": Path()}, r"got '\.'; .* a folder .* scan\(ScanPlan\(sources=\["),
        ({"source": "vids/*.mp4"}, r"got 'vids/\*\.mp4'; .* a pattern, call scan\(ScanPlan\(sources=\["),
        ({"source": "a.mp4", "settings": {"timeline": True}}, "settings must be of the class ScanSettings"),
        ({"source": "a.mp4", "timeline": "no"}, "timeline must be True or False"),
        ({"source": "a.mp4", "device": 0}, "device must be text, got 0"),
        ({"source": ScanPlan(sources=["a.mp4"]), "timeline": True}, "a plan has its own models, device and settings"),
    ],
)
def test_wrong_arguments_of_a_scan_are_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        scan(**arguments)


def test_a_name_with_the_characters_of_a_pattern_is_a_path(tmp_path):
    (tmp_path / "clip[1].mp4").write_bytes(b"no video")
    assert scan(tmp_path / "clip[1].mp4").status == "unsupported"
    assert scan("http://127.0.0.1:9/clip.mp4?a=*").status == "unreadable"


def test_wrong_arguments_of_face_clips_are_refused():
    with pytest.raises(UsageError, match=r"video: a path is text or a pathlib.Path, got \['a.mp4'\]"):
        face_clips(["a.mp4"])
    with pytest.raises(UsageError, match=r"model: a path is text or a pathlib.Path, got 3"):
        face_clips("a.mp4", 3)
    with pytest.raises(UsageError, match=r"num_frames must be a whole number, got 8\.5"):
        face_clips("a.mp4", num_frames=8.5)


def test_examples_run():
    failed, attempted = doctest.testmod(plans)
    assert attempted
    assert not failed
