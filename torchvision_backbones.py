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
"""TensorFlow's padding and ImageNet weights for torchvision's networks, as published programs use them."""

import math

import torch
import torchvision
from torch import nn


class DeepfakeSamePadConv2d(nn.Conv2d):
    """
    Convolution with TensorFlow's "same" padding, which adds the odd pixel at the right and bottom.

    With `nominal_size`, the padding is always that of a square input of this size, as efficientnet_pytorch fixes it at
    construction; otherwise it depends on each input.
    """

    def __init__(self, conv: nn.Conv2d, nominal_size: int | None) -> None:
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type]
            conv.stride,  # type: ignore[arg-type]
            dilation=conv.dilation,  # type: ignore[arg-type]
            groups=conv.groups,
            bias=conv.bias is not None,
        )
        self.nominal_size = nominal_size

    def padding_along(self, axis: int, size: int) -> tuple[int, int]:
        kernel, stride, dilation = self.kernel_size[axis], self.stride[axis], self.dilation[axis]
        total = max((math.ceil(size / stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
        return total // 2, total - total // 2

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        height, width = (self.nominal_size, self.nominal_size) if self.nominal_size else input.shape[-2:]
        padded = nn.functional.pad(input, (*self.padding_along(1, width), *self.padding_along(0, height)))
        return super().forward(padded)


def use_same_padding(backbone: nn.Module, image_size: int | None) -> None:
    """Replace the padded convolutions of an EfficientNet; the names of the weights do not change."""
    size = image_size
    convolutions = [(name, module) for name, module in backbone.named_modules() if isinstance(module, nn.Conv2d)]
    for name, conv in convolutions:
        if conv.kernel_size != (1, 1):
            parent_name, _, child_name = name.rpartition(".")
            setattr(backbone.get_submodule(parent_name), child_name, DeepfakeSamePadConv2d(conv, size))
        if size is not None:
            size = math.ceil(size / conv.stride[0])


def load_torchvision_weights(backbone: str, weights: str) -> dict[str, torch.Tensor]:
    """
    Load the ImageNet weights that torchvision publishes for a backbone.

    Raises:
        ValueError: If there are no weights of this name.
        OSError: If they are not in the cache and cannot be downloaded.
    """
    enum = torchvision.models.get_model_weights(backbone)
    if weights not in enum.__members__:
        raise ValueError(f"{backbone} has no weights {weights!r}; choose from {', '.join(enum.__members__)}.")
    entry = enum[weights]
    try:
        state_dict: dict[str, torch.Tensor] = entry.get_state_dict(check_hash=True)
    except OSError as error:
        raise OSError(
            f"The ImageNet weights of {backbone} could not be downloaded ({error}). Without a connection, put the "
            f"file from {entry.url} into {torch.hub.get_dir()}/checkpoints on this machine."
        ) from error
    return state_dict


__all__ = ["DeepfakeSamePadConv2d", "load_torchvision_weights", "use_same_padding"]
