# SPDX-License-Identifier: Apache-2.0
"""Decode the frames of a video file by index, in RGB and with their times.

Frames look as a player displays them: see `video_pictures` for shape and orientation, `video_color` for colours. All
sizes and coordinates are in pixels of the displayed picture. Errors, limits and frame selection are exported here.
"""

from __future__ import annotations

import errno
import heapq
import itertools
import os
from collections.abc import Generator, Iterable, Iterator
from operator import itemgetter
from typing import IO

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from .video_addresses import printable_name
from .video_containers import Stopwatch, check_duration, check_pixels, ends_early, open_container
from .video_errors import (
    UnsupportedVideoError,
    VideoDecodeError,
    VideoError,
    VideoLimits,
    VideoNotFoundError,
    VideoTimeoutError,
    VideoTooLargeError,
    VideoUnreadableError,
)
from .video_formats import describe_other_streams, explain_no_frames, frame_rate
from .video_opening import hash_open_file, open_video_file, stamp_open_file
from .video_packets import PacketIndex, PlanError, Run, read_packets, read_run
from .video_pictures import PictureConverter
from .video_ranges import index_packets
from .video_sources import (
    FrameArray,
    FrameCache,
    FrameSource,
    distinct_indices,
    select_frames,
)
from .video_stores import Fetched
from .video_timestamps import NOMINAL_FPS, FrameTimes, are_orderly, container_clock, read_times
from .video_unread import UnreadRange, describe_times, find_unread


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
]

CACHE_BYTES = 128 << 20
_PROBE_FRAMES = 24


