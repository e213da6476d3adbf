# SPDX-License-Identifier: Apache-2.0
"""Load a model with the classes of this package: safetensors and JSON only; code in the model folder is never run."""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..common.files import as_paths
from ..configuration_deepfake import DeepfakeConfig
from ..grad_cam import NoFeatureMapsError
from ..hub.checkpoint import read_checkpoint, read_choices
from ..hub.finding import ModelLoadError, find_model_folder
from ..hub.packaged import DEFAULT_CHECKPOINT
from ..image_processing_deepfake import DeepfakeVideoProcessor
from ..modeling_deepfake import DeepfakeForVideoClassification
from .graphs import ScoringDescription
from .inference import prepare_for_inference
from .locating import UNTRAINED_ID, locate_model
from .memory import memory_errors
from .results import ModelIdentity
from .scoring_model import ClipLogits, HeatmapError, ScoringModel
from .settings import Dtype


if TYPE_CHECKING:
    from ..grad_cam import GradCam

UNTRAINED_SEED = 0


@dataclass(frozen=True)
class LoadedModel:
    """
    A network in evaluation mode with its preprocessing: the [`ScoringModel`] that runs in torch.

    Attributes:
        network: The network.
        processor: Its preprocessing.
        identity: Name and hash of its weights.
        folder: Folder of its files: a local folder, the snapshot of a Hub repository, or the packaged checkpoint.
            `None` for random weights.
    """

    network: DeepfakeForVideoClassification
    processor: DeepfakeVideoProcessor
    identity: ModelIdentity
    folder: Path | None = None

    @property
    def engine(self) -> str:
        """Inference library."""
        return "torch"

    @property
    def device(self) -> str:
        """Device type of the network."""
        return str(self.network.device.type)

    @property
    def fake_index(self) -> int:
        """Index of the fake logit."""
        return int(self.network.config.label2id["fake"])

    @functools.cached_property
    def description(self) -> ScoringDescription:
        """Labels, calibration, configuration and preprocessing."""
        return describe(self.network.config, self.processor)

    def pixel_values(self, crops: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """See [`ScoringModel.pixel_values`]."""
        pixels: np.ndarray = pixel_values(self.processor, crops).numpy()
        return pixels

    @memory_errors()
    @torch.inference_mode()
    def frame_features(self, pixel_values: np.ndarray) -> np.ndarray:
        """See [`ScoringModel.frame_features`]."""
        return _in_numpy(self.network.get_frame_features(self._on_device(pixel_values)))

    @memory_errors()
    @torch.inference_mode()
    def classify_features(self, features: np.ndarray, mask: np.ndarray | None = None) -> ClipLogits:
        """See [`ScoringModel.classify_features`]."""
        kept = None if mask is None else self._on_device(mask)
        return _logits(self.network.classify_features(self._on_device(features), kept))

    @memory_errors()
    @torch.inference_mode()
    def compute_logits(self, pixel_values: np.ndarray) -> ClipLogits:
        """See [`ScoringModel.compute_logits`]."""
        return _logits(self.network(self._on_device(pixel_values)))

    @memory_errors()
    def grad_cam(self, pixel_values: np.ndarray) -> "GradCam":
        """See [`ScoringModel.grad_cam`]."""
        try:
            return self.network.grad_cam(self._on_device(pixel_values))
        except NoFeatureMapsError as error:
            raise HeatmapError(str(error).removesuffix(".")) from error

    def _on_device(self, values: np.ndarray) -> torch.Tensor:
        tensor, device = torch.from_numpy(np.ascontiguousarray(values)), self.network.device
        # From pinned memory, the copy runs beside the computation of this process.
        return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _in_numpy(values: torch.Tensor) -> np.ndarray:
    array: np.ndarray = values.float().cpu().numpy()
    return array


def _logits(outputs: Any) -> ClipLogits:
    return ClipLogits(_in_numpy(outputs.logits), _in_numpy(outputs.frame_logits))


def describe(config: DeepfakeConfig, processor: DeepfakeVideoProcessor) -> ScoringDescription:
    """
    Describe what scoring requires in addition to the weights of a checkpoint.

    Args:
        config: Its configuration.
        processor: Its preprocessing.

    Returns:
        The description in plain values, as JSON stores them.
    """
    described = {
        "labels": [config.id2label[index] for index in range(config.num_labels)],
        "num_features": config.num_features,
        "image_size": config.image_size,
        "is_trained": config.is_trained,
        "frame_aggregation": config.frame_aggregation,
        "temperature": config.temperature,
        "fake_bias": config.fake_bias,
        "configuration": config.to_diff_dict(),
        "preprocessing": processor.choices(),
    }
    plain: Mapping[str, Any] = json.loads(json.dumps(described, default=str))
    return ScoringDescription(**plain)


def pixel_values(processor: DeepfakeVideoProcessor, crops: Sequence[np.ndarray] | np.ndarray) -> torch.Tensor:
    """
    Preprocess one clip.

    Args:
        processor: The preprocessing of a model.
        crops: T frames of shape (h, w, 3), uint8 RGB, already sampled and cropped.

    Returns:
        Tensor of shape (1, T, C, H, W), float32.
    """
    inputs = processor(
        np.asarray(crops),
        do_sample_frames=False,
        do_crop_faces=False,
        input_data_format="channels_last",
        return_tensors="pt",
    )
    pixels: torch.Tensor = inputs["pixel_values_videos"]
    return pixels


def load_model(name: str | None, *, device: str = "cpu", dtype: Dtype = "float32") -> LoadedModel:
    """
    Load a model folder or Hub repository for inference. The network is optimised and can no longer be saved.

    Args:
        name: Model folder or Hub id; `None` for the packaged checkpoint, or random weights if there is none.
        device: Device of the network.
        dtype: Precision of the frame encoder, see [`prepare_for_inference`].

    Raises:
        ModelLoadError: If it cannot be found or downloaded, is not a model of this package, or is damaged.
    """

    def prepare(network: DeepfakeForVideoClassification) -> None:
        prepare_for_inference(network, dtype=dtype)
        network.to(device)

    return _load_stored(name, prepare)


def load_stored_model(model: ScoringModel) -> LoadedModel:
    """
    Reload a model as it is stored, on the CPU, so that it can be saved under another name.

    Args:
        model: The model, optimised for inference.

    Raises:
        ModelLoadError: If its files are missing or have changed.
    """
    return _check_unchanged(_load_stored(None if model.folder is None else str(model.folder)), model)


def load_with_torch(model: ScoringModel) -> LoadedModel:
    """
    Reload in torch a model that runs in onnxruntime, for operations that need gradients.

    Args:
        model: The model.

    Raises:
        ModelLoadError: If its files are missing or have changed.
    """
    return _check_unchanged(load_model(None if model.folder is None else str(model.folder)), model)


def load_processor(name: str | Path | None) -> DeepfakeVideoProcessor:
    """
    Load the preprocessing of a model without its weights.

    Args:
        name: Model folder or Hub id; `None` for the packaged checkpoint.

    Raises:
        ModelLoadError: If the folder or its JSON files cannot be read.
    """
    (name,) = as_paths("model", [DEFAULT_CHECKPOINT if name is None else name])
    return read_choices(name, find_model_folder(name)[0])[1]


def _load_stored(
    name: str | None, prepare: Callable[[DeepfakeForVideoClassification], None] = lambda network: None
) -> LoadedModel:
    located = locate_model(name)
    if located is None:
        model = _untrained_model()
        prepare(model.network)
        return model
    folder, identity = located
    checkpoint = read_checkpoint(folder, name=name)
    prepare(checkpoint.network)
    identity = replace(identity, weights_sha256=checkpoint.weights_sha256)
    return LoadedModel(checkpoint.network, checkpoint.processor, identity, folder)


def _check_unchanged(again: LoadedModel, model: ScoringModel) -> LoadedModel:
    if again.identity.weights_sha256 != model.identity.weights_sha256:
        raise ModelLoadError(f"{model.identity.id}: the weights changed since they were loaded.")
    return again


def _untrained_model() -> LoadedModel:
    config = DeepfakeConfig.from_preset("tiny", image_size=112, num_frames=20)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(UNTRAINED_SEED)
        network = DeepfakeForVideoClassification(config)
    processor = DeepfakeVideoProcessor.from_config(config)
    return LoadedModel(network.eval(), processor, ModelIdentity(id=UNTRAINED_ID))
