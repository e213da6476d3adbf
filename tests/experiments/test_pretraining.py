# SPDX-License-Identifier: Apache-2.0
"""Pretraining: the losses in closed form, a loss that falls, and a backbone that a training begins with."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import pretraining
from clips import picture
from deepfake_video.training.errors import TrainingError
from deepfake_video.training.networks import make_network
from training_videos import make_video, tiny_recipe


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        ("23_1_4_20170112213001988.jpg", (23.0, 1, 4)),
        ("23_1_20170112213001988.jpg", None),
        ("23_2_1_1.jpg", None),
        ("23_1_5_1.jpg", None),
        ("-3_1_1_1.jpg", None),
        ("face.jpg", None),
    ],
)
def test_attributes_are_read_from_the_name(name, attributes):
    assert pretraining.read_attributes(name) == attributes


def test_attributes_loss_is_the_sum_of_its_three():
    outputs = torch.tensor([[0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], [0.0, 9.0, 0.0, 9.0, 0.0, 0.0, 0.0, 0.0]])
    # Ages of 60 and 30 years are 1 and 0: off by .5 and by nothing.
    loss = pretraining.attributes_loss(outputs, [(60.0, 1, 2), (30.0, 0, 0)])
    surest = math.log(1 + math.exp(-9)) + math.log(1 + 4 * math.exp(-9))
    assert float(loss) == pytest.approx((0.5**2 / 2 + math.log(2) + math.log(5) + surest) / 2, rel=1e-5)


def test_contrastive_loss_of_pictures_that_have_nothing_in_common():
    outputs = torch.eye(3).repeat_interleave(2, 0) * torch.tensor([1.0, 2, 3, 4, 5, 6])[:, None]
    alike = math.exp(1 / pretraining.TEMPERATURE)
    assert float(pretraining.contrastive_loss(outputs)) == pytest.approx(-math.log(alike / (alike + 4)), rel=1e-4)


def make_faces(folder: Path, count: int = 8) -> list:
    """The darker half is young and of gender 0."""
    faces = []
    for number in range(count):
        name = f"{60 * (number % 2)}_{number % 2}_0_{number}.jpg"
        faces.append(make_video(folder, number, is_fake=number % 2 == 0, frames=1, path=Path(name)))
    return faces


def test_attributes_are_learned(tmp_path):
    recipe = tiny_recipe(steps=60, batch_pairs=4, learning_rate=0.01)
    before = make_network(recipe).base_model.frame_encoder.backbone.state_dict()
    backbone, losses = pretraining.pretrain(make_faces(tmp_path), recipe, pretraining.ATTRIBUTES)
    assert len(losses) == 60
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])
    after = backbone.state_dict()
    assert not any(torch.equal(before[name], after[name]) for name in before if before[name].ndim == 4)


def test_two_crops_of_a_picture_come_to_lie_together(tmp_path, monkeypatch):
    def plain(crops, recipe, random):
        level = int(crops.path.stem.rpartition("-")[2]) * 8
        return np.full((recipe.view[1], recipe.view[1], 3), (level, 255 - level, 128), np.uint8)

    monkeypatch.setattr(pretraining, "_draw_crop", plain)
    recipe = tiny_recipe(steps=40, batch_pairs=4, learning_rate=0.01)
    _, losses = pretraining.pretrain(make_faces(tmp_path, 32), recipe, pretraining.CONTRASTIVE)
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])


def test_faces_without_attributes_are_refused(tmp_path):
    with pytest.raises(TrainingError, match="age_gender_group_time"):
        pretraining.pretrain([make_video(tmp_path, 0, frames=1)], tiny_recipe(), pretraining.ATTRIBUTES)


def test_a_training_begins_with_what_the_command_wrote(tmp_path, capsys):
    (tmp_path / "faces" / "real").mkdir(parents=True)
    for number in range(4):
        Image.fromarray(picture(40 * number, 64, 64)).save(
            tmp_path / "faces" / "real" / f"30_{number % 2}_1_{number}.jpg"
        )
    recipe = tiny_recipe()
    (tmp_path / "tiny.json").write_text(json.dumps(recipe.to_dict()))
    output = tmp_path / "backbone.safetensors"
    words = [str(tmp_path / "faces"), "--recipe", str(tmp_path / "tiny.json"), "--steps", "2"]
    words += ["--cache", str(tmp_path / "crops"), "--output", str(output)]
    assert pretraining.main(["attributes", *words]) == 0
    written = load_file(output)
    begun = make_network(replace(recipe, initial=str(output))).base_model.frame_encoder.backbone.state_dict()
    assert all(torch.equal(written[name], tensor) for name, tensor in begun.items())
    assert pretraining.main(["attributes", *words, "--initial", str(tmp_path / "none.safetensors")]) != 0
    assert "none.safetensors" in capsys.readouterr().err
