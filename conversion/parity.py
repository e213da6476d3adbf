# SPDX-License-Identifier: Apache-2.0
"""Do the written weights answer as the read ones did? The same clips through both networks, compared."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..hub.differences import relative_difference
from ..timm_backbones import is_timm
from .errors import ConversionError, shown
from .legacy_forward import LegacyNetwork, without_onednn


Answers = dict[int, tuple[torch.Tensor, torch.Tensor]]

TOLERANCE = 1e-5
# In float64 nothing is left of rounding; a wrong weight shows as much as ever.
EXACT_TOLERANCE = 1e-7
BATCH_SIZES = (1, 4)
NUM_FRAMES = 3
# Large enough for every padding to matter in the last stage, small enough for b7 on one core.
MAX_IMAGE_SIZE = 112


@dataclass(frozen=True)
class Parity:
    """
    Attributes:
        logits: Largest difference of a logit, relative to the largest logit or to 1, for each batch size.
        features: The same of the frame features, relative to the largest feature.
        image_size: Height and width of the frames that were compared, in pixels.
        num_frames: Frames of each clip.
        dtype: Type in which both networks ran.
    """

    logits: dict[int, float]
    features: dict[int, float]
    image_size: int
    num_frames: int = NUM_FRAMES
    dtype: torch.dtype = torch.float32

    @property
    def tolerance(self) -> float:
        """The largest difference that is allowed."""
        return TOLERANCE if self.dtype == torch.float32 else EXACT_TOLERANCE

    @property
    def holds(self) -> bool:
        """Whether every difference is within the tolerance; NaN is not."""
        return all(value <= self.tolerance for value in [*self.logits.values(), *self.features.values()])

    def line(self) -> str:
        """One line for people."""
        parts = ", ".join(
            f"{self.logits[size]:.1e} in the logits and {self.features[size]:.1e} in the features at batch {size}"
            for size in self.logits
        )
        return (
            f"parity {'ok' if self.holds else 'FAILED'}: written and read weights differ by at most {parts} "
            f"(relative, {str(self.dtype).removeprefix('torch.')}, {self.num_frames} frames of {self.image_size} px; "
            f"allowed {self.tolerance:.0e}). It compares weights and arithmetic; both networks run with the choices "
            "above, so it cannot tell whether these are the legacy program's"
        )


def compared_size(backbone: str, image_size: int) -> int:
    """Height and width of the frames that are compared; networks of timm may refuse other sizes than their own."""
    return image_size if is_timm(backbone) else min(image_size, MAX_IMAGE_SIZE)


def sample_clips(size: int, batch_size: int) -> torch.Tensor:
    """The clips (B, T, 3, H, W) that both networks get: smooth patterns and noise, the same on every machine."""
    generator = torch.Generator().manual_seed(20_000 + batch_size)
    coarse = torch.randn(batch_size * NUM_FRAMES, 3, 7, 7, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear", align_corners=False)
    noise = torch.randn(smooth.shape, generator=generator)
    return (smooth + 0.3 * noise).view(batch_size, NUM_FRAMES, 3, size, size)


def expected_answers(network: LegacyNetwork, image_size: int, dtype: torch.dtype = torch.float32) -> Answers:
    """Features and logits of the read weights, by batch size."""
    return {size: network(sample_clips(image_size, size).to(dtype)) for size in BATCH_SIZES}


def compare(
    folder: Path, expected: Answers, image_size: int, *, file: str, dtype: torch.dtype = torch.float32
) -> Parity:
    """
    Load the written folder and compare its frame features and logits.

    Args:
        folder: The written folder.
        expected: What `expected_answers` returned.
        image_size: Height and width of the frames, see [`compared_size`].
        file: Name of the file, for messages.
        dtype: Of the computation.

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
            f"The folder made of {shown(file)} does not load completely ({', '.join(incomplete[:3])}); nothing was "
            "written, please report this.",
            reason="parity",
        )
    model.train(False).to(dtype)
    parity = Parity({}, {}, image_size, dtype=dtype)
    with torch.inference_mode():
        for size, (expected_features, expected_logits) in expected.items():
            features = model.get_frame_features(sample_clips(image_size, size).to(dtype))
            with without_onednn():
                logits = model.classify_features(features).logits
            # A head that hardly looks at some features would hide their errors in the logits.
            parity.features[size] = relative_difference(features, expected_features, floor=1e-30)
            parity.logits[size] = relative_difference(logits, expected_logits)
    return parity
