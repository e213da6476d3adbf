# SPDX-License-Identifier: Apache-2.0
"""Fake probabilities of the validation videos, from their cached crops."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..image_processing_deepfake import DeepfakeVideoProcessor
from ..modeling_deepfake import DeepfakeForVideoClassification
from .batches import validation_clip
from .data import Video
from .features import encode_clips
from .recipe import Recipe


# More frames than this add nothing for a video of a few seconds.
MAX_VALIDATION_FRAMES = 20


@torch.no_grad()
def judge(
    network: DeepfakeForVideoClassification,
    videos: Sequence[Video],
    recipe: Recipe,
    processor: DeepfakeVideoProcessor,
    device: torch.device,
    *,
    known: dict[Path, torch.Tensor] | None = None,
    copy: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """
    Fake probability of each video `(N,)`, and whether it is fake `(N,)`.

    Args:
        network: Judges.
        videos: What is judged.
        recipe: How it is trained.
        processor: Of the network.
        device: Of the network.
        known: Frame features `(1, T, num_features)` by the file of the crops, of the same frame encoder; what is
            missing is added.
        copy: The re-encoded copy that is judged in place of each video.
    """
    network.eval()
    num_frames = min(MAX_VALIDATION_FRAMES, network.config.num_frames)
    known = {} if known is None else known
    probabilities = []
    for video in videos:
        features = known.get(video.crops.path)
        if features is None:
            features = encode_clips(network, validation_clip(video, recipe, num_frames, copy)[None], processor)
            known[video.crops.path] = features
        logits = network.classify_features(features.to(device)).logits
        assert logits is not None
        probabilities.append(float(logits.float().softmax(-1)[0, 1]))
    return np.array(probabilities), np.array([video.sample.is_fake for video in videos])


def join(judged: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Several results of [`judge`], one after the other."""
    return np.concatenate([part[0] for part in judged]), np.concatenate([part[1] for part in judged])
