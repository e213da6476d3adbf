# SPDX-License-Identifier: Apache-2.0
"""Depthwise convolutions whose training in bfloat16 on a CPU is not slower than in single precision."""

from typing import Any

import torch
from timm.layers import Conv2dSame, pad_same
from torch import nn
from torch.nn import functional as F


class DepthwiseConv2d(nn.Conv2d):
    """
    A depthwise convolution of another module, whose weights it shares.

    On a CPU, two gradients of a depthwise convolution in bfloat16 are much slower than in single precision: that of
    the input if the stride is 2 (724 instead of 5 ms for 48 images of 720 channels and 14 x 14 pixels), and that of
    kernels of 5 x 5 (414 instead of 77 ms). So this module computes the gradients of the weights, and those of inputs
    with a stride, in single precision under autocast.

    Args:
        convolution: A depthwise convolution without bias and dilation.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        assert convolution.bias is None
        assert convolution.dilation == (1, 1)
        channels, side, stride = convolution.in_channels, convolution.kernel_size, convolution.stride
        super().__init__(
            channels, channels, side, stride, convolution.padding, groups=channels, bias=False, device="meta"
        )
        self.weight = convolution.weight
        self._is_same = isinstance(convolution, Conv2dSame)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """See [`torch.nn.Conv2d`]."""
        if self._is_same:
            input = pad_same(input, self.kernel_size, self.stride)
        if not torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        convolved: torch.Tensor = _Depthwise.apply(input, self.weight, self.stride, self.padding)
        return convolved


def replace_depthwise(network: nn.Module) -> None:
    """Replace the depthwise convolutions of a network, see [`DepthwiseConv2d`]; the names of the weights remain."""
    for parent in list(network.modules()):
        for name, module in list(parent.named_children()):
            if isinstance(module, nn.Conv2d) and 1 < module.groups == module.in_channels == module.out_channels:
                setattr(parent, name, DepthwiseConv2d(module))


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any, frames: torch.Tensor, weight: torch.Tensor, stride: tuple[int, int], padding: tuple[int, int]
    ) -> torch.Tensor:
        frames = frames.bfloat16()
        context.save_for_backward(frames, weight)
        context.geometry = stride, padding
        return F.conv2d(frames, weight.bfloat16(), None, stride, padding, groups=frames.shape[1])

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None]:
        frames, weight = context.saved_tensors
        stride, padding = context.geometry
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        with_stride = stride != (1, 1)
        of_frames, of_weight, _ = torch.ops.aten.convolution_backward(
            gradient.float(), frames.float(), weight, None, stride, padding, (1, 1), False, (0, 0), frames.shape[1],
            (with_stride, True, False),
        )  # fmt: skip
        if with_stride:
            return of_frames.bfloat16(), of_weight, None, None
        # Without a stride, the gradient of the input is a convolution with the reversed kernel.
        margin = [side - 1 - border for side, border in zip(weight.shape[2:], padding, strict=True)]
        reversed_kernel = weight.flip(2, 3).bfloat16()
        return F.conv2d(gradient, reversed_kernel, None, 1, margin, groups=frames.shape[1]), of_weight, None, None
