# SPDX-License-Identifier: Apache-2.0
"""The choices of a scan."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..video_errors import VideoLimits


def check_threshold(threshold: float | None) -> None:
    """
    Check a threshold, which may be 0, where everything is called fake, and 1.

    Raises:
        ValueError: If it is not a number from 0 to 1.
    """
    if threshold is not None and not 0.0 <= threshold <= 1.0:
        raise ValueError(f"the threshold must lie between 0 and 1, got {threshold}.")


@dataclass(frozen=True, kw_only=True)
class ScanSettings:
    """
    `None` leaves a choice to the checkpoint.

    Attributes:
        num_frames: Frames that are judged of each video.
        faces: "auto" does what the checkpoint says, "none" judges whole frames.
        face_aggregation: Score of a video from those of its faces that are seen long enough.
        threshold: Fake probability from which on a video is called fake.
        timeline: Whether a second, denser pass shows when and where; it never changes the score.
        batch_size: Most frames that pass a network at once in that pass, which bounds the memory; `None` takes 8 on a
            CPU, which gains nothing from more, and 32 elsewhere.
        dtype: Of the frame encoder. bfloat16 moves scores in the second or third digit; it pays where the processor
            has instructions for it.
        engine: What runs the frame encoder; "onnx" is onnxruntime, for the CPU.
        limits: Of what is read; `None` takes the defaults and the environment.

    Raises:
        ValueError: If a number is out of range.
    """

    num_frames: int | None = None
    faces: Literal["auto", "none"] = "auto"
    face_aggregation: Literal["max", "mean", "main"] = "max"
    threshold: float | None = None
    timeline: bool = False
    batch_size: int | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    engine: Literal["torch", "onnx"] = "torch"
    limits: VideoLimits | None = None

    def __post_init__(self) -> None:
        if self.num_frames is not None and not 1 <= self.num_frames <= 10_000:
            raise ValueError(f"the number of frames must lie between 1 and 10000, got {self.num_frames}.")
        check_threshold(self.threshold)
        if self.batch_size is not None and not 1 <= self.batch_size <= 10_000:
            raise ValueError(f"the batch size must lie between 1 and 10000, got {self.batch_size}.")

    def to_dict(self) -> dict[str, Any]:
        """What stands in a result: limits and the batch size are no choices that change it."""
        left_out = ("limits", "threshold", "batch_size")
        return {name: value for name, value in asdict(self).items() if name not in left_out}
