# SPDX-License-Identifier: Apache-2.0
"""Refuses options that contradict a checkpoint."""

from collections.abc import Mapping
from typing import Any

from ..common.text import quoted
from .errors import ConversionOptionError
from .layout import Layout
from .plan import option
from .timm_layouts import XCEPTION


def check_preset(layout: Layout, preset: str, file: str) -> None:
    """
    Check that a preset describes the network of the file.

    Args:
        layout: The detected layout.
        preset: One of `PRESET_NAMES`.
        file: Name of the file, for messages.

    Raises:
        ConversionOptionError: If it does not.
    """
    rnn = layout.rnn
    fits = {
        "resnext50-lstm": layout.backbone == "resnext50_32x4d" and rnn is not None and not rnn.has_bias,
        "efficientnet-b0-bilstm": layout.backbone == "efficientnet_b0" and rnn is not None and rnn.bidirectional,
        "efficientnet-b0-frames": layout.backbone == "efficientnet_b0" and rnn is None,
        "deepfakebench": layout.family == "deepfakebench",
        "deepfakebench-xception": layout.family == "deepfakebench-xception",
        "faceforensics-xception": layout.family == "faceforensics-xception",
        "self-blended-images": layout.family == "self-blended-images",
        "efficientnet-lite2-frames": layout.backbone == "timm/tf_efficientnet_lite2" and rnn is None,
        "xception-frames": layout.backbone == XCEPTION and rnn is None,
    }
    if not fits[preset]:
        raise ConversionOptionError(
            f"--preset {preset} does not fit {quoted(file)}, which contains {layout.describe()}; omit it and set the "
            "required options."
        )


def check_stored(given: Mapping[str, Any], stored: Mapping[str, Any], file: str) -> None:
    """
    Check that no option contradicts what the file states beside its weights.

    Args:
        given: Options set by the user.
        stored: Values that the file states.
        file: Name of the file, for messages.

    Raises:
        ConversionOptionError: If one does.
    """
    for name, value in stored.items():
        if given.get(name, value) != value:
            raise ConversionOptionError(
                f"{option(name)} {given[name]} contradicts {quoted(file)}, whose class names state {value}; omit the "
                "option, or save the weights without these names if they are wrong."
            )


def check_options(
    layout: Layout,
    given: Mapping[str, Any],
    *,
    settled: Mapping[str, Any],
    published: Mapping[str, Any],
    file: str,
) -> None:
    """
    Check that the options do not contradict the checkpoint.

    Args:
        layout: The detected layout.
        given: Options set by the user.
        settled: Final values of all settings.
        published: Values according to keys, layout and preset.
        file: Name of the file, for messages.

    Raises:
        ConversionOptionError: If an option contradicts the file or another option.
    """
    if "padding_image_size" in given and settled.get("padding") == "torch":
        raise ConversionOptionError("--padding-image-size requires --padding same.")
    _check_recurrence(layout, given, settled, published, file)
    if layout.rnn:
        _check_pooling(layout, given, file)


def _check_recurrence(
    layout: Layout, given: Mapping[str, Any], settled: Mapping[str, Any], published: Mapping[str, Any], file: str
) -> None:
    if layout.rnn and given.get("recurrence") == "sequence" and published.get("recurrence") == "per-frame":
        raise ConversionOptionError(
            f"--recurrence sequence would silently turn {quoted(file)}, which never ran as a sequence model, into a "
            "different function; omit the option, or use --as-sequence if that is intended."
        )
    if given.get("as_sequence") and settled.get("recurrence") == "sequence":
        raise ConversionOptionError(
            f"--as-sequence turns a per-frame RNN into a sequence model, but {quoted(file)} already is a sequence "
            "model; omit it."
        )
    if given.get("as_sequence") and layout.rnn is None:
        raise ConversionOptionError(f"--as-sequence requires an RNN, but {quoted(file)} contains none.")


def _check_pooling(layout: Layout, given: Mapping[str, Any], file: str) -> None:
    pooling = given.get("pooling")
    if layout.attention and pooling not in (None, "attention"):
        raise ConversionOptionError(
            f"--pooling {pooling} would drop the attention pooling whose weights {quoted(file)} contains; omit the "
            "option."
        )
    if not layout.attention and pooling == "attention":
        raise ConversionOptionError(
            f"--pooling attention requires weights that {quoted(file)} does not contain; choose last, mean or max."
        )
    activation = given.get("attention_activation")
    if layout.attention and activation not in (None, "tanh"):
        raise ConversionOptionError(
            f"--attention-activation {activation} cannot be converted: the attention pooling of a model folder "
            f"always applies tanh between its two layers, so {quoted(file)} would become a different function."
        )
