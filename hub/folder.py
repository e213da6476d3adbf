# SPDX-License-Identifier: Apache-2.0
"""The self-contained folder that `pipeline` loads: weights, JSON, and the code that reads them."""

from pathlib import Path
from typing import TYPE_CHECKING

from ..image_processing_deepfake import DeepfakeImageProcessor


if TYPE_CHECKING:
    from ..image_processing_deepfake import DeepfakeVideoProcessor
    from ..modeling_deepfake import DeepfakePreTrainedModel


def save_hub_folder(
    model: "DeepfakePreTrainedModel", video_processor: "DeepfakeVideoProcessor", folder: str | Path
) -> Path:
    """
    Write safetensors weights, `config.json`, both processor files, the Hub-side code and the face detector.

    Args:
        model: The model to save.
        video_processor: Its preprocessing; the image processor's file gets the same choices.
        folder: Where to write; made if it does not exist.

    Returns:
        The folder.
    """
    folder = Path(folder)
    model.save_pretrained(folder)
    video_processor.save_pretrained(folder)
    # `pipeline` wants both processors for batches, and derives the video processor from this file when it was saved
    # by the pipeline itself, which forgets the other one.
    DeepfakeImageProcessor(**video_processor.choices()).save_pretrained(folder)
    return folder


__all__ = ["save_hub_folder"]
