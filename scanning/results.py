# SPDX-License-Identifier: Apache-2.0
"""The result of one video, with the same keys whether it could be scored or not."""

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, get_args

from ..common.json_files import Between, as_dataclass
from ..version import __version__
from ..video_errors import FailureReason
from ..video_stores import Fetched
from .provenance import Provenance
from .settings import FaceAggregation


SCHEMA_VERSION = 4
# Increase it with every change after which the same files, weights and settings give another score, timeline, face
# crop, verdict or reason for a warning. Runs and face crops of another version are not resumed.
RESULT_VERSION = 10
# The file in the folder of a run that holds its results.
RESULTS_NAME = "results.jsonl"
UNTRAINED_WARNING = "random weights: scores are meaningless"
FRAMES_WARNING = (
    "config.json and the processor of the model name different numbers of frames: pipeline() uses that of config.json "
    "and gives another score"
)
PHOTO_WARNING = (
    "a photo shows nothing about motion and time, and the accuracy of the model, which was made for videos, was not "
    "measured on photos"
)
# Name of the packaged checkpoint.
DEFAULT_ID = "default"
DEFAULT_TERMS = "default weights: for research use only (the code is Apache-2.0); see checkpoints/default/LICENSE"

Status = Literal["ok"] | FailureReason
Media = Literal["video", "image"]
NotJudgedReason = Literal["no_face", "no_new_picture", "undecodable", "no_picture", "cut_off", "other_stream"]
VerdictName = Literal["likely fake", "undecided", "likely real"]
Label = Literal["real", "fake"]
# Ranges of the numbers in stored results; result.schema.json states the same ones.
Probability = Annotated[float, Between(0, 1)]
# No container has later times: at most 2**63 ticks, each of at most 2**31 seconds.
Seconds = Annotated[float, Between(0, 1e30)]
# JSON has larger integers, but not every program reads them exactly.
Count = Annotated[int, Between(0, 2**53 - 1)]
# As in the configuration of a model.
Temperature = Annotated[float, Between(1e-3, 1e3)]
FakeBias = Annotated[float, Between(-1e4, 1e4)]
_AGGREGATIONS = get_args(FaceAggregation)
_STATUSES, _VERDICTS = ("ok", *get_args(FailureReason)), (None, *get_args(VerdictName))


@dataclass(frozen=True, kw_only=True)
class ModelIdentity:
    """Name, revision and hash of the weights. Those of an ensemble are joined by " + "."""

    id: str
    revision: str | None = None
    weights_sha256: str | None = None

    @property
    def terms(self) -> str | None:
        """Terms of the weights in one line, if this package ships them."""
        return DEFAULT_TERMS if DEFAULT_ID in self.id.split(" + ") else None


@dataclass(frozen=True, kw_only=True)
class VerdictLimits:
    """
    The fake probabilities that separate the verdicts on one video.

    Attributes:
        low: Below it, a video is likely real; `None` if no video may be called likely real.
        high: Above it, a video is likely fake; it grows with the number of faces. `None` if no video may be called
            likely fake.
    """

    low: Probability | None
    high: Probability | None


@dataclass(frozen=True, kw_only=True)
class FaceResult:
    """
    One face that was followed through the video.

    Attributes:
        track_id: Number of the face; 0 is the main face.
        fake_probability: Fake probability of the clip of this face.
        coverage: Share of the sampled frames in which this face was detected.
        first_s: Time at which it is first seen, in seconds from the start of the container.
        last_s: Time at which it is last seen, in seconds from the start of the container.
        size_px: Typical side of its box in pixels of the displayed picture; `None` if unknown.
    """

    track_id: Count
    fake_probability: Probability
    coverage: Probability
    first_s: Seconds
    last_s: Seconds
    size_px: Annotated[float, Between(low=0)] | None = None


@dataclass(frozen=True, kw_only=True)
class FrameScore:
    """
    The score that one model gives one frame of one face.

    Attributes:
        model: Index of the model in `frame_rules`.
        track_id: Number of the face; `None` for whole frames.
        index: Index of the frame in the video, from 0.
        time_s: Display time, in seconds from the start of the container.
        fake_probability: Fake probability of this frame. See [`FrameRule`] for its calibration.
        weight: Share of the frame in the clip. The weights of a face and model add up to 1. They are equal unless the
            face was detected in fewer frames than a clip has; some frames are then repeated.
    """

    model: Count
    track_id: Count | None
    index: Count
    time_s: Seconds
    fake_probability: Probability
    weight: Probability


