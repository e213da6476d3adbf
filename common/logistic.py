# SPDX-License-Identifier: Apache-2.0
"""The logistic function and its inverse, in double precision."""

import numpy as np
from numpy.typing import ArrayLike


def sigmoid(logits: ArrayLike) -> np.ndarray:
    """
    Compute `1 / (1 + exp(-logits))`, element by element.

    Example:
        >>> from deepfake_video.common.logistic import sigmoid
        >>> float(sigmoid(0.0))
        0.5
    """
    # exp would overflow; beyond 700 the result is 0 or 1 in double precision anyway
    return np.asarray(1 / (1 + np.exp(-np.clip(np.asarray(logits, np.float64), -700, 700))))


def logit(probabilities: ArrayLike, epsilon: float = 0.0) -> np.ndarray:
    """
    Compute `log(p / (1 - p))`, element by element.

    Args:
        probabilities: Numbers from 0 to 1.
        epsilon: Distance from 0 and 1 to which the probabilities are clipped; without it, 0 and 1 give infinity.

    Example:
        >>> from deepfake_video.common.logistic import logit
        >>> float(logit(0.5))
        0.0
    """
    kept = np.clip(np.asarray(probabilities, np.float64), epsilon, 1 - epsilon)
    return np.asarray(np.log(kept) - np.log1p(-kept))
