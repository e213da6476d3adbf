# SPDX-License-Identifier: Apache-2.0
"""Merge the overlapping windows of a timeline into stretches, each with a start, an end and a face."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .results import TimelineEntry, VideoResult


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """
    Consecutive windows of one face that all reach the threshold, or the single window with the highest probability.

    Attributes:
        start_s: Start, in seconds from the start of the container.
        end_s: End, in seconds from the start of the container.
        track_id: Number of the face; `None` for whole frames.
        fake_probability: The highest fake probability of its windows.
    """

    start_s: float
    end_s: float
    track_id: int | None
    fake_probability: float


def worst_stretches(result: VideoResult) -> list[Stretch]:
    """
    The stretches of a timeline, the one with the highest fake probability first; an empty list without a timeline.

    If no window reaches the threshold, the window with the highest score forms a stretch by itself. The decisive face
    always has a stretch, at least its highest window.

    Args:
        result: The result of a video.
    """
    threshold = 0.0 if result.threshold is None else result.threshold
    stretches = [
        _join(run)
        for track in entries_by_track(result).values()
        for run in _runs([entry for entry in track if entry.fake_probability >= threshold])
    ]
    if not stretches and result.timeline:
        stretches = [_join([max(result.timeline, key=lambda entry: entry.fake_probability)])]
    decisive = [entry for entry in result.timeline if entry.track_id == result.decisive_track_id]
    if decisive and all(stretch.track_id != result.decisive_track_id for stretch in stretches):
        stretches.append(_join([max(decisive, key=lambda entry: entry.fake_probability)]))
    return sorted(stretches, key=lambda stretch: (-stretch.fake_probability, stretch.start_s))


def longest_window_s(result: VideoResult) -> float:
    """
    Length of the longest window of a timeline in seconds, to which its times are accurate; 0 without a timeline.

    Args:
        result: The result of a video.
    """
    return max((entry.end_s - entry.start_s for entry in result.timeline), default=0.0)


def entries_by_track(result: VideoResult) -> dict[int | None, list[TimelineEntry]]:
    """The windows of each face in order of time, by the number of the face; the main face first."""
    tracks: dict[int | None, list[TimelineEntry]] = {}
    for entry in sorted(result.timeline, key=lambda entry: (entry.track_id or 0, entry.start_s)):
        tracks.setdefault(entry.track_id, []).append(entry)
    return tracks


def _runs(entries: Sequence[TimelineEntry]) -> list[list[TimelineEntry]]:
    runs: list[list[TimelineEntry]] = []
    for entry in entries:
        if runs and entry.start_s <= runs[-1][-1].end_s:
            runs[-1].append(entry)
        else:
            runs.append([entry])
    return runs


def _join(run: Sequence[TimelineEntry]) -> Stretch:
    return Stretch(
        start_s=run[0].start_s,
        end_s=run[-1].end_s,
        track_id=run[0].track_id,
        fake_probability=max(entry.fake_probability for entry in run),
    )


def clock(seconds: float, *, tenths: bool = False) -> str:
    """
    Format a time as minutes and seconds, and hours if there are any.

    Args:
        seconds: The time.
        tenths: Whether to show tenths of a second.

    Example:

        >>> from deepfake_video.scanning.stretches import clock
        >>> clock(65), clock(3725), clock(0.46, tenths=True)
        ('1:05', '1:02:05', '0:00.4')
    """
    # All parts come from one whole number, because a time just below a second counts as that second.
    whole, tenth = divmod(int((seconds + 1e-6) * 10), 10)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
    return f"{text}.{tenth}" if tenths else text


def clock_length(seconds: float) -> str:
    """
    Format the length of a video, rounded to tenths of a second.

    Args:
        seconds: The length.

    Example:

        >>> from deepfake_video.scanning.stretches import clock_length
        >>> clock_length(2.26), clock_length(59.96)
        ('0:02.3', '1:00.0')
    """
    # Rounded first, so that 59.96 s is a minute and not 0:60.0.
    return clock(round(seconds * 10) / 10, tenths=True)


def clock_range(start_s: float, end_s: float) -> str:
    """
    Format the start and end of a part of a video in tenths of a second: the start is rounded down and the end up, so
    that the printed range contains the part, and a part that begins after 0.7 s does not seem to begin at 0.

    Args:
        start_s: Start in seconds.
        end_s: End in seconds.

    Example:

        >>> from deepfake_video.scanning.stretches import clock_range
        >>> clock_range(65, 67.9), clock_range(0, 1.92)
        ('1:05.0–1:07.9', '0:00.0–0:02.0')
    """
    return f"{clock(start_s, tenths=True)}–{clock(math.ceil(end_s * 10 - 1e-5) / 10, tenths=True)}"
