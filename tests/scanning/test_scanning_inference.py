# SPDX-License-Identifier: Apache-2.0
"""The fast form of a network answers as the plain one does."""

import copy

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from deepfake_video import DeepfakeConfig, DeepfakeForVideoClassification
from deepfake_video.clip_sampling import Clip
from deepfake_video.scanning.detector import Detector
from deepfake_video.scanning.inference import fold_batch_norms, prepare_for_inference
from deepfake_video.scanning.models import load_model, load_stored_model
from deepfake_video.scanning.scoring_model import FRAMES_PER_PIECE
from deepfake_video.scanning.settings import ScanSettings
from drawn_faces import save_tiny_model, write_people


TOLERANCE = 1e-5
NETWORKS = {
    "resnext": {"backbone": "resnext50_32x4d", "recurrence": "per-frame"},
    "b0": {"backbone": "efficientnet_b0"},
    "b0 same": {"backbone": "efficientnet_b0", "conv_padding": "same", "batch_norm_eps": 1e-3},
    "b4 unpadded": {"backbone": "efficientnet_b4", "stem_padding": "none"},
    "shufflenet": {},
    "timm efficientnet": {"backbone": "timm/test_efficientnet"},
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
    head = nn.Sequential(nn.Unflatten(1, (-1, 1, 1)), nn.BatchNorm2d(1024))
    network.deepfake.frame_encoder.backbone.fc = head.eval()
    assert [type(m) for m in prepared(network).modules() if isinstance(m, nn.BatchNorm2d)] == [nn.BatchNorm2d]


@pytest.mark.parametrize("name", ["test_resnet", "legacy_xception", "test_coatnet"])
def test_norms_stay_where_folding_would_change_the_answer_or_is_not_known_to_be_safe(name):
    # In coatnet a shortcut reads the output of a convolution too; the norms of the others stand in other modules.
    network = make_network(backbone=f"timm/{name}", image_size=160)
    frames = torch.randn(1, 2, 3, 160, 160, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert relative_difference(prepared(network)(frames).logits, network(frames).logits) < TOLERANCE


def test_heat_maps_are_the_same(clip):
    network = make_network(backbone="efficientnet_b0", image_size=64)
    plain, fast = network.grad_cam(clip), prepared(network).grad_cam(clip)
    assert abs(fast.maps - plain.maps).max() < 1e-4 * plain.maps.max()
    assert fast.logit == pytest.approx(plain.logit, rel=1e-5)


def test_bfloat16_is_near_and_answers_in_float32(clip):
    network = make_network(backbone="efficientnet_b0")
    with torch.inference_mode():
        plain, fast = network(clip), prepared(network, dtype="bfloat16")(clip)
    assert fast.logits.dtype == torch.float32
    assert 0 < relative_difference(fast.logits, plain.logits) < 0.1


@pytest.mark.parametrize("bias", [True, False])
def test_folding_in_place_is_what_torch_folds(bias):
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(4, 6, 3, groups=2, bias=bias), nn.BatchNorm2d(6).eval()
    for tensor in (norm.running_mean, norm.running_var, norm.weight, norm.bias):
        nn.init.uniform_(tensor, 0.5, 2.0)
    expected = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    before = conv.weight.data_ptr()
    fold_batch_norms(nn.Sequential(conv, norm), torch.zeros(1, 4, 3, 3))
    assert conv.weight.data_ptr() == before
    torch.testing.assert_close((conv.weight, conv.bias), expected)


def test_loading_leaves_the_file_as_it_is(tmp_path):
    folder = save_tiny_model(tmp_path / "model")
    file = next((tmp_path / "model").glob("*.safetensors"))
    content = file.read_bytes()
    fast, stored = load_model(folder).network.state_dict(), load_file(file)
    assert any(not torch.equal(value, stored[key]) for key, value in fast.items() if key in stored)
    assert file.read_bytes() == content


def test_what_is_saved_is_the_stored_network(tmp_path):
    folder = save_tiny_model(tmp_path / "model")
    stored = load_stored_model(load_model(folder))
    plain = DeepfakeForVideoClassification.from_pretrained(folder).state_dict()
    assert stored.network.state_dict().keys() == plain.keys()
    assert all(torch.equal(value, plain[key]) for key, value in stored.network.state_dict().items())


def test_engine_and_type_stand_in_the_result(tmp_path):
    model, clip = save_tiny_model(tmp_path / "model"), write_people(tmp_path / "clip.mp4", seconds=1)
    plain = Detector([model], device="cpu")
    assert plain.describe()["settings"]["dtype"] == "float32"
    short = Detector([model], device="cpu", settings=ScanSettings(dtype="bfloat16"))
    result = short.score(clip)
    assert (result.settings["dtype"], result.settings["engine"]) == ("bfloat16", "torch")
    assert short.describe()["settings"]["dtype"] == "bfloat16"


@pytest.mark.parametrize(("settings", "device"), [({"dtype": "bfloat16"}, "cpu"), ({}, "cuda")])
def test_onnx_is_refused_where_it_does_not_go(tmp_path, settings, device):
    model, chosen = save_tiny_model(tmp_path / "model"), ScanSettings(engine="onnx", **settings)
    with pytest.raises(ValueError, match=r"engine onnx|no device"):
        Detector([model], device=device, settings=chosen)


@pytest.mark.parametrize("network", ["frames", "lstm"])
@pytest.mark.parametrize("repeats", [1, 3])
def test_a_long_clip_is_scored_in_pieces_with_the_logits_of_the_whole(network, repeats, tmp_path):
    changes = {"rnn_type": "none", "num_hidden_layers": 0, "hidden_size": 1024} if network == "frames" else {}
    detector = Detector([save_tiny_model(tmp_path / "model", **changes)], device="cpu")
    (model,) = detector.models
    distinct = (FRAMES_PER_PIECE if repeats == 1 else 0) + 50
    frames = np.random.default_rng(0).integers(0, 256, (distinct, 32, 32, 3), dtype=np.uint8)
    # A short video repeats its frames.
    indices = np.arange(distinct).repeat(repeats)
    lengths = []
    pixel_values = model.pixel_values
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(model), "pixel_values", lambda _, crops: lengths.append(len(crops)) or pixel_values(crops))
        said = detector.clip_logits(model, [Clip(frames[indices], indices)])
    whole = model.compute_logits(pixel_values(frames[indices]))
    np.testing.assert_allclose(said.logits, whole.logits, atol=1e-5)
    np.testing.assert_allclose(said.frame_logits, whole.frame_logits, atol=1e-5)
    assert lengths == ([FRAMES_PER_PIECE, 50] if repeats == 1 else [50])
