# Copyright 2026 The deepfake-video authors.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Grad-CAM (Selvaraju et al., 2017, https://arxiv.org/abs/1610.02391): which parts of a frame raise a logit."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from .timm_backbones import is_timm


# For each family of torchvision's backbones, the last module whose output is a feature map.
_LAST_MAPS = ("layer4", "features", "conv5")
# Bounds the memory of the backbone.
FRAMES_PER_PASS = 4


class NoFeatureMapsError(ValueError):
    """The backbone does not end in feature maps, as in vision transformers."""


@dataclass(frozen=True)
class GradCam:
    """
    Grad-CAM of one clip.

    Attributes:
        maps: Array of shape (T, h, w), float32, not negative: how much each part of each frame raises the logit. The
            maps have the resolution of the backbone's last feature map and one common scale for all frames.
        logit: The explained logit, calibrated.
        probability: Probability of the label.
    """

    maps: np.ndarray
    logit: float
    probability: float


def grad_cam(network: Any, pixel_values_videos: torch.Tensor, label_index: int) -> GradCam:
    """
    Compute Grad-CAM of one clip for all its frames at once.

    Args:
        network: A `DeepfakeForVideoClassification` in evaluation mode. Its parameters and gradients stay as they are.
        pixel_values_videos: Tensor of shape (1, T, C, H, W).
        label_index: Index of the logit to explain.

    Raises:
        ValueError: If `pixel_values_videos` is not one clip, if a part of the network is in training mode, or if the
            backbone does not end in feature maps (`NoFeatureMapsError`).
    """
    if pixel_values_videos.ndim != 5 or len(pixel_values_videos) != 1:
        shape = tuple(pixel_values_videos.shape)
        raise ValueError(f"Grad-CAM takes one clip of shape (1, T, C, H, W), got the shape {shape}.")
    if any(module.training for module in network.modules()):
        raise ValueError("Grad-CAM takes a network in evaluation mode, and not in training mode: call network.eval().")
    captured: list[torch.Tensor] = []

    def begin_graph(module: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        # The graph begins here: the layers before need no gradient, and would need a gigabyte.
        captured.append(output.detach().requires_grad_(True))
        return captured[-1]

    hook = last_map_module(network).register_forward_hook(begin_graph)
    try:
        # cuDNN cannot run an RNN backwards in evaluation mode.
        with _frozen(network), torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
            encoder = network.deepfake.frame_encoder
            features = torch.cat([encoder(frames) for frames in pixel_values_videos[0].split(FRAMES_PER_PASS)])
            outputs: Any = network.classify_features(features[None])
            logits: torch.Tensor = outputs.logits
            gradient = torch.cat(torch.autograd.grad(logits[0, label_index], captured))
    finally:
        hook.remove()
    activations = torch.cat([part.detach() for part in captured])
    if getattr(network.deepfake.frame_encoder.backbone, "output_fmt", None) == "NHWC":
        activations, gradient = activations.permute(0, 3, 1, 2), gradient.permute(0, 3, 1, 2)
    weights = gradient.mean(dim=(2, 3), keepdim=True)  # (T, channels, 1, 1)
    maps = (weights * activations).sum(dim=1).relu()  # (T, h, w)
    return GradCam(
        maps=maps.float().cpu().numpy(),
        logit=logits[0, label_index].item(),
        probability=logits.detach().softmax(-1)[0, label_index].item(),
    )


def last_map_module(network: Any) -> nn.Module:
    """
    Find the module that returns the last feature map of the backbone, before its global pooling.

    The map has the shape (N, channels, h, w), or (N, h, w, channels) if timm's backbone has the `output_fmt` NHWC.

    Args:
        network: A `DeepfakeForVideoClassification`.

    Raises:
        NoFeatureMapsError: If the backbone has no such module.
    """
    backbone = network.deepfake.frame_encoder.backbone
    module: nn.Module | None
    if is_timm(network.config.backbone):
        module = _last_map_of_timm(backbone, next(network.parameters()), network.config.image_size)
    else:
        module = next((getattr(backbone, name) for name in _LAST_MAPS if hasattr(backbone, name)), None)
    if module is None:
        raise NoFeatureMapsError(
            f"heat maps need a backbone that ends in feature maps, such as a convolutional network; "
            f"{network.config.backbone} does not."
        )
    return module


@torch.no_grad()
def _last_map_of_timm(backbone: Any, like: torch.Tensor, image_size: int) -> nn.Module | None:
    """Return the module whose output timm's `forward_features` returns, if it is a feature map."""
    returned: list[tuple[nn.Module, torch.Tensor]] = []
    hooks = [
        module.register_forward_hook(lambda module, _, output: returned.append((module, output)))
        for module in backbone.modules()
    ]
    try:
        features: torch.Tensor = backbone.forward_features(like.new_zeros(1, 3, image_size, image_size))
    finally:
        for hook in hooks:
            hook.remove()
    # A parent may return the output of its last child unchanged; the parent returns later.
    found = [module for module, output in returned if output is features]
    return found[-1] if found and features.ndim == 4 else None


@contextlib.contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Disable the gradients of all parameters within the block."""
    thawed = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in thawed:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in thawed:
            parameter.requires_grad_(True)


__all__ = ["GradCam", "grad_cam", "last_map_module"]
