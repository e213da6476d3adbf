# SPDX-License-Identifier: Apache-2.0
"""Sources of frames: their common interface, clips in memory, and the choice of frames by index or time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, Protocol, TypeVar

import numpy as np

from .video_stores import Fetched
from .video_timestamps import NOMINAL_FPS
from .video_unread import UnreadRange


__all__ = [
    "FrameArray",
    "FrameCache",
    "FrameSource",
    "MediaReader",
    "distinct_indices",
    "frame_ends_s",
    "read_ahead",
    "select_frames",
]

_Item = TypeVar("_Item")


class FrameSource(Protocol):
    """Frames by index, each with its time: a file, a clip in memory, or pictures on disk.

    Attributes:
        name: The source as one printable line.
        warnings: Sentences about problems that did not stop the reading.
        num_frames: Number of frames.
        width: Width of the displayed picture in pixels.
        height: Height of the displayed picture in pixels.
        fps: Average frames per second.
        duration_s: End of the last frame in seconds.
        timestamps_s: Time of each frame in seconds, of shape (num_frames,), float64, increasing.
    """

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

    def frames(self, indices: Iterable[int], *, keep: bool = True) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (index, frame) once for each distinct index, ascending.

        Args:
            indices: From 0 to num_frames - 1, in any order.
            keep: Keep the frames in a cache for another call, if this source has one.

        Yields:
            The index and the frame, of shape (H, W, 3), uint8 RGB. Frames that cannot be decoded are left out.

        Raises:
            IndexError: If an index is out of range.
            VideoError: If no frame can be decoded.
        """
        ...


def distinct_indices(source: FrameSource, indices: Iterable[int]) -> list[int]:
    """Return the distinct indices in ascending order.

    Args:
        source: The source of the frames.
        indices: Indices of its frames.

    Raises:
        IndexError: If an index is outside 0 to num_frames - 1.
    """
    wanted = sorted({int(index) for index in indices})
    if wanted and not 0 <= wanted[0] <= wanted[-1] < source.num_frames:
        raise IndexError(f"{source.name} has {source.num_frames} frames, asked for {wanted[0]} to {wanted[-1]}")
    return wanted


def read_ahead(items: Iterator[_Item]) -> Iterator[_Item]:
    """Yield the items of an iteration; a thread makes the next one while the caller uses the last.

    Args:
        items: Such as the result of [`FrameSource.frames`], whose source nothing else may read until the iteration
            has ended. No item may be `None`.

    Example:

        >>> import numpy as np
        >>> clip = FrameArray(np.zeros((3, 8, 8, 3), np.uint8))
        >>> [index for index, frame in read_ahead(clip.frames([0, 2]))]
        [0, 2]
    """
    with ThreadPoolExecutor(1) as thread:
        upcoming = thread.submit(next, items, None)
        while (item := upcoming.result()) is not None:
            upcoming = thread.submit(next, items, None)
            yield item


