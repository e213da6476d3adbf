# SPDX-License-Identifier: Apache-2.0
"""Temporal faults: what gives a manipulated clip away in time, put on real clips."""

from dataclasses import replace

import numpy as np

from .blending import Blend, blend_clip, draw_blend


# Shares of a clip, least and most, that stand still or go missing.
SHORT, LONG = (0.0, 0.5), (0.5, 0.95)


def make_faulty(frames: np.ndarray, landmarks: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """
    A real clip with one fault: a blended region that jitters or drifts, or frames that stand still or go missing.

    Args:
        frames: (T, S, S, 3) uint8.
        landmarks: (T, 5, 2) in pixels, NaN where unknown.
        random: Where the numbers come from.
    """
    fault = random.choice(["jitter", "drift", "repeat", "drop"])
    if fault == "jitter":
        return _blend_each(frames, landmarks, random, random.normal(0, 1, (len(frames), 3)))
    if fault == "drift":
        drift = np.linspace(-1, 1, len(frames))[:, None] * random.normal(0, 2, (1, 3))
        return _blend_each(frames, landmarks, random, drift)
    return stall(frames, random, skips=fault == "drop")


def stall(
    frames: np.ndarray, random: np.random.Generator, *, skips: bool, shares: tuple[float, float] = SHORT
) -> np.ndarray:
    """
    A clip whose pictures are as they were, but some stand still or go missing: two at least.

    Args:
        frames: (T, S, S, 3) uint8.
        random: Where the numbers come from.
        skips: Whether frames go missing, and the last one stands for them at the end; else one stands still.
        shares: How much of the clip.
    """
    length = min(max(2, round(random.uniform(*shares) * len(frames))), len(frames))
    start = int(random.integers(0, len(frames) - length + 1))
    order = np.arange(len(frames))
    if skips:  # the frames after the gap move up, the last one stays
        order[start:] = np.minimum(order[start:] + length, len(frames) - 1)
    else:
        order[start : start + length] = start
    return np.asarray(frames[order])


def permute(frames: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The same frames (T, S, S, 3) in another order; of fewer than two there is none."""
    order = random.permutation(len(frames))
    while len(frames) > 1 and (order == np.arange(len(frames))).all():
        order = random.permutation(len(frames))
    return np.asarray(frames[order])


def _blend_each(
    frames: np.ndarray, landmarks: np.ndarray, random: np.random.Generator, offsets: np.ndarray
) -> np.ndarray:
    """One self-blend whose place, size and brightness differ by `offsets` (T, 3) from frame to frame."""
    blend = draw_blend(random)
    blends = [_moved(blend, offset) for offset in offsets]
    clips = [blend_clip(frames[i : i + 1], landmarks[i : i + 1], one)[0] for i, one in enumerate(blends)]
    return np.concatenate(clips)


def _moved(blend: Blend, offset: np.ndarray) -> Blend:
    x, y, brightness = offset.tolist()
    colors = replace(blend.colors, brightness=blend.colors.brightness * (1 + 0.04 * brightness))
    return replace(
        blend,
        shift=(blend.shift[0] + 0.01 * x, blend.shift[1] + 0.01 * y),
        warp=blend.warp + 0.01 * np.array([x, y]),
        colors=colors,
        ratio=max(blend.ratio, 0.5),
    )
