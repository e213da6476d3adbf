# SPDX-License-Identifier: Apache-2.0
"""Make the Auto classes and `pipeline` of Transformers use the installed classes, never code from a folder."""

from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForVideoClassification,
    AutoVideoProcessor,
)

from ..configuration_deepfake import DeepfakeConfig
from ..image_processing_deepfake import DeepfakeImageProcessor, DeepfakeVideoProcessor
from ..modeling_deepfake import DeepfakeForImageClassification, DeepfakeForVideoClassification, DeepfakeModel


def register() -> None:
    """
    Register the classes of this package with the Auto classes; calling it again changes nothing.

    Afterwards `AutoModel.from_pretrained` and `pipeline` load a folder of this model type without
    `trust_remote_code`, even if it contains only weights and JSON.
    """
    AutoConfig.register(DeepfakeConfig.model_type, DeepfakeConfig, exist_ok=True)
    AutoModel.register(DeepfakeConfig, DeepfakeModel, exist_ok=True)
    AutoModelForVideoClassification.register(DeepfakeConfig, DeepfakeForVideoClassification, exist_ok=True)
    AutoModelForImageClassification.register(DeepfakeConfig, DeepfakeForImageClassification, exist_ok=True)
    processors = {"torchvision": DeepfakeImageProcessor}
    AutoImageProcessor.register(DeepfakeConfig, image_processor_classes=processors, exist_ok=True)
    AutoVideoProcessor.register(DeepfakeConfig, DeepfakeVideoProcessor, exist_ok=True)
