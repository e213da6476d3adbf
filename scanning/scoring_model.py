# SPDX-License-Identifier: Apache-2.0
"""The interface of a scoring model, independent of the inference library: numpy arrays in, numpy arrays out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..clip_sampling import Clip, ClipSampler
from .graphs import ScoringDescription
from .results import FRAMES_WARNING, UNTRAINED_WARNING, ModelIdentity
from .settings import ScanSettings


if TYPE_CHECKING:
    from ..grad_cam import GradCam


# Frames of a longer clip that are preprocessed together; bounds the memory where thousands of frames are scored.
FRAMES_PER_PIECE = 128


class HeatmapError(ValueError):
    """No heat map of a model can be computed; the message is a clause with the reason."""


@dataclass(frozen=True)
class ClipLogits:
    """
    Logits of clips of the same length.

    Attributes:
        logits: Array of shape (B, L), float32: calibrated logits of each clip.
        frame_logits: Array of shape (B, T, L), float32: calibrated logits of each frame; 0 where a frame is masked.
    """

    logits: np.ndarray
    frame_logits: np.ndarray

    @classmethod
    def concatenate(cls, parts: Sequence["ClipLogits"]) -> "ClipLogits":
        """Join the logits of clips that were computed separately, in their order."""
        return cls(
            np.concatenate([part.logits for part in parts]), np.concatenate([part.frame_logits for part in parts])
        )


class ScoringModel(Protocol):
    """A loaded model that scores clips: [`LoadedModel`] runs in torch, [`OnnxModel`] in onnxruntime."""

    @property
    def engine(self) -> str:
        """Inference library: "torch" or "onnx"."""

    @property
    def device(self) -> str:
        """Device type, such as "cpu" or "cuda"."""

    @property
    def identity(self) -> ModelIdentity:
        """Name and hash of the weights."""

    @property
    def folder(self) -> Path | None:
        """Folder of the files; `None` for random weights."""

    @property
    def processor(self) -> ClipSampler:
        """The preprocessing: sampling of the frames and cropping of the faces."""

    @property
    def description(self) -> ScoringDescription:
        """Labels, calibration, configuration and preprocessing."""

    @property
    def fake_index(self) -> int:
        """Index of the fake logit."""

    def pixel_values(self, crops: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """
        Preprocess one clip.

        Args:
            crops: T frames of shape (h, w, 3), uint8 RGB, already sampled and cropped.

        Returns:
            Array of shape (1, T, C, H, W), float32.
        """

    def frame_features(self, pixel_values: np.ndarray) -> np.ndarray:
        """
        Compute the features of each frame, over which the windows of a timeline slide.

        Args:
            pixel_values: Array of shape (B, T, C, H, W), float32.

        Returns:
            Array of shape (B, T, D), float32.
        """

    def classify_features(self, features: np.ndarray, mask: np.ndarray | None = None) -> ClipLogits:
        """
        Compute the logits of clips from the features of their frames.

        Args:
            features: Array of shape (B, T, D), float32.
            mask: Array of shape (B, T), bool: True for valid frames; all frames are valid by default.

        Raises:
            ValueError: If a clip has no valid frame.
        """

    def compute_logits(self, pixel_values: np.ndarray) -> ClipLogits:
        """
        Compute the logits of clips: [`frame_features`], then [`classify_features`].

        Args:
            pixel_values: Array of shape (B, T, C, H, W), float32.
        """

    def grad_cam(self, pixel_values: np.ndarray) -> "GradCam":
        """
        Compute Grad-CAM of the fake logit of one clip. It needs gradients, so torch always computes it.

        Args:
            pixel_values: Array of shape (1, T, C, H, W), float32.

        Raises:
            HeatmapError: If the backbone does not end in feature maps, as in vision transformers.
        """


def logits_in_pieces(model: ScoringModel, clip: Clip) -> ClipLogits:
    """
    Compute the logits of a long clip, of which only one piece is in memory as floating-point numbers at a time.

    A frame that the clip repeats, because the video has fewer frames, passes the frame encoder once.

    Args:
        model: The model.
        clip: The clip.
    """
    _, firsts, places = np.unique(clip.frame_indices, return_index=True, return_inverse=True)
    pieces = np.split(firsts, range(FRAMES_PER_PIECE, len(firsts), FRAMES_PER_PIECE))
    features = [model.frame_features(model.pixel_values(clip.frames[piece])) for piece in pieces]
    return model.classify_features(np.concatenate(features, axis=1)[:, places])


def warn_of_models(models: Sequence[ScoringModel], settings: ScanSettings) -> list[str]:
    """Return what the results of these models must warn of, whatever the video."""
    descriptions = [model.description for model in models]
    warnings = [] if all(description.is_trained for description in descriptions) else [UNTRAINED_WARNING]
    if settings.num_frames is None and any(description.num_frames_differ for description in descriptions):
        warnings.append(FRAMES_WARNING)
    return warnings
