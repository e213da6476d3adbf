# SPDX-License-Identifier: Apache-2.0
"""Which network a state dict belongs to, told from its keys and shapes alone."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ..timm_backbones import PREFIX as TIMM_PREFIX
from ..timm_backbones import is_timm
from .backbones import EFFICIENTNETS, RESNEXTS, Naming, backbone_shapes, legacy_names, num_features
from .errors import ConversionError, listed, shown
from .heads import Head, find_attention, find_head
from .recurrence import RecurrentLayout, find_rnn
from .timm_layouts import ADJUSTMENT, XCEPTION, find_lite, find_prefixes, find_xceptions


Shapes = Mapping[str, tuple[int, ...]]
Family = Literal[
    "resnext50-lstm",
    "efficientnet-b0-bilstm",
    "efficientnet-b0-bilstm-attention",
    "efficientnet-b0-frames",
    "icpr2020dfdc",
    "deepfakebench",
    "selimsef-dfdc",
    "torchvision-frames",
    "timm-frames",
    "deepfakebench-xception",
    "faceforensics-xception",
    "assorted",
]

_PREFIX = r"^((?:.+\.)?)"
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
    "supported are ResNeXt, EfficientNet b0 to b7, EfficientNet-Lite and Xception, and any network of timm that "
    f"--backbone {TIMM_PREFIX}NAME names, with or without an LSTM or GRU"
)


@dataclass(frozen=True)
class Layout:
    """
    What keys and shapes tell about a checkpoint.

    Attributes:
        family: The known system whose exact keys these are, or `"assorted"`.
        naming: The dialect of the backbone's keys.
        backbone: Name of the backbone, as in [`DeepfakeConfig`].
        prefix: What the backbone's keys begin with.
        backbone_keys: Our key of each backbone weight, to the key in the file.
        rnn: The RNN, or `None` in a frame classifier.
        attention: Module names of the attention pooling's two layers.
        head: The linear layers.
        unused: Keys that belong to the network but take no part in its answer.
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

    @property
    def head_input(self) -> int:
        """Width of what the head reads."""
        return self.num_features if self.rnn is None else self.rnn.output_size


def recognise(
    shapes: Shapes,
    *,
    file: str,
    key_prefix: str = "",
    has_order: bool = False,
    head_order: Sequence[str] | None = None,
    backbone: str | None = None,
) -> Layout:
    """
    Find the layout of a state dict.

    Args:
        shapes: Shape of each tensor by its key.
        file: Name of the file, for messages.
        key_prefix: What was stripped from all keys, for messages, and because it tells FaceForensics++.
        has_order: Whether the keys come in the order in which the layers were made.
        head_order: Names of the head's layers, where the user gave them.
        backbone: The network of timm that the file is said to hold.

    Raises:
        ConversionError: In one sentence, if the layout is not supported, or keys are missing, of a wrong shape, or
            too many.
    """
    naming, prefix, backbone = _find_backbone(shapes, file, backbone)
    expected = {key: prefix + name for key, name in legacy_names(backbone, naming).items()}
    _check_shapes({name: backbone_shapes(backbone)[key] for key, name in expected.items()}, shapes, file, key_prefix)
    rest: Shapes = {key: shape for key, shape in shapes.items() if key not in set(expected.values())}
    adjustment, rest = _split_adjustment(rest, prefix) if backbone == XCEPTION else ((), rest)
    features = num_features(backbone)
    rnn = find_rnn(rest, features, file, key_prefix)
    if rnn is not None:
        _check_shapes(rnn.shapes(), shapes, file, key_prefix)
        rest = {key: shape for key, shape in rest.items() if key not in rnn.shapes()}
    _refuse_by_name(rest, file, key_prefix)
    width = features if rnn is None else rnn.output_size
    attention, attention_size = find_attention(rest, width, file, key_prefix)
    for module in attention or ():
        rest = {key: shape for key, shape in rest.items() if key.rpartition(".")[0] != module}
    head, unused = find_head(rest, width, file, key_prefix, has_order=has_order, given=head_order)
    if is_timm(backbone):
        family = _find_timm_family(backbone, key_prefix + prefix, rnn, head, bool(adjustment))
    else:
        family = _find_family(naming, prefix, backbone, rnn, attention, head)
    unused += adjustment
    return Layout(family, naming, backbone, prefix, expected, rnn, attention, attention_size, head, unused, features)


