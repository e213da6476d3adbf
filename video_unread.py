# SPDX-License-Identifier: Apache-2.0
"""The parts of a file that reading it leaves out: other streams, time without a picture, and what is damaged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from av.container import InputContainer
from av.video.stream import VideoStream

from .video_formats import ELEMENTARY, other_streams
from .video_timestamps import ContainerClock, FrameTimes


__all__ = ["UnreadRange", "describe_times", "find_unread"]

# Sound and picture of one recording rarely begin and end at exactly the same time.
MIN_DIFFERENCE_S = 0.5


@dataclass(frozen=True, kw_only=True)
class UnreadRange:
    """Seconds of a file of which no picture is read.

    Args:
        start_s: Start, in seconds from the start of the container.
        end_s: End; `None` if it is unknown.
        reason: "no_picture" where only sound is, "undecodable" before the first picture that can be decoded, "cut_off"
            after the last readable picture of an incomplete file, "other_stream" for a video stream that is not the
            chosen one.
        stream: Index of the other stream.
    """

    start_s: float
    end_s: float | None
    reason: Literal["no_picture", "undecodable", "cut_off", "other_stream"]
    stream: int | None = None


def find_unread(
    container: InputContainer,
    stream: VideoStream,
    times: FrameTimes,
    clock: ContainerClock,
    *,
    first_tick: int | None,
    is_cut_off: bool,
) -> list[UnreadRange]:
    """Find what is not read of an open container.

    Args:
        container: The container.
        stream: The chosen video stream.
        times: Display times of its frames.
        clock: The clock of the container.
        first_tick: Display time of the first picture in the file, which may not be decodable; `None` if unknown.
        is_cut_off: Whether the file ends before its pictures do.
    """
    first_s, begin_s = float(times.seconds[0]), clock.start_s or 0.0
    # A length on a clock that is reset inside the file says nothing.
    declared_s = None if container.duration is None or clock.has_resets else container.duration / 1e6
    if container.format.name == "gif":
        declared_s = None  # no header holds it; libav counts what is there
    elif container.format.name == "avi" and stream.frames and stream.average_rate:
        # libav shortens the length of an incomplete AVI file; the number of frames in its header stays.
        declared_s = max(declared_s or 0.0, float(stream.frames / stream.average_rate))
    sound_s = None if clock.sound_end_s is None or clock.has_resets else clock.sound_end_s - begin_s
    unread = []
    present_s = first_s if first_tick is None else first_tick * clock.time_base - begin_s
    if not MIN_DIFFERENCE_S < first_s - present_s <= first_s:
        present_s = first_s
    if present_s > MIN_DIFFERENCE_S:
        unread.append(UnreadRange(start_s=0.0, end_s=present_s, reason="no_picture"))
    if present_s < first_s:
        unread.append(UnreadRange(start_s=present_s, end_s=first_s, reason="undecodable"))
    if is_cut_off:
        # A file that lacks its last bytes may contain all of its pictures.
        if declared_s is None or declared_s > times.end_s:
            unread.append(UnreadRange(start_s=times.end_s, end_s=declared_s, reason="cut_off"))
    elif sound_s is not None and sound_s > times.end_s + MIN_DIFFERENCE_S:
        unread.append(UnreadRange(start_s=times.end_s, end_s=sound_s, reason="no_picture"))
    for other in other_streams(container, stream):
        tick_s = float(other.time_base or 0)
        start_s = max(0.0, (other.start_time or 0) * tick_s - begin_s)
        end_s = declared_s if other.duration is None else start_s + other.duration * tick_s
        if end_s is not None and end_s < start_s:  # a damaged file can declare any length
            end_s = None
        unread.append(UnreadRange(start_s=start_s, end_s=end_s, reason="other_stream", stream=other.index))
    return unread


def describe_times(kind: str, times: FrameTimes, *, is_cut_off: bool, nominal_fps: float) -> list[str]:
    """Describe what is unusual about the times of a file in sentences.

    Args:
        kind: Name of its container.
        times: Display times of its frames.
        is_cut_off: Whether the file ends before its pictures do.
        nominal_fps: Frames per second where no timestamp is usable.
    """
    said = []
    if is_cut_off:
        end_s = times.seconds[-1]
        said.append(f"the file is damaged or cut off after about {end_s:.1f} s; only the readable part is used")
    if kind in ELEMENTARY:
        return [*said, f"the stream has no timestamps: {nominal_fps:g} frames per second are assumed"]
    return [*said, *times.warnings]
