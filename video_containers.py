# SPDX-License-Identifier: Apache-2.0
"""Open containers safely, and index their packets without decoding.

`open_container` is the only call of `av.open`. `PacketIndex` holds the presentation times and keyframes of a
stream and plans which packets have to be decoded for a set of frames.
"""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any, NoReturn

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
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
    SEEKABLE_CODECS,
    THREADED_CODECS,
    choose_stream,
    explain_open_failure,
    forced_format,
    refuse_encrypted,
)


__all__ = [
    "PacketIndex",
    "PlanError",
    "Run",
    "Stopwatch",
    "check_pixels",
    "ends_early",
    "open_container",
    "read_packet_index",
    "read_packets",
]

# Formats in which every packet is one picture whose time the decoder does not change.
SEEKABLE_CONTAINERS = frozenset({"mov", "matroska"})
MAX_PACKETS = 5_000_000
# An MPEG-4 packet this small is a placeholder of a packed stream or repeats a picture: the decoder returns no picture
# for it.
_PLACEHOLDER_BYTES = 16


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

    Raises:
        VideoTimeoutError: If opening takes longer than allowed.
        UnsupportedVideoError: If the file is not a video, has no picture, or has an unsupported codec.
        VideoDecodeError: If the file starts like a video but its structure is damaged.
        VideoTooLargeError: If the frames have too many pixels, or the file has too many tracks.
    """
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
        num_threads = limits.decode_threads or min(os.cpu_count() or 1, MAX_DECODE_THREADS)
        codec.thread_count = num_threads if is_threaded and codec.name in THREADED_CODECS else 1
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
    file.seek(0)
    head = file.read(512)
    file.seek(position)
    if kind == "avi":
        return int.from_bytes(head[4:8], "little") + 8 > size
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


def check_pixels(source: object, width: int, height: int, limits: VideoLimits) -> None:
    """Raise `VideoTooLargeError` if a frame of this size has more pixels than allowed."""
    if width * height > limits.max_frame_pixels:
        raise VideoTooLargeError(
            source,
            f"its frames of {width}x{height} exceed {limits.max_frame_pixels:,} pixels; scale it down or raise "
            "DEEPFAKE_VIDEO_MAX_FRAME_PIXELS",
        )


class PlanError(Exception):
    """The decoded frames differ from those that the packets announced, so the whole file must be decoded."""


@dataclass(frozen=True)
class Run:
    """The packets `start` to `stop` (inclusive, in decoding order) that give the ascending frames `targets`."""

    start: int
    stop: int
    targets: list[int]


@dataclass
class PacketIndex:
    """The packets of one stream in decoding order, and the frames in order of presentation.

    Attributes:
        pts: (packets,) int64 presentation times in units of the stream.
        seek_times: (packets,) int64 times under which the index of the container lists them.
        durations: (packets,) int64 in units of the stream, 0 where unknown.
        keys: (keyframes,) int64 positions of the keyframes.
        order: (frames,) int64, the packet of each frame.
        has_times: Whether the packet of each frame contains a distinct time.
        is_seekable: Whether decoding may start at keyframes.
        has_droppable: Whether the decoder can identify pictures that no other picture depends on.
        is_cut_off: Whether the file ends before its packets do.
        num_bytes: Size of all packets.
    """

    pts: np.ndarray
    seek_times: np.ndarray
    durations: np.ndarray
    keys: np.ndarray
    order: np.ndarray
    has_times: bool
    is_seekable: bool
    has_droppable: bool
    is_cut_off: bool
    num_bytes: int

    def plan(self, targets: list[int]) -> list[Run]:
        """Plan runs of packets for ascending frame indices; a seek is used only to skip a group of pictures."""
        runs: list[Run] = []
        for target in targets:
            position = int(self.order[target])
            group = int(np.searchsorted(self.keys, position, side="right")) - 1
            # Pictures shown before the keyframe they follow in the file may need the group before it.
            while self.pts[self.keys[group]] > self.pts[position]:
                group -= 1
            if runs and group <= np.searchsorted(self.keys, runs[-1].stop, side="right"):
                last = runs.pop()
                runs.append(Run(last.start, max(last.stop, position), [*last.targets, target]))
            else:
                runs.append(Run(int(self.keys[group]), position, [target]))
        return runs


def read_packets(container: InputContainer, stream: VideoStream, *, watch: Stopwatch) -> Iterator[Packet[VideoStream]]:
    """Yield the packets of the stream that contain data, from the current position; damage raises `av.FFmpegError`."""
    packets = container.demux(stream)
    while True:
        watch.check()
        try:
            packet = next(packets)
        except (StopIteration, IndexError):  # PyAV's end, and how it ends where streams appeared on the way
            watch.check()
            return
        if packet.size:
            yield packet


def read_packet_index(
    container: InputContainer, stream: VideoStream, source: object, *, watch: Stopwatch
) -> PacketIndex:
    """Read all packets of the stream once, without decoding.

    Raises:
        VideoTooLargeError: If there are more than 5 million.
        UnsupportedVideoError: If they are encrypted.
        VideoTimeoutError: If reading takes longer than allowed.
    """
    pts, dts, durations, keys, shown = (array("q") for _ in range(5))
    is_hidden = _HIDDEN_TESTS.get(stream.codec_context.name, _is_never)
    is_complete, is_cut_off = True, False
    smallest, num_bytes = 1 << 62, 0
    try:
        for packet in read_packets(container, stream, watch=watch):
            if len(pts) == MAX_PACKETS:
                raise VideoTooLargeError(source, f"it has more than {MAX_PACKETS:,} packets; cut it into parts")
            if not pts:
                refuse_encrypted(packet, source)
            is_complete &= packet.pts is not None
            smallest = min(smallest, packet.size)
            num_bytes += packet.size
            if packet.is_keyframe:
                keys.append(len(pts))
            # A packet that the end of the file cuts short would show as half a picture.
            is_cut_off = packet.is_corrupt
            if not packet.is_discard and not is_hidden(packet):
                shown.append(len(pts))
            pts.append(packet.pts or 0)
            dts.append(packet.pts or 0 if packet.dts is None else packet.dts)
            durations.append(packet.duration or 0)
    except av.FFmpegError:
        is_cut_off = True
    if is_cut_off and shown and shown[-1] == len(pts) - 1:
        shown.pop()
    kind = container.format.name.split(",")[0]
    is_cut_off |= kind == "mov" and len(stream.index_entries) > len(pts)
    return _build_index(kind, stream, *(np.array(a, np.int64) for a in (pts, dts, durations, keys, shown)),
                        is_complete=is_complete, smallest=smallest, is_cut_off=is_cut_off,
                        num_bytes=num_bytes)  # fmt: skip


def _build_index(
    kind: str,
    stream: VideoStream,
    pts: np.ndarray,
    dts: np.ndarray,
    durations: np.ndarray,
    keys: np.ndarray,
    shown: np.ndarray,
    *,
    is_complete: bool,
    smallest: int,
    is_cut_off: bool,
    num_bytes: int,
) -> PacketIndex:
    codec = stream.codec_context
    order = shown[np.argsort(pts[shown], kind="stable")]
    has_times = is_complete and len(order) > 0 and len(np.unique(pts)) == len(pts)
    starts_clean = len(keys) > 0 and keys[0] == 0 and pts[0] == pts.min()
    is_progressive = codec.field_order in (0, 1)
    has_placeholders = codec.name == "mpeg4" and smallest < _PLACEHOLDER_BYTES
    is_seekable = kind in SEEKABLE_CONTAINERS and codec.name in SEEKABLE_CODECS
    return PacketIndex(
        pts=pts,
        seek_times=pts if kind == "matroska" else dts,
        durations=durations,
        keys=keys,
        order=order,
        has_times=has_times,
        is_seekable=is_seekable and has_times and starts_clean and is_progressive and not has_placeholders,
        has_droppable=_has_droppable_pictures(stream),
        is_cut_off=bool(is_cut_off),
        num_bytes=num_bytes,
    )


def _has_droppable_pictures(stream: VideoStream) -> bool:
    """Return whether pictures that the decoder calls "non-reference" are never needed by other pictures."""
    codec = stream.codec_context
    if codec.name == "hevc":
        # With several temporal layers, such a picture may be needed by a higher one. Byte 21 of the configuration
        # record (ISO/IEC 14496-15, 8.3.3.1) has their number in bits 3 to 5.
        record = codec.extradata or b""
        return len(record) > 21 and record[0] == 1 and record[21] >> 3 & 7 == 1
    return codec.name in ("h264", "mpeg4", "vp8")


def _is_never(packet: Packet[Any]) -> bool:
    return False


def _is_hidden_vp8(packet: Packet[Any]) -> bool:
    return not memoryview(packet)[0] & 0x10


def _is_hidden_vp9(packet: Packet[Any]) -> bool:
    """A frame of its own that is not shown (VP9 specification, 6.2); in a superframe, the last one is."""
    content = memoryview(packet)
    if content[-1] & 0xE0 == 0xC0:
        return False
    bits = f"{content[0]:08b}"
    after_profile = 5 if bits[2:4] == "11" else 4
    shows_existing, is_shown = bits[after_profile] == "1", bits[after_profile + 2] == "1"
    return not shows_existing and not is_shown


_HIDDEN_TESTS: dict[str, Callable[[Packet[Any]], bool]] = {"vp8": _is_hidden_vp8, "vp9": _is_hidden_vp9}
