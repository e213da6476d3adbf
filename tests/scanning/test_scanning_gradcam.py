# SPDX-License-Identifier: Apache-2.0
"""Grad-CAM against computations that do not use its gradients."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from deepfake_video import DeepfakeConfig, DeepfakeForVideoClassification
from deepfake_video.scanning.detector import Detector
from deepfake_video.scanning.gradcam import grad_cam, last_map_module, overlay
from deepfake_video.scanning.settings import ScanSettings
from drawn_faces import save_tiny_model, write_people


def tiny_network(**changes: object) -> DeepfakeForVideoClassification:
    torch.manual_seed(0)
    network = DeepfakeForVideoClassification(DeepfakeConfig.from_preset("tiny", **changes)).eval().double()
    torch.nn.init.normal_(network.classifier.out_proj.weight, std=2.0)
    return network


@pytest.fixture
def clip() -> torch.Tensor:
    return torch.randn(1, 3, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def run_with_change(
    network: DeepfakeForVideoClassification, clip: torch.Tensor, frame: int = 0, change: torch.Tensor | float = 0.0
) -> tuple[float, torch.Tensor]:
    """The fake logit where `change` is added to the last maps of one frame, and these maps before."""
    maps: list[torch.Tensor] = []

    def add(_: object, __: object, output: torch.Tensor) -> torch.Tensor:
        maps.append(output.clone())
        output[frame] += change
        return output

    hook = last_map_module(network).register_forward_hook(add)
    logit = network(clip).logits[0, 1].item()
    hook.remove()
    return logit, maps[0]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"temperature": 2.5},
        {"pooling": "mean", "bidirectional": True},
        {"rnn_type": "gru"},
        {"backbone": "timm/test_efficientnet", "image_size": 64},
        {"backbone": "timm/test_resnet", "image_size": 64},
    ],
    ids=str,
)
def test_the_maps_are_those_of_finite_differences(clip, changes):
    network, step = tiny_network(**changes), 1e-5
    _, maps = run_with_change(network, clip)
    num_frames, _, height, width = maps.shape
    expected = np.zeros((num_frames, height, width))
    for frame, y, x in np.ndindex(expected.shape):
        # Each channel raised everywhere by its value at one place moves the logit by Grad-CAM there, times the area.
        direction = maps[frame, :, y, x, None, None]
        up, down = (run_with_change(network, clip, frame, sign * step * direction)[0] for sign in (1, -1))
        expected[frame, y, x] = max(0.0, (up - down) / (2 * step) / (height * width))
    assert height > 1
    assert expected.max() > 0
    cam = grad_cam(network, clip)
    np.testing.assert_allclose(cam.maps, expected, rtol=1e-4, atol=1e-7 * expected.max())


def test_a_linear_frame_classifier_has_its_class_activation_map(clip):
    network = tiny_network(rnn_type="none", num_hidden_layers=0, hidden_size=1024, frame_aggregation="mean-logit")
    _, maps = run_with_change(network, clip)
    num_frames, _, height, width = maps.shape
    # Zhou et al., 2016: without anything after the linear layer its weights are the gradient.
    weights = network.classifier.out_proj.weight[1].detach() / (num_frames * height * width)
    expected = torch.einsum("c,tchw->thw", weights, maps).clamp(min=0)
    np.testing.assert_allclose(grad_cam(network, clip).maps, expected.numpy(), rtol=1e-5)


def test_it_explains_the_logit_that_the_network_gives(clip):
    network = tiny_network()
    cam = grad_cam(network, clip)
    with torch.no_grad():
        logits = network(clip).logits
    assert cam.fake_logit == pytest.approx(logits[0, 1].item())
    assert cam.fake_probability == pytest.approx(logits.softmax(-1)[0, 1].item())


def test_the_network_is_left_as_it_was(clip):
    network = tiny_network()
    before = network(clip).logits
    grad_cam(network, clip)
    assert torch.equal(network(clip).logits, before)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())


def test_a_picture_stands_beside_the_window_that_it_explains(tmp_path):
    detector = Detector([save_tiny_model(tmp_path / "model")], device="cpu", settings=ScanSettings(timeline=True))
    clip = write_people(tmp_path / "clip.mp4", seconds=4)
    examination = detector.examine(clip, with_evidence=True)
    timeline = examination.result.timeline
    first = examination.evidence.heatmaps[0]
    assert first.fake_probability == max(entry.fake_probability for entry in timeline)
    assert first.start_s <= first.time_s <= first.end_s
    assert any((first.start_s, first.end_s) == (entry.start_s, entry.end_s) for entry in timeline)
    sizes = {Image.open(io.BytesIO(base64.b64decode(jpeg))).size for jpeg in (first.jpeg, first.overlay_jpeg)}
    assert len(sizes) == 1
    assert first.jpeg != first.overlay_jpeg


def test_without_heat_a_picture_stays_as_it_is():
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert np.array_equal(overlay(picture, np.zeros((4, 4), dtype=np.float32), 0.0), picture)


def test_heat_tints_where_it_is():
    heat = np.zeros((8, 8), dtype=np.float32)
    heat[6:, 6:] = 1.0
    tinted = overlay(np.full((64, 64, 3), 128, dtype=np.uint8), heat, 1.0)
    assert np.array_equal(tinted[:32, :32], np.full((32, 32, 3), 128))
    assert not np.array_equal(tinted[56:, 56:], np.full((8, 8, 3), 128))
