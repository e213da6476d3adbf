# SPDX-License-Identifier: Apache-2.0
"""Loss of quality as batched tensor operations, the counterpart of that in `augmentation`."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from .augmentation import Degradation
from .device_jpeg import through_jpeg
from .device_operations import add_noise, blur, lose_detail, shift_colors, to_grey


T = TypeVar("T")


def degrade_clips(
    clips: torch.Tensor, degradations: Sequence[Degradation], noise_seeds: Sequence[int]
) -> torch.Tensor:
    """
    Apply a degradation to each clip, in the order of [`~training.augmentation.degrade_clip`].

    H.264, which comes last, is not applied: it runs on the CPU.

    Args:
        clips: Images (N, T, 3, S, S).
        degradations: Degradation of each clip.
        noise_seeds: Seed of the noise of each clip.

    Returns:
        Images (N, T, 3, S, S).
    """
    images, num_frames = clips.flatten(0, 1).clone(), clips.shape[1]
    per_image = [degradation for degradation in degradations for _ in range(num_frames)]
    _change(images, [each.scale if each.scale < 1 else None for each in per_image], lose_detail)
    _change(images, [each.blur or None for each in per_image], blur)
    _change(images, [each.colors for each in per_image], shift_colors)
    _change(images, [each.grey or None for each in per_image], lambda chosen, _: to_grey(chosen))
    clips = images.unflatten(0, (-1, num_frames))
    for clip, degradation, seed in zip(clips, degradations, noise_seeds, strict=True):
        if degradation.noise:
            clip.copy_(add_noise(clip, degradation.noise, seed))
    _change(images, [each.jpeg for each in per_image], through_jpeg)
    return clips


def _change(
    images: torch.Tensor,
    values: Sequence[T | None],
    operation: Callable[[torch.Tensor, list[T]], torch.Tensor],
) -> None:
    """Apply an operation in place to the images whose value is not `None`."""
    chosen = [i for i, value in enumerate(values) if value is not None]
    if chosen:
        images[chosen] = operation(images[chosen], [value for value in values if value is not None])
