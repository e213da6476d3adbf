# SPDX-License-Identifier: Apache-2.0
"""Optimise a loaded network for inference: the result computes the same function but can no longer be saved."""

from collections import Counter

import torch
from torch import nn

from ..modeling_deepfake import FRAMES_PER_PASS, DeepfakeForVideoClassification
from ..timm_backbones import is_timm
from .settings import Dtype


# Modules that convolve with their weights as they are stored, and not with normalised ones, for instance.
_PLAIN_CONVOLUTIONS = {"Conv2d", "Conv2dSame", "DeepfakeSamePadConv2d"}
# Height and width in pixels of the example frame that shows the order of the layers.
_EXAMPLE_SIZE = 64


def prepare_for_inference(network: DeepfakeForVideoClassification, *, dtype: Dtype = "float32") -> None:
    """
    Optimise a network in evaluation mode in place. Afterwards it must not be saved or trained.

    Batch norms are folded into the convolutions before them, and convolutions use the channels-last memory format.

    Args:
        network: A loaded network.
        dtype: Precision of the frame encoder. The recurrent part and the classifier stay in float32.
    """
    backbone = network.deepfake.frame_encoder.backbone
    size = network.config.image_size
    if not is_timm(network.config.backbone):
        # Only timm has networks that accept a single size.
        size = min(size, _EXAMPLE_SIZE)
    fold_batch_norms(backbone, torch.zeros(1, network.config.num_channels, size, size))
    for module in backbone.modules():
        # A kernel of one pixel has the same layout in both formats; these are most of the weights.
        if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1):
            module.to(memory_format=torch.channels_last)
    if dtype != "float32":
        setattr(network.deepfake, "frame_encoder", _CastFrameEncoder(backbone, getattr(torch, dtype)))  # noqa: B010
    # New modules, such as those in place of the batch norms, are in training mode.
    network.eval()


@torch.no_grad()
def fold_batch_norms(module: nn.Module, example: torch.Tensor) -> None:
    """
    Fold each batch norm into the convolution before it, in place and without a copy of the weights.

    Args:
        module: A module in evaluation mode.
        example: An input. It shows the order in which the layers run; timm's networks register them in another order.
    """
    places = {child: (parent, name) for parent in module.modules() for name, child in parent.named_children()}
    for norm, conv in _followed_convolutions(module, example).items():
        # The output of the convolution's parent may have other readers, such as a shortcut.
        if places[norm][0] is not places[conv][0]:
            continue
        mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
        scale = norm.weight * torch.rsqrt(variance + norm.eps)
        bias = -mean if conv.bias is None else conv.bias - mean
        conv.weight.mul_(scale.view(-1, 1, 1, 1))
        conv.bias = nn.Parameter(bias * scale + norm.bias)
        # A batch norm of timm may contain the activation that follows it.
        parent, name = places[norm]
        setattr(parent, name, nn.Identity() if type(norm) is nn.BatchNorm2d else norm.get_submodule("act"))


def _followed_convolutions(module: nn.Module, example: torch.Tensor) -> dict[nn.BatchNorm2d, nn.Conv2d]:
    """For each batch norm the convolution whose output it reads, if both run once."""
    made: list[tuple[torch.Tensor, nn.Conv2d]] = []
    read: list[tuple[nn.BatchNorm2d, torch.Tensor]] = []
    hooks = []
    for child in module.modules():
        if isinstance(child, nn.Conv2d) and type(child).__name__ in _PLAIN_CONVOLUTIONS:
            hooks.append(child.register_forward_hook(lambda conv, _, output: made.append((output, conv))))
        elif type(child) is nn.BatchNorm2d or (isinstance(child, nn.BatchNorm2d) and hasattr(child, "act")):
            hooks.append(child.register_forward_pre_hook(lambda norm, inputs: read.append((norm, inputs[0]))))
    try:
        module(example)
    finally:
        for hook in hooks:
            hook.remove()
    makers = {id(output): conv for output, conv in made}
    runs = Counter([*(conv for _, conv in made), *(norm for norm, _ in read)])
    pairs = {norm: makers[id(tensor)] for norm, tensor in read if id(tensor) in makers}
    return {norm: conv for norm, conv in pairs.items() if runs[norm] == runs[conv] == 1 and norm.affine}


class _CastFrameEncoder(nn.Module):
    """A frame encoder that computes in a lower precision and returns float32."""

    def __init__(self, backbone: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.backbone = backbone.to(dtype)
        self.dtype = dtype

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        chunks = frames.to(self.dtype, memory_format=torch.channels_last).split(FRAMES_PER_PASS)
        return torch.cat([self.backbone(chunk) for chunk in chunks]).float()
