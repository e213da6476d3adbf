# SPDX-License-Identifier: Apache-2.0
"""What weights cannot tell: settled by a flag, by the layout, by a preset or by a default, and always said which."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..timm_backbones import is_timm, timm_input
from .backbones import native_size
from .errors import ConversionError, shown
from .published import FACTS, PRESET_FACTS, PRESETS, SEEN
from .recognition import Layout
from .timm_layouts import XCEPTION, is_lite


Source = Literal["flag", "keys", "layout", "preset", "default"]

_IMAGENET = {"image_mean": (0.485, 0.456, 0.406), "image_std": (0.229, 0.224, 0.225)}
_DEFAULTS: dict[str, Any] = {
    **_IMAGENET,
    "channel_order": "rgb",
    "frame_sampling": "even",
    "faces": "auto",
    "face_margin": 1.3,
    "face_square": True,
    "face_padding": "reflect",
    "do_pad": False,
}
_FLAGS = {
    "recurrence": "--recurrence sequence|per-frame",
    "pooling": "--pooling last|mean|max",
    "fake_index": "--fake-index 0|1",
    "activation": "--activation relu|gelu|silu|tanh|none",
    "padding": "--padding torch|same",
}


SOURCES: dict[Source, str] = {
    "flag": "given",
    "keys": "told by the keys",
    "preset": "of the preset",
    "layout": "assumed from the published programs with these keys",
    "default": "assumed by default",
}


@dataclass(frozen=True)
class Choice:
    """A value, and who settled it."""

    value: Any
    source: Source


@dataclass(frozen=True)
class Choices:
    """
    Everything that keys and shapes leave open.

    Attributes:
        settled: Each choice by its name.
        missing: Flags that must be given before the checkpoint can be converted, with what was seen to be published.
        preset: A preset that would settle some of them.
        ignored: Flags that were given and mean nothing for this layout.
        as_sequence: Whether a per-frame RNN is to run as a sequence model instead, which is another function.
    """

    settled: Mapping[str, Choice]
    missing: tuple[str, ...]
    ignored: tuple[str, ...]
    as_sequence: bool = False
    preset: str | None = None

    def __getitem__(self, name: str) -> Any:
        return self.settled[name].value

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a choice, or the default where the layout has no such choice."""
        return self.settled[name].value if name in self.settled else default


