# SPDX-License-Identifier: Apache-2.0
"""The settings of a scan: how each video is scored."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from ..common.errors import UsageError
from ..common.plans import check_fields
from ..common.processors import usable_cores
from ..video_errors import MAX_DECODE_THREADS, VideoLimits


Faces = Literal["auto", "none"]
FaceAggregation = Literal["max", "mean", "main"]
Dtype = Literal["float32", "bfloat16"]
Engine = Literal["auto", "torch", "onnx"]

# A face that is detected in a smaller share of the sampled frames does not count for the score of a video, unless it
# is the main face.
MIN_FACE_COVERAGE = 0.25


def check_threshold(threshold: float | None) -> None:
    """
    Check a threshold. At 0 every video is labelled fake.

    Args:
        threshold: A number from 0 to 1, or `None`.

    Raises:
        UsageError: If it is any other number.
    """
    if threshold is not None and not 0.0 <= threshold <= 1.0:
        raise UsageError(f"the threshold must lie between 0 and 1, got {threshold}.")


@dataclass(frozen=True, kw_only=True)
class ScanSettings:
    """
    How each video is scored.

    Args:
        num_frames: Number of frames to score per video. `None` for that of the model.
        faces: `"auto"` crops faces if the model was trained on face crops, `"none"` scores whole frames.
        face_aggregation: How the score of a video follows from the faces that were detected in at least a quarter of
            the sampled frames: their maximum, their mean, or the score of the main face.
        threshold: Fake probability at or above which a video is labelled fake. `None` for 0.5, for which the scores of
            the model are calibrated.
        timeline: Whether to also score short windows of the video. It does not change the score of the video.
        batch_size: Number of frames per batch for the timeline, which limits the memory use. `None` for 8 on a CPU,
            where larger batches are not faster, and for 32 elsewhere.
        dtype: Precision of the frame encoder. `"bfloat16"` changes scores in the second or third digit and is faster
            on processors that support it.
        engine: Inference library: `"torch"`, or `"onnx"` for onnxruntime on the CPU, which loads in a
            tenth of the time. `"auto"` chooses onnxruntime on a CPU if graphs of all models exist: the packaged
            checkpoint has them, and `"onnx"` writes those of other models once. Results record the engine that was
            used.
        limits: Limits on what is read. `None` for the defaults and the environment variables.

    Raises:
        UsageError: If a value has another type, is none of the choices, or is out of range.

    Example:

        >>> from deepfake_video import ScanSettings
        >>> settings = ScanSettings(face_aggregation="mean", timeline=True)
        >>> settings.to_dict()["face_aggregation"]
        'mean'
    """

    num_frames: int | None = None
    faces: Faces = "auto"
    face_aggregation: FaceAggregation = "max"
    threshold: float | None = None
    timeline: bool = False
    batch_size: int | None = None
    dtype: Dtype = "float32"
    engine: Engine = "auto"
    limits: VideoLimits | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if self.num_frames is not None and not 1 <= self.num_frames <= 10_000:
            raise UsageError(f"the number of frames must lie between 1 and 10000, got {self.num_frames}.")
        check_threshold(self.threshold)
        if self.batch_size is not None and not 1 <= self.batch_size <= 10_000:
            raise UsageError(f"the batch size must lie between 1 and 10000, got {self.batch_size}.")

    def for_processes(self, count: int) -> "ScanSettings":
        """
        Divide the cores among processes that decode at the same time, unless the limits name a number of threads.

        Args:
            count: Number of processes.
        """
        limits = self.limits or VideoLimits.from_environment()
        if limits.decode_threads is not None:
            return self
        threads = max(1, min(MAX_DECODE_THREADS, usable_cores() // count))
        return replace(self, limits=replace(limits, decode_threads=threads))

    def to_dict(self) -> dict[str, Any]:
        """Return the settings that affect a score, as a result lists them. The threshold has its own key."""
        left_out = ("limits", "threshold", "batch_size")
        return {name: value for name, value in asdict(self).items() if name not in left_out}
