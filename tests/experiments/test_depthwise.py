# SPDX-License-Identifier: Apache-2.0
"""Depthwise convolutions in bfloat16: values and gradients of the ordinary convolution."""

import copy

import pytest
import timm
import torch
from depthwise import DepthwiseConv2d, replace_depthwise
from timm.layers import Conv2dSame
from torch import nn


def run(module: nn.Module, frames: torch.Tensor, *, autocast: bool) -> list[torch.Tensor]:
    """The output, and the gradients of frames and weights for a fixed gradient of the output."""
    frames = frames.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        output = module(frames)
    generator = torch.Generator().manual_seed(1)
    gradient = torch.randn(output.shape, generator=generator, dtype=torch.float64)
    output.backward(gradient.to(output.dtype))
    return [output.detach().double(), frames.grad.double(), next(module.parameters()).grad.double()]


@pytest.mark.parametrize("kind", [nn.Conv2d, Conv2dSame])
@pytest.mark.parametrize("side", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_values_and_gradients_are_those_of_the_convolution_in_double_precision(kind, side, stride):
    torch.manual_seed(0)
    padding = 0 if kind is Conv2dSame else side // 2
    original = kind(8, 8, side, stride, padding, groups=8, bias=False).to(memory_format=torch.channels_last)
    frames = torch.randn(4, 8, 15, 14).contiguous(memory_format=torch.channels_last)
    exact = run(copy.deepcopy(original).double(), frames.double(), autocast=False)
    for found, expected in zip(run(DepthwiseConv2d(original), frames, autocast=True), exact, strict=True):
        # bfloat16 has 8 bits of precision.
        assert (found - expected).norm() < 2**-7 * expected.norm()


def test_a_network_keeps_the_names_and_values_of_its_weights():
    network = timm.create_model("tf_efficientnet_lite0", num_classes=2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    frames = torch.randn(1, 3, 64, 64)
    expected = network.eval()(frames)
    replace_depthwise(network)
    assert sum(isinstance(module, DepthwiseConv2d) for module in network.modules()) == 16
    assert list(network.state_dict()) == list(before)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(network(frames), expected)
