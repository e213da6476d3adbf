# SPDX-License-Identifier: Apache-2.0
"""Measure how far the outputs of two implementations of one network differ."""

import torch


def relative_difference(values: torch.Tensor, expected: torch.Tensor, *, floor: float = 1.0) -> float:
    """
    Return the largest absolute difference, relative to the largest expected magnitude.

    Args:
        values: A tensor of any shape.
        expected: A tensor of the same shape.
        floor: Lower bound of the divisor. A single logit can be close to 0 by chance, and rounding alone would then
            be a large share of it.

    Returns:
        The relative difference; infinite if the shapes differ or a value is not finite.

    Example:

        >>> import torch
        >>> from deepfake_video.hub.differences import relative_difference
        >>> relative_difference(torch.tensor([1.0, 5.0]), torch.tensor([1.0, 4.0]))
        0.25
    """
    if values.shape != expected.shape or not (values.isfinite().all() and expected.isfinite().all()):
        return float("inf")
    scale = expected.abs().max().clamp_min(floor)
    return float(((values.double() - expected.double()).abs().max() / scale.double()).item())