class VideoReader:
    """A video file as a [`FrameSource`]: the frames are the same as if the whole file were decoded.

    Opening reads the packets of the file once. It decodes nothing where the timestamps of the container are reliable;
    otherwise the frames are counted by decoding them all. Afterwards only the groups of pictures that hold requested
    frames are decoded. Where that does not return a frame exactly, the file is decoded from its beginning.

    Args:
        source: A path, or an http(s) URL or an address in a store such as `s3://` if no file has that name.
        limits: Limits of reading; read from the environment by default.
        file: The open file, if it was opened before; the reader closes it.

    Attributes:
        name: The source as one printable line.
        num_frames: Number of frames, counted and not estimated.
        num_bytes: Size of the compressed frames, without those before the first one that can be decoded.
        timestamps_s: Time of each frame in seconds, of shape (num_frames,), float64, increasing. 0 is the start of
            the container, where the clock of a player starts: if the picture begins two seconds after the sound, the
            first frame is at 2.0 s. See `video_timestamps`.
        fps: Average frames per second without the gaps.
        duration_s: End of the last frame in seconds on that clock.
        gaps: Index of each frame followed by a gap, and its end in seconds if it lasted for the median interval.
        unread: Other video streams, time without a picture, pictures before the first one that can be decoded, and
            what is cut off.
        undecodable: Indices of requested frames that could not be decoded.
        warnings: Sentences about problems of the file that did not stop the reading.
        fetched: How many bytes were fetched from a store so far; `None` for other sources.

    Raises:
        VideoError: If the file cannot be read as a video; each subclass stands for one reason.

    Example:

        >>> from deepfake_video import VideoReader
        >>> with VideoReader("clip.mp4") as reader:
        ...     for index, frame in reader.frames([10]):
        ...         print(index, frame.shape)
        10 (240, 320, 3)
    """

    def __init__(
        self, source: str | os.PathLike[str], *, limits: VideoLimits | None = None, file: IO[bytes] | None = None
    ) -> None:
        self.name, self.is_photo = printable_name(source), False
        self.warnings: list[str] = []
        self.unread: list[UnreadRange] = []
        self.undecodable: set[int] = set()
        self._source, self._limits, self._keeps_frames = source, limits or VideoLimits.from_environment(), True
        self._watch = Stopwatch(source, self._limits)
        self._cache = FrameCache(CACHE_BYTES)
        self._size: tuple[int, int] | None = None
        self._iteration: Iterator[tuple[int, np.ndarray]] = iter(())
        self._pictures = PictureConverter(source, max_pixels=self._limits.max_frame_pixels, warnings=self.warnings)
        self._opened: tuple[InputContainer, VideoStream] | None = None
        self._file = open_video_file(source, limits=self._limits) if file is None else file
        self._stamp = stamp_open_file(self._file)
        self.fetched: Fetched | None = getattr(self._file, "fetched", None)
        try:
            with self._watch:
                self._index, times = self._read_index()
            check_duration(source, times.end_s, self._limits)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise VideoUnreadableError(source, f"it cannot be read ({error})") from None
            raise
        self.timestamps_s, self.fps, self.duration_s = times.seconds, times.fps, times.end_s
        self.num_frames, self.num_bytes = len(self.timestamps_s), self._index.num_bytes
        self.gaps = times.gap_starts_s

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and end the threads of the decoder; a second call does nothing."""
        self._end_iteration()
        self._close_container()
        self._file.close()
        self._cache.clear()

    def release_frames(self) -> None:
        """Free the frames that were kept for later calls of [`frames`], which then decode them again."""
        self._cache.clear()

    def sha256(self) -> str | None:
        """Return the SHA-256 of the file in hexadecimal; `None` if it is in a store and was not fetched whole.

        Raises:
            VideoUnreadableError: If the file has changed since it was opened: frames and hash may not belong together.
        """
        digest = hash_open_file(self._file)
        if stamp_open_file(self._file) != self._stamp:
            raise VideoUnreadableError(self._source, "the file changed while it was read; score it again")
        return digest

    @property
    def width(self) -> int:
        """Width of the displayed picture in pixels, after rotation and with square pixels."""
        return self._displayed_size()[1]

    @property
    def height(self) -> int:
        """Height of the displayed picture in pixels, after rotation and with square pixels."""
        return self._displayed_size()[0]

    def frames(self, indices: Iterable[int], *, keep: bool = True) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (index, frame) once for each distinct index, ascending; see [`FrameSource.frames`].

        Do not write into the frames: later calls may return them again. If the resolution changes, each frame has its
        own size. `warnings` reports frames that cannot be decoded. Only the latest iteration can be continued.

        Raises:
            IndexError: If an index is outside 0 to num_frames - 1.
            VideoDecodeError: If none of the frames can be decoded.
            VideoTooLargeError: If a frame has more pixels than allowed.
            VideoTimeoutError: If reading takes longer than allowed; the time of the caller is not counted.
        """
        wanted = distinct_indices(self, indices)
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
        missing = [index for index in wanted if index not in self._cache and index not in self.undecodable]
        num_found = 0
        for index, image in heapq.merge(cached, self._decode(missing, set(wanted)), key=itemgetter(0)):
            num_found += 1
            yield index, image
        if wanted and not num_found:
            raise VideoDecodeError(
                self._source, "no frame can be decoded, because the file is damaged; copy or download it again"
            )

    def _decode(self, missing: list[int], wanted: set[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Decode frames by the plan, and decode the whole file if the plan fails."""
        pending = list(missing)
        if self._index.is_seekable:
            try:
                for run in self._index.plan(missing):
                    for frame in self._decode_run(run):
                        image = self._take(pending[0], frame, wanted)
                        yield pending.pop(0), image
            except (PlanError, av.FFmpegError):
                self._index.is_seekable = False
        if pending:
            for index, frame in self._decode_through():
                while pending and pending[0] < index:
                    self.undecodable.add(pending.pop(0))
                if pending and pending[0] == index:
                    pending.pop(0)
                    yield index, self._take(index, frame, wanted)
                if not pending:
                    break
        self.undecodable.update(pending)
        if failed := sorted(self.undecodable.intersection(missing)):
            first_s = self.timestamps_s[failed[0]]
            self._warn(f"{len(failed)} of the requested frames cannot be decoded, the first at {first_s:.1f} s")

    def _decode_run(self, run: Run) -> Iterator[av.VideoFrame]:
        """Decode the packets of a run and yield its targets in order; raise `PlanError` for unexpected frames."""
        index, (container, stream) = self._index, self._open()
        codec = stream.codec_context
        targets = [int(index.pts[index.order[target]]) for target in run.targets]
        wanted, num_found = set(targets), 0
        key_pts, has_begun = int(index.pts[run.start]), False
        # Seeking by decoding times may end a keyframe earlier, which costs little unless it has to be fetched.
        container.seek(int((index.pts if self.fetched else index.seek_times)[run.start]), stream=stream)
        for packet in read_run(container, stream, index, run, watch=self._watch):
            # Pictures that no other picture needs are decoded only if they are requested.
            is_wanted = packet is None or packet.pts in wanted
            codec.skip_frame = "NONREF" if index.has_droppable and not is_wanted else "DEFAULT"
            for frame in codec.decode(packet):
                if frame.pts is None or frame.is_corrupt:
                    raise PlanError
                if not has_begun and frame.pts >= key_pts:
                    if frame.pts > key_pts or not frame.key_frame:
                        raise PlanError
                    has_begun = True
                if frame.pts in wanted:
                    if frame.pts != targets[num_found]:
                        raise PlanError
                    num_found += 1
                    yield frame
        if num_found < len(targets):
            raise PlanError

    def _decode_through(self) -> Iterator[tuple[int, av.VideoFrame]]:
        """Decode the whole file and yield (index, frame), matched by time if timestamps are reliable."""
        times = self._index.pts[self._index.order]
        for number, frame in enumerate(self._decode_all()):
            if not self._index.has_times:
                yield number, frame
            elif frame.pts is not None:
                index = int(np.searchsorted(times, frame.pts))
                if index < len(times) and times[index] == frame.pts:
                    yield index, frame

    def _decode_all(self) -> Iterator[av.VideoFrame]:
        """Yield every frame from the beginning; damaged ones are skipped with a warning.

        This uses one thread, because with several the result of damaged frames is not deterministic.
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
                    # libav's message if a size exceeds its bound.
                    cause = f" or exceeds {self._limits.max_frame_pixels:,} pixels" * (error.errno == errno.EINVAL)
                    what = f"the file is damaged{cause} after about {latest_s:.1f} s"
                    self._warn(f"{what}; only the readable part is used")
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
            self._warn("the file is damaged or cut off; only the readable part is used")
        yield None

    def _read_index(self) -> tuple[PacketIndex, FrameTimes]:
        container, stream = self._open()
        kind, is_cut_off = container.format.name, ends_early(self._file, container)
        if note := describe_other_streams(container, stream):
            self._warn(note)
        index = index_packets(self._file, container, stream, self._source, limits=self._limits, watch=self._watch)
        clock, first_tick = container_clock(container, stream, self._nominal_fps()), stream.start_time or 0
        last_duration = int(index.durations[index.order[-1]]) if len(index.order) else 0
        # Matroska stores no decoding times.
        dts = None if kind.startswith("matroska") else index.seek_times
        shown = index.pts[index.order]
        first_shown = int(shown[0]) if index.has_times else None
        ticks: list[int | None] | np.ndarray = shown
        can_trust = index.has_times and are_orderly(index.pts, index.order, dts)
        if not (can_trust and (index.is_seekable or self._decoder_agrees(index))):
            ticks = [frame.pts for frame in self._decode_all()]
            if not index.has_times or ticks != shown.tolist():
                index.is_seekable = index.has_times = False
        if not len(ticks):
            raise explain_no_frames(self._file, self._source)
        if first_shown is not None and ticks[0] is not None:
            # What comes before the first picture that can be decoded is no part of the video.
            num_early = int(np.searchsorted(shown, ticks[0]))
            index.num_bytes = index.num_bytes * (len(shown) - num_early) // len(shown)
        if kind in ("gif", "apng") and len(ticks) == 1:
            if (num_pictures := len(index.order)) > 1:
                message = f"the animation is damaged: only one of its {num_pictures} pictures can be decoded"
                raise VideoDecodeError(self._source, f"{message}; copy or download it again")
            raise UnsupportedVideoError(self._source, "this is not a video (the file is a still picture)")
        if kind == "avi" and None not in ticks:
            # It stores no times, only pictures in regular places, which libav shifts and shuffles by a decoding delay.
            ticks = np.sort(np.array(ticks, np.int64))
            ticks += first_tick - ticks[0]
        times = read_times(ticks, clock, last_duration=last_duration)
        is_cut_off |= index.is_cut_off
        self._warn(*describe_times(kind, times, is_cut_off=is_cut_off, nominal_fps=self._nominal_fps()))
        self.unread = find_unread(*self._open(), times, clock, first_tick=first_shown, is_cut_off=is_cut_off)
        return index, times

    def _decoder_agrees(self, index: PacketIndex) -> bool:
        """Return whether the first decoded pictures have exactly the times of their packets."""
        decoded = [frame.pts for frame in itertools.islice(self._decode_all(), _PROBE_FRAMES)]
        return bool(decoded == index.pts[index.order[:_PROBE_FRAMES]].tolist())

    def _take(self, index: int, frame: av.VideoFrame, wanted: set[int]) -> np.ndarray:
        """Convert a frame to an upright (H, W, 3) picture, and cache it if it fits."""
        check_pixels(self._source, frame.width, frame.height, self._limits)
        image = self._pictures.convert(frame)
        self._size = self._size or (image.shape[0], image.shape[1])
        if self._keeps_frames:
            self._cache.put(index, image, wanted)
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

    def _warn(self, *sentences: str) -> None:
        self.warnings += [sentence for sentence in sentences if sentence not in self.warnings]
