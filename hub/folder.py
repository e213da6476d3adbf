# SPDX-License-Identifier: Apache-2.0
"""Write a self-contained folder that `pipeline` loads: weights, JSON and code."""

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
        video_processor: The video processor; the image processor is saved with the same settings.
        folder: The folder; created if it does not exist.

    Returns:
        The folder.
    """
    folder = Path(folder)
    model.save_pretrained(folder)
    video_processor.save_pretrained(folder)
    # `pipeline` requires both processors for batches. A folder saved by the pipeline itself lacks the file of the
    # video processor, which is then created from this one.
    DeepfakeImageProcessor(**video_processor.choices()).save_pretrained(folder)
    return folder
