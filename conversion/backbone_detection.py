# SPDX-License-Identifier: Apache-2.0
"""Detects the backbone of a state dict, its naming scheme and the prefix of its keys."""

import re
from collections.abc import Mapping

from ..common.text import quoted
from ..timm_backbones import PREFIX as TIMM_PREFIX
from .backbones import EFFICIENTNETS, RESNEXTS, Naming, Shapes, legacy_names
from .errors import ConversionError, listed
from .timm_layouts import XCEPTION, find_lite, find_prefixes, find_xceptions


_PREFIX = r"^((?:.+\.)?)"
# A key that each naming scheme has in every block.
_MARKS: tuple[tuple[Naming, re.Pattern[str]], ...] = (
    ("efficientnet_pytorch", re.compile(_PREFIX + r"_blocks\.\d+\._depthwise_conv\.weight$")),
    ("timm", re.compile(_PREFIX + r"blocks\.\d+\.\d+\.conv_dw\.weight$")),
    ("torchvision", re.compile(_PREFIX + r"[1-7]\.\d+\.block\.\d+\.0\.weight$")),
    ("native", re.compile(_PREFIX + r"layer[1-4]\.\d+\.conv2\.weight$")),
    ("children", re.compile(_PREFIX + r"[4-7]\.\d+\.conv2\.weight$")),
)
_BLOCK_OF: dict[str, re.Pattern[str]] = {
    "efficientnet_pytorch": re.compile(r"_blocks\.(\d+)\."),
    "timm": re.compile(r"blocks\.(\d+\.\d+)\."),
    "torchvision": re.compile(r"([1-7]\.\d+)\.block\."),
    "native": re.compile(r"layer3\.(\d+)\."),
    "children": re.compile(r"6\.(\d+)\."),
}
_UNSUPPORTED = (
    (r"(^|\.)att\w*conv|attention_conv|cbam|spatial_att|(^|\.)(ca|sa)\.", "attention convolutions"),
    (r"(cls_token|patch_embed|\.attn\.|self_attn)", "a transformer"),
    (r"Mixed_\d|Conv2d_1a", "Inception"),
    (r"denseblock\d", "DenseNet"),
    (r"(^|\.)features\.\d+\.(weight|conv\.)|(^|\.)features\.0\.0\.0", "VGG, AlexNet or MobileNet"),
    (r"conv_exp|fused", "EfficientNetV2"),
)
_SUPPORTED = (
    "supported networks are ResNeXt, EfficientNet b0 to b7, EfficientNet-Lite and Xception, and every timm network "
    "given by "
    f"--backbone {TIMM_PREFIX}NAME, with or without an LSTM or GRU"
)


def find_backbone(shapes: Shapes, file: str, named: str | None) -> tuple[Naming, str, str]:
    """
    Detect the backbone.

    Args:
        shapes: Shape of each tensor by key.
        file: Name of the file, for messages.
        named: timm network of the file, if set by the user.

    Returns:
        The naming scheme of its keys, their prefix, and its name.

    Raises:
        ConversionError: If there is none that is supported, or more than one.
    """
    prefixes = find_xceptions(shapes) if named is None else find_prefixes(named, shapes, file)
    if len(prefixes) > 1:
        raise _several_backbones([f"{prefix}*" for prefix in prefixes], file)
    if prefixes:
        return "timm", prefixes[0], named or XCEPTION
    naming, prefix = _find_naming(shapes, file)
    own = {key.removeprefix(prefix): shape for key, shape in shapes.items() if key.startswith(prefix)}
    lite = find_lite(own) if naming == "timm" else None
    return naming, prefix, lite or _find_variant(own, naming, file)


def refuse_unsupported(shapes: Shapes, file: str, key_prefix: str) -> None:
    """
    Refuse parts of known kinds that are not supported.

    Args:
        shapes: Shape of each tensor by key.
        file: Name of the file, for messages.
        key_prefix: Prefix that was stripped from all keys, for messages.

    Raises:
        ConversionError: If there is such a part.
    """
    for key, shape in shapes.items():
        name = next((name for pattern, name in _UNSUPPORTED if re.search(pattern, key)), None)
        name = "three-dimensional convolutions" if len(shape) == 5 else name
        if name is not None:
            raise ConversionError(
                f"{quoted(file)} contains {name} (key {quoted(key_prefix + key)}), which is not supported; "
                f"{_SUPPORTED}.",
                reason="layout",
            )


def _find_naming(shapes: Shapes, file: str) -> tuple[Naming, str]:
    found: dict[tuple[Naming, str], str] = {}
    for key in shapes:
        for naming, mark in _MARKS:
            if match := mark.match(key):
                found.setdefault((naming, match[1]), key)
                break
    if len(found) == 1:
        return next(iter(found))
    if found:
        raise _several_backbones(list(found.values()), file)
    refuse_unsupported(shapes, file, "")
    raise ConversionError(
        f"{quoted(file)} contains no known network (first keys: {listed(list(shapes))}); {_SUPPORTED}.",
        reason="layout",
    )


def _several_backbones(keys: list[str], file: str) -> ConversionError:
    return ConversionError(
        f"{quoted(file)} contains {len(keys)} backbones (at {listed(keys)}); if they are the weights and their "
        "average (EMA, SWA), select one with --key and the prefix of its keys.",
        reason="layout",
    )


def _find_variant(own: Shapes, naming: Naming, file: str) -> str:
    """Return the closest variant; the shape check reports what still differs."""
    pattern = _BLOCK_OF[naming]
    blocks = len({match[1] for key in own if (match := pattern.match(key))})
    if naming in ("native", "children"):
        stage = "layer1" if naming == "native" else "4"
        width, per_group = own.get(f"{stage}.0.conv2.weight", (0, 0))[:2]
        if width == per_group or per_group >= 64:
            raise ConversionError(
                f"{quoted(file)} contains a plain ResNet (its convolutions are not grouped), which is not detected; "
                f"{_SUPPORTED}.",
                reason="layout",
            )
        return _nearest(RESNEXTS, (width, per_group, blocks), file)
    # The stem and the last convolution have the same names in all variants.
    names = legacy_names("efficientnet_b0", naming)
    stem, head = ((own.get(names[f"features.{part}.0.weight"]) or (0,))[0] for part in (0, 8))
    return _nearest(EFFICIENTNETS, (stem, head, blocks), file)


def _nearest(variants: Mapping[str, tuple[int, int, int]], numbers: tuple[int, int, int], file: str) -> str:
    def distance(name: str) -> tuple[int, int]:
        own = variants[name]
        return -sum(map(int.__eq__, own, numbers)), abs(own[2] - numbers[2])

    best = min(variants, key=distance)
    # One equal number may be chance; two identify the variant, and the shape check names what is missing.
    if -distance(best)[0] < 2:
        raise ConversionError(
            f"{quoted(file)} contains a network similar to {best} but of different widths ({numbers} instead of "
            f"{variants[best]}), which is not supported; {_SUPPORTED}.",
            reason="layout",
        )
    return best
