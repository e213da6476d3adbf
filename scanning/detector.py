# SPDX-License-Identifier: Apache-2.0
"""Score one video with one model or several, and say what happened."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..image_processing_deepfake import Clip, DeepfakeVideoProcessor
from ..video_decoding import VideoError, VideoReader
from .ensemble import Opinion, ensemble_timeline
from .evidence import Examination
from .fingerprint import describe_function
from .framewise import fake_margin, frame_rule, list_frames
from .illustrating import gather_evidence
from .models import LoadedModel, load_model
from .reading import ReadVideo, SeenFace, as_video_error, read_open_video
from .results import UNTRAINED_WARNING, FaceResult, FrameScore, ModelIdentity, VideoResult
from .settings import ScanSettings


# A face seen in fewer of the sampled frames cannot raise the score of a video, unless it is the main face.
MIN_FACE_COVERAGE = 0.25
# A checkpoint's calibration is part of its logits: its own decision is always at one half.
DECISION_THRESHOLD = 0.5
# Faces of one video that a GPU judges at once; bounds its memory.
CLIPS_PER_PASS = 8


class Detector:
    """
    One or several loaded models that score videos alike.

    The score of an ensemble is the mean of the calibrated probabilities that its models give alone, each with its own
    preprocessing and face search; its label is decided at 0.5, which is each calibrated model's own threshold.

    Args:
        models: Folders or Hub ids; none takes the packaged checkpoint.
        device: "cpu", "cuda", "mps", or "auto" for the fastest there is.
        settings: The choices of the scan.

    Raises:
        ModelLoadError: If a model cannot be loaded.
        ValueError: If the device does not exist here, or the engine does not go with it or is not installed.
    """

    def __init__(
        self, models: Sequence[str] = (), *, device: str = "auto", settings: ScanSettings | None = None
    ) -> None:
        self.settings = settings or ScanSettings()
        self.device = "cpu" if device == "auto" and self.settings.engine == "onnx" else resolve_device(device)
        options: dict[str, Any] = {"dtype": self.settings.dtype, "engine": self.settings.engine}
        self.models = [load_model(name, device=self.device, **options) for name in (models or (None,))]
        configs = [model.network.config for model in self.models]
        self.threshold = DECISION_THRESHOLD if self.settings.threshold is None else float(self.settings.threshold)
        self.identity = join_identities([model.identity for model in self.models])
        self.warnings = [] if all(config.is_trained for config in configs) else [UNTRAINED_WARNING]

    @property
    def processors(self) -> list[DeepfakeVideoProcessor]:
        """The preprocessing of each model, for [`read_video`]."""
        return [model.processor for model in self.models]

    def score(self, path: str | Path) -> VideoResult:
        """
        The result of one video: one that cannot be judged has a status and a message, never a score.

        Args:
            path: A file or http(s) address.
        """
        return self.examine(path).result

    def examine(
        self,
        path: str | Path,
        *,
        with_evidence: bool = False,
        on_progress: Callable[[float], None] = lambda second: None,
    ) -> Examination:
        """
        The result of one video, and if the settings ask for a timeline what lies behind it.

        Args:
            path: A file or http(s) address.
            with_evidence: Whether pictures are made.
            on_progress: Called with the second that the timeline has come to.
        """
        try:
            with VideoReader(path, limits=self.settings.limits) as reader:
                return self._examine_open(path, reader, with_evidence, on_progress)
        except ValueError as error:
            return Examination(result=self.refuse(path, as_video_error(path, error)))

    def _examine_open(
        self, path: str | Path, reader: VideoReader, with_evidence: bool, on_progress: Callable[[float], None]
    ) -> Examination:
        try:
            video = read_open_video(path, reader, self.processors, self.settings)
        except VideoError as error:
            # Which file it is, is known nevertheless: a scan that goes on need not look at it again.
            known: dict[str, Any] = {"duration_s": reader.duration_s, "sha256": reader.sha256()}
            return Examination(result=replace(self.refuse(path, error, reader.warnings), **known))
        examination = Examination(result=self.judge(video))
        if self.settings.timeline:
            examination = self._look_closer(reader, video, examination.result, with_evidence, on_progress)
        return examination

    def _look_closer(
        self,
        reader: VideoReader,
        video: ReadVideo,
        result: VideoResult,
        with_evidence: bool,
        on_progress: Callable[[float], None],
    ) -> Examination:
        times = reader.timestamps_s
        try:
            windows = ensemble_timeline(
                reader, video, self.models, self.settings, lambda index: on_progress(float(times[index]))
            )
            evidence = gather_evidence(reader, video, windows, self.models, self.threshold) if with_evidence else None
        except VideoError as error:
            # The video has its score already; only what was to illustrate it is missing.
            missing = f"there is no timeline: {error.message}"
            return Examination(result=replace(result, warnings=[*result.warnings, missing]))
        timeline = [window.entry for window in windows]
        return Examination(result=replace(result, timeline=timeline), evidence=evidence, windows=tuple(windows))

    def refuse(self, path: str | Path, error: VideoError, warnings: Sequence[str] = ()) -> VideoResult:
        """The result of a video that could not be judged, with what its reader warned of."""
        common = self._common([*self.warnings, *warnings])
        return VideoResult(path=str(path), status=error.reason, message=str(error), **common)

    def describe(self) -> dict[str, Any]:
        """All that decides about a result, for a folder that keeps results of one function only."""
        return {**describe_function(self.models, self.settings), "threshold": self.threshold}

    def judge(self, video: ReadVideo) -> VideoResult:
        """The result of a video that was read, here or in another process."""
        return self.join(video, self.opinions(video))

    def opinions(self, video: ReadVideo) -> list[Opinion]:
        """What each model alone says of a video that was read."""
        return [
            self._opinion(*self.judge_clips(model, clips), faces)
            for model, clips, faces in zip(self.models, video.clips, video.faces, strict=True)
        ]

    def _opinion(self, probabilities: list[float], margins: list[np.ndarray], seen: Sequence[SeenFace]) -> Opinion:
        faces = [
            FaceResult(
                track_id=face.track.track_id,
                fake_probability=probability,
                coverage=face.coverage,
                first_s=face.first_s,
                last_s=face.last_s,
            )
            for face, probability in zip(seen, probabilities, strict=False)
        ]
        probability, decisive = self._aggregate(faces) if faces else (probabilities[0], 0)
        is_mean = bool(faces) and self.settings.face_aggregation == "mean"
        return Opinion(
            faces=faces,
            probabilities=probabilities,
            margins=margins,
            fake_probability=probability,
            decisive=decisive,
            counted=self._counted(faces) if is_mean else [decisive],
            is_mean=is_mean,
        )

    def join(self, video: ReadVideo, opinions: Sequence[Opinion]) -> VideoResult:
        """The result of a video by what each model says of it."""
        probability = self.average([(m, None, opinion.fake_probability) for m, opinion in enumerate(opinions)])
        faces, warnings = [], [*self.warnings, *video.warnings]
        for person in video.people:
            said = [
                (m, i, face)
                for m, opinion in enumerate(opinions)
                for i, face in enumerate(opinion.faces)
                if face.track_id == person.track.track_id
            ]
            mean = self.average([(m, i, face.fake_probability) for m, i, face in said])
            faces.append(replace(said[0][2], fake_probability=mean))
            if len(said) < sum(bool(opinion.faces) for opinion in opinions):
                warnings.append(
                    f"face {person.track.track_id} was seen by {len(said)} of {len(opinions)} models: its score is "
                    "not comparable with that of the video"
                )
        analyzed = [
            clips[i].frame_indices
            for clips, opinion in zip(video.clips, opinions, strict=True)
            for i in opinion.counted
        ]
        return VideoResult(
            path=video.path,
            status="ok",
            label="fake" if probability >= self.threshold else "real",
            fake_probability=probability,
            duration_s=video.duration_s,
            frames_analyzed=len(np.unique(np.concatenate(analyzed))),
            face_coverage=video.face_coverage,
            faces=faces,
            decisive_track_id=_decisive_track_id(opinions),
            frames=_frames(video, opinions),
            frame_rules=[frame_rule(model.network.config) for model in self.models],
            sha256=video.sha256,
            **self._common(warnings),
        )

    def average(self, probabilities: Sequence[tuple[int, int | None, float]]) -> float:
        """
        What several models say together: the mean.

        Args:
            probabilities: For each model its number, the number of the clip, or `None` for the video, and the fake
                probability.
        """
        return float(np.mean([probability for _, _, probability in probabilities]))

    def clip_probabilities(self, model: LoadedModel, clips: Sequence[Clip]) -> list[float]:
        """Fake probability of each clip, as `pipeline` computes it."""
        return self.judge_clips(model, clips)[0]

    @torch.inference_mode()
    def judge_clips(self, model: LoadedModel, clips: Sequence[Clip]) -> tuple[list[float], list[np.ndarray]]:
        """Fake probability of each clip, and what fake has over the other labels in each frame of each, (T,)."""
        # A CPU gains nothing from a batch.
        size = 1 if model.network.device.type == "cpu" else CLIPS_PER_PASS
        probabilities: list[float] = []
        margins: list[np.ndarray] = []
        for first in range(0, len(clips), size):
            pixels = [model.pixel_values(clip.frames) for clip in clips[first : first + size]]
            outputs = model.network(torch.cat(pixels))
            probabilities += outputs.logits.softmax(-1)[:, model.fake_index].tolist()
            margins += list(fake_margin(outputs.frame_logits, model.fake_index))
        return probabilities, margins

    def _common(self, warnings: Sequence[str]) -> dict[str, Any]:
        num_frames = self.settings.num_frames or max(processor.num_frames for processor in self.processors)
        return {
            "threshold": self.threshold,
            "settings": {**self.settings.to_dict(), "num_frames": num_frames},
            "model": self.identity,
            "warnings": list(warnings),
        }

    def _aggregate(self, faces: list[FaceResult]) -> tuple[float, int]:
        """Probability of the video, and which face decided it (the main one for the mean)."""
        counted = self._counted(faces)
        if self.settings.face_aggregation == "mean":
            return float(np.mean([faces[i].fake_probability for i in counted])), 0
        if self.settings.face_aggregation == "main":
            counted = [0]
        decisive = max(counted, key=lambda i: faces[i].fake_probability)
        return faces[decisive].fake_probability, decisive

    def _counted(self, faces: list[FaceResult]) -> list[int]:
        """Which faces are seen long enough to count."""
        return [i for i, face in enumerate(faces) if i == 0 or face.coverage >= MIN_FACE_COVERAGE]


def _decisive_track_id(opinions: Sequence[Opinion]) -> int | None:
    """Whose face decided, where all models agree on one."""
    decided = {
        opinion.faces[opinion.decisive].track_id if opinion.faces and len(opinion.counted) == 1 else None
        for opinion in opinions
    }
    return decided.pop() if len(decided) == 1 else None


def _frames(video: ReadVideo, opinions: Sequence[Opinion]) -> list[FrameScore]:
    """Every frame that was judged, by model and face."""
    frames = []
    for model, (clips, opinion) in enumerate(zip(video.clips, opinions, strict=True)):
        tracks: Sequence[int | None] = [face.track_id for face in opinion.faces] or [None]
        for track_id, clip, margins in zip(tracks, clips, opinion.margins, strict=True):
            frames += list_frames(model, track_id, clip.frame_indices, margins, video.times_s)
    return frames


def scan(
    path: str | Path,
    *,
    model: str | Sequence[str] = (),
    device: str = "auto",
    settings: ScanSettings | None = None,
    timeline: bool = False,
) -> VideoResult:
    """
    Score one video. For many, make one [`Detector`] and call its `score`: that loads the model once.

    Args:
        path: A file or http(s) address.
        model: Folder or Hub id, or several for an ensemble; the packaged checkpoint if not given.
        device: "cpu", "cuda", "mps", or "auto" for the fastest there is.
        settings: The choices of the scan.
        timeline: Whether to tell when and where, which takes longer and never changes the score.

    Returns:
        A result whose `status` says whether the video could be judged; its `to_dict()` and `to_json()` have the keys
        of `scanning/result.schema.json`.

    Raises:
        ModelLoadError: If a model cannot be loaded.
        ValueError: If the device does not exist here.

    Example:
        >>> result = scan("clip.mp4", timeline=True)  # doctest: +SKIP
        >>> result.status, result.label  # doctest: +SKIP
        ('ok', 'fake')
        >>> [(entry.start_s, entry.fake_probability) for entry in result.timeline]  # doctest: +SKIP
        [(0.0, 0.12), (1.0, 0.97)]
    """
    models = [model] if isinstance(model, str) else model
    settings = settings or ScanSettings()
    if timeline:
        settings = replace(settings, timeline=True)
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
