# SPDX-License-Identifier: Apache-2.0
"""
What a training pair is, before its pixels are computed.

Every random number is drawn for the plan, so the pixels depend on it alone: `cpu_pairs` computes those of one pair
with NumPy and Pillow, `device_pairs` those of a batch on the device of the network.
"""

from dataclasses import dataclass, replace

import numpy as np

from .augmentation import Degradation, Framing, draw_noise_seed, frame_clip, frame_landmarks
from .blending import Blend


@dataclass(frozen=True, kw_only=True)
class View:
    """
    What the network sees of the cached crops of a clip.

    Attributes:
        frames: Crops (T, S, S, 3) uint8.
        landmarks: Facial landmarks (T, 5, 2) in pixels of the crops; NaN where unknown.
        framings: One framing for all frames, or one for each; empty if the frames have been framed already.
    """

    frames: np.ndarray
    landmarks: np.ndarray
    framings: tuple[Framing, ...] = ()

    def cut_out(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """
        Compute the pixels.

        Args:
            size: Side of the view in pixels.

        Returns:
            Frames (T, size, size, 3) uint8 and landmarks (T, 5, 2) in pixels of the view.
        """
        if not self.framings:
            return self.frames, self.landmarks
        if len(self.framings) == 1:
            return frame_clip(self.frames, self.landmarks, self.framings[0], size)
        parts = zip(self.frames[:, None], self.landmarks[:, None], self.framings, strict=True)
        views = [frame_clip(frame, points, framing, size) for frame, points, framing in parts]
        return np.concatenate([frame for frame, _ in views]), np.concatenate([points for _, points in views])

    def place_landmarks(self, size: int) -> np.ndarray:
        """The landmarks (T, 5, 2) that [`cut_out`] returns, without the pixels."""
        if not self.framings:
            return self.landmarks
        framings = self.framings * (len(self.landmarks) if len(self.framings) == 1 else 1)
        parts = zip(self.landmarks[:, None], framings, strict=True)
        return np.concatenate([frame_landmarks(points, framing, size) for points, framing in parts])


@dataclass(frozen=True, kw_only=True)
class PairPlan:
    """
    A pair of a real and a fake clip.

    Attributes:
        real: The real clip.
        fake: The fake clip, or how the real one is blended with an altered copy of itself.
        degradations: Degradation of the real and of the fake clip.
        noise_seeds: Seed of the noise of either clip.
        has_region: Whether the altered region is part of the pair.
    """

    real: View
    fake: View | Blend
    degradations: tuple[Degradation, Degradation] = (Degradation(), Degradation())
    noise_seeds: tuple[int, int] = (0, 0)
    has_region: bool = False

    def degraded(self, first: Degradation, second: Degradation, random: np.random.Generator) -> "PairPlan":
        """
        The pair with other degradations.

        Args:
            first: Degradation of the real clip.
            second: Degradation of the fake clip.
            random: Random generator of the seeds of the noise.
        """
        seeds = (draw_noise_seed(first, random), draw_noise_seed(second, random))
        return replace(self, degradations=(first, second), noise_seeds=seeds)