class MediaReader(FrameSource, Protocol):
    """A file that is read as a [`FrameSource`]: a video, or a photo as its only frame.

    Attributes:
        is_photo: Whether it is a still picture, which has no time.
        num_bytes: Size of the compressed frames.
        gaps: See [`VideoReader`].
        unread: See [`VideoReader`].
        undecodable: See [`VideoReader`].
        fetched: See [`VideoReader`].
    """

    is_photo: bool
    num_bytes: int
    gaps: dict[int, float]
    unread: list[UnreadRange]
    undecodable: set[int]
    fetched: Fetched | None

    def sha256(self) -> str | None:
        """Return the SHA-256 of the file in hexadecimal; `None` if it is in a store and was not fetched whole."""
        ...

    def release_frames(self) -> None:
        """Free the frames that were kept for later calls of [`frames`], which then decode them again."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...

    def __enter__(self) -> MediaReader: ...
    def __exit__(self, *exception: object) -> None: ...


def frame_ends_s(reader: MediaReader, indices: np.ndarray) -> list[float]:
    """Return when each of some frames ends, in seconds: when the next one begins, or the first gap in between.

    Args:
        reader: The open file.
        indices: Indices of frames, ascending, of shape (N,).
    """
    ends_s = [*reader.timestamps_s[indices][1:].tolist(), reader.duration_s]
    for index, gap_s in reader.gaps.items():
        before = int(np.searchsorted(indices, index, side="right")) - 1
        if before >= 0:
            ends_s[before] = min(ends_s[before], gap_s)
    return ends_s


class FrameCache(dict[int, np.ndarray]):
    """Frames by index whose total size is limited.

    Args:
        max_bytes: Maximum size of all frames.
    """

    def __init__(self, max_bytes: int) -> None:
        super().__init__()
        self._max_bytes = max_bytes

    def put(self, index: int, frame: np.ndarray, wanted: set[int]) -> None:
        """Keep a frame if it fits; frames that are not wanted make room for it."""
        room = self._max_bytes - frame.nbytes - sum(other.nbytes for other in self.values())
        if room < 0:
            for unwanted in self.keys() - wanted:
                room += self.pop(unwanted).nbytes
        if room >= 0:
            self[index] = frame


class FrameArray:
    """A clip in memory as a [`FrameSource`].

    Args:
        frames: Array of shape (T, H, W, 3), uint8 RGB, with at least one frame.
        fps: Frames per second; `None` assumes 25.

    Raises:
        ValueError: If the array has another shape or type, or `fps` is not positive.

    Example:

        >>> import numpy as np
        >>> from deepfake_video.video_sources import FrameArray
        >>> clip = FrameArray(np.zeros((3, 8, 8, 3), np.uint8), fps=10)
        >>> [index for index, frame in clip.frames([2, 0])]
        [0, 2]
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

    def frames(self, indices: Iterable[int], *, keep: bool = True) -> Iterator[tuple[int, np.ndarray]]:
        """See [`FrameSource.frames`]; `keep` has no effect, because all frames are in memory."""
        wanted = distinct_indices(self, indices)
        return ((index, self._frames[index]) for index in wanted)


def select_frames(
    total: int, num_frames: int, *, sampling: Literal["even", "first", "bursts"] = "even", burst_length: int = 1
) -> np.ndarray:
    """Choose the frames of a clip that are scored.

    Args:
        total: Number of frames of the clip.
        num_frames: Number of frames to choose. A shorter clip repeats each frame as evenly as possible.
        sampling: "even" spreads the frames from the first to the last, "first" takes those at the beginning, and
            "bursts" spreads `num_frames / burst_length` groups of consecutive frames.
        burst_length: Number of frames of a group.

    Returns:
        Indices of shape (num_frames,), int64, ascending.

    Raises:
        ValueError: If an argument is out of range, or `num_frames` is not a multiple of `burst_length`.

    Example:

        >>> from deepfake_video.video_sources import select_frames
        >>> select_frames(10, 4).tolist()
        [0, 3, 6, 9]
    """
    if total < 1 or num_frames < 1:
        raise ValueError(f"both numbers of frames must be at least 1, got {num_frames = } of {total = }")
    if sampling not in ("even", "first", "bursts"):
        raise ValueError(f"sampling must be 'even', 'first' or 'bursts', got {sampling!r}")
    if sampling == "bursts" and (burst_length < 1 or num_frames % burst_length):
        raise ValueError(f"{num_frames = } must be a multiple of {burst_length = }")
    if total < num_frames:
        return np.arange(num_frames, dtype=np.int64) * total // num_frames
    if sampling == "first":
        return np.arange(num_frames, dtype=np.int64)
    if sampling == "even":
        return np.linspace(0, total - 1, num_frames).astype(np.int64)
    starts = np.linspace(0, total - burst_length, num_frames // burst_length).astype(np.int64)
    return (starts[:, None] + np.arange(burst_length)).reshape(-1)
