# SPDX-License-Identifier: Apache-2.0
"""The tensors of a legacy file under our names: renamed, made float32, and folded into the head with two logits."""

from collections.abc import Mapping

import torch

from .backbones import backbone_shapes
from .recognition import Layout


def convert_tensors(
    tensors: Mapping[str, torch.Tensor], layout: Layout, *, fake_index: int
) -> dict[str, torch.Tensor]:
    """
    The state dict of `DeepfakeForVideoClassification`; tensors that stay as they are share their memory.

    Args:
        tensors: Those of the file.
        layout: What was recognised in them.
        fake_index: The logit that means fake, or the side of a single sigmoid.
    """
    converted: dict[str, torch.Tensor] = {}
    for name, key in layout.backbone_keys.items():
        target = f"deepfake.frame_encoder.backbone.{name}"
        if name.endswith("num_batches_tracked"):
            # Counters that old files lack; they matter to training with a cumulative average only.
            converted[target] = tensors.get(key, torch.zeros(backbone_shapes(layout.backbone)[name])).long()
        else:
            converted[target] = tensors[key].float()
    if layout.rnn:
        for name in layout.rnn.names():
            converted[f"deepfake.temporal_encoder.rnn.{name}"] = tensors[layout.rnn.prefix + name].float()
        if not layout.rnn.has_bias:
            _add_zero_biases(converted)
    targets = [f"classifier.layers.{index}" for index in range(len(layout.head.modules) - 1)]
    modules = dict(zip(layout.head.modules, [*targets, "classifier.out_proj"], strict=True))
    if layout.attention:
        modules |= dict(zip(layout.attention, ("deepfake.pooler.dense", "deepfake.pooler.score"), strict=True))
    for module, target in modules.items():
        weight = tensors[f"{module}.weight"].float()
        bias = tensors[f"{module}.bias"].float() if f"{module}.bias" in tensors else weight.new_zeros(len(weight))
        if target == "classifier.out_proj":
            weight, bias = _to_two_logits(weight, fake_index), _to_two_logits(bias, fake_index)
        converted |= {f"{target}.weight": weight, f"{target}.bias": bias}
    return {name: tensor.contiguous() for name, tensor in converted.items()}


def _add_zero_biases(converted: dict[str, torch.Tensor]) -> None:
    """Zero biases change nothing, and our RNNs have biases."""
    for name, weight in list(converted.items()):
        if ".rnn.weight_" in name:
            converted[name.replace(".weight_", ".bias_")] = weight.new_zeros(len(weight))


def _to_two_logits(rows: torch.Tensor, fake_index: int) -> torch.Tensor:
    """
    Rows (real, fake) from one row or two.

    A sigmoid of z is a softmax over (0, z), or over (z, 0) where z speaks for real.
    """
    if len(rows) == 1:
        rows = torch.cat([torch.zeros_like(rows), rows])
    return rows if fake_index == 1 else rows.flip(0)
