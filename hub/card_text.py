# SPDX-License-Identifier: Apache-2.0
"""Text that the model cards of converted and trained folders have in common."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .terms import CARD_NAME


LIMITS = (
    "A score is a reason to look closer, not proof; it must never be the only basis of a decision about a person.",
    "Detectors lose accuracy on strong compression, on small or turned faces, and on generators that are not in their "
    "training data.",
    "Audio is not analysed.",
    "`pipeline` scores the main face of a video only. `deepfake-video predict` returns the highest score of all faces "
    "that are visible in at least a quarter of the frames; for a video that shows one person, both agree.",
)


def snippet(name: str) -> str:
    """
    Return Markdown that shows how to use a model.

    Args:
        name: Folder or Hub id of the model.
    """
    return (
        "```python\n"
        "from transformers import pipeline\n\n"
        f'detector = pipeline("video-classification", model="{name}", trust_remote_code=True)\n'
        'detector("clip.mp4")  # a list with one score for "fake" and one for "real"\n'
        "```\n\n"
        "Requirements: `pip install transformers torch torchvision timm av onnxruntime facenet-pytorch==2.5.3` "
        "(facenet-pytorch only for the face detector MTCNN)."
    )


def write_card(folder: Path, sections: Sequence[str], **metadata: Any) -> None:
    """
    Write `README.md` with the metadata that every folder of this package has.

    Args:
        folder: The model folder.
        sections: Markdown sections.
        **metadata: Further fields of `huggingface_hub.ModelCardData`, such as `license`.
    """
    from huggingface_hub import ModelCard, ModelCardData

    data = ModelCardData(
        library_name="transformers",
        pipeline_tag="video-classification",
        tags=["deepfake-detection", "custom_code"],
        **metadata,
    )
    # A card created from a string keeps its text; only the metadata block is generated.
    ModelCard("---\n" + data.to_yaml() + "\n---\n\n" + "\n\n".join(sections) + "\n").save(folder / CARD_NAME)
