# SPDX-License-Identifier: Apache-2.0
"""Thumbnails of the frames that were read, so that cuts are detected without decoding a frame again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from .face_detection import scale_frame
from .face_tracking import find_cuts
from .video_sources import FrameSource


# Side of the square thumbnails in pixels.
THUMBNAIL_SIDE = 32


class WatchedFrames:
    """A frame source that keeps a thumbnail of each frame that it yields, so that no frame is decoded again for it.

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
        """Find which of these frames start a new scene, see [`find_cuts`]. Frames that were not read are left out.

        Args:
            indices: Indices of frames, ascending.
        """
        read = [index for index in map(int, indices) if index in self.thumbnails]
        if not read:
            return set()
        thumbnails = np.stack([self.thumbnails[index] for index in read])
        return find_cuts(read, thumbnails, self.timestamps_s[read], aspects=[self._aspects[index] for index in read])
