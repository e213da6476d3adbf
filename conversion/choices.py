# SPDX-License-Identifier: Apache-2.0
"""Determines the settings that the weights leave open, from an option, the keys, the layout, a preset or a default."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..timm_backbones import is_timm, timm_input
from .backbones import native_size
from .choice_checks import check_options, check_preset, check_stored
from .layout import Layout
from .plan import option
from .published import FACTS, PRESET_FACTS, SEEN
from .timm_layouts import is_lite


Source = Literal["flag", "file", "keys", "layout", "preset", "default"]

SOURCES: dict[Source, str] = {
    "flag": "set by an option",
    "file": "stored in the file",
    "keys": "determined by the keys",
    "preset": "from the preset",
    "layout": "assumed from the published programs with these keys",
    "default": "assumed by default",
}

_IMAGENET = {"image_mean": (0.485, 0.456, 0.406), "image_std": (0.229, 0.224, 0.225)}
_DEFAULTS: dict[str, Any] = {
    **_IMAGENET,
    "channel_order": "rgb",
    "antialias": True,
    "frame_sampling": "even",
    "faces": "auto",
    "face_margin": 1.3,
    "face_square": True,
    "face_padding": "reflect",
    "do_pad": False,
}
# Choices without a default: a wrong one changes the score, so they are asked for.
_REQUIRED = {
    "recurrence": "--recurrence sequence|per-frame",
    "pooling": "--pooling last|mean|max",
    "attention_activation": "--attention-activation tanh (between the layers of the attention pooling; a file with "
    "another activation cannot be converted)",
    "fake_index": "--fake-index 0|1",
    "activation": "--activation relu|gelu|silu|tanh|none",
    "padding": "--padding torch|same",
}
# Choices that only some layouts have.
_OPTIONAL = {
    "recurrence",
    "pooling",
    "attention_activation",
    "frame_aggregation",
    "activation",
    "padding",
    "padding_image_size",
}


@dataclass(frozen=True)
class Choice:
    """A value and where it comes from."""

    value: Any
    source: Source


@dataclass(frozen=True)
class Choices:
    """
    Everything that keys and shapes leave open.

    Attributes:
        settled: Value of each setting by name.
        missing: Options that are required for the conversion, with the values of published programs.
        ignored: Options that have no meaning for this layout.
        as_sequence: Run a per-frame RNN as a sequence model, which is a different function.
        preset: A preset that would supply some of the missing options.
    """

    settled: Mapping[str, Choice]
    missing: tuple[str, ...]
    ignored: tuple[str, ...]
    as_sequence: bool = False
    preset: str | None = None

    def __getitem__(self, name: str) -> Any:
        return self.settled[name].value

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of a choice, or the default if the layout has no such choice."""
        return self.settled[name].value if name in self.settled else default


def settle(
    layout: Layout, options: Mapping[str, Any], *, file: str, stored: Mapping[str, Any] | None = None
) -> Choices:
    """
    Determine the value of every setting of a layout. Options take precedence over what the file states, keys,
    layout, preset and defaults, in this order.

    Args:
        layout: The detected layout.
        options: Values set by the user, see [`ConversionPlan.options`].
        file: Name of the file, for messages.
        stored: Values that the file states beside its weights.

    Returns:
        The choices; options that are still required are in `missing`.

    Raises:
        ConversionOptionError: If an option contradicts the checkpoint.
    """
    given = dict(options)
    preset = given.get("preset")
    if preset is not None:
        check_preset(layout, preset, file)
    elif given.get("as_sequence"):
        given = {"recurrence": "per-frame", **given}
    sources = _sources(layout, given, preset, stored or {})
    names = _names(layout, given)
    settled: dict[str, Choice] = {}
    for name in names:
        source = next((source for source, values in sources.items() if name in values), None)
        if source is not None:
            settled[name] = Choice(sources[source][name], source)
    if "padding" not in settled or settled["padding"].value == "torch":
        settled.pop("padding_image_size", None)
    check_stored(given, sources["file"], file)
    check_options(
        layout,
        given,
        settled={name: choice.value for name, choice in settled.items()},
        published={**sources["preset"], **sources["layout"], **sources["keys"]},
        file=file,
    )
    missing = [name for name in _REQUIRED if name in names and name not in settled]
    offered = PRESET_FACTS.get(layout.family, {}) if preset is None else {}
    return Choices(
        settled=settled,
        missing=(*_missing_head_order(layout), *(_with_published(name, layout) for name in missing)),
        ignored=tuple(option(name) for name in given if name in _OPTIONAL - set(names)),
        as_sequence=bool(given.get("as_sequence")),
        preset=layout.family if any(name in offered for name in missing) else None,
    )


