# SPDX-License-Identifier: Apache-2.0
"""Recipes: those that come with the package are whole, and mistakes are named in one sentence."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from deepfake_video.evaluation.samples import Sample
from deepfake_video.hub.packaged import DEFAULT_CHECKPOINT
from deepfake_video.training import validation
from deepfake_video.training.data import Video
from deepfake_video.training.errors import TrainingError
from deepfake_video.training.networks import make_network
from deepfake_video.training.recipe import RECIPES, Recipe
from deepfake_video.training.validation import validation_clip
from training_videos import tiny_recipe


NAMES = sorted(path.stem for path in RECIPES.glob("*.json"))


def test_each_published_system_has_a_recipe():
    presets = {Recipe.read(name).preset for name in NAMES}
    assert {"efficientnet-b0-frames", "efficientnet-b0-bilstm", "resnext50-lstm"} <= presets


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_of_the_package_is_whole(name):
    recipe = Recipe.read(name)
    config, processor = recipe.make_config(), recipe.make_processor()
    assert not config.is_trained
    # The network's own crop fits into the cached one, and the detail is there.
    assert processor.face_margin <= recipe.crop_margin
    assert recipe.crop_size * processor.face_margin / recipe.crop_margin >= config.image_size
    assert recipe.clip_frames == 1 or recipe.cached_frames % recipe.burst_length == 0
    assert Recipe(**json.loads(json.dumps(recipe.to_dict()))) == recipe


class NumberedCrops:
    """Cached crops of a video of 300 frames, each filled with its position among the cached ones."""

    whole = False

    def __init__(self, recipe: Recipe) -> None:
        self.frame_indices = recipe.crop_settings().processor().frame_indices(300)
        self.side = recipe.crop_size

    def read(self, start: int, length: int) -> tuple[np.ndarray, np.ndarray]:
        numbers = np.arange(start, start + length, dtype=np.uint8)[:, None, None, None]
        return np.tile(numbers, (1, self.side, self.side, 3)), np.zeros((length, 5, 2), np.float32)


def runs(indices: np.ndarray) -> list[int]:
    """Lengths of the runs of consecutive frames."""
    return [len(run) for run in np.split(indices, np.flatnonzero(np.diff(indices) != 1) + 1)]


@pytest.mark.parametrize("name", NAMES)
def test_the_saved_processor_samples_as_training_and_validation_do(name):
    recipe = Recipe.read(name)
    processor, crops = recipe.make_processor(), NumberedCrops(recipe)
    kept = validation_clip(Video(None, crops), recipe, min(20, processor.num_frames))[:, 0, 0, 0].numpy()
    validated, scored = crops.frame_indices[kept], processor.frame_indices(300)
    assert {*runs(crops.frame_indices), *runs(validated), *runs(scored)} == {recipe.burst_length}
    assert processor.num_frames == recipe.make_config().num_frames
    # From the first to the last burst of the video.
    assert validated[0] == scored[0] == 0
    assert validated[-1] == scored[-1] == 299


def test_a_network_of_bursts_is_validated_on_all_frames_that_its_processor_samples(monkeypatch):
    recipe = Recipe.read("scores-lstm")
    lengths = []

    def encode(network, clips, processor):
        lengths.append(clips.shape[1])
        return torch.zeros(*clips.shape[:2], 1280)

    monkeypatch.setattr(validation, "encode_clips", encode)
    sample = Sample(key="a", path=Path("a"), is_fake=False, dataset="d")
    crops = NumberedCrops(recipe)
    crops.path = Path("a")
    network, processor = make_network(recipe), recipe.make_processor()
    validation.score_videos(network, [Video(sample, crops)], recipe, processor, torch.device("cpu"))
    assert lengths == [processor.num_frames] == [32]


def test_the_recipe_over_frame_scores_fits_the_packaged_checkpoint():
    network = make_network(Recipe.read("scores-lstm", initial="default"))
    stored = load_file(DEFAULT_CHECKPOINT / "model.safetensors")
    scorer = network.deepfake.temporal_encoder.frame_classifier
    torch.testing.assert_close(scorer.weight.detach(), stored["classifier.out_proj.weight"].float())
    stem = network.deepfake.frame_encoder.backbone.conv_stem.weight.detach()
    torch.testing.assert_close(stem, stored["deepfake.frame_encoder.backbone.conv_stem.weight"].float())


def test_a_recipe_is_read_by_its_file(tmp_path):
    (tmp_path / "mine.json").write_text(json.dumps({"preset": "tiny", "steps": 7}))
    assert Recipe.read(tmp_path / "mine.json").steps == 7


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(TrainingError, match=r"no such recipe; give the path of a JSON file, or one of .*frames"):
        Recipe.read("frame")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "must be a JSON object, got list"),
        ("[" * 100_000, "cannot be read as JSON .it is nested too deeply"),
        ('{"preset": "tiny", "stepps": 3}', "unknown field 'stepps'; did you mean steps"),
        ('{"preset": "tiny", "qqq": 3}', "unknown field 'qqq'; the fields are preset, config, .*split_seed"),
        ("{}", "preset is missing"),
        ('{"preset": "tiny", "steps": 0}', "steps must be at least 1"),
    ],
)
def test_a_damaged_file_is_one_sentence_that_names_the_cause(text, said, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(text)
    with pytest.raises(TrainingError, match=said) as error:
        Recipe.read(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "__init__" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"steps": "many"}, "steps"),
        ({"steps": 2.5}, "steps"),
        ({"steps": True}, "steps"),
        ({"steps": 0}, "steps"),
        ({"augment": 1}, "augment"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"learning_rate": None}, "learning_rate"),
        ({"validate_every": 0}, "validate_every"),
        ({"patience": 0}, "patience"),
        ({"fakes": {"blended": 1}}, "unknown kind of fake: 'blended'; choose from manipulated, self-blended, faulty"),
        ({"fakes": {}}, "fakes"),
        ({"fakes": {"self-blended": float("inf")}}, "fakes"),
        ({"learning_rate": 10**400}, "learning_rate"),
        ({"fakes": {"self-blended": 0}}, "fakes"),
        ({"fakes": {"self-blended": 1, "faulty": -1}}, "fakes"),
        ({"fakes": {"self-blended": "much"}}, "fakes"),
        ({"fakes": ["self-blended"]}, "fakes"),
        ({"trains": "tail"}, "trains"),
        ({"clip_frames": 7}, "clip_frames"),
        ({"crop_size": 0}, "crop_size"),
        ({"preset": 3}, "preset"),
        ({"config": [1]}, "config"),
        ({"initial": 3}, "initial"),
        ({"initial": "folder", "initial_share": 1}, "initial_share"),
        ({"initial_share": 0.5}, "initial_share"),
        ({"region_weight": 1.0, "fakes": {"self-blended": 1.0, "faulty": 1.0}}, "region_weight"),
        ({"region_weight": 1.0, "trains": "head"}, "region_weight"),
        ({"burst_length": 4}, "cached_frames must be a multiple of burst_length, got 6 and 4"),
        ({"copies": 2}, "copy_share"),
        ({"copy_share": 0.5}, "copies"),
        ({"copies": 2, "copy_share": 1.5}, "copy_share"),
        ({"copies": 2, "copy_share": 0.5, "clip_frames": 4}, "clip_frames 1"),
        ({"copies": 2, "copy_share": 0.5, "clip_frames": 1, "region_weight": 1.0}, "region_weight"),
    ],
)
def test_mistyped_values_are_named(change, named):
    with pytest.raises(TrainingError, match=named) as error:
        tiny_recipe(**change)
    assert str(error.value).startswith("recipe: ")
    assert "\n" not in str(error.value)


def test_a_whole_number_may_stand_for_a_number():
    assert tiny_recipe(learning_rate=1).learning_rate == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"config": {"id2label": {"0": "fake", "1": "real"}}}, "config: id2label cannot be set .*real and fake"),
        ({"config": {"label2id": {"real": 0, "fake": 1, "swap": 2}}}, "config: label2id cannot be set"),
        ({"config": {"temperature": 2.0}}, "config: temperature cannot be set .*calibrates.*remove it"),
        ({"config": {"fake_bias": 1.0}}, "config: fake_bias cannot be set"),
        ({"config": {"is_trained": True}}, "config: is_trained cannot be set"),
        ({"config": {"class_weights": [1.0, 2.0]}}, "config: class_weights cannot be set"),
        ({"config": {"return_dict": False}}, "config: unknown field 'return_dict'"),
        ({"config": {"backbone": ["x"]}}, "backbone"),
        ({"processor": {"size": 5}}, "size"),
        ({"processor": {"do_crop_faces": False}}, "processor: do_crop_faces must be True, .* got False"),
        ({"processor": {"do_normalize": False}}, "processor: do_normalize must be True"),
        ({"processor": {"do_rescale": False}}, "processor: do_rescale must be True"),
        ({"processor": {"rescale_factor": 1.0}}, "processor: rescale_factor must be 0.0039"),
        ({"processor": {"face_square": False}}, "processor: face_square must be True"),
        ({"processor": {"face_detector": "mtcnn"}}, "processor: face_detector must be 'centerface'"),
        ({"processor": {"frame_sampling": "even"}}, "processor: frame_sampling must be 'bursts'"),
        ({"processor": {"burst_length": 2}}, "processor: burst_length must be 3"),
        ({"processor": {"num_frames": 12}}, "processor: num_frames must be 6"),
        ({"processor": {"size": {"height": 64, "width": 64}}}, "processor: size must be .*32"),
        ({"processor": {"face_margin": 2.0}}, "face_margin must not exceed crop_margin, got 2.0 and 1.6"),
        ({"config": {"num_frames": 4}}, "num_frames = 4 must be a multiple of burst_length = 3"),
        ({"burst_length": 1, "processor": {"frame_sampling": "first"}}, "frame_sampling must be 'even'"),
        ({"burst_length": 1, "processor": {"frame_sampling": "bursts", "burst_length": 2}}, "must be 'even'"),
    ],
)
def test_what_contradicts_the_training_is_refused(change, said):
    with pytest.raises(TrainingError, match=said) as error:
        tiny_recipe(**change).check_model()
    assert str(error.value).startswith("recipe: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_of_the_package_contradicts_nothing(name):
    Recipe.read(name).check_model()


def test_what_the_training_follows_may_be_chosen():
    followed = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "channel_order": "bgr", "face_margin": 1.5}
    tiny_recipe(processor=followed, config={"num_frames": 12, "image_size": 48}).check_model()


def test_an_unknown_preset_or_configuration_field_is_a_value_error():
    with pytest.raises(ValueError, match="no preset"):
        tiny_recipe(preset="tinny").make_config()
    with pytest.raises(ValueError, match="pooling"):
        tiny_recipe(config={"pooling": "median"}).make_config()


def test_a_single_frame_has_no_temporal_fault():
    with pytest.raises(TrainingError, match='"faulty" fakes require clip_frames of at least 2'):
        tiny_recipe(fakes={"faulty": 1.0}, clip_frames=1, burst_length=1)
