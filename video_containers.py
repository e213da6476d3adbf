# SPDX-License-Identifier: Apache-2.0
"""Open containers safely: limits of size and time, and no other file than the one that was opened.

`open_container` is the only call of `av.open`.
"""

from __future__ import annotations

import os
import time
from typing import IO, NoReturn

import av
from av.codec.hwaccel import HWAccel
from av.container import InputContainer
from av.stream import Discard
from av.video.stream import VideoStream

from .video_errors import (
    MAX_DECODE_THREADS,
    VideoLimits,
    VideoTimeoutError,
    VideoTooLargeError,
    VideoUnreadableError,
)
from .video_formats import (
    CONTAINERS,
    MAX_TRACKS,
    THREADED_CODECS,
    choose_stream,
    explain_open_failure,
    forced_format,
)
from .video_hardware import DEVICE_CODECS, DecodeDeviceError, find_device


__all__ = [
    "Stopwatch",
    "check_duration",
    "check_pixels",
    "ends_early",
    "open_container",
]


# Identifier of the object of an ASF file (.wmv) that holds its size.
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


class Stopwatch:
    """Context manager that measures the seconds spent reading one video."""

    def __init__(self, source: object, limits: VideoLimits) -> None:
        self.num_frames = 0
        self._source, self._limits = source, limits
        self._spent_s = 0.0
        self._started_s: float | None = None

    def __enter__(self) -> Stopwatch:
        self._started_s = time.monotonic()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._started_s is not None:
            self._spent_s += time.monotonic() - self._started_s
        self._started_s = None

    def excuse(self, seconds: float) -> None:
        """Leave out seconds that were spent waiting for the network, which has a limit of its own."""
        self._spent_s -= seconds

    def is_over(self) -> bool:
        """Return whether the time limit for the frames requested so far is exceeded."""
        running_s = 0.0 if self._started_s is None else time.monotonic() - self._started_s
        return self._spent_s + running_s > self._limits.read_allowance_s(self.num_frames)

    def check(self) -> None:
        """Raise `VideoTimeoutError` if the time limit is exceeded."""
        if self.is_over():
            allowed_s = self._limits.read_allowance_s(self.num_frames)
            raise VideoTimeoutError(
                self._source,
                f"reading took longer than {allowed_s:g} s; shorten the video or raise DEEPFAKE_VIDEO_MAX_READ_S",
            )


class _GuardedFile:
    """A file without a name, so that libav opens no related files; it ends when the time limit is reached."""

    def __init__(self, file: IO[bytes], watch: Stopwatch) -> None:
        self._file, self._watch = file, watch

    def read(self, size: int) -> bytes:
        if self._watch.is_over():
            return b""
        waited_s = getattr(self._file, "waited_s", 0.0)
        try:
            return self._file.read(size)
        finally:
            self._watch.excuse(getattr(self._file, "waited_s", 0.0) - waited_s)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):
            return -1  # a damaged file names a place that does not exist; libav takes it from here

    def tell(self) -> int:
        return self._file.tell()


def _refuse_other_files(*_: object) -> NoReturn:
    raise PermissionError("a video may not open other files")


def open_container(
    file: IO[bytes], source: object, *, limits: VideoLimits, watch: Stopwatch, is_threaded: bool
) -> tuple[InputContainer, VideoStream]:
    """Open a container and return it with the video stream to score.

    Args:
        file: The open file.
        source: The video, for messages.
        limits: Limits of reading, number of decoder threads, and the device that decodes.
        watch: Measures the time.
        is_threaded: Whether the decoder may use several threads, or the device of `limits`. Only without them are the
            pictures of a damaged file always the same.

    Raises:
        VideoTimeoutError: If opening takes longer than allowed.
        UnsupportedVideoError: If the file is not a video, has no picture, or has an unsupported codec.
        VideoDecodeError: If the file starts like a video but its structure is damaged.
        VideoTooLargeError: If the frames have too many pixels, or the file has too many tracks.
        VideoUnreadableError: If the file cannot be read, or the device does not exist.
    """
    container, stream = _open(file, source, limits=limits, watch=watch)
    codec = stream.codec_context
    # The codec is known only now, and a container takes its device only when it is opened.
    if is_threaded and limits.decode_device != "cpu" and codec.name in DEVICE_CODECS:
        container.close()
        try:
            device = find_device(limits.decode_device)
        except DecodeDeviceError as error:
            raise VideoUnreadableError(source, str(error)) from None
        return _open(file, source, limits=limits, watch=watch, device=device)
    num_threads = limits.decode_threads or min(_count_cores(), MAX_DECODE_THREADS)
    codec.thread_count = num_threads if is_threaded and codec.name in THREADED_CODECS else 1
    return container, stream