@dataclass(frozen=True, kw_only=True)
class FrameRule:
    """
    How the score of a face follows from the probabilities `p` of its frames and their weights `w`.

    "mean-logit" is `sigmoid(sum(w * logit(p)))`. "mean-probability" averages before the calibration:
    `sigmoid(logit(sum(w * u)) / temperature + fake_bias)` with `u = sigmoid(temperature * (logit(p) - fake_bias))`.

    Attributes:
        aggregation: Name of the rule; `None` if the frames do not determine the score, as in a recurrent model.
        temperature: Temperature of the model's calibration.
        fake_bias: Bias of the fake logit of the model's calibration.
    """

    aggregation: Literal["mean-logit", "mean-probability"] | None
    temperature: Temperature
    fake_bias: FakeBias = 0.0


@dataclass(frozen=True, kw_only=True)
class TimelineEntry:
    """
    The score of one window of the timeline. The windows of a face overlap.

    Attributes:
        start_s: Display time of its first frame, in seconds from the start of the container.
        end_s: End of its last frame, in seconds from the start of the container.
        fake_probability: Fake probability of the frames of this window.
        track_id: Number of the face; `None` for whole frames. A number that is not among `faces` is a face that only
            the denser sampling of the timeline found.
    """

    start_s: Seconds
    end_s: Seconds
    fake_probability: Probability
    track_id: Count | None


@dataclass(frozen=True, kw_only=True)
class NotJudged:
    """
    A range of time that was not judged.

    Attributes:
        start_s: Start, in seconds from the start of the container.
        end_s: End; `None` if it is unknown.
        reason: `"no_face"`: no face was found in the sampled frames, or none that was scored, because it was seen too
            briefly or more than 24 were found; `"no_new_picture"`: the picture stands still, because the file has
            none for this time; `"undecodable"`: the pictures are damaged; `"no_picture"`: there is only sound;
            `"cut_off"`: beyond the readable part of an incomplete file; `"other_stream"`: a video stream that was not
            scored.
        stream: Number of the stream that was not scored.
    """

    start_s: Seconds
    end_s: Seconds | None
    reason: NotJudgedReason
    stream: Count | None = None


