# SPDX-License-Identifier: Apache-2.0
"""Grad-CAM against computations that do not use its gradients."""

import numpy as np
import pytest
import torch

from deepfake_video import DeepfakeConfig, DeepfakeForVideoClassification
from deepfake_video.grad_cam import last_map_module


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
    cam = network.grad_cam(clip)
    np.testing.assert_allclose(cam.maps, expected, rtol=1e-4, atol=1e-7 * expected.max())


def test_a_linear_frame_classifier_has_its_class_activation_map(clip):
    network = tiny_network(rnn_type="none", num_hidden_layers=0, hidden_size=1024, frame_aggregation="mean-logit")
    _, maps = run_with_change(network, clip)
    num_frames, _, height, width = maps.shape
    # Zhou et al., 2016: without anything after the linear layer its weights are the gradient.
    weights = network.classifier.out_proj.weight[1].detach() / (num_frames * height * width)
    expected = torch.einsum("c,tchw->thw", weights, maps).clamp(min=0)
    np.testing.assert_allclose(network.grad_cam(clip).maps, expected.numpy(), rtol=1e-5)


def test_it_explains_the_logit_that_the_network_gives(clip):
    network = tiny_network()
    cam = network.grad_cam(clip)
    with torch.no_grad():
        logits = network(clip).logits
    assert cam.logit == pytest.approx(logits[0, 1].item())
    assert cam.probability == pytest.approx(logits.softmax(-1)[0, 1].item())


def test_the_network_is_left_as_it_was(clip):
    network = tiny_network()
    before = network(clip).logits
    network.grad_cam(clip)
    assert torch.equal(network(clip).logits, before)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())


def test_another_label_has_its_own_map(clip):
    network = tiny_network(rnn_type="none", num_hidden_layers=0, hidden_size=1024, frame_aggregation="mean-logit")
    fake, real = network.grad_cam(clip), network.grad_cam(clip, label="real")
    assert fake.probability + real.probability == pytest.approx(1.0)
    assert not np.allclose(fake.maps, real.maps)


def test_an_unknown_label_is_refused(clip):
    with pytest.raises(ValueError, match=r"label must be one of real, fake, got 'FAKE'"):
        tiny_network().grad_cam(clip, label="FAKE")


@pytest.mark.parametrize("part", ["", "deepfake.frame_encoder"])
def test_a_network_in_training_mode_is_refused_and_left_as_it_was(clip, part):
    network = tiny_network()
    network.get_submodule(part).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(ValueError, match=r"not in training mode: call network\.eval\(\)"):
        network.grad_cam(clip)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_only_one_clip_is_explained_at_a_time(clip):
    with pytest.raises(ValueError, match=r"one clip of shape \(1, T, C, H, W\), got the shape \(2, 3, 3, 64, 64\)"):
        tiny_network().grad_cam(torch.cat([clip, clip]))


def test_a_backbone_without_feature_maps_is_refused(clip):
    network = tiny_network(backbone="timm/test_vit", image_size=160)
    with pytest.raises(ValueError, match="timm/test_vit does not"):
        network.grad_cam(torch.zeros(1, 2, 3, 160, 160, dtype=torch.float64))