# (naming, prefix, backbone; the RNN's prefix, kind, width, depth, directions, biases; attention; head, outputs)
_B0 = ("efficientnet_b0", "lstm.", "lstm", 256, 2, True, True)
_RECURRENT_FAMILIES: dict[tuple[object, ...], Family] = {
    (
        *("children", "model.", "resnext50_32x4d", "lstm.", "lstm", 2048, 1, False, False),
        *(False, ("linear1",), 2),
    ): "resnext50-lstm",
    (
        *("torchvision", "feature_extractor.0.", *_B0),
        *(False, ("classifier.0", "classifier.3"), 1),
    ): "efficientnet-b0-bilstm",
    (
        *("torchvision", "feature_extractor.", *_B0),
        *(True, ("classifier",), 1),
    ): "efficientnet-b0-bilstm-attention",
}


def _find_backbone(shapes: Shapes, file: str, named: str | None) -> tuple[Naming, str, str]:
    """The dialect of the backbone's keys, what they begin with, and its name."""
    prefixes = find_xceptions(shapes) if named is None else find_prefixes(named, shapes, file)
    if len(prefixes) > 1:
        raise _several_backbones([f"{prefix}*" for prefix in prefixes], file)
    if prefixes:
        return "timm", prefixes[0], named or XCEPTION
    naming, prefix = _find_naming(shapes, file)
    own = {key.removeprefix(prefix): shape for key, shape in shapes.items() if key.startswith(prefix)}
    lite = find_lite(own) if naming == "timm" else None
    return naming, prefix, lite or _find_variant(own, naming, file)


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
    _refuse_by_name(shapes, file, "")
    raise ConversionError(
        f"{shown(file)} holds no network that is recognised (its first keys are {listed(list(shapes))}); "
        f"{_SUPPORTED}.",
        reason="layout",
    )


def _several_backbones(keys: list[str], file: str) -> ConversionError:
    return ConversionError(
        f"{shown(file)} holds {len(keys)} backbones (at {listed(keys)}); if they are weights and their average (EMA, "
        "SWA), choose one with --key and what its keys begin with.",
        reason="layout",
    )


def _refuse_by_name(shapes: Shapes, file: str, key_prefix: str) -> None:
    for key, shape in shapes.items():
        name = next((name for pattern, name in _UNSUPPORTED if re.search(pattern, key)), None)
        name = "three-dimensional convolutions" if len(shape) == 5 else name
        if name is not None:
            raise ConversionError(
                f"{shown(file)} holds {name} (key {shown(key_prefix + key)}), which is not supported; {_SUPPORTED}.",
                reason="layout",
            )


def _find_variant(own: Shapes, naming: Naming, file: str) -> str:
    """The backbone whose three telling numbers come nearest; what then differs is named by the shape check."""
    pattern = _BLOCK_OF[naming]
    blocks = len({match[1] for key in own if (match := pattern.match(key))})
    if naming in ("native", "children"):
        stage = "layer1" if naming == "native" else "4"
        width, per_group = own.get(f"{stage}.0.conv2.weight", (0, 0))[:2]
        if width == per_group or per_group >= 64:
            raise ConversionError(
                f"{shown(file)} holds a plain ResNet (its convolutions are not grouped), which is not recognised; "
                f"{_SUPPORTED}.",
                reason="layout",
            )
        return _nearest(RESNEXTS, (width, per_group, blocks), file)
    stem = {"efficientnet_pytorch": "_conv_stem", "timm": "conv_stem", "torchvision": "0.0"}[naming]
    head = {"efficientnet_pytorch": "_conv_head", "timm": "conv_head", "torchvision": "8.0"}[naming]
    numbers = ((own.get(f"{stem}.weight") or (0,))[0], (own.get(f"{head}.weight") or (0,))[0], blocks)
    return _nearest(EFFICIENTNETS, numbers, file)


