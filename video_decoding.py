# SPDX-License-Identifier: Apache-2.0
"""The one place that opens videos: frames by index in RGB, timestamps, frame selection, clear errors.

Pictures are as a player displays them: see `video_pictures` for shape and orientation, `video_color` for colours. All
sizes and coordinates are in pixels of the displayed picture.
"""

from __future__ import annotations

import errno
import hashlib
import heapq
import itertools
import os
from collections.abc import Generator, Iterable, Iterator
from operator import itemgetter
from typing import Literal, Protocol

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from .video_containers import (
    PacketIndex,
    Run,
    Stopwatch,
    check_pixels,
    ends_early,
    open_container,
    read_packet_index,
    read_packets,
)
from .video_fetching import (
    UnsupportedVideoError,
    VideoDecodeError,
    VideoError,
    VideoLimits,
    VideoNotFoundError,
    VideoTimeoutError,
    VideoTooLargeError,
    VideoUnreadableError,
    open_video_file,
    printable_name,
)
from .video_formats import ELEMENTARY, describe_other_streams, explain_no_frames, frame_rate
from .video_pictures import PictureConverter
from .video_timestamps import FrameTimes, are_orderly, container_clock, read_times


__all__ = [
    "FrameArray",
    "FrameSource",
    "UnsupportedVideoError",
    "VideoDecodeError",
    "VideoError",
    "VideoLimits",
    "VideoNotFoundError",
    "VideoReader",
    "VideoTimeoutError",
    "VideoTooLargeError",
    "VideoUnreadableError",
    "select_frames",
    "select_timestamps",
]

CACHE_BYTES = 128 << 20
NOMINAL_FPS = 25.0
_PROBE_FRAMES = 24


