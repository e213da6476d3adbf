# SPDX-License-Identifier: Apache-2.0
"""The model card of a converted folder: origin of the weights, the function they compute, and the parity check."""

from pathlib import Path
from typing import Any

from ..hub.card_text import LIMITS, snippet, write_card
from .choices import SOURCES, Choices
from .inspection import Inspection
from .layout import Layout
from .parity import Parity
from .plan import ConversionPlan


_UNMEASURED = "The conversion does not measure accuracy, and this card claims none."


def write_conversion_card(folder: Path, inspection: Inspection, parity: Parity, plan: ConversionPlan) -> None:
    """
    Write `README.md`.

    Args:
        folder: The model folder.
        inspection: Inspection of the converted checkpoint.
        parity: Result of the comparison.
        plan: Name, license, base model and data sets, which only the user knows; none of them is guessed.
    """
    checkpoint, layout, choices = inspection.checkpoint, inspection.layout, inspection.choices
    licence = plan.license or (
        "not stated. The license of these weights was not given when they were converted; ask their authors before "
        "you use or publish them"
    )
    rows = "\n".join(
        f"| {name.replace('_', ' ')} | {_text(choice.value)} | {SOURCES[choice.source]} |"
        for name, choice in choices.settled.items()
    )
    sections = [
        f"# {(plan.repo_id or 'Converted deepfake detector').rpartition('/')[2]}",
        _intro(choices, layout),
        f"## Use\n\n{snippet(plan.repo_id or '<this folder or its Hub id>')}",
        "## What these weights compute\n\n" + "\n".join(f"- {sentence}" for sentence in inspection.diagnosis),
        "## Settings\n\nThe weights do not determine these choices; the last column shows the source of each "
        f"value.\n\n| choice | value | source |\n|---|---|---|\n{rows}",
        "## Origin\n\n"
        f"- Source file: {checkpoint.num_bytes} bytes, sha256 `{checkpoint.sha256}`\n"
        f"- Detected type: {layout.family} ({layout.describe()})\n"
        f"- Layers of the head, in this order: {', '.join(layout.head.modules)}\n"
        f"- Check after conversion: {parity.line()}.\n"
        f"- License: {licence}.",
        "## Intended use and limits\n\n" + "\n".join(f"- {limit}" for limit in (*LIMITS, _UNMEASURED)),
    ]
    write_card(
        folder,
        sections,
        license=plan.license,
        base_model=plan.base_model,
        datasets=list(plan.datasets) or None,
    )


def _intro(choices: Choices, layout: Layout) -> str:
    text = (
        "Scores a video for face manipulation: real or fake. Legacy weights, converted to safetensors by "
        "`deepfake-video convert`"
    )
    if choices.as_sequence:
        return f"{text} and **run as a different function than the one they were published with**, see below."
    rnn = " with a recurrent layer" if layout.rnn else ", a frame classifier"
    return f"{text}; the network is {layout.backbone}{rnn}."


def _text(value: Any) -> str:
    return ", ".join(f"{number:g}" for number in value) if isinstance(value, tuple) else str(value)