def _nearest(variants: Mapping[str, tuple[int, int, int]], numbers: tuple[int, int, int], file: str) -> str:
    def distance(name: str) -> tuple[int, int]:
        own = variants[name]
        return -sum(map(int.__eq__, own, numbers)), abs(own[2] - numbers[2])

    best = min(variants, key=distance)
    # One number alone is shared by chance; two name the variant, and the third says what is missing.
    if -distance(best)[0] < 2:
        raise ConversionError(
            f"{shown(file)} holds a network like {best} but of other widths (it has {numbers}, {best} has "
            f"{variants[best]}), which is not recognised; {_SUPPORTED}.",
            reason="layout",
        )
    return best


def _check_shapes(expected: Shapes, shapes: Shapes, file: str, key_prefix: str) -> None:
    # Checkpoints from before PyTorch 0.4.1 lack the counters of batch norm, which no answer depends on.
    missing = [key_prefix + key for key in expected if key not in shapes and not key.endswith("num_batches_tracked")]
    if missing:
        raise ConversionError(
            f"{shown(file)} is incomplete: it lacks {listed(missing)}; save the whole state dict of the model.",
            reason="weights",
        )
    for key, shape in expected.items():
        if shapes.get(key, shape) != shape:
            raise ConversionError(
                f"{shown(file)} holds {shown(key_prefix + key)} with the shape {shapes[key]} instead of {shape}; this "
                "is another network, or a damaged file.",
                reason="weights",
            )


def _find_family(
    naming: Naming,
    prefix: str,
    backbone: str,
    rnn: RecurrentLayout | None,
    attention: tuple[str, str] | None,
    head: Head,
) -> Family:
    """The published system with exactly these keys; a prefix that all keys shared is gone by now."""
    modules, outputs = head.modules, head.sizes[-1]
    if rnn is not None:
        signature = (naming, prefix, backbone, rnn.prefix, rnn.kind, rnn.hidden_size, rnn.num_layers)
        flags = (rnn.bidirectional, rnn.has_bias, attention is not None)
        return _RECURRENT_FAMILIES.get((*signature, *flags, modules, outputs), "assorted")
    # C and DeepfakeBench keep everything under `backbone.`, which was stripped as common to all keys.
    if naming == "efficientnet_pytorch":
        if (backbone, prefix, modules, outputs) == ("efficientnet_b0", "", ("_fc.1",), 1):
            return "efficientnet-b0-frames"
        if (prefix, modules, outputs) == ("efficientnet.", ("last_layer",), 2):
            return "deepfakebench"
        if (prefix, modules, outputs) == ("efficientnet.", ("classifier",), 1):
            return "icpr2020dfdc"
    if (naming, prefix, modules, outputs) == ("timm", "encoder.", ("fc",), 1):
        return "selimsef-dfdc"
    if naming == "torchvision" and prefix == "features.":
        return "torchvision-frames"
    return "assorted"


def _find_timm_family(
    backbone: str, prefix: str, rnn: RecurrentLayout | None, head: Head, has_adjustment: bool
) -> Family:
    """The project that wrote a file whose backbone is timm's."""
    if rnn is not None:
        return "assorted"
    if backbone != XCEPTION:
        return "timm-frames"
    if head.sizes == (2,) and has_adjustment:
        return "deepfakebench-xception"
    # Its `TransferModel` keeps the network under this name and replaces the head by a dropout and a linear layer.
    if head.sizes == (2,) and prefix.endswith("model.") and head.modules[0].endswith("last_linear.1"):
        return "faceforensics-xception"
    return "timm-frames"


def _split_adjustment(rest: Shapes, prefix: str) -> tuple[tuple[str, ...], Shapes]:
    """The keys of DeepfakeBench's second head, which its ordinary mode does not use, and the other ones."""
    unused = tuple(key for key in rest if key.startswith(prefix + ADJUSTMENT))
    return unused, {key: shape for key, shape in rest.items() if key not in unused}
