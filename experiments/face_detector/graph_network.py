# SPDX-License-Identifier: Apache-2.0
"""CenterFace as a torch module whose layers can be narrowed and trained, from its ONNX graph and back."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional as F


Values: TypeAlias = dict[str, torch.Tensor]
OUTPUTS = ("heat", "log_sides", "offsets", "landmarks")


class Layer(NamedTuple):
    """A node of the graph: operator, names of inputs and output, attributes."""

    operator: str
    inputs: list[str]
    output: str
    attributes: Mapping[str, Any]


class Block(NamedTuple):
    """
    An inverted residual block: the layers before, at and after the channels that only this block uses.

    Attributes:
        first: Convolution that computes the channels.
        depthwise: Convolution of each channel by itself.
        last: 1x1 convolution that combines them.
    """

    first: Layer
    depthwise: Layer
    last: Layer


class GraphNetwork(nn.Module):
    """
    The operators of an ONNX graph, run by torch.

    Args:
        path: ONNX file that uses only the operators of CenterFace.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._model = onnx.load(path)
        self.layers = [
            Layer(node.op_type, list(node.input), node.output[0], _attributes(node)) for node in self._model.graph.node
        ]
        self._weights = nn.ParameterDict()
        for tensor in self._model.graph.initializer:
            self.replace(tensor.name, torch.from_numpy(numpy_helper.to_array(tensor).copy()))

    def weight(self, name: str) -> nn.Parameter:
        """The weight with a name of the graph."""
        return self._weights[name.replace(".", "/")]

    def replace(self, name: str, value: torch.Tensor) -> None:
        """Replace a weight, which may change its shape."""
        statistic = "running" in name
        self._weights[name.replace(".", "/")] = nn.Parameter(value.float().contiguous(), requires_grad=not statistic)

    def forward(self, images: torch.Tensor) -> Values:
        """
        Compute all values of the graph.

        Args:
            images: RGB images (B, 3, H, W) from 0 to 255; H and W are multiples of 32.

        Returns:
            Name -> value, with the maps `OUTPUTS` (B, C, H / 4, W / 4) among them.
        """
        values = {"image": images}
        for layer in self.layers:
            weights = [self.weight(name) for name in layer.inputs if name.replace(".", "/") in self._weights]
            inputs = [values[name] for name in layer.inputs if name in values]
            values[layer.output] = _run(layer, inputs, weights)
        return values

    def blocks(self) -> list[Block]:
        """The inverted residual blocks in order."""
        by_output = {layer.output: layer for layer in self.layers}
        by_input = {layer.inputs[0]: layer for layer in self.layers if layer.operator != "Add"}
        return [
            Block(
                first=by_output[by_output[layer.inputs[0]].inputs[0]],
                depthwise=layer,
                last=by_input[by_input[layer.output].output],
            )
            for layer in self.layers
            if layer.attributes.get("group", 1) > 1
        ]

    def addition_after(self, block: Block) -> tuple[str, str | None]:
        """The names of the sum at the end of a block and of its other term; without a sum, of its output and none."""
        for layer in self.layers:
            if layer.operator == "Add" and block.last.output in layer.inputs:
                return layer.output, next(name for name in layer.inputs if name != block.last.output)
        return block.last.output, None

    def save(self, path: Path) -> None:
        """Save the graph with the present weights."""
        model = copy.deepcopy(self._model)
        for tensor in model.graph.initializer:
            tensor.CopyFrom(numpy_helper.from_array(self.weight(tensor.name).detach().numpy(), tensor.name))
        shapes = {tensor.name: tensor.dims for tensor in model.graph.initializer}
        for node in model.graph.node:
            for attribute in node.attribute:
                if attribute.name == "group" and attribute.i > 1:
                    attribute.i = shapes[node.input[1]][0]
        del model.graph.value_info[:]
        onnx.checker.check_model(model)
        onnx.save(model, path)


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


def _run(layer: Layer, inputs: list[torch.Tensor], weights: list[nn.Parameter]) -> torch.Tensor:
    match layer.operator:
        case "Conv":
            top, left, bottom, right = layer.attributes.get("pads", (0, 0, 0, 0))
            padded = F.pad(inputs[0], (left, right, top, bottom))
            # The graph states the number of groups before the layer was narrowed.
            groups = len(weights[0]) if layer.attributes.get("group", 1) > 1 else 1
            return F.conv2d(padded, *weights, stride=tuple(layer.attributes["strides"]), groups=groups)
        case "ConvTranspose":
            return F.conv_transpose2d(inputs[0], *weights, stride=tuple(layer.attributes["strides"]))
        case "BatchNormalization":
            scale, bias, mean, variance = weights
            return F.batch_norm(inputs[0], mean, variance, scale, bias, eps=layer.attributes["epsilon"])
        case "Relu":
            return F.relu(inputs[0])
        case "Sigmoid":
            return torch.sigmoid(inputs[0])
        case "Add":
            return inputs[0] + inputs[1]
    raise ValueError(f"unknown operator {layer.operator!r}.")


def as_batch(image: np.ndarray) -> torch.Tensor:
    """(H, W, 3) uint8 as (1, 3, H, W) float32."""
    return torch.from_numpy(image.transpose(2, 0, 1)[None].astype(np.float32))
