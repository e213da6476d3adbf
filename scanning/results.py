# SPDX-License-Identifier: Apache-2.0
"""What is said about one video: the same keys whether it could be judged or not."""

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal

from ..version import __version__
from ..video_errors import FailureReason


SCHEMA_VERSION = 2
# Raise it with every change after which the same files, weights and settings give another score, warning, timeline or
# face crop: the form may stay. Runs and face crops of another version are not gone on with.
RESULT_VERSION = 2
UNTRAINED_WARNING = "random weights: scores are meaningless"
# Name of the packaged checkpoint.
DEFAULT_ID = "default"
DEFAULT_TERMS = "default weights: for research use only, unlike the code; see checkpoints/default/LICENSE"

Status = Literal["ok"] | FailureReason


@dataclass(frozen=True, kw_only=True)
class ModelIdentity:
    """Which weights judged: of an ensemble, every part joined by " + "."""

    id: str
    revision: str | None = None
    weights_sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class FaceResult:
    """
    One person's track.

    Attributes:
        track_id: 0 is the main face.
        fake_probability: Of the clip of this face alone.
        coverage: Share of the sampled frames in which this face was detected.
        first_s: When it is first seen, in seconds on the player's clock (see [`VideoResult`]).
        last_s: When it is last seen, in seconds on the player's clock.
    """

    track_id: int
    fake_probability: float
    coverage: float
    first_s: float
    last_s: float


@dataclass(frozen=True, kw_only=True)
class FrameScore:
    """
    What a model says of one frame of a face that it judged.

    Attributes:
        model: Position of the model among `frame_rules`.
        track_id: Whose face; `None` means whole frames.
        index: Which frame of the video, counted from 0.
        time_s: When it is shown, in seconds on the player's clock (see [`VideoResult`]).
        fake_probability: Of this frame, before the temperature.
        weight: Its share in the clip. The weights of a face and model add up to 1; they are equal unless a face was
            seen in fewer frames than a clip has, some of which are then judged more than once.
    """

    model: int
    track_id: int | None
    index: int
    time_s: float
    fake_probability: float
    weight: float


@dataclass(frozen=True, kw_only=True)
class FrameRule:
    """
    How a model's score of a face follows from the frames `p` with their weights `w`.

    "mean-logit" is `sigmoid(sum(w * logit(p)))`. "mean-probability" averages before the calibration:
    `sigmoid(logit(sum(w * u)) / temperature + fake_bias)` with `u = sigmoid(temperature * (logit(p) - fake_bias))`.

    Attributes:
        aggregation: `None` if the frames do not determine the score, as in a recurrent model.
        temperature: Calibrated temperature of the checkpoint.
        fake_bias: Calibrated bias of its fake logit.
    """

    aggregation: Literal["mean-logit", "mean-probability"] | None
    temperature: float
    fake_bias: float = 0.0


@dataclass(frozen=True, kw_only=True)
class TimelineEntry:
    """
    The score of one window of a face's track; windows overlap.

    Attributes:
        start_s: In seconds on the player's clock (see [`VideoResult`]).
        end_s: Where the next frame follows, or a gap begins, in seconds on the player's clock.
        fake_probability: Of the frames of this window alone.
        track_id: Whose; one beyond those of `faces` was only seen by the denser pass, `None` means whole frames.
    """

    start_s: float
    end_s: float
    fake_probability: float
    track_id: int | None


@dataclass(frozen=True, kw_only=True)
class VideoResult:
    """
    The result of one video.

    All times are seconds on the player's clock: 0 is the start of the container, so a picture that begins two seconds
    after the sound begins at 2.0, and a stream whose own clock starts at three hours begins at 0.

    Attributes:
        path: As it was given.
        status: "ok", or why the video could not be judged.
        label: "real" or "fake" by the threshold; `None` unless ok.
        fake_probability: In [0, 1]; `None` unless ok, never a number in place of a failure.
        threshold: Fake probability from which on the label is "fake"; `None` if no model was loaded.
        message: Why the video could not be judged, in one sentence; `None` if ok.
        warnings: What a reader of the score should know.
        duration_s: When the last frame ends, in seconds on the player's clock, if the video opened.
        frames_analyzed: Distinct frames behind the score.
        face_coverage: Share of the sampled frames with a detected face; `None` without face cropping.
        faces: One entry a track, the main face first; empty without face cropping.
        decisive_track_id: The face whose score is that of the video; `None` for whole frames or a mean of faces.
        frames: Every frame that was judged, by model, face and time.
        frame_rules: How each model's score follows from its frames; the score of a face is the mean over the models.
        timeline: Windows in order; empty unless asked for.
        version: Of this package.
        created: UTC time of the result.
        settings: The choices that led to the score.
        model: Which weights judged.
        sha256: Of the video file, if it could be read.
    """

    path: str
    status: Status
    label: str | None = None
    fake_probability: float | None = None
    threshold: float | None
    message: str | None = None
    warnings: list[str] = field(default_factory=list)
    duration_s: float | None = None
    frames_analyzed: int = 0
    face_coverage: float | None = None
    faces: list[FaceResult] = field(default_factory=list)
    decisive_track_id: int | None = None
    frames: list[FrameScore] = field(default_factory=list)
    frame_rules: list[FrameRule] = field(default_factory=list)
    timeline: list[TimelineEntry] = field(default_factory=list)
    schema_version: int = SCHEMA_VERSION
    version: str = __version__
    created: str = field(default_factory=lambda: datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"))
    settings: dict[str, Any]
    model: ModelIdentity
    sha256: str | None = None

    def __post_init__(self) -> None:
        if (self.status == "ok") != (self.fake_probability is not None):
            raise ValueError(f"A result has a fake probability if and only if it is ok, got {self.status!r}.")
        if self.fake_probability is not None and not 0.0 <= self.fake_probability <= 1.0:
            raise ValueError(f"fake_probability must lie in [0, 1], got {self.fake_probability}.")

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists, strings and numbers, in the documented order."""
        return asdict(self)

    def to_json(self, indent: int | None = None) -> str:
        """Strict JSON: no NaN; what is no text in the name of a file is escaped."""
        text = json.dumps(self.to_dict(), indent=indent, ensure_ascii=False, allow_nan=False)
        return text.encode("utf-8", "backslashreplace").decode("utf-8")

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "VideoResult":
        """
        What [`to_dict`] gave.

        Raises:
            ValueError: If it is no result of this version of the schema.
        """
        try:
            if content["schema_version"] != SCHEMA_VERSION:
                raise ValueError(f"a result of schema version {content['schema_version']} is not read here.")
            parts = {
                "faces": [FaceResult(**face) for face in content["faces"]],
                "frames": [FrameScore(**frame) for frame in content["frames"]],
                "frame_rules": [FrameRule(**rule) for rule in content["frame_rules"]],
                "timeline": [TimelineEntry(**entry) for entry in content["timeline"]],
                "model": ModelIdentity(**content["model"]),
            }
            return cls(**{**content, **parts})
        except (KeyError, TypeError) as error:
            raise ValueError(f"this is no result of a video ({error}).") from error
