# SPDX-License-Identifier: Apache-2.0
"""Names of backbone weights: torchvision's keys in five naming schemes of legacy code, and timm's."""

import functools
import itertools
import re
from collections.abc import Mapping
from typing import Literal

from ..model_presets import BACKBONE_FEATURES
from ..timm_backbones import build_timm_backbone, is_timm, timm_input, timm_num_features


Naming = Literal["torchvision", "native", "children", "efficientnet_pytorch", "timm"]
# Shape of each tensor by key.
Shapes = Mapping[str, tuple[int, ...]]

# (stem channels, head channels, blocks) identify a variant.
EFFICIENTNETS: dict[str, tuple[int, int, int]] = {
    "efficientnet_b0": (32, 1280, 16),
    "efficientnet_b1": (32, 1280, 23),
    "efficientnet_b2": (32, 1408, 23),
    "efficientnet_b3": (40, 1536, 26),
    "efficientnet_b4": (48, 1792, 32),
    "efficientnet_b5": (48, 2048, 39),
    "efficientnet_b6": (56, 2304, 45),
    "efficientnet_b7": (64, 2560, 55),
}
# (width and channels per group of the first grouped convolution, blocks in the third stage).
RESNEXTS: dict[str, tuple[int, int, int]] = {
    "resnext50_32x4d": (128, 4, 6),
    "resnext101_32x8d": (256, 8, 23),
    "resnext101_64x4d": (256, 4, 23),
}
_NATIVE_SIZES: dict[str, int] = {
    **dict(zip(EFFICIENTNETS, (224, 240, 260, 300, 380, 456, 528, 600), strict=True)),
    **dict.fromkeys(RESNEXTS, 224),
}

# A block's parts in torchvision's order, with expansion and without, as (convolution, batch norm).
_BLOCKS = {
    ("efficientnet_pytorch", True): (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")),
    ("efficientnet_pytorch", False): (("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")),
    ("timm", True): (("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")),
    ("timm", False): (("conv_dw", "bn1"), ("conv_pw", "bn2")),
}
_SQUEEZES = {
    "efficientnet_pytorch": {"fc1": "_se_reduce", "fc2": "_se_expand"},
    "timm": {"fc1": "se.conv_reduce", "fc2": "se.conv_expand"},
}
_ENDS = {
    "efficientnet_pytorch": {"0.0": "_conv_stem", "0.1": "_bn0", "8.0": "_conv_head", "8.1": "_bn1"},
    "timm": {"0.0": "conv_stem", "0.1": "bn1", "8.0": "conv_head", "8.1": "bn2"},
}
_CHILDREN = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}
_BLOCK_KEY = re.compile(r"features\.([1-7])\.(\d+)\.block\.(\d)\.(\w+)\.(\w+)")


@functools.cache
def backbone_shapes(backbone: str) -> dict[str, tuple[int, ...]]:
    """Return our key (torchvision's or timm's) and shape of each weight of a backbone, without its classifier."""
    import torch
    import torchvision

    with torch.device("meta"):
        if is_timm(backbone):
            return {key: tuple(tensor.shape) for key, tensor in build_timm_backbone(backbone).state_dict().items()}
        state_dict = torchvision.models.get_model(backbone, weights=None).state_dict()
    return {
        key: tuple(tensor.shape) for key, tensor in state_dict.items() if not key.startswith(("classifier.", "fc."))
    }


def num_features(backbone: str) -> int:
    """Return the width of the features of a frame."""
    return timm_num_features(backbone) if is_timm(backbone) else BACKBONE_FEATURES[backbone]


def native_size(backbone: str) -> int:
    """Return the height and width in pixels for which a backbone was designed."""
    return timm_input(backbone).image_size if is_timm(backbone) else _NATIVE_SIZES[backbone]


@functools.cache
def legacy_names(backbone: str, naming: Naming) -> dict[str, str]:
    """Return the key in a naming scheme of each of our keys (both without prefix)."""
    keys = list(backbone_shapes(backbone))
    if naming == "native" or is_timm(backbone):
        return {key: key for key in keys}
    if naming == "torchvision":
        return {key: key.removeprefix("features.") for key in keys}
    if naming == "children":
        return {key: ".".join([_CHILDREN[key.partition(".")[0]], key.partition(".")[2]]) for key in keys}
    blocks = [match for match in map(_BLOCK_KEY.fullmatch, keys) if match]
    order = list(dict.fromkeys((match[1], match[2]) for match in blocks))
    flat = {block: index for index, block in enumerate(order)}
    parts = {block: max(int(match[3]) for match in matches) for block, matches in _by_block(blocks)}
    return {key: _flat_name(key, naming, flat, parts) for key in keys}


def _by_block(blocks: list[re.Match[str]]) -> list[tuple[tuple[str, str], list[re.Match[str]]]]:
    groups = itertools.groupby(blocks, key=lambda match: (match[1], match[2]))
    return [(block, list(matches)) for block, matches in groups]


def _flat_name(key: str, naming: Naming, flat: dict[tuple[str, str], int], parts: dict[tuple[str, str], int]) -> str:
    """Translate one torchvision key of an EfficientNet to efficientnet_pytorch or timm naming."""
    match = _BLOCK_KEY.fullmatch(key)
    if match is None:
        _, stage, index, leaf = key.split(".")
        return f"{_ENDS[naming][f'{stage}.{index}']}.{leaf}"
    stage, index, part, inner, leaf = match.groups()
    block = f"_blocks.{flat[stage, index]}" if naming == "efficientnet_pytorch" else f"blocks.{int(stage) - 1}.{index}"
    if inner in ("fc1", "fc2"):
        return f"{block}.{_SQUEEZES[naming][inner]}.{leaf}"
    expands = parts[stage, index] == 3
    convolutions = _BLOCKS[naming, expands]
    # Squeeze and excitation comes before the projection and has a number of its own.
    position = int(part) if int(part) < parts[stage, index] else len(convolutions) - 1
    return f"{block}.{convolutions[position][int(inner)]}.{leaf}"
