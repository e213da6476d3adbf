# SPDX-License-Identifier: Apache-2.0
"""Create the network with its initial weights."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from ..common.json_files import read_json
from ..common.text import one_line
from ..conversion.backbones import legacy_names
from ..conversion.loading import read_checkpoint
from ..hub.folder_type import describe_other_model
from ..hub.model_files import CONFIG_NAME, weight_files
from ..modeling_deepfake import DeepfakeForVideoClassification, DeepfakePreTrainedModel
from .errors import TrainingError
from .recipe import IMAGENET, Recipe


# sigmoid(4) = .98: a squeeze-and-excitation that is not among the weights starts open.
_OPEN_GATE = 4.0


def make_network(recipe: Recipe) -> DeepfakeForVideoClassification:
    """
    Create the network of a recipe with its initial weights.

    Args:
        recipe: Recipe of the training.

    Raises:
        TrainingError: If the initial weights do not fit the network, or none are published for its backbone.
        ValueError: If the configuration is invalid or a file of weights is damaged.
        OSError: If the weights cannot be read or downloaded.
    """
    config = recipe.make_config()
    torch.manual_seed(recipe.seed)
    is_whole = False
    if recipe.initial == IMAGENET:
        try:
            network = DeepfakeForVideoClassification.from_backbone_pretrained(config)
        except ValueError as error:
            raise TrainingError(
                f"recipe: initial: {one_line(error)} Set initial to a folder or file of weights, or choose another "
                "backbone."
            ) from error
    else:
        network = DeepfakeForVideoClassification(config)
        if recipe.initial_path is not None:
            is_whole = _load_initial(network, recipe.initial_path)
    if recipe.initial_share and not is_whole:
        raise TrainingError(
            f"{recipe.initial}: contains only part of this network, but initial_share requires all weights, because "
            "the missing ones would be random."
        )
    if recipe.trains == "head":
        reads_scores = isinstance(network.base_model.temporal_encoder.frame_classifier, nn.Linear)
        if reads_scores and recipe.initial is not None and not (recipe.initial_path and recipe.initial_path.is_dir()):
            raise TrainingError(
                f"{recipe.initial}: contains no frame classifier, which this network requires; give a model folder."
            )
        network.base_model.frame_encoder.requires_grad_(False)
        network.base_model.temporal_encoder.frame_classifier.requires_grad_(False)
    return network  # type: ignore[return-value]


def set_training_mode(network: DeepfakeForVideoClassification, recipe: Recipe) -> None:
    """Set the parts of a network in training mode whose batch statistics stay fixed to evaluation mode."""
    if recipe.trains == "head":
        network.base_model.frame_encoder.eval()
    elif recipe.keeps_statistics:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()


def _load_initial(network: DeepfakePreTrainedModel, path: Path) -> bool:
    """Load the initial weights; return True if they cover the whole network, False if only its backbone."""
    if not path.is_dir():
        _load_backbone(network, read_checkpoint(path).tensors, path)
        return False
    is_reversed = _is_reversed(path)
    weights = _read_weights(path)
    if is_reversed:
        # Training starts with every answer right instead of every answer wrong.
        last = {key: tensor for key, tensor in weights.items() if key.startswith("classifier.out_proj.")}
        weights |= {key: tensor.flip(0) for key, tensor in last.items()}
    shapes = {key: tensor.shape for key, tensor in network.state_dict().items()}
    if shapes == {key: tensor.shape for key, tensor in weights.items()}:
        network.load_state_dict(weights)
        return True
    scorer = network.base_model.temporal_encoder.frame_classifier
    if isinstance(scorer, nn.Linear):
        _load_frame_classifier(scorer, weights, path)
    prefix = "deepfake.frame_encoder.backbone."
    weights = {key.removeprefix(prefix): weights[key] for key in weights if key.startswith(prefix)}
    _load_backbone(network, weights, path)
    return False


def _read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors of a model folder, which may be divided into shards."""
    try:
        files = weight_files(folder)
        # Not by `read_checkpoint`, which removes a prefix that all keys of one file share.
        shards = [load_file(file) for file in files] if len(files) > 1 else []
    except (OSError, ValueError, SafetensorError) as error:
        raise TrainingError(f"{folder}: {error}") from error
    if not shards:
        return read_checkpoint(files[0]).tensors
    return {name: tensor for shard in shards for name, tensor in shard.items()}


def _is_reversed(folder: Path) -> bool:
    """Check that a folder holds a model of this package; return whether its first logit is that of fake."""
    try:
        content = read_json(folder / CONFIG_NAME)
    except (OSError, ValueError) as error:
        raise TrainingError(f"{folder}: contains no readable config.json ({error}).") from error
    if problem := describe_other_model(content):
        raise TrainingError(f"{folder}: {problem}")
    labels = content.get("id2label")
    return isinstance(labels, dict) and labels.get("0") == "fake"


def _load_frame_classifier(scorer: nn.Linear, weights: Mapping[str, torch.Tensor], path: Path) -> None:
    taken = {name: weights.get(f"classifier.out_proj.{name}") for name in ("weight", "bias")}
    if any(tensor is None or tensor.shape != getattr(scorer, name).shape for name, tensor in taken.items()):
        raise TrainingError(
            f"{path}: not a frame classifier with a single linear layer over {scorer.in_features} features, which "
            "this network requires."
        )
    scorer.load_state_dict(taken)


def _load_backbone(network: DeepfakePreTrainedModel, weights: Mapping[str, torch.Tensor], path: Path) -> None:
    backbone = network.base_model.frame_encoder.backbone
    own = backbone.state_dict()
    if all(key.startswith("features.") for key in own) and any(f"features.{key}" in own for key in weights):
        # All keys of a backbone alone share this prefix, which reading the file removed like that of a wrapper.
        weights = {f"features.{key}": tensor for key, tensor in weights.items()}
    is_efficientnet = network.config.backbone.startswith("efficientnet")
    names = {key: key for key in own}
    if "_conv_stem.weight" in weights and is_efficientnet:
        names = legacy_names(network.config.backbone, "efficientnet_pytorch")
    loaded = {key: weights[name] for key, name in names.items() if name in weights}
    missing = [key for key in own if key not in loaded]
    # EfficientNet-Lite is an EfficientNet without squeeze-and-excitation; elsewhere such names are other layers.
    unknown = [key for key in missing if not is_efficientnet or not (".fc1." in key or ".fc2." in key)]
    if unknown or len(missing) == len(own):
        raise TrainingError(
            f"{path}: contains no weights of {network.config.backbone}: {(unknown or missing)[0]} is missing."
        )
    wrong = [key for key, tensor in loaded.items() if tensor.shape != own[key].shape]
    if wrong:
        raise TrainingError(
            f"{path}: contains the weights of a different network: {names[wrong[0]]} has the shape "
            f"{tuple(loaded[wrong[0]].shape)}, expected {tuple(own[wrong[0]].shape)}."
        )
    backbone.load_state_dict(loaded, strict=False)
    with torch.no_grad():
        for key in missing:
            if key.endswith(".fc2.bias"):
                backbone.get_parameter(key).fill_(_OPEN_GATE)
