# SPDX-License-Identifier: Apache-2.0
"""Tell a still picture in the form of a video from a video, by thumbnails of its frames."""

from collections.abc import Iterable, Mapping

import numpy as np


# Frames are different if the grey values of their thumbnails differ by more than this anywhere, in levels of 255. Of
# 20 frames of a still picture, at most three were different in 160 videos of seven pictures (x264 at CRF 18 to 46 and
# at 100 kbit/s, x265, VP9, VP8, MPEG-4, MPEG-2, MJPEG, FFV1); fewer than five were down to a tolerance of 4.0. Of 241
# videos of real people, at least ten frames were different in each; at least five were up to a tolerance of 11.6.
STILL_TOLERANCE = 6.5


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
        >>> from deepfake_video.scanning.different_frames import count_different
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
