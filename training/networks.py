# SPDX-License-Identifier: Apache-2.0
"""The network that a training starts from."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from ..conversion.backbones import legacy_names
from ..conversion.loading import read_checkpoint
from ..hub.folder_type import describe_other_model
from ..modeling_deepfake import DeepfakeForVideoClassification, DeepfakePreTrainedModel
from .recipe import IMAGENET, Recipe, TrainingError


# sigmoid(4) = .98: a squeeze-and-excitation that the weights do not know lets its channels pass.
_OPEN_GATE = 4.0


def make_network(recipe: Recipe) -> DeepfakeForVideoClassification:
    """
    The network of a recipe with its initial weights.

    Raises:
        ValueError: If the configuration or the initial weights do not fit.
        OSError: If the weights cannot be read or downloaded.
    """
    config = recipe.make_config()
    torch.manual_seed(recipe.seed)
    is_whole = False
    if recipe.initial == IMAGENET:
        network = DeepfakeForVideoClassification.from_backbone_pretrained(config)
    else:
        network = DeepfakeForVideoClassification(config)
        if recipe.initial is not None:
            is_whole = _load_initial(network, Path(recipe.initial))
    if recipe.initial_share and not is_whole:
        raise TrainingError(
            f"{recipe.initial}: holds a part of this network, whose rest is random: initial_share would keep of that."
        )
    if recipe.trains == "head":
        reads_scores = isinstance(network.base_model.temporal_encoder.frame_classifier, nn.Linear)
        if reads_scores and recipe.initial is not None and not Path(recipe.initial).is_dir():
            raise TrainingError(f"{recipe.initial}: holds no frame classifier, whose scores are read; name a folder.")
        network.base_model.frame_encoder.requires_grad_(False)
        network.base_model.temporal_encoder.frame_classifier.requires_grad_(False)
    return network  # type: ignore[return-value]


def _load_frame_classifier(scorer: nn.Linear, weights: Mapping[str, torch.Tensor], path: Path) -> None:
    taken = {name: weights.get(f"classifier.out_proj.{name}") for name in ("weight", "bias")}
    if any(tensor is None or tensor.shape != getattr(scorer, name).shape for name, tensor in taken.items()):
        raise TrainingError(
            f"{path}: is no frame classifier of one layer over {scorer.in_features} features, whose scores are read."
        )
    scorer.load_state_dict(taken)


def _check_type(folder: Path) -> None:
    try:
        problem = describe_other_model(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{folder}: holds no readable config.json ({error}).") from error
    if problem:
        raise TrainingError(f"{folder}: {problem}")


def _load_initial(network: DeepfakePreTrainedModel, path: Path) -> bool:
    """Whether all of the network was there, and not its backbone alone."""
    backbone = network.base_model.frame_encoder.backbone
    if path.is_dir():
        _check_type(path)
        weights = read_checkpoint(path / "model.safetensors").tensors
        shapes = {key: tensor.shape for key, tensor in network.state_dict().items()}
        if shapes == {key: tensor.shape for key, tensor in weights.items()}:
            network.load_state_dict(weights)
            return True
        scorer = network.base_model.temporal_encoder.frame_classifier
        if isinstance(scorer, nn.Linear):
            _load_frame_classifier(scorer, weights, path)
        prefix = "deepfake.frame_encoder.backbone."
        weights = {key.removeprefix(prefix): weights[key] for key in weights if key.startswith(prefix)}
    else:
        weights = read_checkpoint(path).tensors
    own = backbone.state_dict()
    if all(key.startswith("features.") for key in own) and any(f"features.{key}" in own for key in weights):
        # Of a backbone alone all keys begin alike, and reading took that for a wrapper.
        weights = {f"features.{key}": tensor for key, tensor in weights.items()}
    names = {key: key for key in own}
    if "_conv_stem.weight" in weights and network.config.backbone.startswith("efficientnet"):
        names = legacy_names(network.config.backbone, "efficientnet_pytorch")
    loaded = {key: weights[name] for key, name in names.items() if name in weights}
    missing = [key for key in own if key not in loaded]
    # EfficientNet-Lite is an EfficientNet without squeeze-and-excitation; elsewhere such names are other layers.
    has_gates = network.config.backbone.startswith("efficientnet")
    unknown = [key for key in missing if not has_gates or not (".fc1." in key or ".fc2." in key)]
    if unknown or len(missing) == len(own):
        raise TrainingError(
            f"{path}: holds no weights of {network.config.backbone}: {(unknown or missing)[0]} is missing."
        )
    wrong = [key for key, tensor in loaded.items() if tensor.shape != own[key].shape]
    if wrong:
        raise TrainingError(
            f"{path}: {names[wrong[0]]} has the shape {tuple(loaded[wrong[0]].shape)}, another network's."
        )
    backbone.load_state_dict(loaded, strict=False)
    with torch.no_grad():
        for key in missing:
            if key.endswith(".fc2.bias"):
                backbone.get_parameter(key).fill_(_OPEN_GATE)
    return False
