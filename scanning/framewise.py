# SPDX-License-Identifier: Apache-2.0
"""The frames behind a score, listed so that the score can be computed from them again."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..configuration_deepfake import DeepfakeConfig
from .results import FrameRule, FrameScore


def fake_margin(logits: Any, fake_index: int) -> np.ndarray:
    """What fake has over the other labels, `(..., labels)` to `(...)`: its sigmoid is the fake probability."""
    logits = logits.detach().double().cpu().numpy()
    others = np.delete(logits, fake_index, axis=-1)
    margin: np.ndarray = logits[..., fake_index] - np.logaddexp.reduce(others, axis=-1)
    return margin


def sigmoid(margin: Any) -> np.ndarray:
    """`1 / (1 + exp(-margin))`, element by element."""
    # exp of a large number would overflow; beyond 700 a double holds 0 or 1 anyway
    return np.asarray(1 / (1 + np.exp(-np.clip(margin, -700, 700))))


def frame_rule(config: DeepfakeConfig) -> FrameRule:
    """How the score of a clip follows from its frames."""
    aggregation = config.frame_aggregation
    # Of more than two labels, the frames' fake probabilities alone are not enough.
    return FrameRule(
        aggregation=None if aggregation == "features" or config.num_labels != 2 else aggregation,
        temperature=float(config.temperature),
        fake_bias=float(config.fake_bias),
    )


def list_frames(
    model: int, track_id: int | None, frame_indices: np.ndarray, margins: np.ndarray, times_s: Mapping[int, float]
) -> list[FrameScore]:
    """
    The distinct frames of a clip, each with its share in it.

    Args:
        model: Position of the model among those of the scan.
        track_id: Whose face.
        frame_indices: (T,) Which frame of the video each frame of the clip is.
        margins: (T,) What fake has over the other labels in each of them.
        times_s: When each frame is shown, by its index.
    """
    indices, inverse, counts = np.unique(frame_indices, return_inverse=True, return_counts=True)
    # Where a recurrent model sees a frame several times, it says something else each time.
    probabilities = np.bincount(inverse, weights=sigmoid(margins)) / counts
    return [
        FrameScore(
            model=model,
            track_id=track_id,
            index=index,
            time_s=times_s[index],
            fake_probability=probability,
            weight=count / len(frame_indices),
        )
        for index, probability, count in zip(indices.tolist(), probabilities.tolist(), counts.tolist(), strict=True)
    ]


__all__ = ["fake_margin", "frame_rule", "list_frames", "sigmoid"]
