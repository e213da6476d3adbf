# SPDX-License-Identifier: Apache-2.0
"""
The training modes, which determine the inputs of a network and its loss.

| mode            | chosen by       | batch                          | loss                                        |
|-----------------|-----------------|--------------------------------|---------------------------------------------|
| [`ClipMode`]    | default         | clips                          | cross entropy                               |
| [`FeatureMode`] | `feature_pairs` | frame features, computed once  | cross entropy                               |
| [`RegionMode`]  | `region_weight` | clips with their altered region | cross entropy, plus that of the region head |
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from accelerate import Accelerator
from torch import nn
from torch.nn import functional as F

from ..modeling_deepfake import DeepfakeForVideoClassification
from .batch_sources import BatchSource, DeviceBatches, LoaderBatches, choose_workers
from .batches import TrainingPairs
from .data import Video
from .features import FeatureClassifier, FeaturePairs
from .pixels import to_pixel_values
from .recipe import PairsOn, Recipe
from .regions import RegionClassifier, region_loss


class Inputs(NamedTuple):
    """
    A batch as the trained module takes it.

    Attributes:
        values: Pixel values (B, T, C, H, W), or frame features (B, T, num_features).
        labels: Labels (B,): 0 real, 1 fake.
        regions: Altered regions (B, T, H, W) uint8, if the mode uses them.
    """

    values: torch.Tensor
    labels: torch.Tensor
    regions: torch.Tensor | None = None


class ClipMode:
    """
    Trains a network on clips of pixels. The other modes override what they do differently.

    Args:
        recipe: Recipe of the training.
        pairs_on: Where the pixels of the pairs are computed.

    Raises:
        TrainingError: If the pairs of the recipe cannot be computed there.
    """

    def __init__(self, recipe: Recipe, pairs_on: PairsOn = "cpu") -> None:
        recipe.check_pairs_on(pairs_on)
        self.recipe, self.pairs_on, self.processor = recipe, pairs_on, recipe.make_processor()

    def wrap(self, network: DeepfakeForVideoClassification) -> nn.Module:
        """The module that is optimised: the network, or one that contains it and layers used in training only."""
        return network

    def make_source(
        self,
        videos: Sequence[Video],
        network: DeepfakeForVideoClassification,
        folder: Path,
        accelerator: Accelerator,
        *,
        workers: int | None,
    ) -> BatchSource:
        """
        Create the source of the batches.

        Args:
            videos: Training videos.
            network: Network with its initial weights.
            folder: Folder of the training.
            accelerator: Accelerator of the training.
            workers: Worker processes that draw pairs; `None` chooses by the number of cores.
        """
        source = DeviceBatches if self.pairs_on == "device" else LoaderBatches
        chosen = choose_workers(accelerator.device.type) if workers is None else workers
        return source(TrainingPairs(videos, self.recipe), self.recipe, accelerator, workers=chosen)

    def inputs(self, batch: torch.Tensor) -> Inputs:
        """
        Convert a batch into the inputs of the module.

        Args:
            batch: Pairs (pairs, 2, ...), the real one first.
        """
        clips, labels = _flatten_pairs(batch)
        return Inputs(to_pixel_values(clips, self.processor), labels)

    def loss(self, module: nn.Module, inputs: Inputs) -> torch.Tensor:
        """
        Compute the loss.

        Args:
            module: Module returned by `wrap`, after preparation by accelerate.
            inputs: Inputs of one batch.
        """
        return self._classification_loss(module(inputs.values).logits, inputs.labels)

    def _classification_loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        # The configuration of a network in training has no calibration, so these are the plain logits.
        return F.cross_entropy(logits.float(), labels, label_smoothing=self.recipe.label_smoothing)


class FeatureMode(ClipMode):
    """Trains the layers above a frozen frame encoder, on features that are computed once."""

    def wrap(self, network: DeepfakeForVideoClassification) -> nn.Module:
        return FeatureClassifier(network)

    def make_source(
        self,
        videos: Sequence[Video],
        network: DeepfakeForVideoClassification,
        folder: Path,
        accelerator: Accelerator,
        *,
        workers: int | None,
    ) -> BatchSource:
        drawn = TrainingPairs(videos, self.recipe)
        # The first process computes the features, the others read them.
        with accelerator.main_process_first():
            pairs = FeaturePairs(drawn, network, self.recipe, self.processor, folder)
        # Features are in memory: worker processes would only copy them.
        return LoaderBatches(pairs, self.recipe, accelerator, workers=0)

    def inputs(self, batch: torch.Tensor) -> Inputs:
        return Inputs(*_flatten_pairs(batch))


class RegionMode(ClipMode):
    """Trains on clips with an auxiliary head that predicts the altered region."""

    def wrap(self, network: DeepfakeForVideoClassification) -> nn.Module:
        return RegionClassifier(network)

    def inputs(self, batch: torch.Tensor) -> Inputs:
        clips, labels = _flatten_pairs(batch)
        return Inputs(to_pixel_values(clips[..., :3], self.processor), labels, clips[..., 3])

    def loss(self, module: nn.Module, inputs: Inputs) -> torch.Tensor:
        if inputs.regions is None:
            raise ValueError("the loss needs the altered regions, which `RegionMode.inputs` takes from a batch.")
        logits, maps = module(inputs.values)
        loss = self._classification_loss(logits, inputs.labels)
        return loss + self.recipe.region_weight * region_loss(maps, inputs.regions)


def make_mode(recipe: Recipe, pairs_on: PairsOn = "cpu") -> ClipMode:
    """Choose the training mode of a recipe; see [`ClipMode`]."""
    if recipe.feature_pairs:
        return FeatureMode(recipe, pairs_on)
    return RegionMode(recipe, pairs_on) if recipe.region_weight else ClipMode(recipe, pairs_on)


def _flatten_pairs(batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(pairs, 2, frames, ...) -> clips (2 * pairs, frames, ...) and their labels (2 * pairs,)."""
    return batch.flatten(0, 1), torch.tensor([0, 1], device=batch.device).repeat(len(batch))
