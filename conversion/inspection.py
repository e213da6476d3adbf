# SPDX-License-Identifier: Apache-2.0
"""Inspect a checkpoint: load it, detect its layout, determine its settings."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..common.plans import check_plan
from .choices import SOURCES, Choices, preset_options, settle
from .diagnosis import diagnose
from .heads import Head, Order
from .layout import Layout
from .loading import Checkpoint, read_checkpoint
from .plan import ConversionPlan, option
from .recognition import recognise
from .tensor_checks import check_is_whole, check_weights
from .timm_layouts import is_lite, padded_as, restore_pointwise


_ORDERS: dict[Order, str] = {
    "shapes": "the only order that fits",
    "file": "in the order of the file",
    "numbers": "in the order of their numbers",
    "flag": "in the order of --head-order",
    "open": "the order is UNDETERMINED",
}


@dataclass(frozen=True)
class Inspection:
    """
    What a checkpoint contains.

    Attributes:
        checkpoint: The file.
        layout: Its network.
        choices: Settings that are determined, and options that are still required.
        diagnosis: Sentences that describe the function of the weights.
    """

    checkpoint: Checkpoint
    layout: Layout
    choices: Choices
    diagnosis: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Return the inspection as JSON-serialisable values."""
        layout, checkpoint = self.layout, self.checkpoint
        return {
            "file": str(checkpoint.path),
            "sha256": checkpoint.sha256,
            "container": checkpoint.container,
            "wrappers": list(checkpoint.wrappers),
            "key_prefix": checkpoint.prefix,
            "set_aside": list(checkpoint.set_aside),
            "family": layout.family,
            "network": layout.describe(),
            "backbone": layout.backbone,
            "naming": layout.naming,
            "recurrent": layout.rnn.__dict__ if layout.rnn else None,
            "attention": list(layout.attention) if layout.attention else None,
            "head": dict(zip(layout.head.modules, layout.head.sizes, strict=True)),
            "head_order": layout.head.order,
            "unused": list(layout.unused),
            "choices": {
                name: {"value": choice.value, "settled_by": choice.source}
                for name, choice in self.choices.settled.items()
            },
            "missing": list(self.choices.missing),
            "preset": self.choices.preset,
            "ignored": list(self.choices.ignored),
            "as_sequence": self.choices.as_sequence,
            "diagnosis": self.diagnosis,
        }

    def lines(self) -> Iterator[str]:
        """Return the inspection as lines of text."""
        checkpoint, layout = self.checkpoint, self.layout
        wrappers = "".join(f"[{name!r}]" for name in checkpoint.wrappers) or "none"
        yield f"file        {checkpoint.path} ({checkpoint.num_bytes} bytes, sha256 {checkpoint.sha256})"
        yield f"container   {checkpoint.container}; wrappers {wrappers}; common prefix {checkpoint.prefix or 'none'}"
        yield f"type        {layout.family}: {layout.describe()}"
        yield f"head        {_describe_head(layout.head, checkpoint.prefix)}"
        yield from _choice_lines(self.choices)
        for sentence in self.diagnosis:
            yield f"note        {sentence}"


def inspect_checkpoint(plan: ConversionPlan) -> Inspection:
    """
    Read a checkpoint and detect what it contains; nothing in it is executed, and nothing is written.

    Args:
        plan: The file and the choices that are known; output and model card do not matter.

    Returns:
        The file, its layout, the choices and which of them are missing.

    Raises:
        ConversionError: If the file cannot be read safely, is incomplete, or is not supported.
        UsageError: If an option contradicts the file.

    Example:

        >>> from deepfake_video import ConversionPlan, inspect_checkpoint
        >>> inspection = inspect_checkpoint(ConversionPlan(checkpoint=checkpoint))
        >>> inspection.layout.family
        'torchvision-frames'
        >>> inspection.choices.missing
        ('--fake-index 0|1',)
    """
    check_plan(plan, ConversionPlan)
    checkpoint = load(plan.checkpoint, plan.key)
    check_is_whole(checkpoint)
    layout = recognise(
        checkpoint.shapes,
        file=str(plan.checkpoint),
        key_prefix=checkpoint.prefix,
        has_order=checkpoint.has_order,
        head_order=plan.head_order,
        backbone=plan.backbone,
    )
    check_weights(checkpoint, layout)
    options = plan.options() | ({"backbone": plan.backbone} if plan.backbone else {})
    stored = {} if checkpoint.fake_index is None else {"fake_index": checkpoint.fake_index}
    choices = settle(layout, options, file=str(plan.checkpoint), stored=stored)
    if is_lite(layout.backbone) and "padding" in choices.settled:
        layout = replace(layout, backbone=padded_as(layout.backbone, choices["padding"]))
    diagnosis = diagnose(layout, choices)
    if checkpoint.set_aside:
        diagnosis.append(f"Ignored keys, which do not affect the output: {', '.join(checkpoint.set_aside)}.")
    return Inspection(checkpoint, layout, choices, diagnosis)


def load(path: Path, key: str | None) -> Checkpoint:
    """
    Read a checkpoint; 1x1 kernels stored as matrices are restored to four axes.

    Args:
        path: The file.
        key: Set of weights to read, if the file contains several.

    Raises:
        ConversionError: If the file cannot be read safely.
    """
    checkpoint = read_checkpoint(path, key)
    restore_pointwise(checkpoint.tensors)
    return checkpoint


def _describe_head(head: Head, prefix: str) -> str:
    chain = ", ".join(f"{prefix}{name} to {width}" for name, width in zip(head.modules, head.sizes, strict=True))
    return f"{chain} ({_ORDERS[head.order]})"


def _choice_lines(choices: Choices) -> Iterator[str]:
    for name, choice in choices.settled.items():
        is_open = choice.source in ("layout", "default") and name in ConversionPlan.__dataclass_fields__
        other = option(f"no_{name}" if choice.value is True else name)
        hint = f"; override it with {other} if it is wrong" if is_open else ""
        if is_open and name == "attention_activation":
            hint = "; a file with another one cannot be converted"
        yield f"setting     {name.replace('_', '-')} = {choice.value} ({SOURCES[choice.source]}{hint})"
    for name in choices.ignored:
        yield f"ignored     {name} has no meaning for this layout"
    for name in choices.missing:
        yield f"missing     {name}"
    if choices.preset:
        yield f"preset      --preset {choices.preset} stands for {preset_options(choices.preset)}"
