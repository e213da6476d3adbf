# SPDX-License-Identifier: Apache-2.0
"""The second stage of the two-stage way: features of frames, computed once, on which the rest is trained."""

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import nn
from torch.utils.data import Dataset

from ..common.files import write_atomically
from ..image_processing_deepfake import DeepfakeVideoProcessor
from ..modeling_deepfake import DeepfakeForVideoClassification, DeepfakeVideoClassifierOutput
from .batches import TrainingPairs, to_pixel_values
from .recipe import CHANGEABLE, Recipe


FEATURES_NAME = "features.safetensors"


class FeaturePairs(Dataset[torch.Tensor]):
    """
    Pair number i of a training: features `(2, T, num_features)` float32, the real clip first.

    There are `recipe.feature_pairs` of them, which come again and again, each time in another order and with another
    jitter.

    Args:
        pairs: What they are features of.
        network: Whose features they are.
        recipe: How it is trained.
        processor: Of the network.
        folder: Keeps them, so that a training that goes on need not compute them again.
    """

    def __init__(
        self,
        pairs: TrainingPairs,
        network: DeepfakeForVideoClassification,
        recipe: Recipe,
        processor: DeepfakeVideoProcessor,
        folder: Path,
    ) -> None:
        self.recipe = recipe
        path, digest = folder / FEATURES_NAME, _digest(pairs, network, recipe)
        if _stored_digest(path) != digest:
            features = [encode_clips(network, pairs[i], processor) for i in range(recipe.feature_pairs)]
            write_atomically(path, save({"features": torch.stack(features)}, {"digest": digest}))
        with safe_open(path, "pt") as file:
            self._features = file.get_tensor("features")
        self._order = lru_cache(1)(self._draw_order)

    def __len__(self) -> int:
        return self.recipe.num_pairs

    def __getitem__(self, index: int) -> torch.Tensor:
        turn, position = divmod(index, len(self._features))
        pair = self._features[self._order(turn)[position]]
        if not self.recipe.feature_jitter:
            return pair
        random = np.random.default_rng([self.recipe.seed, index, 1])
        other = self._features[random.integers(len(self._features))]
        return jitter_features(pair, other, self.recipe.feature_jitter, random)

    def _draw_order(self, turn: int) -> np.ndarray:
        return np.random.default_rng([self.recipe.seed, turn]).permutation(len(self._features))


def jitter_features(
    pair: torch.Tensor, other: torch.Tensor, strength: float, random: np.random.Generator
) -> torch.Tensor:
    """
    Both clips of a pair in the place of a stranger, with a swing of its own.

    What a face looks like moves the features of all its frames alike, and how much it moves stretches them; neither
    tells whether a clip is real, and from few people a recurrent part would learn both. The mean of another clip takes
    part as in MixStyle (Zhou et al., 2021), here along time and beyond the clip where `strength` is more than 1.

    Args:
        pair: `(2, T, num_features)`, the real clip first.
        other: The same of another pair.
        strength: Of the way from the one real clip's mean to the other's; half of it is the standard deviation of
            the logarithm by which both swing more or less about the mean.
        random: Draws.
    """
    mean = pair[0].mean(0)
    gain = float(np.exp(random.normal(0.0, strength / 2)))
    return mean + (pair - mean) * gain + strength * (other[0].mean(0) - mean)


class FeatureClassifier(nn.Module):
    """The trained part of a network as a network of its own: features `(B, T, num_features)` to its answer."""

    def __init__(self, network: DeepfakeForVideoClassification) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: torch.Tensor) -> DeepfakeVideoClassifierOutput:
        return self.network.classify_features(features)


@torch.no_grad()
def encode_clips(
    network: DeepfakeForVideoClassification, clips: torch.Tensor, processor: DeepfakeVideoProcessor
) -> torch.Tensor:
    """
    Features of clips under a network in evaluation mode.

    Args:
        network: Whose features are wanted.
        clips: `(B, T, H, W, 3)` uint8 of the network's size.
        processor: Of the network.

    Returns:
        `(B, T, num_features)` float32 on the CPU.
    """
    was_training = network.training
    network.eval()
    features = network.get_frame_features(to_pixel_values(clips.to(network.device), processor)).float().cpu()
    network.train(was_training)
    return features


def _digest(pairs: TrainingPairs, network: DeepfakeForVideoClassification, recipe: Recipe) -> str:
    """Of all that the features depend on."""
    choices = {name: value for name, value in recipe.to_dict().items() if name not in CHANGEABLE}
    videos: Sequence[str] = [video.crops.path.name for video in pairs.videos]
    digest = hashlib.sha256(json.dumps([choices, videos], sort_keys=True).encode())
    for tensor in network.base_model.frame_encoder.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _stored_digest(path: Path) -> str | None:
    if not path.is_file():
        return None
    with safe_open(path, "pt") as file:
        return (file.metadata() or {}).get("digest")
