# SPDX-License-Identifier: Apache-2.0
"""A saved folder in processes of its own: with this package importable, and without it."""

import json
import logging
import shutil
from pathlib import Path
from unittest import mock

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, AutoModel, AutoModelForVideoClassification, pipeline
from transformers.models.auto import image_processing_auto

from deepfake_video import (
    DeepfakeConfig,
    DeepfakeForVideoClassification,
    DeepfakeImageProcessor,
    DeepfakeVideoProcessor,
    scan,
)
from deepfake_video.hub.checkpoint import read_checkpoint
from deepfake_video.hub.finding import ModelLoadError
from deepfake_video.hub.folder import save_hub_folder
from deepfake_video.hub.registration import register
from deepfake_video.scanning.sample import draw_face, write_sample_video
from no_package import HIDE_PACKAGE, run_python


LOAD = """
import json, sys
from transformers import (AutoConfig, AutoImageProcessor, AutoModel, AutoModelForVideoClassification,
                          AutoVideoProcessor, pipeline)
folder, again, *videos = sys.argv[1:]
names = [type(auto.from_pretrained(folder, trust_remote_code=True)).__name__ for auto in (
    AutoConfig, AutoModel, AutoModelForVideoClassification, AutoVideoProcessor, AutoImageProcessor)]
detector = pipeline("video-classification", model=folder, trust_remote_code=True)
answers = {
    "single": detector(videos[0]),
    "list": detector(videos),
    "generator": list(detector(video for video in videos)),
    "batch": detector(videos, batch_size=2),
}
detector.save_pretrained(again)
answers["again"] = pipeline("video-classification", model=again, trust_remote_code=True)(videos[0])
print(json.dumps({"names": names, "answers": answers}))
"""

PHOTO = """
import json, sys
from transformers import AutoModelForImageClassification, pipeline
folder, sequences, *photos = sys.argv[1:]
model = AutoModelForImageClassification.from_pretrained(folder, trust_remote_code=True)
detector = pipeline("image-classification", model=folder, trust_remote_code=True)
answers = {"name": type(model).__name__, "list": detector(photos), "batch": detector(photos, batch_size=2)}
try:
    pipeline("image-classification", model=sequences, trust_remote_code=True)(photos[0])
except ValueError as error:
    answers["refused"] = str(error)
print(json.dumps(answers))
"""

FACES = """
import json, sys
import numpy as np
from PIL import Image
from transformers import AutoImageProcessor, AutoVideoProcessor
auto = {"image": AutoImageProcessor, "video": AutoVideoProcessor}[sys.argv[1]]
processor = auto.from_pretrained(sys.argv[2], trust_remote_code=True)
frames = np.asarray(Image.open(sys.argv[3]))[None]
print(json.dumps({"shape": processor(frames, return_tensors="pt")["pixel_values_videos"].shape}))
"""

