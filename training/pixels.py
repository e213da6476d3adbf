# SPDX-License-Identifier: Apache-2.0
"""Convert uint8 clips of face crops to network inputs and to frame features."""

import torch

from ..image_processing_deepfake import DeepfakeVideoProcessor
from ..modeling_deepfake import DeepfakeForVideoClassification


def to_pixel_values(frames: torch.Tensor, processor: DeepfakeVideoProcessor) -> torch.Tensor:
    """
    Normalise clips as a processor does, on their current device.

    Args:
        frames: Clips (B, T, H, W, 3), uint8 RGB, of the input size of the network.
        processor: Processor of the network.

    Returns:
        Pixel values (B, T, 3, H, W) float32.
    """
    mean = torch.tensor(processor.image_mean, device=frames.device)
    std = torch.tensor(processor.image_std, device=frames.device)
    values = (frames / 255 - mean) / std
    return (values.flip(-1) if processor.channel_order == "bgr" else values).permute(0, 1, 4, 2, 3)


@torch.no_grad()
def encode_clips(
    network: DeepfakeForVideoClassification, clips: torch.Tensor, processor: DeepfakeVideoProcessor
) -> torch.Tensor:
    """
    Compute the frame features of clips with the network in evaluation mode.

    Args:
        network: Network whose frame encoder is used; its mode is restored.
        clips: Clips (B, T, H, W, 3), uint8 RGB, of the input size of the network.
        processor: Processor of the network.

    Returns:
        Frame features (B, T, num_features) float32 on the CPU.
    """
    was_training = network.training
    network.eval()
    features = network.get_frame_features(to_pixel_values(clips.to(network.device), processor)).float().cpu()
    network.train(was_training)
    return features
