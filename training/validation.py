# SPDX-License-Identifier: Apache-2.0
"""Scores of the validation videos, from their cached crops."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from accelerate.utils import broadcast_object_list

from ..evaluation.metrics import measure
from ..image_processing_deepfake import DeepfakeVideoProcessor
from ..modeling_deepfake import DeepfakeForVideoClassification
from .augmentation import draw_framing, frame_clip
from .copies import KEPT, VALIDATED
from .data import Video
from .pixels import encode_clips
from .recipe import Recipe


# For a video of a few seconds, more evenly spaced frames than this improve nothing.
MAX_VALIDATION_FRAMES = 20
# Fake probabilities (N,) and labels (N,) bool.
Scores: TypeAlias = tuple[np.ndarray, np.ndarray]


def validation_clip(video: Video, recipe: Recipe, num_frames: int, copy: int | None = None) -> torch.Tensor:
    """
    Return the clip of a video that is used for validation: evenly spaced frames, or evenly spaced bursts.

    Args:
        video: Video with its cached crops.
        recipe: Recipe of the training.
        num_frames: Largest number of frames.
        copy: Index of the re-encoded copy that is used instead of the video.

    Returns:
        Frames (T, H, W, 3) uint8.
    """
    available = len(video.crops.frame_indices)
    if copy is not None:
        count = min(num_frames, KEPT)
        parts = [video.crops.read_copy(copy, position) for position in np.linspace(0, 1, count)]
        frames, landmarks = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    else:
        frames, landmarks = video.crops.read(0, available)
        if num_frames < available:
            burst = recipe.burst_length
            count = max(num_frames // burst, 1)
            bursts = np.unique(np.linspace(0, available // burst - 1, count).round().astype(int))
            kept = (bursts[:, None] * burst + np.arange(burst)).ravel()[:num_frames]
            frames, landmarks = frames[kept], landmarks[kept]
    share, image_size = recipe.view
    share = 1.0 if video.crops.whole else share
    framing = draw_framing(np.random.default_rng(0), frames.shape[1], share, jitter=False)
    return torch.from_numpy(frame_clip(frames, landmarks, framing, image_size)[0])


@torch.no_grad()
def score_videos(
    network: DeepfakeForVideoClassification,
    videos: Sequence[Video],
    recipe: Recipe,
    processor: DeepfakeVideoProcessor,
    device: torch.device,
    *,
    known: dict[Path, torch.Tensor] | None = None,
    copy: int | None = None,
) -> Scores:
    """
    Compute the fake probability of each video.

    Args:
        network: Network, which is set to evaluation mode.
        videos: Videos with their cached crops.
        recipe: Recipe of the training.
        processor: Processor of the network.
        device: Device of the network.
        known: Frame features (1, T, num_features) of the same frame encoder, by the file of the crops. Missing ones
            are computed and added.
        copy: Index of the re-encoded copy that is scored instead of each video.

    Returns:
        Fake probabilities (N,) and labels (N,) bool.
    """
    network.eval()
    num_frames = network.config.num_frames
    if recipe.burst_length == 1:
        num_frames = min(MAX_VALIDATION_FRAMES, num_frames)
    known = {} if known is None else known
    probabilities = []
    for video in videos:
        features = known.get(video.crops.path)
        if features is None:
            features = encode_clips(network, validation_clip(video, recipe, num_frames, copy)[None], processor)
            known[video.crops.path] = features
        logits: torch.Tensor = network.classify_features(features.to(device))["logits"]
        probabilities.append(float(logits.float().softmax(-1)[0, 1]))
    return np.array(probabilities), np.array([video.sample.is_fake for video in videos])


def score_with_copies(
    network: DeepfakeForVideoClassification,
    videos: Sequence[Video],
    recipe: Recipe,
    processor: DeepfakeVideoProcessor,
    device: torch.device,
    *,
    known: dict[Path, torch.Tensor] | None = None,
) -> list[Scores]:
    """
    Score the videos and, if there are re-encoded copies of both labels, these copies; see [`score_videos`].

    Returns:
        Scores of the videos and, if there are any, of the copies.
    """
    scored = [score_videos(network, videos, recipe, processor, device, known=known)]
    if copied := videos_with_copies(videos):
        scored.append(score_videos(network, copied, recipe, processor, device, copy=VALIDATED))
    return scored


def videos_with_copies(videos: Sequence[Video]) -> list[Video]:
    """Select the videos of which a copy is scored too: those that have any, if there are both labels among them."""
    copied = [video for video in videos if video.crops.num_copies]
    return copied if len({video.sample.is_fake for video in copied}) == 2 else []


def join(scored: Sequence[Scores]) -> Scores:
    """Concatenate the scores of the videos and of their copies."""
    return np.concatenate([part[0] for part in scored]), np.concatenate([part[1] for part in scored])


def summarize(scored: Sequence[Scores]) -> dict[str, float]:
    """
    Summarise the result of [`score_with_copies`] for the log.

    Returns:
        `validation_auc`, by which the best step is chosen, and `validation_loss`. If there are copies, the former is
        the mean of `original_auc` and `copy_auc`.
    """
    areas = [measure(probabilities, is_fake, 0.5)["auc"] for probabilities, is_fake in scored]
    # Batch statistics differ slightly between processes, but all of them must stop at the same step.
    areas = broadcast_object_list(areas)
    record = {"validation_auc": float(np.mean(areas))}
    if len(areas) > 1:
        record |= {"original_auc": areas[0], "copy_auc": areas[1]}
    probabilities, is_fake = join(scored)
    likelihoods = np.clip(np.where(is_fake, probabilities, 1 - probabilities), 1e-6, 1)
    return {**record, "validation_loss": round(float(-np.log(likelihoods).mean()), 6)}
