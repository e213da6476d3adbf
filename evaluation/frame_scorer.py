# SPDX-License-Identifier: Apache-2.0
"""Scores videos as `predict` does, and keeps the probability of each frame."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..common.logistic import logit, sigmoid
from ..scanning.clip_reading import ReadVideo
from ..scanning.detector import Detector
from ..scanning.ensemble import ModelPrediction
from ..scanning.framewise import average_by_frame
from ..scanning.results import VideoResult
from ..scanning.settings import ScanSettings
from .known_videos import KnownVideos
from .plan import Ensemble


# A float32 softmax cannot tell probabilities apart that are this close to 0 or 1.
PROBABILITY_EPSILON = 1e-7


@dataclass(frozen=True)
class ScoredVideo:
    """
    One scored video.

    Attributes:
        result: The result of `predict`.
        frame_indices: Distinct frames of the decisive face, ascending.
        frame_probabilities: Calibrated fake probability of each of these frames.
        frame_weights: Share of each of these frames in the clip, averaged over the models.
    """

    result: VideoResult
    frame_indices: list[int]
    frame_probabilities: list[float]
    frame_weights: list[float]


class FrameScorer(Detector):
    """
    A `Detector` that keeps the probability of each frame, and can average an ensemble by logits.

    Args:
        models: Folders or Hub ids; the packaged checkpoint if empty.
        device: See `Detector`.
        settings: Scoring settings.
        ensemble: Quantity averaged over several models, probabilities or logits.

    Raises:
        ModelLoadError: If a model cannot be loaded.
        ValueError: If the device does not exist on this machine.
    """

    def __init__(
        self,
        models: Sequence[str] = (),
        *,
        device: str = "auto",
        settings: ScanSettings | None = None,
        ensemble: Ensemble = "probabilities",
    ) -> None:
        super().__init__(models, device=device, settings=settings)
        self.ensemble = ensemble
        self.known_videos = KnownVideos([model.folder for model in self.models])

    def score_frames(self, video: ReadVideo) -> ScoredVideo:
        """Score a video that was read; the networks run once for the score and for its frames."""
        predictions = self.predictions(video)
        return ScoredVideo(self.combine(video, predictions), *self._frames(video, predictions))

    @property
    def averages_logits(self) -> bool:
        """Whether the logits of several models are averaged instead of their probabilities."""
        return self.ensemble == "logits" and len(self.models) > 1

    def average(self, said: Sequence[tuple[ModelPrediction, int | None]]) -> float:
        """Return the mean of the probabilities, or the probability at the mean of the logits."""
        if not self.averages_logits:
            return super().average(said)
        return float(sigmoid(np.mean([_logit(prediction, number) for prediction, number in said])))

    def _frames(
        self, video: ReadVideo, predictions: Sequence[ModelPrediction]
    ) -> tuple[list[int], list[float], list[float]]:
        """Distinct frames of the decisive faces: index, fake probability averaged over the models that saw the frame,
        and share in the clips."""
        said: dict[int, list[float]] = {}
        weights: dict[int, float] = {}
        for clips, prediction in zip(video.clips, predictions, strict=True):
            margins = prediction.margins[prediction.decisive]
            values = margins if self.averages_logits else sigmoid(margins)
            found = average_by_frame(clips[prediction.decisive].frame_indices, values)
            for index, value, share in zip(*(array.tolist() for array in found), strict=True):
                said.setdefault(index, []).append(value)
                weights[index] = weights.get(index, 0.0) + share / len(self.models)
        ordered = sorted(said)
        means = np.array([np.mean(said[index]) for index in ordered])
        probabilities = sigmoid(means) if self.averages_logits else means
        return ordered, probabilities.tolist(), [weights[index] for index in ordered]


def _logit(prediction: ModelPrediction, number: int | None) -> float:
    """Logit of a face or a video, from the network's own logits: probabilities near 1 are too coarse."""
    if number is None and prediction.is_mean:
        return float(logit(prediction.fake_probability, PROBABILITY_EPSILON))
    return float(prediction.clip_margins[prediction.decisive if number is None else number])
