# SPDX-License-Identifier: Apache-2.0
"""The score of a video as `predict` gives it, and beside it what an evaluation needs: the frames behind the score."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from ..scanning.detector import Detector
from ..scanning.reading import ReadVideo
from ..scanning.results import VideoResult
from ..scanning.settings import ScanSettings


Ensemble = Literal["probabilities", "logits"]
# A float32 softmax says no more about a probability than that it is this close to 0 or 1.
PROBABILITY_EPSILON = 1e-7


@dataclass(frozen=True)
class Judgement:
    """
    One judged video.

    Attributes:
        result: What `predict` says.
        frame_indices: Distinct frames of the decisive face, ascending.
        frame_probabilities: Calibrated fake probability of each of these frames alone.
    """

    result: VideoResult
    frame_indices: list[int]
    frame_probabilities: list[float]


class Judge(Detector):
    """
    A `Detector` that keeps what its networks say of each frame, and can average an ensemble by logits.

    Args:
        models: Folders or Hub ids; none takes the packaged checkpoint.
        device: See `Detector`.
        settings: The choices of the scan.
        ensemble: What is averaged over several models.

    Raises:
        ModelLoadError: If a model cannot be loaded.
        ValueError: If the device does not exist here.
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
        # Of each model: the outputs for the clips of the video in hand, (faces, T, labels) and (faces, labels).
        self._outputs: list[list[Any]] = [[] for _ in self.models]
        for model, outputs in zip(self.models, self._outputs, strict=True):
            model.network.register_forward_hook(lambda _, inputs, output, kept=outputs: kept.append(output))

    def judge_frames(self, video: ReadVideo) -> Judgement:
        """Judge a video that was read; the networks run once for the score and for its frames."""
        for outputs in self._outputs:
            outputs.clear()
        result = self.judge(video)
        if self.ensemble == "logits" and len(self.models) > 1:
            result = self._by_logits(result)
        decisive = self._aggregate(result.faces)[1] if result.faces else 0
        return Judgement(result, *self._frames(video, decisive))

    def _by_logits(self, result: VideoResult) -> VideoResult:
        """The same result with the mean of the logits in place of the mean of the probabilities."""
        margins = [
            np.concatenate([_margin(output.logits, model.fake_index) for output in outputs])
            for model, outputs in zip(self.models, self._outputs, strict=True)
        ]
        probabilities = _sigmoid(np.mean(margins, axis=0))  # (faces,)
        faces = [
            replace(face, fake_probability=float(probability))
            for face, probability in zip(result.faces, probabilities, strict=False)
        ]
        probability = self._aggregate(faces)[0] if faces else float(probabilities[0])
        label = "fake" if probability >= self.threshold else "real"
        return replace(result, faces=faces, fake_probability=probability, label=label)

    def _frames(self, video: ReadVideo, face: int) -> tuple[list[int], list[float]]:
        """Each distinct frame of one face, averaged over the models that saw it as the ensemble averages."""
        margins: dict[int, list[float]] = {}
        for model, outputs, clips in zip(self.models, self._outputs, video.clips, strict=True):
            of_face = np.concatenate([_margin(output.frame_logits, model.fake_index) for output in outputs])[face]
            # A frame that fills a short clip several times is one frame.
            of_frame = dict(zip(clips[face].frame_indices.tolist(), of_face.tolist(), strict=True))
            for index, margin in of_frame.items():
                margins.setdefault(index, []).append(margin)
        indices = sorted(margins)
        if self.ensemble == "logits":
            return indices, [float(_sigmoid(np.mean(margins[index]))) for index in indices]
        return indices, [float(np.mean(_sigmoid(np.array(margins[index])))) for index in indices]


def _margin(logits: Any, fake_index: int) -> np.ndarray:
    """What fake has over the other labels, `(..., labels)` to `(...)`: its sigmoid is the fake probability."""
    logits = logits.detach().double().cpu().numpy()
    others = np.delete(logits, fake_index, axis=-1)
    margin: np.ndarray = logits[..., fake_index] - np.logaddexp.reduce(others, axis=-1)
    return margin


def _sigmoid(margin: Any) -> np.ndarray:
    # exp of a large number would overflow; beyond 700 a double holds 0 or 1 anyway
    return np.asarray(1 / (1 + np.exp(-np.clip(margin, -700, 700))))
