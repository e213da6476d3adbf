# SPDX-License-Identifier: Apache-2.0
"""Backbones of timm in configuration, model and folder, against timm's own networks."""

import json
import socket
import subprocess
import sys

import pytest
import timm
import torch

from deepfake_video import DeepfakeConfig, DeepfakeForVideoClassification, DeepfakeVideoProcessor
from deepfake_video.hub.folder import save_hub_folder
from deepfake_video.scanning.detector import Detector
from deepfake_video.scanning.models import load_model
from deepfake_video.scanning.sample import write_sample_video
from deepfake_video.timm_backbones import build_timm_backbone, timm_num_features
from no_package import HIDE_PACKAGE, run_python


def make_network(backbone: str, **changes: object) -> DeepfakeForVideoClassification:
    torch.manual_seed(0)
    config = DeepfakeConfig.from_preset("tiny", backbone=backbone, is_trained=True, **changes)
    return DeepfakeForVideoClassification(config).eval()


def frames(size: int, count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("timm/tf_efficientnet_lte2", r"unknown to timm .*; the nearest are timm/tf_efficientnet_lite2"),
        ("timm/resnet50.no_such_tag", "no_such_tag"),
        ("timm/hf-hub:somebody/something", "hf-hub:"),
        ("timm/local-dir:/etc", "not accepted"),
        ("timm/../resnet18", "not accepted"),
        ("timm/", "not accepted"),
    ],
)
def test_other_names_are_refused_in_one_sentence(name, said, monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("a configuration must not reach for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(ValueError, match=said) as error:
        DeepfakeConfig.from_preset("tiny", backbone=name)
    assert "\n" not in str(error.value)


def test_without_timm_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=r"requires the package timm .*pip install timm"):
        DeepfakeConfig.from_preset("tiny", backbone="timm/test_resnet")


def test_timm_is_imported_only_where_a_backbone_of_it_is_asked_for():
    script = (
        "import sys\n"
        "from deepfake_video import DeepfakeConfig, DeepfakeForVideoClassification, DeepfakeVideoProcessor\n"
        "config = DeepfakeConfig.from_preset('tiny')\n"
        "DeepfakeForVideoClassification(config), DeepfakeVideoProcessor.from_config(config)\n"
        "assert 'timm' not in sys.modules\n"
        "DeepfakeConfig.from_preset('tiny', backbone='timm/test_resnet')\n"
        "assert 'timm' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "size"), [("test_efficientnet", 64), ("test_resnet", 64), ("test_vit", 96), ("mobilenetv3_small_050", 64)]
)
def test_the_features_are_those_of_timms_own_network(name, size):
    encoder = make_network(f"timm/{name}", image_size=size).deepfake.frame_encoder
    fixed = {"img_size": size} if name == "test_vit" else {}
    theirs = timm.create_model(name, num_classes=0, **fixed).eval()
    theirs.load_state_dict(encoder.backbone.state_dict())
    with torch.inference_mode():
        expected = theirs(frames(size))
        # The encoder lays out the channels otherwise, which rounds otherwise.
        torch.testing.assert_close(encoder(frames(size)), expected)
    assert timm_num_features(f"timm/{name}") == expected.shape[1]


@pytest.mark.parametrize("name", ["test_efficientnet", "test_coatnet", "test_vit_relpos"])
def test_a_saved_network_comes_back_with_what_no_file_holds(name, tmp_path):
    network = make_network(f"timm/{name}", image_size=160)
    save_hub_folder(network, DeepfakeVideoProcessor.from_config(network.config), tmp_path)
    # Computed by timm itself, not on the meta device.
    computed = dict(timm.create_model(name, num_classes=0).named_buffers())
    stored, saved = network.deepfake.frame_encoder.backbone.state_dict(), network.state_dict()
    again = DeepfakeForVideoClassification.from_pretrained(tmp_path).eval()
    for loaded in (again, load_model(str(tmp_path)).network):
        for key, buffer in loaded.deepfake.frame_encoder.backbone.named_buffers():
            if key not in stored:
                assert torch.equal(buffer, computed[key])
        clips = frames(160)[None]
        with torch.inference_mode():
            torch.testing.assert_close(loaded(clips).logits, network(clips).logits, rtol=0, atol=1e-6)
    assert all(torch.equal(value, saved[key]) for key, value in again.state_dict().items())


LOAD = """
import json, sys, torch
from transformers import AutoModelForVideoClassification, pipeline
detector = pipeline("video-classification", model=sys.argv[1], trust_remote_code=True)
model = AutoModelForVideoClassification.from_pretrained(sys.argv[1], trust_remote_code=True)
with torch.inference_mode():
    logits = model(torch.linspace(-1, 1, 3 * 64 * 64).view(1, 1, 3, 64, 64)).logits
print(json.dumps({"answer": detector(sys.argv[2]), "logits": logits.tolist()}))
"""


def test_a_folder_loads_by_pipeline_without_the_package(tmp_path):
    network = make_network("timm/test_efficientnet", image_size=64)
    folder = save_hub_folder(network, DeepfakeVideoProcessor.from_config(network.config), tmp_path / "model.v1")
    video = write_sample_video(tmp_path / "a.mp4", num_frames=8)
    said = run_python(HIDE_PACKAGE + LOAD, folder, video, cache=tmp_path)
    assert {entry["label"] for entry in said["answer"]} == {"real", "fake"}
    with torch.inference_mode():
        expected = network(torch.linspace(-1, 1, 3 * 64 * 64).view(1, 1, 3, 64, 64)).logits
    torch.testing.assert_close(torch.tensor(said["logits"]), expected, rtol=0, atol=1e-6)


def test_the_normalisation_is_the_one_that_timm_states():
    for name, mean in (("test_resnet", [0.5, 0.5, 0.5]), ("test_efficientnet", [0.485, 0.456, 0.406])):
        config = DeepfakeConfig.from_preset("tiny", backbone=f"timm/{name}")
        assert list(DeepfakeVideoProcessor.from_config(config).image_mean) == mean


@pytest.mark.parametrize(
    ("preset", "size", "mean", "margin"),
    [("efficientnet-lite2-frames", 224, 0.485, 1.15), ("xception-frames", 299, 0.5, 1.3)],
)
def test_presets_build_and_their_folder_says_how_frames_are_prepared(preset, size, mean, margin, tmp_path):
    network = DeepfakeForVideoClassification(DeepfakeConfig.from_preset(preset))
    save_hub_folder(network, DeepfakeVideoProcessor.from_preset(preset), tmp_path)
    stored = json.loads((tmp_path / "video_preprocessor_config.json").read_text())
    assert stored["size"] == {"height": size, "width": size}
    assert (stored["image_mean"][0], stored["face_margin"]) == (mean, margin)
    with torch.inference_mode():
        assert network.eval()(frames(96)[None]).frame_logits.shape == (1, 2, 2)


def test_drop_path_acts_in_training_only_and_is_refused_where_there_is_none():
    network = make_network("timm/test_resnet", image_size=64, drop_path_rate=0.9)
    with torch.no_grad():
        assert torch.equal(network(frames(64)[None]).logits, network(frames(64)[None]).logits)
        encoder = network.deepfake.frame_encoder
        for module in encoder.modules():
            module.train(isinstance(module, timm.layers.DropPath))
        outputs = [encoder.backbone(frames(64)) for _ in range(8)]
    assert any(not torch.equal(outputs[0], other) for other in outputs)
    with pytest.raises(ValueError, match="timm backbones"):
        DeepfakeConfig.from_preset("tiny", drop_path_rate=0.1)
    with pytest.raises(ValueError, match=r"cannot be built by timm, drop_path_rate=0\.1"):
        DeepfakeForVideoClassification(DeepfakeConfig.from_preset("xception-frames", drop_path_rate=0.1))


def test_choices_of_torchvisions_networks_are_refused():
    with pytest.raises(ValueError, match="torchvision's EfficientNets"):
        DeepfakeConfig.from_preset("tiny", backbone="timm/test_efficientnet", conv_padding="same")


def test_a_network_that_does_not_return_a_vector_is_refused():
    with pytest.raises(ValueError, match="instead of one vector"):
        DeepfakeConfig.from_preset("tiny", backbone="timm/mobilenetv5_300m_enc")


def test_a_network_too_large_is_refused():
    with pytest.raises(ValueError, match="parameters, more than"):
        DeepfakeConfig.from_preset("tiny", backbone="timm/aimv2_3b_patch14_224")


def test_pretrained_weights_of_timm_are_taken(monkeypatch):
    torch.manual_seed(3)
    published = timm.create_model("test_resnet", num_classes=0)
    create = timm.create_model
    asked = []

    def create_model(name: str, pretrained: bool = False, **kwargs: object) -> torch.nn.Module:
        asked.append((name, pretrained))
        return published if pretrained else create(name, **kwargs)

    monkeypatch.setattr(timm, "create_model", create_model)
    config = DeepfakeConfig.from_preset("tiny", backbone="timm/test_resnet")
    network = DeepfakeForVideoClassification.from_backbone_pretrained(config, weights="r160_in1k")
    taken = network.deepfake.frame_encoder.backbone.state_dict()
    assert all(torch.equal(taken[key], value) for key, value in published.state_dict().items())
    assert [name for name, pretrained in asked if pretrained] == ["test_resnet.r160_in1k"]


def test_weights_that_cannot_be_downloaded_are_an_os_error_of_one_sentence(monkeypatch):
    def create_model(*_: object, **__: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(timm, "create_model", create_model)
    with pytest.raises(OSError, match=r"could not be downloaded \(no route\)"):
        build_timm_backbone("timm/test_resnet", pretrained=True)


def test_an_ensemble_prepares_the_frames_for_each_network_and_averages(tmp_path):
    models = []
    for name, size in (("test_efficientnet", 64), ("test_resnet", 48)):
        network = make_network(f"timm/{name}", image_size=size)
        torch.nn.init.normal_(network.classifier.out_proj.weight, std=5.0)
        # Their normalisations differ too, see above.
        processor = DeepfakeVideoProcessor.from_config(network.config)
        models.append(str(save_hub_folder(network, processor, tmp_path / name)))
    video = write_sample_video(tmp_path / "a.mp4", num_frames=8)
    alone = [Detector([model], device="cpu").score(video).fake_probability for model in models]
    together = Detector(models, device="cpu").score(video).fake_probability
    assert together == pytest.approx(sum(alone) / 2, abs=1e-6)
    assert alone[0] != pytest.approx(alone[1], abs=1e-3)