class FrameSource(Protocol):
    """What a clip offers, be it a file or an array: frames by index, each with its time."""

    name: str
    warnings: list[str]

    @property
    def num_frames(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def fps(self) -> float: ...
    @property
    def duration_s(self) -> float: ...
    @property
    def timestamps_s(self) -> np.ndarray: ...
    def frames(self, indices: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]: ...


class _PlanError(Exception):
    """The decoder did not give what the packets promised: decode everything instead."""


class VideoReader:
    """Frames of one video file by index, in RGB and upright: the same frames that decoding everything gives.

    Opening reads the packets of the file once and decodes no picture where the container's times can be trusted;
    elsewhere the pictures are counted by decoding them. Then only the groups of pictures that hold wanted frames
    are decoded, and whenever that does not meet a frame exactly, the file is decoded from its beginning.

    Args:
        source: A path, or an http(s) URL if no file is named like it.
        limits: What reading may cost; read from the environment by default.

    Attributes:
        name: The source as one printable line.
        num_frames: The true number of frames.
        timestamps_s: (num_frames,) float64 seconds, increasing. 0 is where a player's clock begins, the start of the
            container: a picture that begins two seconds after the sound begins at 2.0 s. See `video_timestamps`.
        fps: Average frames per second, gaps left out.
        duration_s: When the last frame ends, in seconds on that clock.
        gaps: Frames that are followed by a gap, within which nothing new is shown, and when the last one before it
            ends at the median interval: index to seconds.
        warnings: Sentences about what was wrong with the file but did not stop the reading.

    Raises:
        VideoError: one of its subclasses, if this is no file that can be read as a video.
    """

    def __init__(self, source: str | os.PathLike[str], *, limits: VideoLimits | None = None) -> None:
        self.name = printable_name(source)
        self.warnings: list[str] = []
        self._source = source
        self._limits = limits if limits is not None else VideoLimits.from_environment()
        self._watch = Stopwatch(source, self._limits)
        self._cache: dict[int, np.ndarray] = {}
        self._undecodable: set[int] = set()
        self._size: tuple[int, int] | None = None
        self._iteration: Iterator[tuple[int, np.ndarray]] = iter(())
        self._keeps_frames = True
        self._pictures = PictureConverter(source, max_pixels=self._limits.max_frame_pixels, warnings=self.warnings)
        self._opened: tuple[InputContainer, VideoStream] | None = None
        self._file = open_video_file(source, limits=self._limits)
        try:
            with self._watch:
                self._index, times = self._read_index()
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise VideoUnreadableError(source, f"it cannot be read ({error})") from None
            raise
        self.timestamps_s, self.fps, self.duration_s = times.seconds, times.fps, times.end_s
        self.num_frames = len(self.timestamps_s)
        self.gaps = {int(index): float(times.seconds[index]) + times.interval_s for index in times.gaps}

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file and ends the decoder's threads; a second call does nothing."""
        self._end_iteration()
        self._close_container()
        self._file.close()
        self._cache.clear()

    def sha256(self) -> str:
        """Hash of the bytes that are read, in hexadecimal: for a URL, of what was downloaded."""
        position = self._file.tell()
        self._file.seek(0)
        digest = hashlib.sha256()
        while block := self._file.read(1 << 20):
            digest.update(block)
        # The container goes on reading where it was.
        self._file.seek(position)
        return digest.hexdigest()

    @property
    def width(self) -> int:
        """Width of the displayed picture in pixels, after rotation and with square pixels."""
        return self._displayed_size()[1]

    @property
    def height(self) -> int:
        """Height of the displayed picture in pixels, after rotation and with square pixels."""
        return self._displayed_size()[0]

    def frames(self, indices: Iterable[int], *, keep: bool = True) -> Iterator[tuple[int, np.ndarray]]:
        """Yields (index, frame) once for each distinct index, ascending; a frame is (H, W, 3) uint8 RGB.

        Do not write into the frames: those that fit into a small cache are given again by later calls, unless `keep`
        says that there will be none, which saves the memory. Where the resolution changes inside a file, later frames
        have their own size. A frame that cannot be decoded is left out, and `warnings` says so. Starting another
        iteration ends this one.

        Raises:
            IndexError: if an index is outside 0 to num_frames - 1.
            VideoDecodeError: if not one of the frames decodes.
            VideoTooLargeError: if a frame has more pixels than allowed.
            VideoTimeoutError: if reading takes longer than allowed; what the caller does in between is not counted.
        """
        wanted = sorted({int(index) for index in indices})
        if wanted and not 0 <= wanted[0] <= wanted[-1] < self.num_frames:
            raise IndexError(f"{self.name} has {self.num_frames} frames, asked for {wanted[0]} to {wanted[-1]}")
        self._end_iteration()
        self._keeps_frames = keep
        self._watch.num_frames += sum(index not in self._cache for index in wanted)
        self._iteration = self._find(wanted)
        return self._timed(self._iteration)

    def _timed(self, iteration: Iterator[tuple[int, np.ndarray]]) -> Iterator[tuple[int, np.ndarray]]:
        while True:
            if iteration is not self._iteration:
                raise RuntimeError("this iteration over frames() ended when another one started or the video closed")
            try:
                with self._watch:
                    item = next(iteration, None)
            except OSError as error:
                raise VideoUnreadableError(self._source, f"it cannot be read any further ({error})") from None
            if item is None:
                return
            yield item

    def _find(self, wanted: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        cached = [(index, self._cache[index]) for index in wanted if index in self._cache]
        missing = [index for index in wanted if index not in self._cache and index not in self._undecodable]
        num_found = 0
        for index, image in heapq.merge(cached, self._decode(missing, set(wanted)), key=itemgetter(0)):
            num_found += 1
            yield index, image
        if wanted and not num_found:
            raise VideoDecodeError(self._source, "none of the frames decodes; the file is damaged, copy it again")

    def _decode(self, missing: list[int], wanted: set[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Decodes by plan, and what the plan does not meet exactly by decoding everything."""
        pending = list(missing)
        if self._index.is_seekable:
            try:
                for run in self._index.plan(missing):
                    for frame in self._decode_run(run):
                        image = self._take(pending[0], frame, wanted)
                        yield pending.pop(0), image
            except (_PlanError, av.FFmpegError):
                self._index.is_seekable = False
        if pending:
            for index, frame in self._decode_through():
                while pending and pending[0] < index:
                    self._undecodable.add(pending.pop(0))
                if pending and pending[0] == index:
                    pending.pop(0)
                    yield index, self._take(index, frame, wanted)
                if not pending:
                    break
        self._undecodable.update(pending)
        if failed := sorted(self._undecodable.intersection(missing)):
            first_s = self.timestamps_s[failed[0]]
            self._warn(f"{len(failed)} of the wanted frames do not decode, the first at {first_s:.1f} s: left out")

    def _decode_run(self, run: Run) -> Iterator[av.VideoFrame]:
        """Decodes the packets of a run and yields its targets in order; anything unexpected is a `_PlanError`."""
        index, (container, stream) = self._index, self._open()
        codec = stream.codec_context
        targets = [int(index.pts[index.order[target]]) for target in run.targets]
        wanted, num_found = set(targets), 0
        key_pts, has_begun = int(index.pts[run.start]), False
        container.seek(int(index.seek_times[run.start]), stream=stream)
        for packet in self._packets(run):
            # What no other picture needs is decoded only if it is wanted itself.
            is_wanted = packet is None or packet.pts in wanted
            codec.skip_frame = "NONREF" if index.has_droppable and not is_wanted else "DEFAULT"
            for frame in codec.decode(packet):
                if frame.pts is None or frame.is_corrupt:
                    raise _PlanError
                if not has_begun and frame.pts >= key_pts:
                    if frame.pts > key_pts or not frame.key_frame:
                        raise _PlanError
                    has_begun = True
                if frame.pts in wanted:
                    if frame.pts != targets[num_found]:
                        raise _PlanError
                    num_found += 1
                    yield frame
        if num_found < len(targets):
            raise _PlanError

    def _packets(self, run: Run) -> Iterator[Packet[VideoStream] | None]:
        """The packets of a run, after a seek that may have landed before it; at last `None`, which drains."""
        position = run.start - 1
        container, stream = self._open()
        for packet in read_packets(container, stream, watch=self._watch):
            if position < run.start and packet.pts != self._index.pts[run.start]:
                continue
            position += 1
            if packet.pts != self._index.pts[position]:
                raise _PlanError
            yield packet
            if position == run.stop:
                break
        yield None

    def _decode_through(self) -> Iterator[tuple[int, av.VideoFrame]]:
        """Decodes everything from the beginning: (index, frame), by time where times can be trusted."""
        times = self._index.pts[self._index.order]
        for number, frame in enumerate(self._decode_all()):
            if not self._index.has_times:
                yield number, frame
            elif frame.pts is not None:
                index = int(np.searchsorted(times, frame.pts))
                if index < len(times) and times[index] == frame.pts:
                    yield index, frame

    def _decode_all(self) -> Iterator[av.VideoFrame]:
        """Every frame from the beginning; what is damaged is passed over, with a warning.

        In one thread: with more, what becomes of damaged frames would be a matter of chance.
        """
        self._close_container()
        container, stream = self._open(is_threaded=False)
        first: av.VideoFrame | None = None
        latest_s, is_damaged = 0.0, False
        for packet in self._all_packets(container, stream):
            try:
                frames = stream.codec_context.decode(packet)
            except av.FFmpegError as error:
                if not is_damaged:
                    # What libav says of a size that its bound forbids.
                    cause = f" or exceeds {self._limits.max_frame_pixels:,} pixels" * (error.errno == errno.EINVAL)
                    self._warn(f"the file is damaged{cause} after about {latest_s:.1f} s; what decodes is used")
                is_damaged = True
                continue
            for frame in frames:
                first = first or frame
                if frame.pts is not None and first.pts is not None:
                    latest_s = float((frame.pts - first.pts) * (stream.time_base or 0))
                yield frame

    def _all_packets(self, container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream] | None]:
        try:
            yield from read_packets(container, stream, watch=self._watch)
        except av.FFmpegError:
            self._warn("the file is damaged or cut off; what decodes is used")
        yield None

    def _read_index(self) -> tuple[PacketIndex, FrameTimes]:
        container, stream = self._open()
        kind, is_cut_off = container.format.name, ends_early(self._file, container)
        if note := describe_other_streams(container, stream):
            self._warn(note)
        index = read_packet_index(container, stream, self._source, watch=self._watch)
        clock, first_tick = container_clock(container, stream, self._nominal_fps()), stream.start_time or 0
        last_duration = int(index.durations[index.order[-1]]) if len(index.order) else 0
        # Matroska stores no decoding times.
        dts = None if kind.startswith("matroska") else index.seek_times
        ticks: list[int | None] | np.ndarray = index.pts[index.order]
        can_trust = index.has_times and are_orderly(index.pts, index.order, dts)
        if not (can_trust and (index.is_seekable or self._decoder_agrees(index))):
            ticks = [frame.pts for frame in self._decode_all()]
            if not index.has_times or ticks != index.pts[index.order].tolist():
                index.is_seekable = index.has_times = False
        if not len(ticks):
            raise explain_no_frames(self._file, self._source)
        if kind in ("gif", "apng") and len(ticks) == 1:
            raise UnsupportedVideoError(self._source, "this is not a video (the file is a still picture)")
        if kind == "avi" and None not in ticks:
            # It stores no times, only pictures in regular places, which libav shifts and shuffles by a decoding delay.
            ticks = np.sort(np.array(ticks, np.int64))
            ticks += first_tick - ticks[0]
        times = read_times(ticks, clock, last_duration=last_duration)
        if index.is_cut_off or is_cut_off:
            end_s = times.seconds[-1]
            self._warn(f"the file is damaged or cut off after about {end_s:.1f} s; what decodes is used")
        if kind in ELEMENTARY:
            self._warn(f"the stream has no timestamps: {self._nominal_fps():g} frames per second are assumed")
        else:
            for sentence in times.warnings:
                self._warn(sentence)
        return index, times

    def _decoder_agrees(self, index: PacketIndex) -> bool:
        """Whether the first pictures come with the times of their packets, none missing and none more."""
        decoded = [frame.pts for frame in itertools.islice(self._decode_all(), _PROBE_FRAMES)]
        expected: list[int] = index.pts[index.order[:_PROBE_FRAMES]].tolist()
        return decoded == expected

    def _take(self, index: int, frame: av.VideoFrame, wanted: set[int]) -> np.ndarray:
        """Converts a frame to an upright (H, W, 3) picture, and caches it as long as that fits."""
        check_pixels(self._source, frame.width, frame.height, self._limits)
        image = self._pictures.convert(frame)
        self._size = self._size or (image.shape[0], image.shape[1])
        if not self._keeps_frames:
            return image
        room = CACHE_BYTES - image.nbytes - sum(other.nbytes for other in self._cache.values())
        if room < 0:
            for unwanted in self._cache.keys() - wanted:
                room += self._cache.pop(unwanted).nbytes
        if room >= 0:
            self._cache[index] = image
        return image

    def _displayed_size(self) -> tuple[int, int]:
        if self._size is None:
            # The turn stands beside the first decoded picture, which is nearly always wanted anyway.
            next(self.frames([0]))
        return self._size or (0, 0)

    def _nominal_fps(self) -> float:
        return frame_rate(*self._open()) or NOMINAL_FPS

    def _open(self, *, is_threaded: bool = True) -> tuple[InputContainer, VideoStream]:
        if self._opened is None:
            self._opened = open_container(
                self._file, self._source, limits=self._limits, watch=self._watch, is_threaded=is_threaded
            )
            self._pictures.begin(self._opened[1])
        return self._opened

    def _close_container(self) -> None:
        if self._opened is not None:
            self._pictures.end()
            self._opened[0].close()
        self._opened = None

    def _end_iteration(self) -> None:
        iteration, self._iteration = self._iteration, iter(())
        if isinstance(iteration, Generator):
            iteration.close()

    def _warn(self, sentence: str) -> None:
        if sentence not in self.warnings:
            self.warnings.append(sentence)


class FrameArray:
    """A clip that is already in memory, with the interface of a `VideoReader`.

    Args:
        frames: (T, H, W, 3) uint8 RGB, T at least 1.
        fps: Frames a second; without it, times count 25 frames as a second.

    Raises:
        ValueError: if the array has another shape or type, or `fps` is not positive.
    """

    def __init__(self, frames: np.ndarray, *, fps: float | None = None) -> None:
        if frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape or frames.dtype != np.uint8:
            raise ValueError(f"a clip is a (T, H, W, 3) uint8 array, got {frames.shape} {frames.dtype}")
        if fps is not None and not 0 < fps < float("inf"):
            raise ValueError(f"fps must be a positive number, got {fps}")
        self.name = "<array>"
        self.warnings: list[str] = []
        self.fps = float(fps or NOMINAL_FPS)
        self.num_frames, self.height, self.width = frames.shape[:3]
        self.timestamps_s = np.arange(self.num_frames) / self.fps
        self.duration_s = self.num_frames / self.fps
        self._frames = frames

    def frames(self, indices: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yields (index, frame) once for each distinct index, ascending; an `IndexError` if there is no such frame."""
        wanted = sorted({int(index) for index in indices})
        if wanted and not 0 <= wanted[0] <= wanted[-1] < self.num_frames:
            raise IndexError(f"{self.name} has {self.num_frames} frames, asked for {wanted[0]} to {wanted[-1]}")
        return ((index, self._frames[index]) for index in wanted)


def select_frames(
    total: int, num_frames: int, *, sampling: Literal["even", "first", "bursts"] = "even", burst_length: int = 1
) -> np.ndarray:
    """Which frames of a clip to look at: (num_frames,) int64 indices, ascending.

    "even" spreads them from the first frame to the last, "first" takes them from the beginning, and "bursts" spreads
    `num_frames / burst_length` groups of consecutive frames. A clip shorter than `num_frames` gives each frame as
    evenly often as possible.

    Raises:
        ValueError: if an argument is out of range, or bursts do not add up to `num_frames`.
    """
    if total < 1 or num_frames < 1:
        raise ValueError(f"at least one frame of at least one is needed, got {num_frames = } of {total = }")
    if sampling not in ("even", "first", "bursts"):
        raise ValueError(f"sampling must be 'even', 'first' or 'bursts', got {sampling!r}")
    if sampling == "bursts" and (burst_length < 1 or num_frames % burst_length):
        raise ValueError(f"bursts must add up: {num_frames = } is no multiple of {burst_length = }")
    if total < num_frames:
        return np.arange(num_frames, dtype=np.int64) * total // num_frames
    if sampling == "first":
        return np.arange(num_frames, dtype=np.int64)
    if sampling == "even":
        return np.linspace(0, total - 1, num_frames).astype(np.int64)
    starts = np.linspace(0, total - burst_length, num_frames // burst_length).astype(np.int64)
    return (starts[:, None] + np.arange(burst_length)).reshape(-1)


def select_timestamps(timestamps_s: np.ndarray, wanted_s: Iterable[float]) -> np.ndarray:
    """Which frame is on the screen at each wanted second: int64 indices, as many as `wanted_s`.

    Before the first frame that is the first, after the last the last.

    Raises:
        ValueError: if there are no timestamps.
    """
    if not len(timestamps_s):
        raise ValueError("a clip without frames shows nothing at any time")
    wanted = np.fromiter(wanted_s, dtype=np.float64)
    # Times are sums of ticks: a wanted time a rounding error before its frame still means that frame.
    shown = np.searchsorted(timestamps_s, wanted + 1e-6, side="right") - 1
    return np.clip(shown, 0, len(timestamps_s) - 1).astype(np.int64)
