# SPDX-License-Identifier: Apache-2.0
"""Thumbnails of the frames that were read, to find cuts and to tell a still picture from a video."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from ..face_detection import scale_frame
from ..face_search import THUMBNAIL_SIDE
from ..face_tracking import find_cuts
from ..video_sources import FrameSource


# Frames are different if the grey values of their thumbnails differ by more than this anywhere, in levels of 255. Of
# 20 frames of a still picture, at most three were different in 160 videos of seven pictures (x264 at CRF 18 to 46 and
# at 100 kbit/s, x265, VP9, VP8, MPEG-4, MPEG-2, MJPEG, FFV1); fewer than five were down to a tolerance of 4.0. Of 241
# videos of real people, at least ten frames were different in each; at least five were up to a tolerance of 11.6.
STILL_TOLERANCE = 6.5


class WatchedFrames:
    """
    A frame source that keeps a thumbnail of each frame that it yields, so that no frame is decoded again for it.

    Args:
        source: The source of the frames.

    Attributes:
        thumbnails: Thumbnail of each frame by its index, an array of shape (S, S, 3), uint8 RGB, where S is
            `THUMBNAIL_SIDE`.
    """

    def __init__(self, source: FrameSource) -> None:
        self.name, self.warnings = source.name, source.warnings
        self.num_frames, self.fps, self.duration_s = source.num_frames, source.fps, source.duration_s
        self.timestamps_s = source.timestamps_s
        self.thumbnails: dict[int, np.ndarray] = {}
        self._aspects: dict[int, float] = {}
        self._source = source

    @property
    def width(self) -> int:
        """See [`FrameSource`]; not copied, because a reader may have to decode a frame to tell it."""
        return self._source.width

    @property
    def height(self) -> int:
        """See `width`."""
        return self._source.height

    def frames(self, indices: Iterable[int], *, keep: bool = True) -> Iterator[tuple[int, np.ndarray]]:
        """See [`FrameSource.frames`]."""
        for index, frame in self._source.frames(indices, keep=keep):
            if index not in self.thumbnails:
                self.thumbnails[index] = scale_frame(frame, THUMBNAIL_SIDE, THUMBNAIL_SIDE)
                self._aspects[index] = frame.shape[1] / frame.shape[0]
            yield index, frame

    def cuts(self, indices: Iterable[int]) -> set[int]:
        """
        Find which of these frames start a new scene, see [`find_cuts`]. Frames that were not read are left out.

        Args:
            indices: Indices of frames, ascending.
        """
        read = [index for index in map(int, indices) if index in self.thumbnails]
        if not read:
            return set()
        thumbnails = np.stack([self.thumbnails[index] for index in read])
        return find_cuts(read, thumbnails, self.timestamps_s[read], aspects=[self._aspects[index] for index in read])


def count_different(indices: Iterable[int], thumbnails: Mapping[int, np.ndarray]) -> int:
    """
    Count the frames that differ from each other by more than [`STILL_TOLERANCE`]; 1 for a still picture.

    An encoder changes nearly every frame of a still picture, by a few levels. People who talk or breathe change more
    at some place of the picture, even if the rest of it stands still, so the largest change is compared and not the
    mean.

    Args:
        indices: Indices of the frames.
        thumbnails: Their thumbnails, see [`WatchedFrames`].

    Example:

        >>> import numpy as np
        >>> from deepfake_video.scanning.watched_frames import count_different
        >>> thumbnails = {i: np.full((32, 32, 3), level, np.uint8) for i, level in enumerate([100, 103, 120])}
        >>> count_different([0, 1, 2], thumbnails)
        2
    """
    kept: list[np.ndarray] = []
    for index in sorted({int(index) for index in indices}):
        grey = thumbnails[index].mean(axis=2)
        if all(np.abs(grey - other).max() > STILL_TOLERANCE for other in kept):
            kept.append(grey)
    return len(kept)
