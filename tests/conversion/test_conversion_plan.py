# SPDX-License-Identifier: Apache-2.0
"""The public interface of the converter: plans, results, and the examples of its docstrings."""

import doctest
from pathlib import Path
from types import ModuleType

import pytest
import torch
from legacy_layouts import CASES, build

from deepfake_video import (
    ConversionPlan,
    DeepfakeConfig,
    DeepfakeForVideoClassification,
    convert,
    inspect_checkpoint,
)
from deepfake_video.common.errors import UsageError
from deepfake_video.conversion import converting, inspection, plan
from deepfake_video.conversion.errors import ConversionError


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of single frames."""
    file = tmp_path_factory.mktemp("plan") / "model.pt"
    torch.save(build(CASES["D torchvision frames"]).state_dict(), file)
    return file


@pytest.mark.parametrize("module", [plan, inspection, converting])
def test_examples_run(module: ModuleType, checkpoint: Path, tmp_path: Path) -> None:
    names = {"checkpoint": checkpoint, "folder": tmp_path / "out"}
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner()
    results = [runner.run(test) for test in finder.find(module, extraglobs=names)]
    assert sum(result.attempted for result in results) > 0
    assert sum(result.failed for result in results) == 0


def test_without_an_output_nothing_is_written(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = convert(ConversionPlan(checkpoint=checkpoint, fake_index=1))
    assert result.folder is None
    assert "model.safetensors" in result.files
    assert result.parity.difference == max(*result.parity.logits.values(), *result.parity.features.values())
    assert any("Label order" in note or "sigmoid" in note for note in result.notes)
    assert not list(tmp_path.iterdir())


def test_options_are_the_choices_that_are_made() -> None:
    made = ConversionPlan(checkpoint=Path("x.pt"), pooling="mean", fake_index=0, license="mit", as_sequence=True)
    assert made.options() == {"pooling": "mean", "fake_index": 0, "as_sequence": True}


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"image_size": 0}, "--image-size must lie between 2 and 4096"),
        ({"num_frames": 10**9}, "--num-frames must lie between"),
        ({"padding_image_size": 5000}, "--padding-image-size must lie between"),
        ({"face_margin": float("nan")}, "--face-margin must lie between"),
        ({"image_std": (1.0, 0.0, 1.0)}, "--image-std must be three finite numbers"),
        ({"image_mean": (1.0, float("inf"), 1.0)}, "--image-mean must be three finite numbers"),
        ({"image_mean": (1.0, 1.0)}, "--image-mean must be three finite numbers"),
        ({"pooling": "median"}, "pooling must be one of last, mean, max, attention"),
        ({"preset": "mine"}, "--preset must be one of"),
        ({"fake_index": 2}, "fake_index must be one of 0, 1"),
        ({"backbone": "resnet50"}, "--backbone takes timm/NAME"),
    ],
)
def test_invalid_values_are_refused_before_the_file_is_read(choice: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ConversionPlan(checkpoint=Path("missing.pt"), **choice)


def test_the_label_order_that_a_file_states_is_used(checkpoint: Path, tmp_path: Path) -> None:
    network = build(CASES["D torchvision frames"]).eval()
    network.load_state_dict(torch.load(checkpoint))
    file = tmp_path / "named.pt"
    torch.save({"model": network.state_dict(), "class_to_idx": {"Fake": 0, "Real": 1}}, file)
    assert inspect_checkpoint(ConversionPlan(checkpoint=file)).choices.missing == ()
    convert(ConversionPlan(checkpoint=file, output=tmp_path / "converted", image_size=64))
    frames = torch.randn(1, 2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        # The single output is the logit of class 1, which is real here.
        real = network(frames)[0, :, 0]
        model = DeepfakeForVideoClassification.from_pretrained(tmp_path / "converted").eval()
        converted = model(pixel_values_videos=frames).frame_logits[0]
    assert model.config.id2label == {0: "real", 1: "fake"}
    torch.testing.assert_close(converted[:, 0] - converted[:, 1], real, rtol=1e-4, atol=1e-5)


def test_an_option_that_contradicts_the_names_in_the_file_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    file = tmp_path / "named.pt"
    torch.save({"model": torch.load(checkpoint), "classes": ["fake", "real"]}, file)
    with pytest.raises(UsageError, match=r"--fake-index 1 contradicts .*named.pt.*state 0"):
        inspect_checkpoint(ConversionPlan(checkpoint=file, fake_index=1))
    assert inspect_checkpoint(ConversionPlan(checkpoint=file, fake_index=0)).choices["fake_index"] == 0


def test_an_rnn_that_is_stored_apart_is_not_left_out(checkpoint: Path, tmp_path: Path) -> None:
    weights, file = torch.load(checkpoint), tmp_path / "parts.pt"
    outer = {"cnn": weights, "rnn": torch.nn.LSTM(1280, 8).state_dict(), "loss_fn": {"centers": torch.ones(2, 8)}}
    torch.save(outer, file)
    with pytest.raises(UsageError, match=r"weights under 'cnn' and further matrices under 'rnn'\. .* add --key cnn"):
        inspect_checkpoint(ConversionPlan(checkpoint=file))
    assert inspect_checkpoint(ConversionPlan(checkpoint=file, key="cnn")).layout.rnn is None
    torch.save({"cnn": weights, "head.weight": torch.ones(2, 8), "confusion_matrix": torch.ones(2, 2)}, file)
    with pytest.raises(UsageError, match=r"further matrices under 'head\.weight'\. "):
        inspect_checkpoint(ConversionPlan(checkpoint=file))
    torch.save({**outer, "rnn": {"hidden": 8}}, file)
    assert inspect_checkpoint(ConversionPlan(checkpoint=file)).checkpoint.wrappers == ("cnn",)


def test_weights_of_a_model_folder_are_not_converted_without_its_configuration(tmp_path: Path) -> None:
    config = DeepfakeConfig.from_preset("efficientnet-b0-frames", conv_padding="same", fake_bias=2.0)
    DeepfakeForVideoClassification(config).save_pretrained(tmp_path)
    with pytest.raises(ConversionError, match="weights of a model folder of this package, which need no conversion"):
        inspect_checkpoint(ConversionPlan(checkpoint=tmp_path / "model.safetensors", fake_index=1))
