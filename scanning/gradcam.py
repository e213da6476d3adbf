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
from ..timm_backbones import is_timm


# The last module of each family of torchvision's backbones whose output still is a map.
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
        ValueError: If the backbone has no last map.
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
    if getattr(network.deepfake.frame_encoder.backbone, "output_fmt", None) == "NHWC":
        activations, gradient = activations.permute(0, 3, 1, 2), gradient.permute(0, 3, 1, 2)
    weights = gradient.mean(dim=(2, 3), keepdim=True)  # (T, channels, 1, 1)
    maps = (weights * activations).sum(dim=1).relu()  # (T, h, w)
    return GradCam(
        maps=maps.float().cpu().numpy(),
        fake_logit=logits[0, fake_index].item(),
        fake_probability=logits.detach().softmax(-1)[0, fake_index].item(),
    )


def last_map_module(network: DeepfakeForVideoClassification) -> nn.Module:
    """
    The module whose output is the last map before the backbone's mean over the picture.

    Its shape is `(N, channels, h, w)`, or `(N, h, w, channels)` in networks of timm that say so by their `output_fmt`.

    Raises:
        ValueError: If the backbone has no such module.
    """
    backbone = network.deepfake.frame_encoder.backbone
    module: nn.Module | None
    if is_timm(network.config.backbone):
        module = _last_map_of_timm(backbone, next(network.parameters()), network.config.image_size)
    else:
        module = next((getattr(backbone, name) for name in _LAST_MAPS if hasattr(backbone, name)), None)
    if module is None:
        raise ValueError(
            f"heat maps need a backbone that ends in maps, such as a convolutional one, not {network.config.backbone}."
        )
    return module


@torch.no_grad()
def _last_map_of_timm(backbone: Any, like: torch.Tensor, image_size: int) -> nn.Module | None:
    """The module that returns what timm's `forward_features` returns, if that is a map."""
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
    # A parent may hand on the output of its last child; the parent returns later.
    found = [module for module, output in returned if output is features]
    return found[-1] if found and features.ndim == 4 else None


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
