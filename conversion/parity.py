# SPDX-License-Identifier: Apache-2.0
"""Compares the network of the file with that of the written folder on the same clips."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..common.text import quoted
from ..hub.differences import relative_difference
from ..timm_backbones import is_timm
from .errors import ConversionError
from .legacy_forward import LegacyNetwork, without_onednn


# Frame features (B, T, D) and logits (B, 2) by batch size.
Outputs = dict[int, tuple[torch.Tensor, torch.Tensor]]

TOLERANCE = 1e-5
# float64 removes rounding errors; a wrong weight remains visible.
EXACT_TOLERANCE = 1e-7
BATCH_SIZES = (1, 4)
NUM_FRAMES = 3
# Large enough that padding matters in the last stage, small enough for b7 on one core.
MAX_IMAGE_SIZE = 112


@dataclass(frozen=True)
class Parity:
    """
    Differences between the network of a file and that of the converted folder.

    Attributes:
        logits: Largest difference of a logit by batch size, relative to the largest logit or to 1.
        features: Largest difference of a frame feature by batch size, relative to the largest feature.
        image_size: Height and width of the compared frames in pixels.
        num_frames: Frames per clip.
        dtype: Data type of both networks.
    """

    logits: dict[int, float]
    features: dict[int, float]
    image_size: int
    num_frames: int = NUM_FRAMES
    dtype: torch.dtype = torch.float32

    @property
    def tolerance(self) -> float:
        """Largest allowed difference."""
        return TOLERANCE if self.dtype == torch.float32 else EXACT_TOLERANCE

    @property
    def holds(self) -> bool:
        """Whether every difference is within the tolerance; NaN is not."""
        return all(value <= self.tolerance for value in [*self.logits.values(), *self.features.values()])

    @property
    def difference(self) -> float:
        """Largest difference of logits and features over all batch sizes."""
        return max([*self.logits.values(), *self.features.values()])

    def line(self) -> str:
        """Return a summary in one line."""
        parts = ", ".join(
            f"{self.logits[size]:.1e} in the logits and {self.features[size]:.1e} in the features at batch {size}"
            for size in self.logits
        )
        return (
            f"parity {'ok' if self.holds else 'FAILED'}: the networks of file and folder differ by at most {parts} "
            f"(relative, {str(self.dtype).removeprefix('torch.')}, {self.num_frames} frames of {self.image_size} px; "
            f"tolerance {self.tolerance:.0e}). This compares weights and arithmetic; both networks run with the "
            "choices above, so it does not show whether the legacy program made the same choices"
        )


def compared_size(backbone: str, image_size: int) -> int:
    """Return the height and width of the compared frames; timm networks may accept their own size only."""
    return image_size if is_timm(backbone) else min(image_size, MAX_IMAGE_SIZE)


def sample_clips(size: int, batch_size: int) -> torch.Tensor:
    """Return the clips (B, T, 3, H, W) for both networks: smooth patterns and noise, equal on every machine."""
    generator = torch.Generator().manual_seed(20_000 + batch_size)
    coarse = torch.randn(batch_size * NUM_FRAMES, 3, 7, 7, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear", align_corners=False)
    noise = torch.randn(smooth.shape, generator=generator)
    return (smooth + 0.3 * noise).view(batch_size, NUM_FRAMES, 3, size, size)


def expected_outputs(network: LegacyNetwork, image_size: int, dtype: torch.dtype = torch.float32) -> Outputs:
    """Return frame features and logits of the file's network, by batch size."""
    return {size: network(sample_clips(image_size, size).to(dtype)) for size in BATCH_SIZES}


def compare(
    folder: Path, expected: Outputs, image_size: int, *, file: str, dtype: torch.dtype = torch.float32
) -> Parity:
    """
    Load the written folder and compare its frame features and logits.

    Args:
        folder: The written folder.
        expected: Result of [`expected_outputs`].
        image_size: Height and width of the frames, see [`compared_size`].
        file: Name of the file, for messages.
        dtype: Data type of the computation.

    Returns:
        The differences.

    Raises:
        ConversionError: If the folder does not load completely.
    """
    from ..modeling_deepfake import DeepfakeForVideoClassification

    loaded: Any = DeepfakeForVideoClassification.from_pretrained(
        folder, output_loading_info=True, use_safetensors=True, dtype=torch.float32
    )
    model, info = loaded
    incomplete = sorted({*info["missing_keys"], *info["unexpected_keys"], *map(str, info["mismatched_keys"])})
    if incomplete:
        raise ConversionError(
            f"The folder converted from {quoted(file)} does not load completely ({', '.join(incomplete[:3])}); "
            "nothing was written. Please report this.",
            reason="parity",
        )
    model.train(False).to(dtype)
    parity = Parity({}, {}, image_size, dtype=dtype)
    with torch.inference_mode():
        for size, (expected_features, expected_logits) in expected.items():
            features = model.get_frame_features(sample_clips(image_size, size).to(dtype))
            with without_onednn():
                logits = model.classify_features(features).logits
            # Features are compared too: a head with small weights for some of them would hide their errors.
            parity.features[size] = relative_difference(features, expected_features, floor=1e-30)
            parity.logits[size] = relative_difference(logits, expected_logits)
    return parity
