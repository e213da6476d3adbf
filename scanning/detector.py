# SPDX-License-Identifier: Apache-2.0
"""Score one video with one or several loaded models."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..clip_sampling import Clip, ClipSampler
from ..common.logistic import sigmoid
from ..video_decoding import VideoError
from ..video_sources import MediaReader, read_ahead
from .clip_reading import VIDEO_FAILURES, ReadVideo, SeenFace, as_video_error, read_open_video
from .engines import check_num_frames, load_models, resolve_device
from .ensemble import ModelPrediction, ensemble_timeline
from .evidence import Evidence, Examination
from .fingerprint import describe_setup, function_of
from .framewise import fake_margin, list_frames
from .illustrating import gather_evidence, photo_windows
from .media import check_decode_device, known_of, open_media, photo_error
from .memory import return_free_memory
from .not_judged import find_not_judged
from .provenance import reading_provenance
from .results import FaceResult, FrameScore, ModelIdentity, VideoResult
from .scoring_model import FRAMES_PER_PIECE, ClipLogits, ScoringModel, logits_in_pieces, warn_of_models
from .settings import MIN_FACE_COVERAGE, ScanSettings
from .timeline import crowd_note
from .verdict import Verdict, add_not_judged, find_rule


# The calibration of a model is part of its logits, so its own threshold always is one half.
DECISION_THRESHOLD = 0.5
# Clips per batch on a GPU; bounds its memory.
CLIPS_PER_PASS = 8


class Detector:
    """
    One or several loaded models that score videos. Load it once for many videos.

    The score of an ensemble is the mean of the calibrated probabilities of its models. Each model uses its own
    preprocessing and face search, and the label is "fake" at 0.5 or above.

    Args:
        models: Model folders or Hub ids; empty for the packaged checkpoint.
        device: `"cpu"`, `"cuda"`, `"mps"`, or `"auto"` for the fastest one available.
        settings: How each video is scored.

    Raises:
        ModelLoadError: If a model cannot be loaded.
        UsageError: If the device, or that of the decoder, does not exist, if the engine is not installed or does
            not support the device, or if the sampling of a model does not support the number of frames.

    Example:

        >>> from deepfake_video.scanning.detector import Detector
        >>> detector = Detector(device="cpu")
        >>> result = detector.score("clip.mp4")
        >>> result.status, len(result.faces)
        ('ok', 1)
    """

    def __init__(
        self, models: Sequence[str] = (), *, device: str = "auto", settings: ScanSettings | None = None
    ) -> None:
        settings = settings or ScanSettings()
        check_decode_device(settings.limits)
        self.device = "cpu" if device == "auto" and settings.engine == "onnx" else resolve_device(device)
        self.models = load_models(models or (None,), device=self.device, settings=settings)
        check_num_frames(self.models, settings)
        # Results hold the engine that ran, and workers use it too.
        self.settings = replace(settings, engine="onnx" if self.models[0].engine == "onnx" else "torch")
        self.threshold = DECISION_THRESHOLD if self.settings.threshold is None else float(self.settings.threshold)
        self.identity = _join_identities([model.identity for model in self.models])
        first = self.models[0].description
        is_trained = all(model.description.is_trained for model in self.models)
        self.warnings = warn_of_models(self.models, self.settings)
        self.rule = find_rule(
            self.models[0].folder,
            weights_sha256=self.identity.weights_sha256,
            temperature=first.temperature,
            fake_bias=first.fake_bias,
            settings=self._settings_dict(),
            function=function_of(describe_setup(self.models, self.settings)),
            is_trained=is_trained,
            num_models=len(self.models),
        )

    @property
    def processors(self) -> list[ClipSampler]:
        """The preprocessing of each model."""
        return [model.processor for model in self.models]

    def score(self, path: str | Path) -> VideoResult:
        """
        Score one video. A video that cannot be scored has a status and a message, never a score.

        Args:
            path: Path, http(s) URL, or address in a store such as `s3://bucket/clip.mp4`.
        """
        return self.examine(path).result

    def examine(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        with_evidence: bool = False,
        on_progress: Callable[[float], None] = lambda second: None,
    ) -> Examination:
        """
        Score one video, and return the pictures and the windows of its timeline along with the result.

        Args:
            path: Path, http(s) URL, or address in a store such as `s3://bucket/clip.mp4`.
            name: The name that the file has for its user, if it was saved under another one.
            with_evidence: Whether to draw thumbnails and heat maps. They need `settings.timeline`.
            on_progress: Function called with the current position in the video, in seconds.
        """
        try:
            with (
                open_media(path, limits=self.settings.limits, name=name) as reader,
                reading_provenance(path) as provenance,
            ):
                examination = self._examine_open(path, reader, with_evidence, on_progress)
                result = replace(examination.result, provenance=provenance(), fetched=reader.fetched)
                return replace(examination, result=result)
        except VIDEO_FAILURES as error:
            return Examination(result=self.refuse(path, as_video_error(path, error)))

    @property
    def judges_sequences(self) -> bool:
        """Whether a model needs several frames, so that no photo can be scored."""
        return any(model.description.judges_sequences for model in self.models)

    def _examine_open(
        self, path: str | Path, reader: MediaReader, with_evidence: bool, on_progress: Callable[[float], None]
    ) -> Examination:
        try:
            if reader.is_photo and self.judges_sequences:
                raise photo_error(path)
            video = read_open_video(path, reader, self.processors, self.settings)
        except VideoError as error:
            return Examination(result=replace(self.refuse(path, error, reader.warnings), **known_of(reader)))
        if not self.settings.timeline:
            # Inference needs the memory.
            reader.release_frames()
            return_free_memory()
        result = self.score_clips(video)
        if self.settings.timeline and not reader.is_photo:
            return self._look_closer(reader, video, result, with_evidence, on_progress)
        examination = Examination(result=add_not_judged(result, find_not_judged(reader, video)))
        if reader.is_photo and with_evidence:
            return self._look_at_photo(reader, video, examination)
        return examination

    def _look_closer(
        self,
        reader: MediaReader,
        video: ReadVideo,
        result: VideoResult,
        with_evidence: bool,
        on_progress: Callable[[float], None],
    ) -> Examination:
        times, num_warnings = reader.timestamps_s, len(reader.warnings)
        try:
            windows = ensemble_timeline(
                reader, video, self.models, self.settings, lambda index: on_progress(float(times[index]))
            )
            evidence, undrawn = (
                gather_evidence(reader, video, windows, self.models, self.threshold) if with_evidence else (None, [])
            )
        except (VideoError, OSError, MemoryError) as error:
            # The score of the video is complete without its timeline.
            missing = f"the timeline could not be computed: {as_video_error(video.path, error).message}"
            result = replace(result, warnings=[*result.warnings, missing])
            result = add_not_judged(result, find_not_judged(reader, video))
            return Examination(result=result, evidence=Evidence() if with_evidence else None)
        timeline = [window.entry for window in windows]
        highest = max((entry.fake_probability for entry in timeline), default=0.0)
        is_crowded = crowd_note() in reader.warnings
        verdict, reason = self.rule.after_timeline(
            result.verdict, result.verdict_reason, highest, is_crowded=is_crowded
        )
        # Frames between the sampled ones may be damaged.
        later = [f"timeline: {warning}" for warning in reader.warnings[num_warnings:]]
        result = replace(
            result,
            verdict=verdict,
            verdict_reason=reason,
            timeline=timeline,
            warnings=[*result.warnings, *later, *undrawn],
        )
        result = add_not_judged(result, find_not_judged(reader, video, windows))
        return Examination(result=result, evidence=evidence, windows=tuple(windows))

    def _look_at_photo(self, reader: MediaReader, video: ReadVideo, examination: Examination) -> Examination:
        result = examination.result
        windows = photo_windows(video, result)
        evidence, undrawn = gather_evidence(reader, video, windows, self.models, self.threshold)
        result = replace(result, warnings=[*result.warnings, *undrawn])
        return replace(examination, result=result, evidence=evidence)

    def refuse(self, path: str | Path, error: VideoError, warnings: Sequence[str] = ()) -> VideoResult:
        """
        Return the result of a video that could not be scored.

        Args:
            path: Path or URL of the video.
            error: The reason.
            warnings: Warnings of its reader.
        """
        common = self._common([*self.warnings, *warnings])
        return VideoResult(path=str(path), status=error.reason, message=str(error), **common)

    def describe(self) -> dict[str, Any]:
        """Return everything that determines a score, as plain values; all results of an output folder share these."""
        described = {**describe_setup(self.models, self.settings), "threshold": self.threshold}
        return {**described, "verdict_bands": self.rule.describe()}

    def score_clips(self, video: ReadVideo) -> VideoResult:
        """Score a video whose clips were read, in this or another process."""
        return self.combine(video, self.predictions(video))

    def score_together(self, videos: Sequence[ReadVideo]) -> list[VideoResult]:
        """Score several videos whose clips were read; their clips pass the networks together."""
        predictions: list[list[ModelPrediction]] = [[] for _ in videos]
        for number, model in enumerate(self.models):
            clips = [clip for video in videos for clip in video.clips[number]]
            # Frames that are not resized can differ in size from video to video.
            if len({clip.frames.shape for clip in clips}) > 1:
                return [self.score_clips(video) for video in videos]
            logits, first = self.clip_logits(model, clips) if clips else None, 0
            for video, of_video in zip(videos, predictions, strict=True):
                if logits is not None:
                    own = slice(first, first + len(video.clips[number]))
                    part = ClipLogits(logits.logits[own], logits.frame_logits[own])
                    of_video.append(self._prediction(model, part, video.faces[number]))
                    first = own.stop
        return [self.combine(video, of_video) for video, of_video in zip(videos, predictions, strict=True)]

    def predictions(self, video: ReadVideo) -> list[ModelPrediction]:
        """The prediction of each model on a video whose clips were read."""
        return [
            self._prediction(model, self.clip_logits(model, clips), faces)
            for model, clips, faces in zip(self.models, video.clips, video.faces, strict=True)
        ]

    def _prediction(self, model: ScoringModel, said: ClipLogits, seen: Sequence[SeenFace]) -> ModelPrediction:
        clip_margins = fake_margin(said.logits, model.fake_index)
        probabilities: list[float] = sigmoid(clip_margins).tolist()
        faces = [
            FaceResult(
                track_id=face.track.track_id,
                fake_probability=probability,
                coverage=face.coverage,
                first_s=face.first_s,
                last_s=face.last_s,
                size_px=face.size_px,
            )
            for face, probability in zip(seen, probabilities, strict=False)
        ]
        probability, decisive = self._aggregate(faces) if faces else (probabilities[0], 0)
        is_mean = bool(faces) and self.settings.face_aggregation == "mean"
        return ModelPrediction(
            faces=faces,
            clip_margins=clip_margins,
            margins=list(fake_margin(said.frame_logits, model.fake_index)),
            fake_probability=probability,
            decisive=decisive,
            counted=self._counted(faces) if is_mean else [decisive],
            is_mean=is_mean,
        )

    def combine(self, video: ReadVideo, predictions: Sequence[ModelPrediction]) -> VideoResult:
        """Combine the predictions of the models on a video into its result."""
        probability = self.average([(prediction, None) for prediction in predictions])
        faces, warnings = [], [*self.warnings, *video.warnings]
        for person in video.people:
            said = [
                (prediction, number)
                for prediction in predictions
                for number, face in enumerate(prediction.faces)
                if face.track_id == person.track.track_id
            ]
            first, number = said[0]
            faces.append(replace(first.faces[number], fake_probability=self.average(said)))
            if len(said) < sum(bool(prediction.faces) for prediction in predictions):
                warnings.append(
                    f"face {person.track.track_id + 1} was scored by {len(said)} of {len(predictions)} models: its "
                    "score is not comparable with the score of the video"
                )
        analyzed = [
            clips[i].frame_indices
            for clips, prediction in zip(video.clips, predictions, strict=True)
            for i in prediction.counted
        ]
        verdict = self.rule.decide_photo() if video.is_photo else self._decide(video, probability, faces)
        return VideoResult(
            path=video.path,
            media="image" if video.is_photo else "video",
            status="ok",
            verdict=verdict.verdict,
            verdict_reason=verdict.reason,
            verdict_rates=verdict.rates,
            verdict_limits=verdict.limits,
            label="fake" if probability >= self.threshold else "real",
            fake_probability=probability,
            duration_s=video.duration_s,
            frames_analyzed=len(np.unique(np.concatenate(analyzed))),
            face_coverage=video.face_coverage,
            bits_per_pixel=video.bits_per_pixel,
            faces=faces,
            decisive_track_id=_decisive_track_id(predictions),
            frames=_frames(video, predictions),
            frame_rules=[model.description.frame_rule for model in self.models],
            sha256=video.sha256,
            **self._common(warnings),
        )

    def _decide(self, video: ReadVideo, probability: float, faces: list[FaceResult]) -> Verdict:
        counted = self.counted_faces(faces)
        return self.rule.decide(
            probability,
            counted,
            seldom=[face for face in faces if face not in counted],
            # Counting takes time, and without bands the verdict is known.
            num_different=None if self.rule.bands is None else video.num_different,
            bits_per_pixel=video.bits_per_pixel,
            num_left_out=video.num_left_out,
        )

    def average(self, said: Sequence[tuple[ModelPrediction, int | None]]) -> float:
        """
        Average the fake probabilities of several models for the whole video or for one face.

        Args:
            said: The prediction of each model, and the index of the face in it; `None` for the whole video.
        """
        return float(np.mean([prediction.probability_of(number) for prediction, number in said]))

    def clip_logits(self, model: ScoringModel, clips: Sequence[Clip]) -> ClipLogits:
        """The logits of clips of the same length."""
        if len(clips[0].frames) > FRAMES_PER_PIECE:
            parts = [logits_in_pieces(model, clip) for clip in clips]
        else:
            # Batches are not faster on a CPU.
            size = 1 if model.device == "cpu" else CLIPS_PER_PASS
            passes = (
                np.concatenate([model.pixel_values(clip.frames) for clip in clips[first : first + size]])
                for first in range(0, len(clips), size)
            )
            # A GPU computes while the next pass is prepared.
            parts = [model.compute_logits(pixels) for pixels in (passes if size == 1 else read_ahead(passes))]
        return ClipLogits.concatenate(parts)

    def _common(self, warnings: Sequence[str]) -> dict[str, Any]:
        return {
            "threshold": self.threshold,
            "settings": self._settings_dict(),
            "model": self.identity,
            "warnings": list(warnings),
        }

    def _settings_dict(self) -> dict[str, Any]:
        num_frames = self.settings.num_frames or max(processor.num_frames for processor in self.processors)
        return {**self.settings.to_dict(), "num_frames": num_frames}

    def _aggregate(self, faces: list[FaceResult]) -> tuple[float, int]:
        """Probability of the video, and the index of the decisive face (0 for the mean)."""
        counted = self._counted(faces)
        if self.settings.face_aggregation == "mean":
            return float(np.mean([faces[i].fake_probability for i in counted])), 0
        if self.settings.face_aggregation == "main":
            counted = [0]
        decisive = max(counted, key=lambda i: faces[i].fake_probability)
        return faces[decisive].fake_probability, decisive

    def counted_faces(self, faces: list[FaceResult]) -> list[FaceResult]:
        """The faces that count for the score of a video."""
        return faces[:1] if self.settings.face_aggregation == "main" else [faces[i] for i in self._counted(faces)]

    def _counted(self, faces: list[FaceResult]) -> list[int]:
        """Indices of the faces that count for the score."""
        return [i for i, face in enumerate(faces) if i == 0 or face.coverage >= MIN_FACE_COVERAGE]


def _decisive_track_id(predictions: Sequence[ModelPrediction]) -> int | None:
    """The face that decided, if it is the same one for all models."""
    decided = {
        prediction.faces[prediction.decisive].track_id if prediction.faces and len(prediction.counted) == 1 else None
        for prediction in predictions
    }
    return decided.pop() if len(decided) == 1 else None


def _frames(video: ReadVideo, predictions: Sequence[ModelPrediction]) -> list[FrameScore]:
    """Every scored frame, by model and face."""
    frames = []
    for model, (clips, prediction) in enumerate(zip(video.clips, predictions, strict=True)):
        tracks: Sequence[int | None] = [face.track_id for face in prediction.faces] or [None]
        for track_id, clip, margins in zip(tracks, clips, prediction.margins, strict=True):
            frames += list_frames(model, track_id, clip.frame_indices, margins, video.times_s)
    return frames


def _join_identities(identities: Sequence[ModelIdentity]) -> ModelIdentity:
    """The identity of an ensemble, each part joined by " + ". That of a single model is unchanged."""
    if len(identities) == 1:
        return identities[0]
    return ModelIdentity(
        id=" + ".join(identity.id for identity in identities),
        revision=" + ".join(str(identity.revision) for identity in identities),
        weights_sha256=" + ".join(str(identity.weights_sha256) for identity in identities),
    )
