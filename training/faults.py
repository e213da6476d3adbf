# SPDX-License-Identifier: Apache-2.0
"""Temporal artifacts, as manipulations leave them over time, applied to real clips."""

from dataclasses import replace

import numpy as np

from .blending import Blend, blend_clip, draw_blend


# Smallest and largest share of a clip that is frozen or dropped.
SHORT, LONG = (0.0, 0.5), (0.5, 0.95)


def make_faulty(frames: np.ndarray, landmarks: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """
    Apply one random fault to a real clip: a blended region that jitters or drifts, or frozen or dropped frames.

    Args:
        frames: Frames (T, S, S, 3) uint8.
        landmarks: Facial landmarks (T, 5, 2) in pixels, NaN where unknown.
        random: Random generator.

    Returns:
        Frames (T, S, S, 3) uint8.
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
    Freeze or drop a random span of at least two frames.

    Args:
        frames: Frames (T, S, S, 3) uint8.
        random: Random generator.
        skips: Whether to drop the span and repeat the last frame at the end of the clip; otherwise, the span is
            frozen.
        shares: Smallest and largest share of the clip.

    Returns:
        Frames (T, S, S, 3) uint8.
    """
    length = min(max(2, round(random.uniform(*shares) * len(frames))), len(frames))
    start = int(random.integers(0, len(frames) - length + 1))
    order = np.arange(len(frames))
    if skips:
        order[start:] = np.minimum(order[start:] + length, len(frames) - 1)
    else:
        order[start : start + length] = start
    return np.asarray(frames[order])


def _blend_each(
    frames: np.ndarray, landmarks: np.ndarray, random: np.random.Generator, offsets: np.ndarray
) -> np.ndarray:
    """Self-blend with a position, warp and brightness that change by `offsets` (T, 3) from frame to frame."""
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
