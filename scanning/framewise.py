# SPDX-License-Identifier: Apache-2.0
"""The scored frames of a video, listed so that the score can be recomputed from them."""

from collections.abc import Mapping

import numpy as np

from ..common.logistic import sigmoid
from .results import FrameScore


class NoNumberError(ValueError):
    """A model computed NaN, as finite weights do that are so large that they overflow on some pictures only."""


def fake_margin(logits: np.ndarray, fake_index: int) -> np.ndarray:
    """
    Margin of the fake logit over the other labels: its sigmoid is the fake probability.

    Args:
        logits: Array of shape (..., num_labels).
        fake_index: Index of the fake logit.

    Returns:
        Array of shape (...), float64.

    Raises:
        NoNumberError: If a margin is NaN. The highest of several scores would leave it out.
    """
    logits = logits.astype(np.float64)
    others = np.delete(logits, fake_index, axis=-1)
    with np.errstate(invalid="ignore"):
        margin: np.ndarray = logits[..., fake_index] - np.logaddexp.reduce(others, axis=-1)
    if np.isnan(margin).any():
        raise NoNumberError("the model computed NaN instead of a score")
    return margin


def average_by_frame(frame_indices: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    Average what a model says of each distinct frame of a clip.

    A short video fills a clip by repeating frames, and a recurrent model scores a repeated frame differently each
    time.

    Args:
        frame_indices: Array of shape (T,): index in the video of each frame of the clip.
        values: Array of shape (T,): a value of each frame of the clip.

    Returns:
        Arrays of shape (F,): the distinct indices, ascending; the mean value of each; its share of the clip.
    """
    indices, inverse, counts = np.unique(frame_indices, return_inverse=True, return_counts=True)
    return indices, np.bincount(inverse, weights=values) / counts, counts / len(frame_indices)


def list_frames(
    model: int, track_id: int | None, frame_indices: np.ndarray, margins: np.ndarray, times_s: Mapping[int, float]
) -> list[FrameScore]:
    """
    List the distinct frames of a clip with their weights.

    Args:
        model: Index of the model.
        track_id: Number of the face; `None` for whole frames.
        frame_indices: Array of shape (T,): index in the video of each frame of the clip.
        margins: Array of shape (T,): margin of the fake logit in each frame, see [`fake_margin`].
        times_s: Display time of each frame in seconds, by its index.
    """
    indices, probabilities, weights = average_by_frame(frame_indices, sigmoid(margins))
    return [
        FrameScore(
            model=model,
            track_id=track_id,
            index=index,
            time_s=times_s[index],
            fake_probability=probability,
            weight=weight,
        )
        for index, probability, weight in zip(indices.tolist(), probabilities.tolist(), weights.tolist(), strict=True)
    ]