def preset_options(preset: str) -> str:
    """Return the options that a preset sets."""
    return ", ".join(f"{option(name)} {value}" for name, value in PRESET_FACTS[preset].items())


def _sources(
    layout: Layout, given: Mapping[str, Any], preset: str | None, stored: Mapping[str, Any]
) -> dict[Source, Mapping[str, Any]]:
    """Return what each source says, in order of precedence."""
    return {
        "flag": given,
        "file": stored,
        "keys": _determined_by_keys(layout, given),
        "layout": FACTS.get(layout.family, {}),
        "preset": {**FACTS.get(preset or "", {}), **PRESET_FACTS.get(preset or "", {})},
        "default": _defaults(layout, given),
    }


def _missing_head_order(layout: Layout) -> tuple[str, ...]:
    if layout.head.order != "open":
        return ()
    return (
        f"--head-order {','.join(layout.head.modules)} (or another order: some layers have equal widths, and the file "
        "does not store their order)",
    )


def _with_published(name: str, layout: Layout) -> str:
    notes = [SEEN[layout.family][name]] if name in SEEN.get(layout.family, {}) else []
    if name == "pooling" and layout.rnn and layout.rnn.bidirectional:
        notes.append("last is output[:, -1]; the final state of each direction, h_n, is not supported")
    return f"{_REQUIRED[name]} ({'; '.join(notes)})" if notes else _REQUIRED[name]


def _names(layout: Layout, given: Mapping[str, Any]) -> list[str]:
    """Return the choices that this layout has."""
    names = ["recurrence", "pooling"] if layout.rnn else ["frame_aggregation"]
    if layout.attention:
        names.append("attention_activation")
    names.append("fake_index")
    if len(layout.head.modules) > 1:
        names.append("activation")
    if layout.backbone.startswith("efficientnet"):
        names += ["padding", "padding_image_size", "stem_padding", "batch_norm_eps"]
    elif is_lite(layout.backbone) and "backbone" not in given:
        names.append("padding")
    return [*names, "image_size", "num_frames", *_DEFAULTS]


def _determined_by_keys(layout: Layout, given: Mapping[str, Any]) -> dict[str, Any]:
    determined: dict[str, Any] = {}
    if layout.attention:
        determined["pooling"] = "attention"
    if is_timm(layout.backbone):
        return determined
    if layout.naming == "efficientnet_pytorch":
        determined |= {"padding": "same", "batch_norm_eps": 1e-3}
    elif layout.naming == "timm":
        # timm's tf_ variants, which pad like TensorFlow, have TensorFlow's epsilon too; the others have torch's.
        determined["batch_norm_eps"] = 1e-3 if given.get("padding") == "same" else 1e-5
    elif layout.naming == "torchvision":
        determined["padding"] = "torch"
    return determined


def _defaults(layout: Layout, given: Mapping[str, Any]) -> dict[str, Any]:
    stated = timm_input(layout.backbone) if is_timm(layout.backbone) else None
    # efficientnet_pytorch fixes the padding for the size of the variant, whatever the size of the frames.
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
