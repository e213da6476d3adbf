# SPDX-License-Identifier: Apache-2.0
"""The README.md of a converted folder: where the weights come from, what they compute, how it was checked."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .choices import SOURCES, Choices, describe
from .loading import Checkpoint
from .parity import Parity
from .recognition import Layout


LIMITS = (
    "A score is a reason to look closer, not a verdict: never the only ground of a decision about a person.",
    "Detectors lose accuracy on strong compression, small or turned faces, and on generators that their training data "
    "did not hold.",
    "No sound is judged.",
    "`pipeline` judges the main face of a video alone. `deepfake-video predict` gives the highest score of all people "
    "who are seen in a quarter of the frames or more; with one person both agree.",
)
_UNMEASURED = "No accuracy was measured in the conversion; this card claims none."


@dataclass(frozen=True)
class Provenance:
    """
    What only the person who converts can say; nothing of it is guessed.

    Attributes:
        repo_id: Name on the Hub, for the snippet.
        license: Identifier of the weights' licence, as on the Hub.
        base_model: Model on the Hub that the weights were made from.
        datasets: Data sets on the Hub that they were trained on.
    """

    repo_id: str | None = None
    license: str | None = None
    base_model: str | None = None
    datasets: tuple[str, ...] = ()


def write_model_card(
    folder: Path,
    *,
    checkpoint: Checkpoint,
    layout: Layout,
    choices: Choices,
    diagnosis: list[str],
    parity: Parity,
    provenance: Provenance,
) -> None:
    """Write `README.md` into the folder."""
    from huggingface_hub import ModelCard, ModelCardData

    data = ModelCardData(
        license=provenance.license,
        library_name="transformers",
        pipeline_tag="video-classification",
        tags=["deepfake-detection", "custom_code"],
        base_model=provenance.base_model,
        datasets=list(provenance.datasets) or None,
    )
    name = provenance.repo_id or "<this folder or its Hub id>"
    licence = provenance.license or (
        "not stated. Whoever converted these weights did not name their licence; ask their authors before you use or "
        "publish them"
    )
    rows = "\n".join(
        f"| {key.replace('_', ' ')} | {_text(choice.value)} | {SOURCES[choice.source]} |"
        for key, choice in choices.settled.items()
    )
    sections = [
        f"# {(provenance.repo_id or 'Converted deepfake detector').rpartition('/')[2]}",
        _intro(choices, layout),
        f"## Use\n\n{snippet(name)}",
        "## What these weights compute\n\n" + "\n".join(f"- {sentence}" for sentence in diagnosis),
        "## How they are run\n\nWeights do not tell these; the last column says who settled each.\n\n"
        f"| choice | value | settled by |\n|---|---|---|\n{rows}",
        "## Origin\n\n"
        f"- Source file: {checkpoint.num_bytes} bytes, sha256 `{checkpoint.sha256}`\n"
        f"- Recognised as: {layout.family} ({describe(layout)})\n"
        f"- Layers of the head, in this order: {', '.join(layout.head.modules)}\n"
        f"- Check after conversion: {parity.line()}.\n"
        f"- Licence: {licence}.",
        "## Intended use and limits\n\n" + "\n".join(f"- {limit}" for limit in (*LIMITS, _UNMEASURED)),
    ]
    # A card made of a string keeps the text as it is; only the block of data above it is generated.
    ModelCard("---\n" + data.to_yaml() + "\n---\n\n" + "\n\n".join(sections) + "\n").save(folder / "README.md")


def _intro(choices: Choices, layout: Layout) -> str:
    text = (
        "Scores a video for face manipulation: real or fake. Legacy weights, converted to safetensors by "
        "`deepfake-video convert`"
    )
    if choices.as_sequence:
        return f"{text} and **run as another function than the one they were published with**, see below."
    rnn = " with a recurrent layer" if layout.rnn else ", a classifier of single frames"
    return f"{text}; the network is {layout.backbone}{rnn}."


def snippet(name: str) -> str:
    """How the folder or Hub id is used."""
    return (
        "```python\n"
        "from transformers import pipeline\n\n"
        f'detector = pipeline("video-classification", model="{name}", trust_remote_code=True)\n'
        'detector("clip.mp4")  # a list with one score for "fake" and one for "real"\n'
        "```\n\n"
        "It needs `pip install transformers torch torchvision timm av facenet-pytorch==2.5.3`."
    )


def _text(value: Any) -> str:
    return ", ".join(f"{number:g}" for number in value) if isinstance(value, tuple) else str(value)
