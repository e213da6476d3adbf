# SPDX-License-Identifier: Apache-2.0
"""Where a network looked: Grad-CAM (Selvaraju et al., 2017, https://arxiv.org/abs/1610.02391) of the fake logit."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from ..modeling_deepfake import DeepfakeForVideoClassification


# The last module of each family of backbones whose output still is a map.
_LAST_MAPS = ("layer4", "features", "conv5")
# From cold to hot, readable without colour vision: anchors of the "inferno" map of Matplotlib (CC0).
_HEAT_COLOURS = ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))
_STRONGEST_TINT = 0.6
# Bounds the memory of the backbone.
FRAMES_PER_PASS = 4


@dataclass(frozen=True)
class GradCam:
    """
    What a clip's fake logit rests on.

    Attributes:
        maps: (T, h, w) float32, not negative; the unit is that of the logit over the whole clip.
        fake_logit: The logit that is explained, after the temperature.
        fake_probability: Of the clip.
    """

    maps: np.ndarray
    fake_logit: float
    fake_probability: float


def grad_cam(network: DeepfakeForVideoClassification, pixel_values: torch.Tensor, fake_index: int = 1) -> GradCam:
    """
    Grad-CAM of the fake logit of one clip, for all its frames at once.

    Args:
        network: In evaluation mode.
        pixel_values: `(1, T, C, H, W)`.
        fake_index: Which logit means fake.

    Raises:
        ValueError: If the backbone is of an unknown family.
    """
    captured: list[torch.Tensor] = []

    def begin_graph(module: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        # The graph begins here: what lies before needs no gradient, and would need a gigabyte.
        captured.append(output.detach().requires_grad_(True))
        return captured[-1]

    hook = last_map_module(network).register_forward_hook(begin_graph)
    try:
        # cuDNN cannot run an RNN backwards in evaluation mode.
        with _frozen(network), torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
            encoder = network.deepfake.frame_encoder
            features = torch.cat([encoder(frames) for frames in pixel_values[0].split(FRAMES_PER_PASS)])
            outputs: Any = network.classify_features(features[None])
            logits: torch.Tensor = outputs.logits
            gradient = torch.cat(torch.autograd.grad(logits[0, fake_index], captured))
    finally:
        hook.remove()
    activations = torch.cat([part.detach() for part in captured])
    weights = gradient.mean(dim=(2, 3), keepdim=True)  # (T, channels, 1, 1)
    maps = (weights * activations).sum(dim=1).relu()  # (T, h, w)
    return GradCam(
        maps=maps.float().cpu().numpy(),
        fake_logit=logits[0, fake_index].item(),
        fake_probability=logits.detach().softmax(-1)[0, fake_index].item(),
    )


def last_map_module(network: DeepfakeForVideoClassification) -> nn.Module:
    """
    The module whose output is the last map `(N, channels, h, w)` before the backbone's mean over the picture.

    Raises:
        ValueError: If the backbone is of an unknown family.
    """
    backbone = network.deepfake.frame_encoder.backbone
    for name in _LAST_MAPS:
        if hasattr(backbone, name):
            module: nn.Module = getattr(backbone, name)
            return module
    raise ValueError(f"heat maps know no backbone like {network.config.backbone}.")


@contextlib.contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Inside, no parameter asks for a gradient."""
    thawed = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in thawed:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in thawed:
            parameter.requires_grad_(True)


def overlay(picture: np.ndarray, heat: np.ndarray, strongest: float) -> np.ndarray:
    """
    A picture tinted by its map.

    Args:
        picture: `(H, W, 3)` uint8 RGB.
        heat: `(h, w)` of [`GradCam.maps`].
        strongest: The heat of the full tint: the highest of all pictures that are shown together.

    Returns:
        `(H, W, 3)` uint8 RGB; the picture as it is where there is no heat.
    """
    size = (picture.shape[1], picture.shape[0])
    scaled = Image.fromarray((heat / max(strongest, 1e-12)).astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    level = np.clip(np.asarray(scaled), 0.0, 1.0)
    steps = np.linspace(0.0, 1.0, len(_HEAT_COLOURS))
    colours = np.stack([np.interp(level, steps, channel) for channel in zip(*_HEAT_COLOURS, strict=True)], axis=-1)
    share = (_STRONGEST_TINT * np.sqrt(level))[..., None]
    return (picture * (1.0 - share) + colours * share).round().astype(np.uint8)
