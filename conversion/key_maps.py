# SPDX-License-Identifier: Apache-2.0
"""Maps the tensors of a legacy file to our names, in float32 and with the two-logit head."""

from collections.abc import Mapping

import torch

from .backbones import backbone_shapes
from .layout import Layout


def convert_tensors(
    tensors: Mapping[str, torch.Tensor], layout: Layout, *, fake_index: int
) -> dict[str, torch.Tensor]:
    """
    Convert tensors to the state dict of `DeepfakeForVideoClassification`.

    Tensors that need no change share their memory with the input.

    Args:
        tensors: Tensors of the file by key.
        layout: Their layout.
        fake_index: Logit that means fake; for a single sigmoid, 1 if it is the probability of fake and 0 if of real.

    Returns:
        Our tensors by name.
    """
    converted: dict[str, torch.Tensor] = {}
    for name, key in layout.backbone_keys.items():
        target = f"deepfake.frame_encoder.backbone.{name}"
        if name.endswith("num_batches_tracked"):
            # Old files lack these counters, which only a cumulative average in training uses.
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
    """Add zero biases, since our RNNs have biases; they do not change the output."""
    for name, weight in list(converted.items()):
        if ".rnn.weight_" in name:
            converted[name.replace(".weight_", ".bias_")] = weight.new_zeros(len(weight))


def _to_two_logits(rows: torch.Tensor, fake_index: int) -> torch.Tensor:
    """
    Convert one row or two rows to the rows (real, fake).

    The sigmoid of z equals a softmax over (0, z), or over (z, 0) if z is the logit of real.
    """
    if len(rows) == 1:
        rows = torch.cat([torch.zeros_like(rows), rows])
    return rows if fake_index == 1 else rows.flip(0)
