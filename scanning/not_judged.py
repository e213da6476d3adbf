# SPDX-License-Identifier: Apache-2.0
"""Computes the ranges in seconds of a file that were not judged, and states the reasons."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..video_sources import frame_ends_s
from .results import NotJudged, NotJudgedReason, VideoResult
from .stretches import clock, clock_range


if TYPE_CHECKING:
    from ..video_sources import MediaReader
    from .clip_reading import ReadVideo
    from .timeline import Window

REASONS: dict[NotJudgedReason, str] = {
    "no_face": "no face found, or none that was scored",
    "no_new_picture": "no new picture",
    "undecodable": "damaged pictures",
    "no_picture": "no picture, only sound",
    "cut_off": "beyond the readable part of the file",
    "other_stream": "another video stream",
}
MAX_SHOWN = 4


def find_not_judged(reader: "MediaReader", video: "ReadVideo", windows: Sequence["Window"] = ()) -> list[NotJudged]:
    """
    Find the ranges of a scored video that were not judged.

    A sampled frame stands for the time until the next one. The ranges are therefore accurate to the distance between
    sampled frames. With a timeline, which samples more densely, this is at most a sixth of a second, except in videos
    longer than about ten minutes or with fewer than six frames per second. Without one, it is the length of the video
    divided by the number of frames of the model.

    Args:
        reader: The open video.
        video: The clips read from it.
        windows: Its timeline.

    Returns:
        The ranges in order of time; empty for a photo. Those of one reason do not overlap, except those of
        several other video streams.
    """
    if reader.is_photo:
        return []
    judged = {int(index) for clips in video.clips for clip in clips for index in clip.frame_indices}
    judged |= {int(index) for window in windows for index in window.frame_indices}
    looked_at = judged | video.looked_at | reader.undecodable
    if windows:
        # Imported here: without a timeline nothing else of it is needed.
        from .timeline import dense_indices

        looked_at |= {int(index) for index in dense_indices(reader)}
    ranges = [*_of_frames(reader, judged, np.array(sorted(looked_at)))]
    for index, start_s in reader.gaps.items():
        end_s = float(reader.timestamps_s[index + 1])
        ranges.append(NotJudged(start_s=start_s, end_s=end_s, reason="no_new_picture"))
    ranges += [
        NotJudged(start_s=unread.start_s, end_s=unread.end_s, reason=unread.reason, stream=unread.stream)
        for unread in reader.unread
    ]
    return sorted(ranges, key=lambda entry: (entry.start_s, entry.reason, entry.stream or 0))


def _of_frames(reader: "MediaReader", judged: set[int], looked_at: np.ndarray) -> Iterator[NotJudged]:
    """Join consecutive frames that were looked at and not judged for the same reason; a gap ends a range."""
    starts_s, ends_s = reader.timestamps_s[looked_at].tolist(), frame_ends_s(reader, looked_at)
    open_range: tuple[float, float, NotJudgedReason] | None = None
    for index, start_s, end_s in zip(looked_at.tolist(), starts_s, ends_s, strict=True):
        reason: NotJudgedReason | None = None
        if index not in judged:
            reason = "undecodable" if index in reader.undecodable else "no_face"
        if open_range is not None and (reason != open_range[2] or start_s > open_range[1] + 1e-6):
            yield NotJudged(start_s=open_range[0], end_s=open_range[1], reason=open_range[2])
            open_range = None
        if reason is not None:
            open_range = (start_s if open_range is None else open_range[0], end_s, reason)
    if open_range is not None:
        yield NotJudged(start_s=open_range[0], end_s=open_range[1], reason=open_range[2])


def describe_range(entry: NotJudged) -> str:
    """
    Word a range with its reason.

    Args:
        entry: The range.

    Example:

        >>> from deepfake_video.scanning.not_judged import describe_range
        >>> from deepfake_video.scanning.results import NotJudged
        >>> describe_range(NotJudged(start_s=4.0, end_s=7.0, reason="no_new_picture"))
        '0:04.0–0:07.0 (no new picture)'
    """
    return f"{range_text(entry)} ({reason_text(entry)})"


def range_text(entry: NotJudged) -> str:
    """The times of a range; "from 0:04.0" if its end is unknown."""
    if entry.end_s is None:
        return f"from {clock(entry.start_s, tenths=True)}"
    return clock_range(entry.start_s, entry.end_s)


def reason_text(entry: NotJudged) -> str:
    """The reason of a range in words."""
    return REASONS[entry.reason] + ("" if entry.stream is None else f", number {entry.stream}")


def describe_shortly(result: VideoResult) -> str | None:
    """
    Word the ranges of a result in one line, the longest ones if there are many; `None` if there are none.

    Args:
        result: The result of a video.
    """
    entries = result.not_judged
    if not entries:
        return None
    longest = sorted(entries, key=lambda entry: -(_length_s(entry, result)))[:MAX_SHOWN]
    shown = [describe_range(entry) for entry in entries if entry in longest]
    more = f", and {len(entries) - len(shown)} more" if len(entries) > len(shown) else ""
    return f"not judged: {', '.join(shown)}{more}"


def _length_s(entry: NotJudged, result: VideoResult) -> float:
    end_s = entry.end_s if entry.end_s is not None else max(result.duration_s or 0.0, entry.start_s + 1.0)
    return end_s - entry.start_s
