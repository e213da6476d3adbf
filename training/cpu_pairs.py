# SPDX-License-Identifier: Apache-2.0
"""Computes the pixels of one training pair on the CPU, with NumPy and Pillow."""

import numpy as np

from .augmentation import degrade_clip
from .blending import Blend, blend_clip, usual_region
from .pair_plans import PairPlan


def compute_pair(plan: PairPlan, size: int) -> np.ndarray:
    """
    Compute the pixels of a pair.

    Args:
        plan: Plan of the pair.
        size: Side of the frames in pixels.

    Returns:
        Clips (2, T, size, size, 3) uint8, the real one first. If the plan has a region, pixels have a fourth channel:
        how much of each pixel was altered.
    """
    region: np.ndarray | None
    real, landmarks = plan.real.cut_out(size)
    if isinstance(plan.fake, Blend):
        fake, region = blend_clip(real, landmarks, plan.fake)
    else:
        fake, landmarks = plan.fake.cut_out(size)
        region = usual_region(landmarks, size) if plan.has_region else None
    losses = zip((real, fake), plan.degradations, plan.noise_seeds, strict=True)
    pair = np.stack([degrade_clip(frames, degradation, seed) for frames, degradation, seed in losses])
    if plan.has_region and region is not None:
        altered = np.stack([np.zeros_like(region), region])
        pair = np.concatenate([pair, altered[..., None]], -1)
    return pair
