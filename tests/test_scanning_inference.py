# SPDX-License-Identifier: Apache-2.0
"""The fast form of a network answers as the plain one does."""

import copy
import importlib.util

import pytest
import torch
from torch import nn

from deepfake_video import DeepfakeConfig, DeepfakeForVideoClassification
from deepfake_video.scanning.detector import Detector
from deepfake_video.scanning.gradcam import grad_cam
from deepfake_video.scanning.inference import prepare_for_inference
from deepfake_video.scanning.models import load_model, load_stored_model
from deepfake_video.scanning.settings import ScanSettings
from drawn_faces import save_tiny_model, write_people


TOLERANCE = 1e-5
needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="the extra `export` is not installed",
)
NETWORKS = {
    "resnext": {"backbone": "resnext50_32x4d", "recurrence": "per-frame"},
    "b0": {"backbone": "efficientnet_b0"},
    "b0 same": {"backbone": "efficientnet_b0", "conv_padding": "same", "batch_norm_eps": 1e-3},
    "b4 unpadded": {"backbone": "efficientnet_b4", "stem_padding": "none"},
    "shufflenet": {},
}


def make_network(**changes: object) -> DeepfakeForVideoClassification:
    """A network whose batch norms are not near the identity, as trained ones are not."""
    torch.manual_seed(0)
    network = DeepfakeForVideoClassification(DeepfakeConfig.from_preset("tiny", **changes)).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    nn.init.normal_(network.classifier.out_proj.weight, std=2.0)
    return network


def prepared(network: DeepfakeForVideoClassification, **choices: object) -> DeepfakeForVideoClassification:
    fast = copy.deepcopy(network)
    prepare_for_inference(fast, **choices)  # type: ignore[arg-type]
    return fast


def relative_difference(fast: torch.Tensor, plain: torch.Tensor) -> float:
    return ((fast - plain).abs().max() / plain.abs().max()).item()


@pytest.fixture
def clip() -> torch.Tensor:
    return torch.randn(1, 3, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_logits_stay_and_no_batch_norm_is_left(name, clip):
    network = make_network(**NETWORKS[name])
    fast = prepared(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fast.modules())
    with torch.inference_mode():
        plain_outputs, fast_outputs = network(clip), fast(clip)
    assert relative_difference(fast_outputs.logits, plain_outputs.logits) < TOLERANCE
    assert relative_difference(fast_outputs.frame_logits, plain_outputs.frame_logits) < TOLERANCE


def test_a_norm_that_follows_no_convolution_stays():
    network = make_network()
    network.deepfake.frame_encoder.backbone.fc = nn.Sequential(nn.Unflatten(1, (-1, 1, 1)), nn.BatchNorm2d(1024))
    assert [type(m) for m in prepared(network).modules() if isinstance(m, nn.BatchNorm2d)] == [nn.BatchNorm2d]


@pytest.mark.parametrize("engine", ["torch", pytest.param("onnx", marks=needs_onnx)])
def test_heat_maps_are_the_same(engine, clip):
    network = make_network(backbone="efficientnet_b0", image_size=64)
    plain, fast = grad_cam(network, clip), grad_cam(prepared(network, engine=engine), clip)
    assert abs(fast.maps - plain.maps).max() < 1e-4 * plain.maps.max()
    assert fast.fake_logit == pytest.approx(plain.fake_logit, rel=1e-5)


def test_bfloat16_is_near_and_answers_in_float32(clip):
    network = make_network(backbone="efficientnet_b0")
    with torch.inference_mode():
        plain, fast = network(clip), prepared(network, dtype="bfloat16")(clip)
    assert fast.logits.dtype == torch.float32
    assert 0 < relative_difference(fast.logits, plain.logits) < 0.1


@needs_onnx
@pytest.mark.parametrize(
    "name",
    ["shufflenet", pytest.param("resnext", marks=pytest.mark.slow), pytest.param("b0 same", marks=pytest.mark.slow)],
)
def test_onnxruntime_answers_alike_for_other_sizes_and_numbers_too(name, clip):
    network = make_network(**NETWORKS[name], image_size=64)
    fast = prepared(network, engine="onnx")
    larger = torch.randn(2, 20, 3, 80, 72, generator=torch.Generator().manual_seed(2))
    for pixels in (clip, larger):
        with torch.inference_mode():
            assert relative_difference(fast(pixels).logits, network(pixels).logits) < TOLERANCE


def test_what_is_saved_is_the_stored_network(tmp_path):
    folder = save_tiny_model(tmp_path / "model")
    stored = load_stored_model(load_model(folder).identity)
    plain = DeepfakeForVideoClassification.from_pretrained(folder).state_dict()
    assert stored.network.state_dict().keys() == plain.keys()
    assert all(torch.equal(value, plain[key]) for key, value in stored.network.state_dict().items())


def test_engine_and_type_stand_in_the_result(tmp_path):
    model, clip = save_tiny_model(tmp_path / "model"), write_people(tmp_path / "clip.mp4", seconds=1)
    plain = Detector([model], device="cpu")
    short = Detector([model], device="cpu", settings=ScanSettings(dtype="bfloat16"))
    result = short.score(clip)
    assert (result.settings["dtype"], result.settings["engine"]) == ("bfloat16", "torch")
    assert short.would_repeat(result)
    assert not plain.would_repeat(result)


@pytest.mark.parametrize(("settings", "device"), [({"dtype": "bfloat16"}, "cpu"), ({}, "cuda")])
def test_onnx_is_refused_where_it_does_not_go(tmp_path, settings, device):
    model, chosen = save_tiny_model(tmp_path / "model"), ScanSettings(engine="onnx", **settings)
    with pytest.raises(ValueError, match=r"engine onnx|no device"):
        Detector([model], device=device, settings=chosen)
