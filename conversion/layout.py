# SPDX-License-Identifier: Apache-2.0
"""The network layout, as determined by the keys and shapes of a checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from .backbones import Naming
from .heads import Head
from .recurrence import RecurrentLayout


Family = Literal[
    "resnext50-lstm",
    "efficientnet-b0-bilstm",
    "efficientnet-b0-bilstm-attention",
    "efficientnet-b0-frames",
    "icpr2020dfdc",
    "deepfakebench",
    "selimsef-dfdc",
    "self-blended-images",
    "torchvision-frames",
    "timm-frames",
    "deepfakebench-xception",
    "faceforensics-xception",
    "assorted",
]


@dataclass(frozen=True)
class Layout:
    """
    The network of a checkpoint.

    Attributes:
        family: Published system with exactly these keys, or `"assorted"`.
        naming: Naming scheme of the backbone's keys.
        backbone: Name of the backbone, as in [`DeepfakeConfig`].
        prefix: Prefix of the backbone's keys.
        backbone_keys: Key in the file of each of our backbone weights.
        rnn: The RNN; `None` in a frame classifier.
        attention: Module names of the two layers of the attention pooling.
        attention_size: Width of the first of them; 0 without attention pooling.
        head: The linear layers.
        unused: Keys that belong to the network but do not affect its output.
        num_features: Width of the features of a frame.
    """

    family: Family
    naming: Naming
    backbone: str
    prefix: str
    backbone_keys: Mapping[str, str]
    rnn: RecurrentLayout | None
    attention: tuple[str, str] | None
    attention_size: int
    head: Head
    unused: tuple[str, ...]
    num_features: int

    def describe(self) -> str:
        """Describe the network in a few words."""
        parts = [f"{self.backbone} in {self.naming} naming"]
        if self.rnn:
            parts.append(self.rnn.describe())
        if self.attention:
            parts.append("an attention pooling")
        widths = " to ".join(map(str, self.head.sizes))
        count = len(self.head.sizes)
        parts.append(f"a head of {count} linear layer{'' if count == 1 else 's'} to {widths}")
        return ", ".join(parts)
