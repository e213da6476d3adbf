# SPDX-License-Identifier: Apache-2.0
"""Score one video with one model or several: open, find the faces, crop, judge, and say what happened."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..face_cropping import FaceTrack, find_face_tracks
from ..image_processing_deepfake import Clip
from ..video_decoding import VideoError, VideoReader
from .models import LoadedModel, load_model
from .results import UNTRAINED_WARNING, FaceResult, ModelIdentity, VideoResult
from .settings import ScanSettings


# A face seen in fewer of the sampled frames cannot raise the score of a video, unless it is the main face.
MIN_FACE_COVERAGE = 0.25
# Below this share of frames with a face the result carries a warning.
LOW_FACE_COVERAGE = 0.5
ENSEMBLE_THRESHOLD = 0.5


@dataclass
class _Verdict:
    """What a video shows: the fields of a result that come from the models."""

    fake_probability: float
    frames_analyzed: int
    face_coverage: float | None = None
    faces: list[FaceResult] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class Detector:
    """
    One or several loaded models that score videos alike.

    Args:
        models: Folders or Hub ids; none takes the packaged checkpoint.
        device: "cpu", "cuda", "mps", or "auto" for the fastest there is.
        settings: The choices of the scan.

    Raises:
        ModelLoadError: If a model cannot be loaded.
        ValueError: If the device does not exist here.
    """

    def __init__(
        self, models: Sequence[str] = (), *, device: str = "auto", settings: ScanSettings | None = None
    ) -> None:
        self.settings = settings or ScanSettings()
        self.device = resolve_device(device)
        self.models = [load_model(name, device=self.device) for name in (models or (None,))]
        configs = [model.network.config for model in self.models]
        threshold = configs[0].threshold if len(configs) == 1 else ENSEMBLE_THRESHOLD
        self.threshold = float(threshold if self.settings.threshold is None else self.settings.threshold)
        self.identity = join_identities([model.identity for model in self.models])
        self.warnings = [] if all(config.is_trained for config in configs) else [UNTRAINED_WARNING]

    def score(self, path: str | Path) -> VideoResult:
        """
        The result of one video: one that cannot be judged has a status and a message, never a score.

        Args:
            path: A file or http(s) address.
        """
        result: dict[str, Any] = {
            "path": str(path),
            "threshold": self.threshold,
            "settings": {**self.settings.to_dict(), "num_frames": self._num_frames()},
            "model": self.identity,
            "warnings": list(self.warnings),
        }
        try:
            with VideoReader(path, limits=self.settings.limits) as reader:
                result |= {"duration_s": reader.duration_s, "sha256": reader.sha256()}
                verdict = self._judge(reader)
                result["warnings"] += [*reader.warnings, *verdict.warnings]
        except VideoError as error:
            return VideoResult(status=error.reason, message=str(error), **result)
        return VideoResult(
            status="ok",
            label="fake" if verdict.fake_probability >= self.threshold else "real",
            fake_probability=verdict.fake_probability,
            frames_analyzed=verdict.frames_analyzed,
            face_coverage=verdict.face_coverage,
            faces=verdict.faces,
            **result,
        )

    def _num_frames(self) -> int:
        return self.settings.num_frames or max(model.processor.num_frames for model in self.models)

    def _judge(self, reader: VideoReader) -> _Verdict:
        sampled = [
            model.processor.frame_indices(reader.num_frames, num_frames=self.settings.num_frames)
            for model in self.models
        ]
        every = np.unique(np.concatenate(sampled))
        tracks = self._find_faces(reader, every)
        clips = [
            self._read_clips(model, reader, indices, tracks)
            for model, indices in zip(self.models, sampled, strict=True)
        ]
        # (models, faces) -> (faces,): the mean of the probabilities over the ensemble
        probabilities = np.mean([self._probabilities(*pair) for pair in zip(self.models, clips, strict=True)], axis=0)
        num_distinct = [
            len(np.unique(np.concatenate([clip.frame_indices for clip in of_face])))
            for of_face in zip(*clips, strict=True)
        ]

        verdict = _Verdict(float(probabilities[0]), num_distinct[0])
        if tracks is not None:
            verdict.faces = [
                _face_result(reader, track, every, probability)
                for track, probability in zip(tracks, probabilities, strict=True)
            ]
            verdict.fake_probability, decisive = self._aggregate(verdict.faces)
            verdict.frames_analyzed = num_distinct[decisive]
            verdict.face_coverage = _joint_coverage(tracks, every)
            if verdict.face_coverage < LOW_FACE_COVERAGE:
                verdict.warnings.append(f"a face was found in only {verdict.face_coverage:.0%} of the sampled frames")
        if reader.num_frames < max(map(len, sampled)):
            verdict.warnings.append(f"the video has only {reader.num_frames} frames; some were judged more than once")
        return verdict

    def _find_faces(self, reader: VideoReader, indices: np.ndarray) -> list[FaceTrack] | None:
        """Tracks on the frames of all models together, searched once; `None` where faces are not cropped."""
        cropping = [model.processor for model in self.models if model.processor.do_crop_faces]
        if self.settings.faces == "none" or not cropping:
            return None
        return find_face_tracks(reader, indices, settings=cropping[0].face_settings())

    def _read_clips(
        self, model: LoadedModel, reader: VideoReader, indices: np.ndarray, tracks: list[FaceTrack] | None
    ) -> list[Clip]:
        if tracks is None:
            return model.processor.read_clips(reader, indices, do_crop_faces=False)
        if len(self.models) > 1:
            tracks = [_restrict(track, indices) for track in tracks]
        return model.processor.crop_clips(reader, tracks, len(indices))

    @torch.inference_mode()
    def _probabilities(self, model: LoadedModel, clips: Sequence[Clip]) -> list[float]:
        """Fake probability of each clip, as `pipeline` computes it."""
        probabilities = []
        for clip in clips:
            inputs = model.processor(
                clip.frames,
                do_sample_frames=False,
                do_crop_faces=False,
                input_data_format="channels_last",
                return_tensors="pt",
            )
            logits = model.network(**inputs.to(self.device)).logits
            probabilities.append(logits.softmax(-1)[0, model.fake_index].item())
        return probabilities

    def _aggregate(self, faces: list[FaceResult]) -> tuple[float, int]:
        """Probability of the video, and which face decided it (the main one for the mean)."""
        counted = [i for i, face in enumerate(faces) if i == 0 or face.coverage >= MIN_FACE_COVERAGE]
        if self.settings.face_aggregation == "mean":
            return float(np.mean([faces[i].fake_probability for i in counted])), 0
        if self.settings.face_aggregation == "main":
            counted = [0]
        decisive = max(counted, key=lambda i: faces[i].fake_probability)
        return faces[decisive].fake_probability, decisive


def scan(
    path: str | Path,
    *,
    model: str | Sequence[str] = (),
    device: str = "auto",
    settings: ScanSettings | None = None,
) -> VideoResult:
    """
    Score one video. For many, make one [`Detector`] and call its `score`: that loads the model once.

    Args:
        path: A file or http(s) address.
        model: Folder or Hub id, or several for an ensemble; the packaged checkpoint if not given.
        device: "cpu", "cuda", "mps", or "auto" for the fastest there is.
        settings: The choices of the scan.

    Raises:
        ModelLoadError: If a model cannot be loaded.

    Example:
        >>> result = scan("clip.mp4")  # doctest: +SKIP
        >>> result.status, result.label  # doctest: +SKIP
        ('ok', 'fake')
    """
    models = [model] if isinstance(model, str) else model
    return Detector(models, device=device, settings=settings).score(path)


def resolve_device(name: str) -> str:
    """
    The device to run on.

    Raises:
        ValueError: If it does not exist on this machine.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return next(device for device, exists in available.items() if exists)
    if not available.get(name.partition(":")[0], False):
        raise ValueError(f"there is no device {name!r} here; use cpu, or leave --device out.")
    return name


