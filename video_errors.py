# SPDX-License-Identifier: Apache-2.0
"""Errors and limits of video reading."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, Literal

from .video_addresses import printable_name


__all__ = [
    "MAX_DECODE_THREADS",
    "FailureReason",
    "UnsupportedVideoError",
    "VideoDecodeError",
    "VideoError",
    "VideoLimits",
    "VideoNotFoundError",
    "VideoTimeoutError",
    "VideoTooLargeError",
    "VideoUnreadableError",
]

# Where nothing else is asked for; more threads do not help.
MAX_DECODE_THREADS = 8
# Machine-readable reasons why a video has no score.
FailureReason = Literal["no_face", "decode_error", "unsupported", "too_large", "not_found", "unreadable", "timeout"]


class VideoError(ValueError):
    """A video that cannot be scored.

    `str(error)` is one line with the file, the reason and what to do; `reason` is the machine-readable status.
    The error can be pickled between processes.

    Args:
        source: Path or URL of the video; the message shows it as [`printable_name`].
        message: The reason and what to do.
    """

    reason: ClassVar[FailureReason] = "decode_error"

    def __init__(self, source: object, message: str) -> None:
        self.name = printable_name(source)
        self.message = " ".join(message.split())
        super().__init__(self.name, self.message)

    def __str__(self) -> str:
        return f"{self.name}: {self.message}"


class VideoNotFoundError(VideoError):
    """The file does not exist."""

    reason = "not_found"


class VideoUnreadableError(VideoError):
    """The file or address exists but cannot be read: permission, input/output, network."""

    reason = "unreadable"


class UnsupportedVideoError(VideoError):
    """The file is not a video, or its format is not supported."""

    reason = "unsupported"


class VideoDecodeError(VideoError):
    """No frame of the video can be decoded."""

    reason = "decode_error"


class VideoTooLargeError(VideoError):
    """The video exceeds a limit in pixels, packets or bytes."""

    reason = "too_large"


class VideoTimeoutError(VideoError):
    """Reading the video took longer than allowed."""

    reason = "timeout"


@dataclass(frozen=True, kw_only=True)
class VideoLimits:
    """Limits on the resources that reading one video may use; never stored in a checkpoint.

    Args:
        max_frame_pixels: Maximum width times height of a frame.
        max_read_s: Seconds for reading and decoding one video; `None` allows 25 s for up to 32 frames and one more
            second for every further four frames.
        max_duration_s: Maximum length of a video in seconds; `None` for no maximum.
        max_download_bytes: Maximum number of bytes fetched from the address of one video.
        max_download_s: Seconds for fetching them, redirects included.
        allow_private_addresses: Allow URLs that lead to loopback, private and link-local addresses.
        decode_threads: Number of decoder threads; `None` uses one per core, up to 8.
        decode_device: Device that decodes H.264, HEVC, VP8 and VP9: `"cpu"`, or `"cuda"` or `"cuda:N"` for NVIDIA.

    Raises:
        ValueError: If a limit is not a positive number, or the device has another name.

    Example:

        >>> from deepfake_video import VideoLimits
        >>> VideoLimits(max_read_s=60).read_allowance_s(num_frames=20)
        60.0
    """

    max_frame_pixels: int = 40_000_000
    max_read_s: float | None = None
    max_duration_s: float | None = None
    max_download_bytes: int = 2_000_000_000
    max_download_s: float = 300.0
    allow_private_addresses: bool = False
    decode_threads: int | None = None
    decode_device: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("max_frame_pixels", "max_download_bytes", "decode_threads"):
            value = getattr(self, name)
            optional = name == "decode_threads" and value is None
            if not optional and (type(value) is not int or value < 1):
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
        for name in ("max_read_s", "max_duration_s", "max_download_s"):
            value = getattr(self, name)
            optional = name != "max_download_s" and value is None
            if not optional and not (type(value) in (int, float) and 0 < value < math.inf):
                raise ValueError(f"{name} must be a positive number of seconds, got {value!r}")
        if type(self.allow_private_addresses) is not bool:
            raise ValueError(f"allow_private_addresses must be true or false, got {self.allow_private_addresses!r}")
        if not (isinstance(self.decode_device, str) and re.fullmatch(r"cpu|cuda(:\d{1,3})?", self.decode_device)):
            raise ValueError(f"decode_device must be cpu, cuda or cuda:N, got {self.decode_device!r}")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> VideoLimits:
        """Read the limits from variables such as DEEPFAKE_VIDEO_MAX_FRAME_PIXELS, one per field.

        Args:
            environment: Variables; those of the process by default. An unset or empty one means the default limit.

        Raises:
            ValueError: If a variable has an invalid value.
        """
        environment = os.environ if environment is None else environment
        values: dict[str, int | float | bool | str] = {}
        for field in fields(cls):
            variable = f"DEEPFAKE_VIDEO_{field.name.upper()}"
            text = environment.get(variable, "").strip()
            if not text:
                continue
            try:
                values[field.name] = _parse_limit(field.name, text)
                cls(**{field.name: values[field.name]})  # type: ignore[arg-type]
            except ValueError as error:
                raise ValueError(f"the environment variable {variable}={text!r} is invalid: {error}") from None
        return cls(**values)  # type: ignore[arg-type]

    def read_allowance_s(self, num_frames: int) -> float:
        """Return the seconds allowed for reading `num_frames` frames of one video."""
        if self.max_read_s is not None:
            return float(self.max_read_s)
        return 25.0 + max(num_frames - 32, 0) / 4


def _parse_limit(name: str, text: str) -> int | float | bool | str:
    if name == "decode_device":
        return text
    if name == "allow_private_addresses":
        choices = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
        if text.lower() not in choices:
            raise ValueError("it must be 1 or 0")
        return choices[text.lower()]
    try:
        return float(text) if name.endswith("_s") else int(text.replace("_", ""))
    except ValueError:
        raise ValueError("it must be a number") from None