def settle(layout: Layout, flags: Mapping[str, Any], *, file: str) -> Choices:
    """
    Settle every choice that the layout has; a flag wins over the layout, the layout over the preset.

    Args:
        layout: What was recognised.
        flags: Values given by the user, by the names of the arguments; `None` stands for "not given".
        file: Name of the file, for messages.

    Raises:
        ConversionError: If a flag contradicts what the file holds. A missing flag is no error here.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    _check_values(given)
    preset = given.get("preset")
    if preset is not None:
        _check_preset(layout, preset, file)
    elif given.get("as_sequence"):
        given = {"recurrence": "per-frame", **given}
    sources: list[tuple[Source, Mapping[str, Any]]] = [
        ("flag", given),
        ("keys", _told_by_keys(layout, given)),
        ("layout", FACTS.get(layout.family, {})),
        ("preset", {**FACTS.get(preset or "", {}), **PRESET_FACTS.get(preset or "", {})}),
        ("default", _defaults(layout, given)),
    ]
    settled: dict[str, Choice] = {}
    names = _names(layout, given)
    for name in names:
        for source, values in sources:
            if name in values:
                settled[name] = Choice(values[name], source)
                break
    if settled.get("padding", Choice("torch", "default")).value == "torch":
        settled.pop("padding_image_size", None)
        if "padding_image_size" in given and "padding" in settled:
            raise ConversionError("--padding-image-size goes with --padding same.", reason="flags")
    _check_contradictions(layout, given, settled, sources, file)
    missing = [name for name in _FLAGS if name in names and name not in settled]
    offered = PRESET_FACTS.get(layout.family, {}) if preset is None else {}
    return Choices(
        settled=settled,
        missing=(*_missing_head_order(layout), *(_with_seen(name, layout) for name in missing)),
        ignored=tuple(f"--{name.replace('_', '-')}" for name in given if name in _optional_names() - set(names)),
        as_sequence=bool(given.get("as_sequence")),
        preset=layout.family if any(name in offered for name in missing) else None,
    )


def _missing_head_order(layout: Layout) -> tuple[str, ...]:
    if layout.head.order != "open":
        return ()
    return (
        f"--head-order {','.join(layout.head.modules)} (or another order: layers of equal width, and the file has no "
        "order of its own)",
    )


def _with_seen(name: str, layout: Layout) -> str:
    seen = [SEEN[layout.family][name]] if name in SEEN.get(layout.family, {}) else []
    if name == "pooling" and layout.rnn and layout.rnn.bidirectional:
        seen.append("last is output[:, -1]; the final state of each direction, h_n, is not supported")
    return f"{_FLAGS[name]} ({'; '.join(seen)})" if seen else _FLAGS[name]


def settled_by_preset(preset: str) -> str:
    """What a preset settles, as flags."""
    return ", ".join(f"--{name.replace('_', '-')} {value}" for name, value in PRESET_FACTS[preset].items())


def _optional_names() -> set[str]:
    return {"recurrence", "pooling", "frame_aggregation", "activation", "padding", "padding_image_size"}


def _names(layout: Layout, given: Mapping[str, Any]) -> list[str]:
    """The choices that this layout has."""
    names = ["recurrence", "pooling"] if layout.rnn else ["frame_aggregation"]
    names.append("fake_index")
    if len(layout.head.modules) > 1:
        names.append("activation")
    if layout.backbone.startswith("efficientnet"):
        names += ["padding", "padding_image_size", "stem_padding", "batch_norm_eps"]
    elif is_lite(layout.backbone) and "backbone" not in given:
        names.append("padding")
    return [*names, "image_size", "num_frames", *_DEFAULTS]


def _told_by_keys(layout: Layout, given: Mapping[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if layout.attention:
        told["pooling"] = "attention"
    if is_timm(layout.backbone):
        return told
    if layout.naming == "efficientnet_pytorch":
        told |= {"padding": "same", "batch_norm_eps": 1e-3}
    elif layout.naming == "timm":
        # timm's tf_ variants, which pad as TensorFlow does, have TensorFlow's epsilon too; the others have torch's.
        told["batch_norm_eps"] = 1e-3 if given.get("padding") == "same" else 1e-5
    elif layout.naming == "torchvision":
        told["padding"] = "torch"
    return told


def _defaults(layout: Layout, given: Mapping[str, Any]) -> dict[str, Any]:
    stated = timm_input(layout.backbone) if is_timm(layout.backbone) else None
    # That package fixes the padding for the size of the variant, whatever size the frames have.
    is_static = layout.naming == "efficientnet_pytorch" and "padding" not in given
    return {
        **_DEFAULTS,
        **({"image_mean": stated.mean, "image_std": stated.std} if stated else {}),
        "image_size": native_size(layout.backbone),
        "num_frames": 20 if layout.rnn else 32,
        "frame_aggregation": "mean-probability",
        "stem_padding": "default",
        "batch_norm_eps": None,
        "padding_image_size": native_size(layout.backbone) if is_static else None,
    }


def _check_values(given: Mapping[str, Any]) -> None:
    for name in ("image_size", "padding_image_size", "num_frames"):
        if name in given and not 1 <= given[name] <= 4096:
            raise ConversionError(
                f"--{name.replace('_', '-')} must lie between 1 and 4096, got {given[name]}.", reason="flags"
            )
    for name, low in (("image_mean", -1e3), ("image_std", 1e-6)):
        values = given.get(name, (1.0,) * 3)
        if len(values) != 3 or not all(math.isfinite(value) and low <= value <= 1e3 for value in values):
            raise ConversionError(
                f"--{name.replace('_', '-')} must be three sensible numbers, got {tuple(values)}.", reason="flags"
            )
    if not 0.5 <= given.get("face_margin", 1.0) <= 5.0:
        raise ConversionError(f"--face-margin must lie between 0.5 and 5, got {given['face_margin']}.", reason="flags")


def _check_preset(layout: Layout, preset: str, file: str) -> None:
    rnn = layout.rnn
    fits = {
        "resnext50-lstm": layout.backbone == "resnext50_32x4d" and rnn is not None and not rnn.has_bias,
        "efficientnet-b0-bilstm": layout.backbone == "efficientnet_b0" and rnn is not None and rnn.bidirectional,
        "efficientnet-b0-frames": layout.backbone == "efficientnet_b0" and rnn is None,
        "deepfakebench": layout.family == "deepfakebench",
        "deepfakebench-xception": layout.family == "deepfakebench-xception",
        "faceforensics-xception": layout.family == "faceforensics-xception",
        "efficientnet-lite2-frames": layout.backbone == "timm/tf_efficientnet_lite2" and rnn is None,
        "xception-frames": layout.backbone == XCEPTION and rnn is None,
    }
    if preset not in fits:
        raise ConversionError(f"There is no preset {shown(preset)}; choose from {', '.join(PRESETS)}.", reason="flags")
    if not fits[preset]:
        raise ConversionError(
            f"--preset {preset} does not fit {shown(file)}, which holds {describe(layout)}; leave it out and give the "
            "flags that are asked for.",
            reason="flags",
        )


def _check_contradictions(
    layout: Layout,
    given: Mapping[str, Any],
    settled: Mapping[str, Choice],
    sources: list[tuple[Source, Mapping[str, Any]]],
    file: str,
) -> None:
    known = {name: value for _, values in reversed(sources[1:]) for name, value in values.items()}
    if layout.rnn and given.get("recurrence") == "sequence" and known.get("recurrence") == "per-frame":
        raise ConversionError(
            f"{shown(file)} was never run as a sequence model, so --recurrence sequence would silently make it "
            "another function; leave the flag out, or say --as-sequence to mean it.",
            reason="flags",
        )
    if given.get("as_sequence") and settled.get("recurrence", Choice("", "default")).value == "sequence":
        raise ConversionError(
            f"--as-sequence turns a per-frame RNN into a sequence model, and {shown(file)} is one already; leave it "
            "out.",
            reason="flags",
        )
    if given.get("as_sequence") and layout.rnn is None:
        raise ConversionError(f"--as-sequence needs an RNN, and {shown(file)} holds none.", reason="flags")
    if layout.rnn and (given.get("pooling", "attention") == "attention") != bool(layout.attention):
        if layout.attention:
            raise ConversionError(
                f"{shown(file)} holds the weights of an attention pooling, which --pooling {given['pooling']} would "
                "drop; leave the flag out.",
                reason="flags",
            )
        if "pooling" in given:
            raise ConversionError(
                f"--pooling attention needs weights that {shown(file)} does not hold; choose last, mean or max.",
                reason="flags",
            )


def describe(layout: Layout) -> str:
    """The network in a few words."""
    parts = [f"{layout.backbone} in {layout.naming} names"]
    if layout.rnn:
        rnn = layout.rnn
        article = "a bidirectional" if rnn.bidirectional else "an" if rnn.kind == "lstm" else "a"
        bias = "" if rnn.has_bias else " without biases"
        sizes = f"{rnn.num_layers} x {rnn.input_size} to {rnn.hidden_size}"
        parts.append(f"{article} {rnn.kind.upper()} ({sizes}){bias}")
    if layout.attention:
        parts.append("an attention pooling")
    widths = " to ".join(map(str, layout.head.sizes))
    parts.append(f"a head of {len(layout.head.sizes)} linear layer{'s'[: len(layout.head.sizes) - 1]} to {widths}")
    return ", ".join(parts)


def config_fields(layout: Layout, choices: Choices) -> dict[str, Any]:
    """The fields of `DeepfakeConfig` that make our network compute the same function."""
    fields: dict[str, Any] = {
        "backbone": layout.backbone,
        "image_size": choices["image_size"],
        "num_frames": choices["num_frames"],
        "classifier_hidden_sizes": list(layout.head.sizes[:-1]),
        "classifier_activation": choices.get("activation", "none"),
        "is_trained": True,
    }
    if layout.backbone.startswith("efficientnet"):
        fields |= {
            "conv_padding": choices["padding"],
            "conv_padding_image_size": choices.get("padding_image_size"),
            "stem_padding": choices["stem_padding"],
            "batch_norm_eps": choices["batch_norm_eps"],
        }
    if layout.rnn is None:
        return {
            **fields,
            "rnn_type": "none",
            "hidden_size": layout.num_features,
            "num_hidden_layers": 0,
            "frame_aggregation": choices["frame_aggregation"],
        }
    return {
        **fields,
        "rnn_type": layout.rnn.kind,
        "hidden_size": layout.rnn.hidden_size,
        "num_hidden_layers": layout.rnn.num_layers,
        "bidirectional": layout.rnn.bidirectional,
        "recurrence": "sequence" if choices.as_sequence else choices["recurrence"],
        "frame_aggregation": "features",
        "pooling": choices["pooling"],
        **({"attention_hidden_size": layout.attention_size} if layout.attention else {}),
    }


def processor_fields(choices: Choices) -> dict[str, Any]:
    """The fields of `DeepfakeVideoProcessor` that prepare frames as the legacy program did."""
    size = choices["image_size"]
    mean, std = list(choices["image_mean"]), list(choices["image_std"])
    return {
        "size": {"height": size, "width": size},
        "resample": 2,
        "do_pad": choices["do_pad"],
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": (mean, std) != ([0.0] * 3, [1.0] * 3),
        "image_mean": mean,
        "image_std": std,
        "channel_order": choices["channel_order"],
        "num_frames": choices["num_frames"],
        "frame_sampling": choices["frame_sampling"],
        "do_crop_faces": choices["faces"] == "auto",
        "face_margin": choices["face_margin"],
        "face_square": choices["face_square"],
        "face_padding": choices["face_padding"],
    }