def join_identities(identities: Sequence[ModelIdentity]) -> ModelIdentity:
    """The identity of an ensemble: each part joined by " + "; of one model its own."""
    if len(identities) == 1:
        return identities[0]
    return ModelIdentity(
        id=" + ".join(identity.id for identity in identities),
        revision=" + ".join(str(identity.revision) for identity in identities),
        weights_sha256=" + ".join(str(identity.weights_sha256) for identity in identities),
    )


def _restrict(track: FaceTrack, indices: np.ndarray) -> FaceTrack:
    """The part of a track on one model's frames; all of it where the face stands on none of them."""
    kept = np.isin(track.frame_indices, indices)
    if not kept.any():
        return track
    return replace(
        track,
        frame_indices=track.frame_indices[kept],
        boxes=track.boxes[kept],
        scores=track.scores[kept],
        interpolated=track.interpolated[kept],
    )


def _joint_coverage(tracks: Sequence[FaceTrack], indices: np.ndarray) -> float:
    """Share of the sampled frames in which any face was detected."""
    detected = np.unique(np.concatenate([track.frame_indices[~track.interpolated] for track in tracks]))
    return len(np.intersect1d(detected, indices)) / len(indices)


def _face_result(reader: VideoReader, track: FaceTrack, indices: np.ndarray, probability: float) -> FaceResult:
    times = reader.timestamps_s[track.frame_indices]
    return FaceResult(
        track_id=track.track_id,
        fake_probability=float(probability),
        coverage=_joint_coverage([track], indices),
        first_s=float(times[0]),
        last_s=float(times[-1]),
    )