@dataclass(frozen=True, kw_only=True)
class VideoResult:
    """
    The result of one video.

    All times are those of a player, in seconds: 0 is the start of the container. A picture that begins two seconds
    after the sound begins at 2.0, and a stream whose own timestamps start at three hours begins at 0.

    Attributes:
        path: Path or URL of the video as it was given.
        media: `"video"`, including animated pictures, or `"image"` for a photo, which has no duration and no
            timeline, and whose only frame is at 0 s; `None` if the file could not be opened.
        status: `"ok"`, or the reason why the video could not be scored.
        verdict: `"likely fake"`, `"undecided"` or `"likely real"`; `None` unless the status is ok.
        verdict_reason: Why, in one sentence; `None` unless the status is ok.
        verdict_rates: Measured error rates of the verdicts of this model, in words; `None` if none were measured.
        verdict_limits: The fake probabilities that separate the verdicts; `None` if there are none.
        label: `"real"` or `"fake"`; `None` unless the status is ok.
        fake_probability: Score in [0, 1]; `None` unless the status is ok.
        threshold: Fake probability at or above which the label is "fake"; `None` if no model was loaded.
        message: Reason why the video could not be scored, in one sentence; `None` if the status is ok.
        warnings: Warnings that affect the interpretation of the score.
        duration_s: End of the last frame, in seconds; `None` for a photo, and if the video could not be opened.
        frames_analyzed: Number of distinct frames used for the score.
        face_coverage: Share of the sampled frames with a detected face; `None` without face cropping.
        bits_per_pixel: Bits of the video stream per pixel and frame; `None` if unknown.
        faces: The scored faces, the main face first; empty without face cropping. If more were found than are scored,
            a warning says how many.
        decisive_track_id: Number of the face whose score is that of the video; `None` for whole frames or a mean.
        frames: Every scored frame, by model, face and time.
        frame_rules: For each model, how the score of a face follows from its frames. The score of an ensemble is the
            mean over its models.
        timeline: The windows in order of time; empty unless a timeline was requested.
        not_judged: The ranges of time that were not judged, in order; empty for photos and unless the status is ok.
        schema_version: Version of the result schema.
        version: Version of this package.
        created: UTC time of the result.
        settings: The settings that determine the score.
        model: Name, revision and hash of the weights.
        sha256: SHA-256 of the video file; `None` if it could not be read, or not whole.
        provenance: The Content Credentials of the file, which never change the score; `None` if it is not a local file
            or could not be opened.
        fetched: How many bytes were fetched from a store such as Amazon S3, and which version of the file; `None` for
            other sources.

    Raises:
        ValueError: If the status is ok but there is no score, or if there is a score but the status is not ok.

    Example:

        >>> from deepfake_video import scan
        >>> result = scan("missing.mp4")
        >>> result.status, result.fake_probability
        ('not_found', None)
    """

    path: str
    media: Media | None = None
    status: Status
    verdict: VerdictName | None = None
    verdict_reason: str | None = None
    verdict_rates: str | None = None
    verdict_limits: VerdictLimits | None = None
    label: Label | None = None
    fake_probability: Probability | None = None
    threshold: Probability | None
    message: str | None = None
    warnings: list[str] = field(default_factory=list)
    duration_s: Seconds | None = None
    frames_analyzed: Count = 0
    face_coverage: Probability | None = None
    bits_per_pixel: Annotated[float, Between(low=0)] | None = None
    faces: list[FaceResult] = field(default_factory=list)
    decisive_track_id: Count | None = None
    frames: list[FrameScore] = field(default_factory=list)
    frame_rules: list[FrameRule] = field(default_factory=list)
    timeline: list[TimelineEntry] = field(default_factory=list)
    not_judged: list[NotJudged] = field(default_factory=list)
    schema_version: int = SCHEMA_VERSION
    version: str = __version__
    created: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    settings: dict[str, Any]
    model: ModelIdentity
    sha256: str | None = None
    provenance: Provenance | None = None
    fetched: Fetched | None = None

    def __post_init__(self) -> None:
        if (self.status == "ok") != (self.fake_probability is not None):
            raise ValueError(
                f"A result must have a fake probability if and only if its status is ok, got {self.status!r}."
            )
        for name, value, allowed in (
            ("status", self.status, _STATUSES),
            ("verdict", self.verdict, _VERDICTS),
            ("face aggregation", self.settings.get("face_aggregation", "max"), _AGGREGATIONS),
        ):
            if value not in allowed:
                raise ValueError(f"An unknown {name}, {value!r}.")
        if self.status != "ok" and self.verdict is not None:
            raise ValueError(f"A video that could not be scored has no verdict, got {self.verdict!r}.")
        if self.fake_probability is not None and not 0.0 <= self.fake_probability <= 1.0:
            raise ValueError(f"fake_probability must lie in [0, 1], got {self.fake_probability}.")

    def to_dict(self) -> dict[str, Any]:
        """The result as plain dictionaries, lists, strings and numbers, with the attributes as keys in this order."""
        return {**asdict(self), "provenance": self.provenance and self.provenance.to_dict()}

    def to_json(self, indent: int | None = None) -> str:
        """
        The result as strict JSON, without NaN. Bytes of a file name that are not valid text are escaped.

        Args:
            indent: Number of spaces per level; one line by default.
        """
        text = json.dumps(self.to_dict(), indent=indent, ensure_ascii=False, allow_nan=False)
        return text.encode("utf-8", "backslashreplace").decode("utf-8")

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "VideoResult":
        """
        Create a result from the output of [`to_dict`].

        Args:
            content: The dictionary.

        Raises:
            ValueError: If it is not a result of this version of the schema.
        """
        if not isinstance(content, dict) or "schema_version" not in content:
            raise ValueError("not the result of a video ('schema_version' is missing).")
        if content["schema_version"] != SCHEMA_VERSION:
            raise ValueError(f"results of schema version {content['schema_version']} are not supported.")
        try:
            return as_dataclass(content, cls)
        except ValueError as error:
            raise ValueError(f"not the result of a video ({str(error).removesuffix('.')}).") from error
