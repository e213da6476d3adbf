# SPDX-License-Identifier: Apache-2.0
"""Detects the network of a state dict from its keys and shapes alone."""

from collections.abc import Sequence

from ..common.text import quoted
from ..timm_backbones import is_timm
from .backbone_detection import find_backbone, refuse_unsupported
from .backbones import Shapes, backbone_shapes, legacy_names, num_features
from .errors import ConversionError, listed
from .families import find_family, find_timm_family
from .heads import find_attention, find_head
from .layout import Layout
from .recurrence import find_rnn
from .timm_layouts import ADJUSTMENT, XCEPTION


_OWN_BACKBONE = "deepfake.frame_encoder.backbone."


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
    Detect the layout of a state dict.

    Args:
        shapes: Shape of each tensor by key.
        file: Name of the file, for messages.
        key_prefix: Prefix that was stripped from all keys, for messages and to detect published systems.
        has_order: Whether the keys are in the order in which the layers were created.
        head_order: Names of the head's layers, if set by the user.
        backbone: timm network of the file, if set by the user.

    Returns:
        The layout.

    Raises:
        ConversionError: If the layout is not supported, or keys are missing, unexpected or of a wrong shape.
        ConversionOptionError: If `head_order` does not fit, or is required.
    """
    _refuse_own_weights(shapes, file)
    naming, prefix, backbone = find_backbone(shapes, file, backbone)
    expected = {key: prefix + name for key, name in legacy_names(backbone, naming).items()}
    _check_shapes({name: backbone_shapes(backbone)[key] for key, name in expected.items()}, shapes, file, key_prefix)
    # The second head of DeepfakeBench, which its ordinary mode does not use.
    adjustment = tuple(key for key in shapes if backbone == XCEPTION and key.startswith(prefix + ADJUSTMENT))
    rest: Shapes = _without(shapes, {*expected.values(), *adjustment})
    features = num_features(backbone)
    rnn = find_rnn(rest, features, file, key_prefix)
    if rnn is not None:
        _check_shapes(rnn.shapes(), shapes, file, key_prefix)
        rest = _without(rest, set(rnn.shapes()))
    refuse_unsupported(rest, file, key_prefix)
    width = features if rnn is None else rnn.output_size
    attention, attention_size = find_attention(rest, width, file, key_prefix)
    if attention and rnn is None:
        raise ConversionError(
            f"{quoted(file)} contains an attention pooling ({listed(list(attention))}) over frames without an RNN, "
            "which is not supported.",
            reason="layout",
        )
    rest = {key: shape for key, shape in rest.items() if key.rpartition(".")[0] not in (attention or ())}
    head, unused = find_head(rest, width, file, key_prefix, has_order=has_order, given=head_order)
    if is_timm(backbone):
        family = find_timm_family(backbone, key_prefix + prefix, rnn, head, bool(adjustment))
    else:
        family = find_family(naming, prefix, backbone, rnn, attention, head, key_prefix)
    return Layout(
        family=family,
        naming=naming,
        backbone=backbone,
        prefix=prefix,
        backbone_keys=expected,
        rnn=rnn,
        attention=attention,
        attention_size=attention_size,
        head=head,
        unused=(*unused, *adjustment),
        num_features=features,
    )


def _refuse_own_weights(shapes: Shapes, file: str) -> None:
    """Refuse weights of a model folder: its config.json states padding, calibration and labels, not their keys."""
    if any(key.startswith(_OWN_BACKBONE) for key in shapes):
        raise ConversionError(
            f"{quoted(file)} contains weights of a model folder of this package, which need no conversion; use the "
            "folder, or load them with its config.json into DeepfakeForVideoClassification and save that.",
            reason="layout",
        )


def _without(shapes: Shapes, keys: set[str]) -> Shapes:
    return {key: shape for key, shape in shapes.items() if key not in keys}


def _check_shapes(expected: Shapes, shapes: Shapes, file: str, key_prefix: str) -> None:
    # Checkpoints from before PyTorch 0.4.1 lack the counters of batch norm, which do not affect the output.
    missing = [key_prefix + key for key in expected if key not in shapes and not key.endswith("num_batches_tracked")]
    if missing:
        raise ConversionError(
            f"{quoted(file)} is incomplete, missing keys: {listed(missing)}; save the whole state dict of the model.",
            reason="weights",
        )
    for key, shape in expected.items():
        if shapes.get(key, shape) != shape:
            raise ConversionError(
                f"{quoted(file)} contains {quoted(key_prefix + key)} of shape {shapes[key]} instead of {shape}: a "
                "different network, or a damaged file.",
                reason="weights",
            )