def _open(
    file: IO[bytes], source: object, *, limits: VideoLimits, watch: Stopwatch, device: HWAccel | None = None
) -> tuple[InputContainer, VideoStream]:
    """Open a container whose decoder uses one thread or a device."""
    # The decoder's own bound has some slack, because it counts padding too.
    pixel_bound = str(limits.max_frame_pixels + limits.max_frame_pixels // 8 + (1 << 16))
    options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "none", "max_pixels": pixel_bound}
    options["max_streams"] = str(MAX_TRACKS)
    try:
        container = av.open(
            _GuardedFile(file, watch),
            "r",
            format=forced_format(file),
            options=options,
            metadata_errors="replace",
            io_open=_refuse_other_files,
            hwaccel=device,
        )
    except av.FFmpegError as error:
        watch.check()
        raise explain_open_failure(file, source, error) from None
    except (OSError, UnicodeError) as error:
        raise VideoUnreadableError(source, f"it cannot be read ({error})") from None
    try:
        stream = choose_stream(container, source)
        codec = stream.codec_context
        check_pixels(source, codec.width, codec.height, limits)
        codec.options = {"max_pixels": pixel_bound}
        codec.thread_type = "AUTO"
        codec.thread_count = 1
        for other in container.streams:
            if other.index != stream.index:
                other.discard = Discard.all
        return container, stream
    except BaseException:
        container.close()
        raise


def ends_early(file: IO[bytes], container: InputContainer) -> bool:
    """Return whether the file is shorter than its header or the sizes of its packets declare."""
    kind, position = container.format.name.split(",")[0], file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(position)
    head = _read_at(file, 0, 512)
    if kind == "avi":
        return int.from_bytes(head[4:8], "little") + 8 > size
    if kind == "gif":
        # A block that ends with 0, then the trailer (GIF89a, 27). Some programs write something behind it.
        return b"\0\x3b" not in _read_at(file, max(0, size - 512), 512)
    if kind == "asf":
        return _declared_asf_bytes(file) > size
    if kind == "mpegts":
        return all(size % length for length in (188, 192, 204))
    start = head.find(b"\x18\x53\x80\x67") + 4
    if kind != "matroska" or not 4 <= start < len(head) - 8:
        return False
    # The size of the segment (RFC 8794, 4): the zeros in front say how many bytes it takes; all ones are "unknown".
    length = 9 - head[start].bit_length()
    mask = (1 << 7 * length) - 1
    claimed = int.from_bytes(head[start : start + length], "big") & mask
    return length <= 8 and claimed != mask and start + length + claimed > size


def _read_at(file: IO[bytes], start: int, num_bytes: int) -> bytes:
    """Read from a place in a file, and leave the file where it was."""
    position = file.tell()
    file.seek(start)
    content = file.read(num_bytes)
    file.seek(position)
    return content


def _declared_asf_bytes(file: IO[bytes]) -> int:
    """Return the size that the header of an ASF file declares (ASF specification, 3.2); 0 if it declares none."""
    head = _read_at(file, 0, 1 << 16)
    start = head.find(_ASF_FILE_PROPERTIES)
    # A stream that was recorded while it was sent has no valid size.
    if start < 0 or len(head) < start + 92 or head[start + 88] & 1:
        return 0
    return int.from_bytes(head[start + 40 : start + 48], "little")


def check_pixels(source: object, width: int, height: int, limits: VideoLimits) -> None:
    """Raise `VideoTooLargeError` if a frame of this size has more pixels than allowed."""
    if width * height > limits.max_frame_pixels:
        raise VideoTooLargeError(
            source,
            f"its frames of {width}x{height} exceed {limits.max_frame_pixels:,} pixels; scale it down or raise "
            "DEEPFAKE_VIDEO_MAX_FRAME_PIXELS",
        )


def check_duration(source: object, duration_s: float, limits: VideoLimits) -> None:
    """Raise `VideoTooLargeError` if a video of this length in seconds is longer than allowed."""
    allowed_s = limits.max_duration_s
    if allowed_s is not None and duration_s > allowed_s:
        raise VideoTooLargeError(
            source, f"the video lasts {duration_s:.0f} s, and at most {allowed_s:g} s are allowed; shorten it"
        )


def _count_cores() -> int:
    """Count the cores that this process may use, which `taskset` and Slurm restrict on Linux."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
