# Copyright 2026 The deepfake-video authors.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Check the frame masks of a batch of clips, and average over the valid frames."""

import torch


__all__ = ["average_frames", "check_clips", "check_mask"]


def check_clips(
    pixel_values_videos: torch.Tensor, frame_mask: torch.Tensor | None, num_channels: int
) -> torch.Tensor | None:
    """
    Check a batch of clips `(B, T, C, H, W)` and return its mask as `check_mask` does.

    Raises:
        ValueError: If the shape differs, an axis is empty, or the mask does not fit.
    """
    shape = tuple(pixel_values_videos.shape)
    if pixel_values_videos.ndim != 5 or shape[2] != num_channels or 0 in shape:
        raise ValueError(
            "pixel_values_videos must have the shape (batch_size, num_frames, channels, height, width) with "
            f"{num_channels} channels and at least one frame, got {shape}."
        )
    return check_mask(frame_mask, pixel_values_videos.shape[:2])


def check_mask(frame_mask: torch.Tensor | None, shape: tuple[int, ...]) -> torch.Tensor | None:
    """
    Return the mask as bool, or `None` if it masks no frame.

    Args:
        frame_mask: `(B, T)`, false for padding.
        shape: `(B, T)` of the frames.

    Raises:
        ValueError: If the mask has another shape, or if it masks every frame of a clip.
    """
    if frame_mask is None:
        return None
    if tuple(frame_mask.shape) != tuple(shape):
        raise ValueError(
            f"frame_mask must have the shape {tuple(shape)} of the frames, got {tuple(frame_mask.shape)}."
        )
    frame_mask = frame_mask.bool()
    # The graph of torch.export takes any mask and cannot depend on the values of this one.
    if torch.compiler.is_exporting():
        return frame_mask
    if not frame_mask.any(1).all():
        raise ValueError("frame_mask masks every frame of a clip; at least one must be valid.")
    return None if frame_mask.all() else frame_mask


def average_frames(frame_logits: torch.Tensor, frame_mask: torch.Tensor | None, aggregation: str) -> torch.Tensor:
    """
    Compute video logits `(B, num_labels)` of a frame classifier from frame logits `(B, T, num_labels)`.

    For `"mean-probability"` they are the log of the mean frame probabilities, so their softmax is exactly that mean.

    Args:
        frame_mask: `(B, T)` bool, false for padding; all frames are valid without one.
        aggregation: `"mean-logit"` or `"mean-probability"`.
    """
    if frame_mask is None:
        frame_mask = frame_logits.new_ones(frame_logits.shape[:2], dtype=torch.bool)
    valid = frame_mask.unsqueeze(-1)
    if aggregation == "mean-logit":
        return frame_logits.masked_fill(~valid, 0.0).sum(1) / valid.sum(1)
    log_probabilities = frame_logits.log_softmax(-1).masked_fill(~valid, -torch.inf)
    return log_probabilities.logsumexp(1) - valid.sum(1).log()
