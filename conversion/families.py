# SPDX-License-Identifier: Apache-2.0
"""Published systems, identified by an exact match of their keys."""

from .backbones import Naming
from .heads import Head
from .layout import Family
from .recurrence import RecurrentLayout
from .timm_layouts import XCEPTION


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


def find_family(
    naming: Naming,
    prefix: str,
    backbone: str,
    rnn: RecurrentLayout | None,
    attention: tuple[str, str] | None,
    head: Head,
    key_prefix: str = "",
) -> Family:
    """
    Return the published system with exactly these keys.

    Args:
        naming: Naming scheme of the backbone's keys.
        prefix: Their prefix, after a prefix common to all keys was stripped.
        backbone: Name of the backbone.
        rnn: The RNN, if any.
        attention: Layers of the attention pooling, if any.
        head: The linear layers.
        key_prefix: The prefix that was stripped from all keys.
    """
    modules, outputs = head.modules, head.sizes[-1]
    if rnn is not None:
        signature = (naming, prefix, backbone, rnn.prefix, rnn.kind, rnn.hidden_size, rnn.num_layers)
        flags = (rnn.bidirectional, rnn.has_bias, attention is not None)
        return _RECURRENT_FAMILIES.get((*signature, *flags, modules, outputs), "assorted")
    # efficientnet-b0-frames and DeepfakeBench keep everything under `backbone.`, which was stripped as common prefix.
    if naming == "efficientnet_pytorch":
        if (backbone, prefix, modules, outputs) == ("efficientnet_b0", "", ("_fc.1",), 1):
            return "efficientnet-b0-frames"
        if (prefix, modules, outputs) == ("efficientnet.", ("last_layer",), 2):
            return "deepfakebench"
        if (prefix, modules, outputs) == ("efficientnet.", ("classifier",), 1):
            return "icpr2020dfdc"
        # Its network is the attribute `net`, which all keys begin with; DataParallel adds another prefix.
        if (backbone, prefix, modules, outputs) == ("efficientnet_b4", "", ("_fc",), 2):
            return "self-blended-images" if f".{key_prefix}".endswith(".net.") else "assorted"
    if (naming, prefix, modules, outputs) == ("timm", "encoder.", ("fc",), 1):
        return "selimsef-dfdc"
    if naming == "torchvision" and prefix == "features.":
        return "torchvision-frames"
    return "assorted"


def find_timm_family(
    backbone: str, prefix: str, rnn: RecurrentLayout | None, head: Head, has_adjustment: bool
) -> Family:
    """
    Return the project that wrote a checkpoint with a timm backbone.

    Args:
        backbone: Name of the backbone.
        prefix: Full prefix of its keys.
        rnn: The RNN, if any.
        head: The linear layers.
        has_adjustment: Whether the file contains the second head of DeepfakeBench.
    """
    if rnn is not None:
        return "assorted"
    if backbone != XCEPTION:
        return "timm-frames"
    if head.sizes == (2,) and has_adjustment:
        return "deepfakebench-xception"
    # The `TransferModel` of FaceForensics++ stores the network as `model` and replaces its head by dropout and a
    # linear layer.
    if head.sizes == (2,) and prefix.endswith("model.") and head.modules[0].endswith("last_linear.1"):
        return "faceforensics-xception"
    return "timm-frames"
