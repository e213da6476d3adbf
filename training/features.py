# SPDX-License-Identifier: Apache-2.0
"""Second stage of a two-stage training: frame features are computed once, and the layers above them are trained."""

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
from .batches import TrainingPairs
from .pixels import encode_clips
from .recipe import CHANGEABLE, Recipe


FEATURES_NAME = "features.safetensors"


class FeaturePairs(Dataset[torch.Tensor]):
    """
    Pair i of a training run as frame features: `(2, T, num_features)` float32, the real clip first.

    There are `recipe.feature_pairs` different pairs. Each epoch uses all of them, in a new order and with new jitter.

    Args:
        pairs: Pairs of clips, the first of which are encoded.
        network: Network whose frame encoder computes the features.
        recipe: Recipe of the training.
        processor: Processor of the network.
        folder: Folder of the training, in which the features are stored for when it is resumed.
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
        epoch, position = divmod(index, len(self._features))
        pair = self._features[self._order(epoch)[position]]
        if not self.recipe.feature_jitter:
            return pair
        random = np.random.default_rng([self.recipe.seed, index, 1])
        other = self._features[random.integers(len(self._features))]
        return jitter_features(pair, other, self.recipe.feature_jitter, random)

    def _draw_order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.recipe.seed, epoch]).permutation(len(self._features))


def jitter_features(
    pair: torch.Tensor, other: torch.Tensor, strength: float, random: np.random.Generator
) -> torch.Tensor:
    """
    Move both clips of a pair towards another clip, and scale their variation over time.

    The appearance of a face shifts the features of all its frames alike, and its motion scales them; neither tells
    whether a clip is real. With few people in the data, a recurrent head would memorise both. The mean of another clip
    is mixed in as in MixStyle (Zhou et al., 2021, https://arxiv.org/abs/2104.02008), but over time instead of space;
    the clips move beyond that clip if `strength` exceeds 1.

    Args:
        pair: Features (2, T, num_features), the real clip first.
        other: Features of another pair, of the same shape.
        strength: Factor of the difference between the means of the two real clips. Half of it is the standard
            deviation of the logarithm of the factor that scales the deviations from the mean.
        random: Random generator.

    Returns:
        Features (2, T, num_features).
    """
    mean = pair[0].mean(0)
    gain = float(np.exp(random.normal(0.0, strength / 2)))
    return mean + (pair - mean) * gain + strength * (other[0].mean(0) - mean)


class FeatureClassifier(nn.Module):
    """
    The layers above the frame encoder as a module: features `(B, T, num_features)` to the output of the network.

    Args:
        network: Network that is trained in place.
    """

    def __init__(self, network: DeepfakeForVideoClassification) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: torch.Tensor) -> DeepfakeVideoClassifierOutput:
        return self.network.classify_features(features)


def _digest(pairs: TrainingPairs, network: DeepfakeForVideoClassification, recipe: Recipe) -> str:
    """A hash of everything that determines the features."""
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