REGISTERED = """
import json, sys
import deepfake_video
from transformers import AutoModelForVideoClassification, pipeline
deepfake_video.register()
deepfake_video.register()
model = AutoModelForVideoClassification.from_pretrained(sys.argv[1])
answer = pipeline("video-classification", model=sys.argv[1])(sys.argv[2])
print(json.dumps({"module": type(model).__module__, "answer": answer}))
"""


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("videos")
    return [str(write_sample_video(folder / f"{n}.mp4", num_frames=n)) for n in (20, 12)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    config = DeepfakeConfig.from_preset("tiny")
    model = DeepfakeForVideoClassification(config)
    return save_hub_folder(
        model, DeepfakeVideoProcessor.from_config(config), tmp_path_factory.mktemp("hub") / "my-model.v2"
    )


@pytest.mark.parametrize("installed", [True, False], ids=["with the package", "without the package"])
def test_a_saved_folder_loads_by_every_auto_class_and_by_pipeline(installed, folder, videos, tmp_path):
    script = LOAD if installed else HIDE_PACKAGE + LOAD
    said = run_python(script, folder, tmp_path / "again.v1", *videos, cache=tmp_path)

    assert said["names"] == [
        "DeepfakeConfig",
        "DeepfakeModel",
        "DeepfakeForVideoClassification",
        "DeepfakeVideoProcessor",
        "DeepfakeImageProcessor",
    ]
    answers = said["answers"]
    assert {entry["label"] for entry in answers["single"]} == {"real", "fake"}
    assert sum(entry["score"] for entry in answers["single"]) == pytest.approx(1.0)
    assert answers["list"] == answers["generator"]
    assert answers["list"][0] == answers["single"] == answers["again"]
    for alone, batched in zip(answers["list"], answers["batch"], strict=True):
        assert [e["score"] for e in batched] == pytest.approx([e["score"] for e in alone], abs=1e-6)


def test_a_folder_answers_for_photos_as_predict_does(folder, tmp_path):
    config = DeepfakeConfig.from_preset(
        "tiny", rnn_type="none", num_hidden_layers=0, hidden_size=1024, frame_aggregation="mean-logit"
    )
    model = DeepfakeForVideoClassification(config)
    torch.nn.init.normal_(model.classifier.out_proj.weight, std=2.0)
    frames = save_hub_folder(model, DeepfakeVideoProcessor.from_config(config), tmp_path / "frames.v1")
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(draw_face(0.3)).save(tmp_path / "upright.png")
    Image.fromarray(draw_face(0.3)).transpose(Image.Transpose.ROTATE_270).save(tmp_path / "turned.png", exif=exif)
    photos = [str(tmp_path / "upright.png"), str(tmp_path / "turned.png")]
    said = run_python(HIDE_PACKAGE + PHOTO, frames, folder, *photos, cache=tmp_path)

    assert said["name"] == "DeepfakeForImageClassification"
    assert said["list"][0] == said["list"][1]
    scores = [{entry["label"]: entry["score"] for entry in answer}["fake"] for answer in said["list"] + said["batch"]]
    assert scores == pytest.approx([scan(photos[0], model=frames).fake_probability] * 4, abs=1e-6)
    assert "judges a sequence of frames" in said["refused"]


@pytest.mark.parametrize("kind", ["image", "video"])
def test_a_processor_alone_finds_the_face_detector_of_its_folder(kind, folder, tmp_path):
    Image.fromarray(draw_face(0.3)).save(tmp_path / "face.png")
    said = run_python(HIDE_PACKAGE + FACES, kind, folder, tmp_path / "face.png", cache=tmp_path)
    assert said["shape"] == [1, 1, 3, 32, 32]


def test_registered_classes_win_over_the_code_in_a_folder(folder, videos, tmp_path):
    said = run_python(REGISTERED, folder, videos[0], cache=tmp_path)
    assert said["module"] == "deepfake_video.modeling_deepfake"
    assert len(said["answer"]) == 2


def test_registered_processors_load_without_a_warning(folder):
    register()
    with mock.patch.object(image_processing_auto.logger, "warning_once") as warn:
        processor = AutoImageProcessor.from_pretrained(folder)
    assert type(processor) is DeepfakeImageProcessor
    warn.assert_not_called()


@pytest.mark.parametrize("is_trained", [False, True])
def test_pipeline_warns_of_random_weights(is_trained, tmp_path, caplog):
    config = DeepfakeConfig.from_preset("tiny", is_trained=is_trained)
    processor = DeepfakeVideoProcessor.from_config(config)
    save_hub_folder(DeepfakeForVideoClassification(config), processor, tmp_path / "model")
    register()
    logging.getLogger("deepfake_video.modeling_deepfake").propagate = True
    with caplog.at_level(logging.WARNING):
        pipeline("video-classification", model=str(tmp_path / "model"))
    assert ("scores are meaningless" in caplog.text) == (not is_trained)


def test_the_folder_holds_weights_json_and_the_hub_side_code(folder):
    names = {path.name for path in folder.iterdir()}
    assert {"model.safetensors", "config.json", "video_preprocessor_config.json", "preprocessor_config.json"} <= names
    code = {name for name in names if name.endswith(".py")}
    assert {"configuration_deepfake.py", "modeling_deepfake.py", "image_processing_deepfake.py"} <= code
    assert not any("scanning" in name or name == "cli.py" for name in code)


def test_both_processor_files_hold_the_same_choices(folder):
    video, image = (
        json.loads((folder / name).read_text())
        for name in ("video_preprocessor_config.json", "preprocessor_config.json")
    )
    for own in ("video_processor_type", "image_processor_type", "auto_map", "default_to_square"):
        video.pop(own, None)
        image.pop(own, None)
    assert video == image


def test_a_saved_folder_refers_to_its_own_code_alone(folder, tmp_path):
    """The folder of another person can name code of another repository, which `trust_remote_code` would run."""
    copy, again = tmp_path / "copy", tmp_path / "again"
    shutil.copytree(folder, copy)
    foreign = dict.fromkeys(("AutoConfig", "AutoModel", "AutoTokenizer"), "other/code--modeling.Model")
    foreign |= dict.fromkeys(("AutoVideoProcessor", "AutoProcessor"), "other/code--processing.Processor")
    for name in ("config.json", "video_preprocessor_config.json"):
        content = json.loads((copy / name).read_text())
        (copy / name).write_text(json.dumps({**content, "auto_map": foreign}))
    stored = read_checkpoint(copy)
    save_hub_folder(stored.network, stored.processor, again)
    for name in ("config.json", "preprocessor_config.json", "video_preprocessor_config.json"):
        places = json.loads((again / name).read_text())["auto_map"]
        assert places == json.loads((folder / name).read_text())["auto_map"]
        assert all((again / f"{place.split('.')[0]}.py").is_file() for place in places.values())


@pytest.mark.parametrize(
    ("key", "change", "reason"),
    [
        ("classifier.out_proj.weight", lambda tensor: tensor.to(torch.int8), "int8 numbers"),
        ("classifier.out_proj.weight", lambda tensor: tensor.double().fill_(1e300), "NaN or infinity"),
        ("running_var", lambda tensor: -tensor, "negative variances"),
    ],
)
def test_weights_that_give_no_score_are_named_when_they_are_read(folder, tmp_path, key, change, reason):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    weights = load_file(copy / "model.safetensors")
    name = next(name for name in weights if name.endswith(key))
    save_file({**weights, name: change(weights[name].clone())}, copy / "model.safetensors")
    with pytest.raises(ModelLoadError, match=f"{reason} in {name}"):
        read_checkpoint(copy)


@pytest.mark.parametrize("auto", [AutoModel, AutoModelForVideoClassification])
def test_the_auto_classes_refuse_weights_that_give_no_score(folder, tmp_path, auto):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    weights = load_file(copy / "model.safetensors")
    name = next(name for name in weights if name.endswith("running_mean"))
    save_file({**weights, name: weights[name] * torch.nan}, copy / "model.safetensors", metadata={"format": "pt"})
    register()
    with pytest.raises(ValueError, match=r"copy: the weights contain NaN or infinity in .*running_mean"):
        auto.from_pretrained(copy)
